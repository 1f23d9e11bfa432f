"""Machines report their boots to a real controller: the program of the base image does, and others who should not."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from lab.network import BRIDGE, CONTROLLER
from terra_core.client.answers import HappeningShown
from terra_core.client.connection import Client
from terra_core.client.controller import ControllerClient
from terra_core.config.controller import API_PORT
from terra_core.errors import ConfigError, ConflictError, TerraError
from terra_core.system.process import Completed, Daemon, run
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import MAC, Ground
from tests.unit.controller.test_boot_report import REPORT
from tftp_lab.clients import fetch

PORT = API_PORT + 1
PROGRAM = Path(__file__).parents[3] / "iso/terraos/files/usr/lib/terra/report"
OTHER = "52:54:00:00:00:02"
RUNNING = {"state": "running", "failed": []}
_SYSTEMCTL = """\
#!/bin/sh
case "$1" in
	is-system-running) echo "$STATE" ;;
	list-units) [ -z "$FAILED" ] || echo "$FAILED loaded failed failed a unit" ;;
esac
"""


@frozen
class Player:
    """Plays a machine: it has the boot files of one, and the program of the base image.

    :param ground: the site.
    :param hostname: the machine.
    """

    ground: Ground
    hostname: str = "cm-01"

    def place(self) -> dict[str, str]:
        """Return what the boot files say, as the boot service sends them."""
        with self.ground.site.network.inside():
            unpacked = gzip.decompress(fetch(CONTROLLER, f"nodes/{self.hostname}/report.img"))
        said: dict[str, str] = json.loads(unpacked[unpacked.index(b"{") : unpacked.index(b"}") + 1])
        return said

    def environment(self, state: str, failed: str, place: dict[str, str] | None) -> dict[str, str]:
        """Return the environment of the program."""
        directory = self.ground.path("machine")
        directory.mkdir()
        (directory / "report").write_text(json.dumps(place or self.place()))
        (directory / "systemctl").write_text(_SYSTEMCTL)
        (directory / "systemctl").chmod(0o755)
        path = f"{directory}:{os.environ['PATH']}"
        return {"PATH": path, "CREDENTIALS_DIRECTORY": str(directory), "STATE": state, "FAILED": failed}

    def report(self, state: str = "running", failed: str = "") -> Completed:
        """Let the program report."""
        command = self.ground.site.network.command([sys.executable, PROGRAM])
        return run(command, env=self.environment(state, failed, None), timeout=60)

    def start(self, place: dict[str, str] | None = None) -> Daemon:
        """Let the program report, and go on."""
        command = self.ground.site.network.command([sys.executable, "-u", PROGRAM])
        return Daemon(command, log=self.ground.path("report.log"), env=self.environment("running", "", place))

    def post(self, token: str, **more: Any) -> None:
        """Send a report that says anything."""
        with self.ground.site.network.inside():
            Client(f"http://{CONTROLLER}:{PORT}", token=token).post("/v1/reports", {**REPORT, **more})

    def happenings(self) -> list[HappeningShown]:
        """Return what the machine is known to have reported."""
        with self.ground.site.network.inside():
            client = ControllerClient(CONTROLLER, token=self.ground.site.environment()["TERRA_TOKEN"])
            return [one for one in client.happenings(self.hostname) if one.kind == "report"]

    def wait_for_another(self, former: dict[str, str]) -> dict[str, str]:
        """Wait until the boot files say something else; return that."""
        wait_until(lambda: self.place() != former, seconds=60, what="another token in the boot files")
        return self.place()


def open_of(connections: list[socket.socket]) -> int:
    """Return how many connections the controller has not ended."""
    found = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            connection.recv(1)
        except BlockingIOError:
            found += 1
        except ConnectionError:
            continue
    return found


def boot(number: int) -> str:
    return f"{number:08x}-0000-0000-0000-000000000000"


@pytest.fixture
def player(ground: Ground, small: str) -> Player:
    """Return a machine that was provisioned just now."""
    ground.clear()
    ground.provision(small)
    return Player(ground)


def test_a_machine_reports_each_boot_and_no_other(ground: Ground, small: str, player: Player) -> None:
    first = player.place()
    with ground.site.network.inside():
        menu = fetch(CONTROLLER, f"pxelinux.cfg/01-{MAC.replace(':', '-')}").decode()
    assert "nodes/cm-01/steps.img,nodes/cm-01/report.img\n" in menu
    assert first["url"] == f"http://{CONTROLLER}:{PORT}/v1/reports"
    assert f"{first['url']} knows that this machine is degraded" in player.report("degraded", "bad@x.service").text
    (said,) = player.happenings()
    assert said.data["failed"] == ["bad@x.service"]
    assert said.data["image"] == first["image"]
    assert said.data["kernel"] == os.uname().release
    assert said.data["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # The next boot has another token; who had fetched the former one before may use that, and nobody after that.
    second = player.wait_for_another(first)
    player.post(first["token"], boot_id=boot(2), uptime=30)
    with pytest.raises(ConflictError):
        player.post(first["token"], boot_id=boot(3), uptime=0)
    player.post(second["token"], boot_id=boot(4))
    player.post(second["token"], boot_id=boot(4))
    with pytest.raises(TerraError, match="token"):
        player.post(first["token"], boot_id=boot(5))
    assert [one.data["boot_id"] for one in player.happenings()][1:] == [boot(2), boot(4)]
    # A token says which machine it is, whatever else is said.
    ground.provision(small, "cm-02", OTHER)
    other = Player(ground, "cm-02")
    other.post(other.place()["token"], boot_id=boot(6), hostname="cm-01")
    assert [one.data["boot_id"] for one in other.happenings()] == [boot(6)]
    assert len(player.happenings()) == 3
    token = other.place()["token"]
    ground.terra("delete", "cm-02")
    with pytest.raises(TerraError, match="token"):
        other.post(token)
    assert token not in (ground.site.log.read_text() + ground.terra("list", "--json").text)


def test_whoever_says_nothing_or_nonsense_is_ended_and_refused(ground: Ground, player: Player) -> None:
    token = player.place()["token"]
    slow = [ground.site.network.connect(CONTROLLER, PORT, timeout=60) for _ in range(20)]
    for connection in slow:
        connection.sendall(b"POST /v1/reports HTTP/1.1\r\nHost: x\r\n")
    began = time.monotonic()
    for wrong in ({"boot_id": "\x1b[2J"}, {"failed": ["a b"]}, {"addresses": [1]}, {"uptime": "long"}):
        with pytest.raises(ConfigError):
            player.post(token, **wrong)
    with pytest.raises(TerraError):
        player.post(token, failed=["x" * 250 + ".service"] * 200)
    for path, accepted in (("/healthz", True), ("/metrics", False), ("/v1/nodes", False), ("/", False)):
        with ground.site.network.inside():
            client = Client(f"http://{CONTROLLER}:{PORT}", token=token)
            if accepted:
                assert client.get(path) == {"status": "ok"}
                continue
            with pytest.raises(TerraError):
                client.get(path)
    wait_until(lambda: taken(player, token, boot(7)), seconds=30, what="a report to be taken", interval=1)
    for connection in slow:
        with connection:
            assert ended(connection)
    assert time.monotonic() - began < 50
    assert [one.data["boot_id"] for one in player.happenings()] == [boot(7)]


def taken(player: Player, token: str, boot_id: str) -> bool:
    """Report a boot; return whether that was taken, and not put off because the machine has reported too often."""
    try:
        player.post(token, boot_id=boot_id)
    except TerraError as error:
        if "too often" not in error.message:
            raise
        return False
    return True


def ended(connection: socket.socket) -> bool:
    """Wait until the other end has closed a connection."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        return True
    return True


def test_a_machine_tries_again_while_the_controller_is_down(ground: Ground, player: Player) -> None:
    place = player.place()
    ground.site.stop_controller()
    try:
        began = player.start()
        wait_until(lambda: "it is tried again" in began.log.read_text(), seconds=60, what="a try in vain")
        assert player.place() == place, "machines boot without the controller, with the same token"
    finally:
        ground.site.start_controller()
    assert began.wait(60) == 0
    assert "knows that this machine is running" in began.log.read_text()
    assert len(player.happenings()) == 1
    assert player.wait_for_another(place)["url"] == place["url"]


def test_provision_waits_for_the_report(ground: Ground, small: str, player: Player) -> None:
    ground.terra("delete", "cm-01")
    waiting = ground.start("provision", "--wait=booted", "--timeout", "60s", ground.node(small))
    wait_until(lambda: "is provisioned" in waiting.log.read_text(), seconds=60, what="the machine to be provisioned")
    player.report()
    assert waiting.wait(60) == 0
    assert "cm-01 has booted: it reports that it is running" in waiting.log.read_text()
    ground.terra("delete", "cm-01")
    said = ground.terra("provision", "--wait=booted", "--timeout", "1s", ground.node(small), accept=(1,))
    assert json.loads(said.text)["hostname"] == "cm-01", "it stays provisioned"
    assert "cm-01 was not seen: it has not asked for an address, in 1 seconds" in said.stderr.decode()
    wrong = ground.terra("provision", "--wait=booted", "--timeout", "soon", ground.node(small, "cm-02", OTHER), accept=(2,))
    assert "--timeout" in wrong.stderr.decode()
    assert [node["hostname"] for node in ground.nodes()] == ["cm-01"]


def test_apply_waits_for_the_boots_that_count(ground: Ground, small: str, player: Player) -> None:
    place = ground.path("machines")
    place.mkdir()
    for name, mac in (("cm-01", MAC), ("cm-02", OTHER)):
        (place / f"{name}.toml").write_text(ground.node(small, name, mac).read_text())
    other = Player(ground, "cm-02")
    player.post(player.place()["token"], boot_id=boot(1), uptime=1, **RUNNING)
    waiting = ground.start("apply", "--wait=booted", "--timeout", "60s", place)
    for line in ("cm-01: boot: it has booted", "cm-02: boot: has to boot"):  # the first is unchanged, and booted already
        wait_until(partial(has_said, waiting, line), seconds=60, what=line)
    other.post(other.place()["token"], boot_id=boot(2), uptime=1, **RUNNING)
    assert waiting.wait(60) == 0
    said = waiting.log.read_text()
    assert "1 created, 0 changed, 1 unchanged, 0 failed" in said
    for name in ("cm-01", "cm-02"):
        assert f"{name} has booted: it reports that it is running" in said
    assert ground.terra("apply", "--wait=booted", place).stderr.decode().count("boot: has to boot") == 0
    # What counts from the next boot on is waited for, also by a second run that changes nothing.
    file = place / "cm-01.toml"
    file.write_text(f'kernel_arguments = ["debug"]\n{file.read_text()}')
    former = player.place()
    for changed in ("1 changed", "2 unchanged"):
        late = ground.terra("apply", "--wait=booted", "--timeout", "2s", place, accept=(1,)).stderr.decode()
        assert changed in late
        assert "cm-01 was changed at " in late
        assert "has not been started again, in 2 seconds" in late
        assert "cm-02 has booted: it reports" in late
    waiting = ground.start("apply", "--wait=booted", "--timeout", "60s", place)
    wait_until(partial(has_said, waiting, "cm-01: boot: has to boot"), seconds=60, what="cm-01 to be waited for")
    player.post(former["token"], boot_id=boot(3), uptime=600, **RUNNING)
    player.post(player.wait_for_another(former)["token"], boot_id=boot(4), uptime=0, failed=["bad.service"])
    assert waiting.wait(60) == 1
    assert "cm-01 has booted, and is degraded: bad.service failed" in waiting.log.read_text()
    wrong = ground.terra("apply", "--plan", "--wait=booted", place, accept=(2,)).stderr.decode()
    assert "--plan changes nothing" in wrong


def has_said(daemon: Daemon, text: str) -> bool:
    return text in daemon.log.read_text()


def test_an_apply_that_waits_ends_by_a_signal(ground: Ground, small: str, player: Player) -> None:
    ground.provision(small, "cm-02", OTHER)
    place = ground.path("machines")
    place.mkdir()
    for name, mac in (("cm-01", MAC), ("cm-02", OTHER)):
        (place / f"{name}.toml").write_text(ground.node(small, name, mac).read_text())
    waiting = ground.start("apply", "--wait=booted", place)
    wait_until(lambda: waiting.log.read_text().count("boot: has to boot") == 2, seconds=60, what="both to be waited for")
    waiting.signal(signal.SIGTERM)
    assert waiting.wait(10) == 130
    assert "Traceback" not in waiting.log.read_text()
    assert [node["state"] for node in ground.nodes()] == ["ready", "ready"], "waiting less undoes nothing"


def test_a_neighbour_that_takes_all_connections_keeps_no_machine_from_reporting(ground: Ground, player: Player) -> None:
    network, neighbour = ground.site.network, "10.0.10.66"
    network.ip("address", "add", f"{neighbour}/24", "dev", BRIDGE)
    try:
        with ExitStack() as stack, network.inside():
            connect = partial(socket.create_connection, (CONTROLLER, PORT), timeout=30, source_address=(neighbour, 0))
            held = [stack.enter_context(connect()) for _ in range(600)]
            wait_until(lambda: open_of(held) <= 16, seconds=8, what="all but 16 to be ended")
            assert open_of(held) > 0
            assert "knows that this machine is running" in player.report().text
    finally:
        network.ip("address", "del", f"{neighbour}/24", "dev", BRIDGE)
    assert len(player.happenings()) == 1


def test_with_a_certificate_machines_report_by_tls_from_their_next_boot_on(ground: Ground, player: Player) -> None:
    former = player.place()
    ground.terra("--controller", CONTROLLER, "controller", "init", "--root", ground.site.root)
    ground.site.stop_controller()
    ground.site.start_controller()
    place = player.wait_for_another(former)
    assert place["url"] == f"https://{CONTROLLER}:{PORT}/v1/reports"
    assert place["authority"] == ground.site.paths.authority.read_text()
    stranger = player.start({**place, "authority": other_authority(ground)})
    wait_until(lambda: "it is tried again" in stranger.log.read_text(), seconds=60, what="a refusal")
    stranger.stop(10)
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.log.read_text()
    assert f"{place['url']} knows that this machine is running" in player.report().text
    assert place["token"] not in ground.site.log.read_text()


def other_authority(ground: Ground) -> str:
    """Make the authority of another controller; return its certificate."""
    root = ground.path("other")
    ground.terra("--controller", CONTROLLER, "controller", "init", "--root", root)
    return (root / "etc/terra/tls/ca.pem").read_text()
