"""Trying an image: it is laid down on a temporary disk, booted in an emulated machine, and asked for the state of its system.

The machine answers over its second serial port, by a unit that stands in the copy alone: the image itself stays as it is.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from attrs import define

from terra_core.config.loader import Document
from terra_core.config.node import OS_LABEL, Disk, DiskGroup, Node
from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.config.values import DevicePath, Label
from terra_core.deploy import BootFiles, mounted_system, root_steps
from terra_core.errors import TerraError
from terra_core.fitness import fit_of_root
from terra_core.hookspecs import Builder, Trial
from terra_core.machine.archive import join_archives
from terra_core.oci.amend import AmendedImage, File, write_layer
from terra_core.oci.platforms import this_platform
from terra_core.oci.source import ImageSource
from terra_core.plugins import Plugins
from terra_core.system.emulator import acceleration, accelerators, option, program
from terra_core.system.mounts import sweep
from terra_core.system.process import Daemon
from terra_core.system.progress import Event, Report, silent
from terra_core.system.reading import lines_of
from terra_core.system.undo import Undo
from terra_core.system.waiting import WaitedInVain, wait_until
from terra_core.system.workspace import discard, workspace

_PREFIX = "terra-trial-"
_MB = 1 << 20
_SPARE_MB = 2048
_MEMORY_MB = 2048
_INIT_SECONDS = 20.0
"""Seconds until init has to have started on KVM, which takes two or three: later than that, the machine hangs."""
_INIT = re.compile(rb"Run /init|Freeing unused kernel")
_CONTROL = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][AB0]|\x1bc|[\x00-\x08\x0b-\x1f]")
_CONSOLE_LINES = 40
_MARK = "terra-trial:"
_SCRIPT = f"""\
exec > /dev/ttyS1 2>&1
turn=0
while :; do
	state=$(systemctl is-system-running 2> /dev/null)
	case "$state" in
		running | degraded | maintenance | stopping) break ;;
	esac
	turn=$((turn + 1))
	[ $((turn % 30)) != 0 ] || {{ echo "{_MARK} jobs"; systemctl list-jobs --no-legend --no-pager; }}
	sleep 1
done
echo "{_MARK} state $state"
systemctl list-units --failed --plain --no-legend --no-pager
echo "{_MARK} journal"
[ "$state" = running ] || journalctl --boot --priority err --quiet --no-pager --output short
echo "{_MARK} end"
"""
_UNIT = b"""\
[Unit]
Description=Tell Terra how the system does
DefaultDependencies=no
IgnoreOnIsolate=yes

[Service]
Type=simple
ExecStart=/bin/sh /etc/terra-trial
"""
_FILES = {
    "etc/terra-trial": File(_SCRIPT.encode()),
    "etc/systemd/system/terra-trial.service": File(_UNIT),
    "etc/systemd/system/sysinit.target.wants/terra-trial.service": File(b"../terra-trial.service", 0o777, link=True),
}


def try_in_container(
    image: str, document: Document[Server], *, seconds: float, report: Report = silent, plugins: Plugins | None = None
) -> Trial:
    """Start an image that was built as a container, and see how its system does.

    :param image: its id.
    :param document: what it was built from.
    :param seconds: how long it may take.
    :param report: takes progress events, and may raise to end the work.
    :param plugins: the installed plugins; found when left out.
    :raises TerraError: when it can't be started.
    """
    builder = (plugins or Plugins.discover()).fill(Builder, document.value.plugins, source=document.source)
    return builder.try_image(image, seconds, document.session(report))


def try_in_machine(
    image: str, document: Document[Server], *, seconds: float, report: Report = silent, plugins: Plugins | None = None
) -> Trial:
    """Boot an image that was built in an emulated machine with a disk of its own, and see how its system does.

    :param image: its id.
    :param document: what it was built from.
    :param seconds: how long it may take from power-on.
    :param report: takes progress events, and may raise to end the work.
    :param plugins: the installed plugins; found when left out.
    :returns: what it said; without a state when it said nothing in time.
    :raises TerraError: when it can't be started.
    """
    qemu = program(this_platform().architecture)
    server, session, plugins = document.value, document.session(report), plugins or Plugins.discover()
    builder = plugins.fill(Builder, server.plugins, source=document.source)
    with workspace(_PREFIX, remove=_remove) as work:
        offer = builder.save_image(image, work, session)
        disk, place = work / "disk", work / "deploy"
        place.mkdir()
        with offer as source:
            changed = AmendedImage(source, write_layer(_FILES))
            with disk.open("wb") as file:
                file.truncate(_disk_size(source))
            disks: Mapping[str, Sequence[Path]] = {OS_LABEL: [disk]}
            node = _node(server, disk)
            steps = root_steps(node, plugins, session)
            with mounted_system(node, disks, plugins=plugins, session=session, work=place) as system:
                system.lay_down(changed)
                files = system.copy_boot_files(fit_of_root(system.inside, steps), place)
                session.report(Event("sync", "write everything to the disk"))
                system.sync()
                arguments = system.kernel_arguments
        return _Machine(qemu, work, disk, files, arguments, session).boot(seconds)


def explain(trial: Trial, image: object) -> TerraError:
    """Return the error for a system that is not healthy."""
    state = f"its system is {trial.state}" if trial.state else "its system did not come up in time"
    failed = ["failed units:", *(f"  {line}" for line in trial.failed)] if trial.failed else []
    title = "errors:" if trial.state else "the last that was seen of it:"
    errors = [title, *lines_of(trial.errors)] if trial.errors else []
    return TerraError("\n".join([f"{image}: the test failed: {state}", *failed, *errors]))


@define
class _Machine:
    qemu: str
    work: Path
    disk: Path
    files: BootFiles
    arguments: Sequence[str]
    session: Session

    def boot(self, seconds: float) -> Trial:
        """Boot it as fast as it goes here, and take its answer."""
        for accelerator in accelerators():
            with Undo() as stack:
                daemon = self._start(accelerator, stack)
                self._tell(f"booting, {'on KVM' if accelerator == 'kvm' else 'emulated'}")
                deadline = time.monotonic() + seconds
                if accelerator == "kvm" and not self._begins(daemon):
                    self._tell("machines hang on this KVM: emulating")
                    continue
                return self._answer(daemon, deadline)
        raise TerraError("QEMU has no accelerator that works here")

    def _start(self, accelerator: str, stack: ExitStack) -> Daemon:
        if self.files.kernel is None or self.files.initrd is None:
            raise TerraError(
                "the image has no kernel with an initrd in /boot, so no machine can boot it",
                hint="try it as a container: --test=container",
            )
        line = [*self.arguments, "net.ifnames=0", "console=ttyS0,115200", "panic=-1"]
        initrd = self.work / "initrd"
        initrd.write_bytes(join_archives(self.files.initrd.read_bytes(), self.files.steps.read_bytes()))
        for name in ("console", "answer"):
            (self.work / name).write_bytes(b"")
        words = [
            *(self.qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", "q35,graphics=off", *acceleration(accelerator, self.qemu)),
            *("-m", str(_MEMORY_MB), "-device", "virtio-rng-pci"),
            *("-drive", f"file={option(self.disk)},format=raw,if=virtio,cache=unsafe"),
            *("-netdev", "user,id=lan,restrict=on", "-device", "virtio-net-pci,netdev=lan,romfile="),
            *("-kernel", str(self.files.kernel), "-initrd", str(initrd), "-append", " ".join(line)),
            *(f"-serial=file:{option(self.work / name)}" for name in ("console", "answer")),
        ]
        words = [part for word in words for part in (word.split("=", 1) if word.startswith("-serial=") else [word])]
        daemon = Daemon(words, log=self.work / "qemu", outlives=True, owned=True)
        stack.callback(daemon.stop)
        return daemon

    def _begins(self, daemon: Daemon) -> bool:
        with suppress(WaitedInVain):
            wait_until(
                lambda: not daemon.alive or _INIT.search((self.work / "console").read_bytes()),
                seconds=_INIT_SECONDS,
                what="the kernel to start init",
            )
            return daemon.alive
        return False

    def _answer(self, daemon: Daemon, deadline: float) -> Trial:
        seen = ""

        def ended() -> bool:
            nonlocal seen
            line = next((line for line in reversed(self._console()) if line.strip()), "")
            if line != seen:
                seen = line
                self._tell(line)
            return f"{_MARK} end" in self._said() or not daemon.alive

        with suppress(WaitedInVain):
            wait_until(ended, seconds=max(deadline - time.monotonic(), 0), what="the system to come up", interval=0.5)
        trial = read_answer(self._said())
        if trial is None and not daemon.alive and (said := daemon.tail()):
            raise TerraError(f"QEMU ended before the system was up: {said}")
        return trial or Trial(state="", errors="\n".join([*self._jobs(), *self._console()[-_CONSOLE_LINES:]]))

    def _jobs(self) -> list[str]:
        """Return the jobs that the system waits for, as far as it printed them."""
        _, mark, jobs = self._said().rpartition(f"{_MARK} jobs\n")
        return ["it waits for:", *lines_of(jobs.strip())] if mark else []

    def _said(self) -> str:
        return _plain(self.work / "answer")

    def _console(self) -> list[str]:
        return lines_of(_plain(self.work / "console"))

    def _tell(self, text: str) -> None:
        self.session.report(Event("test", text))


def read_answer(said: str) -> Trial | None:
    """Parse the answer that a machine prints on its serial port; ``None`` while it is not complete."""
    found = re.search(rf"{_MARK} state (\S+)\n(.*){_MARK} journal\n(.*){_MARK} end", said, re.DOTALL)
    if found is None:
        return None
    failed = tuple(line.strip() for line in lines_of(found[2]) if line.strip())
    return Trial(state=found[1], failed=failed, errors=found[3].strip())


def _plain(path: Path) -> str:
    return _CONTROL.sub("", path.read_text(errors="replace").replace("\r\n", "\n"))


def _node(server: Server, disk: Path) -> Node:
    group = DiskGroup(label=Label(OS_LABEL), disk=(Disk(device=DevicePath(str(disk))),))
    return Node(hostname=server.hostname, image=server.image, groups=(group,))


def _disk_size(image: ImageSource) -> int:
    """Return the disk's size in bytes: that of the layers, and room to work; the file is sparse."""
    return (sum(layer.size for layer in image.manifest.layers) * 2 // _MB + _SPARE_MB) * _MB


def _remove(directory: Path) -> None:
    if os.geteuid() == 0:
        sweep(directory, directory)
    discard(directory)


Try = Callable[..., Trial]
"""How an image is tried."""

WAYS: dict[str, Try] = {"qemu": try_in_machine, "container": try_in_container}
"""Every way to try an image, by its name on the command line."""
