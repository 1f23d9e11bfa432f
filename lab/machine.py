"""A machine made by QEMU, that boots over the network or from disks of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Self

from attrs import frozen

from iso.daemons import start, wait_ready
from lab.hardware import Firmware, HardDisk, Hardware, Medium
from lab.leases import leased_address
from lab.monitor import Monitor
from lab.network import Network
from lab.place import Place
from terra_core.errors import CommandError, TerraError
from terra_core.system.process import Completed, Daemon, run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

_CONTROL = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][AB0]|\x1bc|[\x00-\x08\x0b-\x1f]")
_SERIAL_LINES = 40
_SSH_LOST = 255
_MONITOR_SECONDS = 30.0
_LOGIN_INTERVAL = 3.0
"""Seconds between two attempts to log in: each of them slows an emulated machine down."""


@frozen
class Login:
    """How to log in to a machine.

    :param address: its IP address.
    :param user: the account.
    :param key: the file of the private key.
    """

    address: str
    user: str
    key: Path


class Machine:
    """A virtual machine whose one network interface is on a network's bridge, from which it boots unless it has disks.

    Each start of it is a QEMU process of its own. Within one process, QEMU keeps what it has translated of a former start's
    code, and the firmware crawls where it writes to a page that many processes had run code from: a machine was seen to spend
    ten minutes there.

    The environment variable ACCEL names QEMU's accelerator: ``tcg`` (emulation) when it is not set, or ``kvm``.

    :param network: where it is plugged in.
    :param mac: its interface's address, with colons.
    :param serial: the file that its serial console is written to; QEMU's own words go beside it, with ``.qemu`` added.
    :param firmware: what it starts with.
    :param memory: in MB.
    :param disks: its disks.
    :param medium: an installation medium.
    :param network_first: let it try the network before its disks.
    """

    def __init__(
        self,
        network: Network,
        mac: str,
        serial: Path,
        *,
        firmware: Firmware | str = Firmware.BIOS,
        memory: int = 1024,
        disks: Sequence[HardDisk] = (),
        medium: Medium | None = None,
        network_first: bool = False,
    ) -> None:
        self.serial = serial.resolve()
        self.hardware = Hardware(mac=mac, firmware=Firmware(firmware), memory=memory, network_first=network_first)
        self._network = network
        self._disks = tuple(disks)
        self._medium = medium
        self._place = Place("machine")
        self._login: Login | None = None
        self._qemu: Daemon | None = None
        self._monitor: Monitor | None = None
        self._command: Sequence[str] = ()
        self._resources = Undo()

    def __enter__(self) -> Self:
        self.serial.parent.mkdir(parents=True, exist_ok=True)
        self.serial.unlink(missing_ok=True)  # a wait would find the output of an earlier machine
        with Undo() as resources:
            resources.enter_context(self._place)
            tap = resources.enter_context(self._network.tap(f"tap{self.hardware.mac.replace(':', '')[-8:]}"))
            args = self.hardware.arguments(
                tap=tap, serial=self.serial, directory=self._place.path, disks=self._disks, medium=self._medium
            )
            self._command = self._network.command(args)
            resources.callback(self.stop)
            self._start()
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    @property
    def running(self) -> bool:
        """Whether it is switched on; one that has asked to start again does so when this is asked."""
        if self._qemu is None:
            return False
        if not self._qemu.alive and self._monitor is not None and self._monitor.ended_by_reset():
            self._start()
        return self._qemu.alive

    def stop(self) -> None:
        """Pull its plug; does nothing when it is off already."""
        if self._qemu is not None and self._qemu.alive:
            self._qemu.stop()
        self._forget_monitor()

    def reset(self) -> None:
        """Push its reset button."""
        self.stop()
        self._start()

    def _start(self) -> None:
        self._forget_monitor()
        qemu = self._qemu = start(self._command, log=self.serial.with_name(self.serial.name + ".qemu"))
        wait_ready(qemu, self._reached, seconds=_MONITOR_SECONDS, what="QEMU's monitor")
        if self._monitor is not None:
            self._monitor.execute("cont")  # it waits for that: what it asks for before anybody listens would be lost

    def _reached(self) -> bool:
        self._monitor = Monitor(self._place.path / "qmp")
        return True

    def _forget_monitor(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
        self._monitor = None

    def console(self, lines: int = _SERIAL_LINES) -> str:
        """Return the last lines of the serial console, without what only moves the cursor or sets colours."""
        shown = [line.rstrip() for line in _CONTROL.sub("", self._shown()).splitlines()]
        return "\n".join([line for line in shown if line][-lines:])

    def said(self, pattern: str) -> re.Match[str] | None:
        """Return the last match of a regular expression in the output of the serial console; ``None`` without one."""
        found = list(re.finditer(pattern, _CONTROL.sub("", self._shown())))
        return found[-1] if found else None

    def wait_for_match(self, pattern: str, *, seconds: float) -> re.Match[str]:
        """Wait until a regular expression matches the output of the serial console; return the last match.

        :raises TerraError: as :meth:`wait_for_console` does.
        """
        self._wait(lambda: self.said(pattern) is not None, seconds=seconds, what=f"{pattern!r} on the console")
        found = self.said(pattern)
        assert found is not None  # noqa: S101  # it was there, and a console forgets nothing
        return found

    def wait_for_console(self, text: str, *, seconds: float) -> None:
        """Wait until the serial console has shown ``text``.

        :raises TerraError: when the time runs out or the machine ends; with the end of the console.
        """
        self._wait(lambda: text in self._shown(), seconds=seconds, what=f"{text!r} on the console")

    def wait_for_address(self, leases: Path, *, seconds: float) -> str:
        """Wait until it has asked for an address; return the address.

        :param leases: see :func:`lab.leases.leased_address`.
        :param seconds: how long to wait, in seconds.
        :raises TerraError: when the time runs out or the machine ends; with the end of the console.
        """
        mac = self.hardware.mac
        self._wait(lambda: leased_address(leases, mac) is not None, seconds=seconds, what=f"{mac} to ask for an address")
        return leased_address(leases, mac) or ""

    def wait_for_ssh(self, address: str, user: str, key: Path, *, seconds: float = 300) -> None:
        """Wait until it lets ``user`` log in; :meth:`ssh` logs in the same way afterwards, and expects the same host key.

        :param address: its IP address, see :func:`lab.leases.leased_address`.
        :param key: the file of the private key.
        :param seconds: how long to wait, in seconds.
        :raises TerraError: when the time runs out or the machine ends; with the end of the console.
        """
        self._login = Login(address, user, key)
        self._known_hosts.unlink(missing_ok=True)
        self._wait(lambda: self._boot_id() != "", seconds=seconds, what=f"{user}@{address} to accept a login")

    def ssh(self, command: str, *, accept: Collection[int] = (0,), timeout: float = 60) -> Completed:
        """Run a command line in the machine; its shell reads it.

        :param accept: the exit codes that mean success; 255 is what ssh itself ends with when the connection is lost.
        :param timeout: in seconds.
        :raises TerraError: when it fails or takes too long; with its stderr and the end of the console.
        """
        try:
            return run(self._network.command([*self._ssh(), command]), accept=accept, timeout=timeout)
        except CommandError as error:
            raise self._failure(error.message) from error

    def launch(self, command: str, log: Path) -> Daemon:
        """Start a command line in the machine, which runs on; its shell reads it.

        :param log: the file that its output goes to, as it comes.
        """
        return start(self._network.command([*self._ssh(), command]), log=log)

    def reboot(self, *, command: str = "sudo -n systemctl reboot", seconds: float = 300) -> None:
        """Ask it to start again, and wait until it has: until its boot id is another one.

        :param command: what asks for it, in the machine.
        :param seconds: how long to wait, in seconds.
        :raises TerraError: when it has not; with the end of the console.
        """
        before = self.ssh("cat /proc/sys/kernel/random/boot_id").text.strip()
        self.ssh(command, accept=(0, _SSH_LOST))
        self._wait(lambda: self._boot_id() not in ("", before), seconds=seconds, what="another boot", interval=_LOGIN_INTERVAL)

    def wait_for_answer(self, command: str, answer: str, *, seconds: float) -> None:
        """Wait until a command in the machine prints a text, through whatever restarts.

        :param command: a command line that ends with exit code 0 then.
        :param answer: the text, without space around it.
        :param seconds: how long to wait, in seconds.
        :raises TerraError: when it has not; with the end of the console.
        """
        what = f"{command!r} to print {answer!r}"
        self._wait(lambda: self._try(command) == answer, seconds=seconds, what=what, interval=_LOGIN_INTERVAL)

    def _boot_id(self) -> str:
        """Return the id of the machine's boot; an empty string while nobody can log in."""
        return self._try("cat /proc/sys/kernel/random/boot_id")

    def _try(self, command: str) -> str:
        """Return what ``command`` prints, or an empty string; ask for the ssh greeting first, which costs the machine less."""
        login = self._required_login()
        try:
            with self._network.connect(login.address, 22, timeout=3) as connection:
                if not connection.recv(4).startswith(b"SSH"):
                    return ""
            return run(self._network.command([*self._ssh(), command]), accept=(0, _SSH_LOST), timeout=60).text.strip()
        except (OSError, CommandError):
            return ""

    def _ssh(self) -> list[str]:
        login = self._required_login()
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            # Its key is taken on trust once, and has to be the same ever after.
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(self._known_hosts),
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", "-i", str(login.key), *words, f"{login.user}@{login.address}", "--"]

    @property
    def _known_hosts(self) -> Path:
        return self._place.path / "known_hosts"

    def _required_login(self) -> Login:
        if self._login is None:
            raise TerraError("nothing is known of how to log in to the machine", hint="call wait_for_ssh first")
        return self._login

    def _shown(self) -> str:
        return self.serial.read_text(errors="replace") if self.serial.exists() else ""

    def _wait(self, probe: Callable[[], bool], *, seconds: float, what: str, interval: float = 0.5) -> None:
        try:
            wait_until(lambda: not self.running or probe(), seconds=seconds, what=what, interval=interval)
        except TerraError as error:
            raise self._failure(error.message) from error
        if not self.running:
            raise self._failure(f"the machine ended while waiting for {what}")

    def _failure(self, message: str) -> TerraError:
        qemu = self._qemu.tail() if self._qemu is not None else ""
        parts = [message, *([f"QEMU says:\n{qemu}"] if qemu else []), f"the console ({self.serial}) ends with:"]
        return TerraError("\n".join([*parts, self.console() or "(nothing)"]))
