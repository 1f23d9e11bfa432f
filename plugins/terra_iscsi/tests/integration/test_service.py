"""A tgtd of a controller's own: started, found again, ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.network import CONTROLLER, GATEWAY, ISCSI, Network
from lab.processes import Process
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.errors import ConflictError, TerraError
from terra_core.system.process import Daemon
from terra_core.system.waiting import wait_until
from terra_iscsi import plugin
from terra_iscsi.control import Control
from terra_iscsi.service import own_control
from terra_iscsi.shown import Exported

PORTAL = Address(ISCSI)
REPOSITORY = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network("tgtd") as made:
        yield made


@pytest.fixture(autouse=True)
def _inside(network: Network) -> Iterator[None]:
    with network.inside():
        yield


@contextmanager
def controller(root: Path, **settings: object) -> Iterator[Session]:
    session = Session(tables={"iscsi": settings}, paths=Paths(root))
    try:
        yield session
    finally:
        plugin.stop_storage(session)


def pid(session: Session) -> int:
    return int((session.paths.run / "tgtd.pid").read_text())


def tgtds(network: Network) -> list[Process]:
    return [process for process in network.processes() if process.name == "tgtd"]


def add_target(control: Control, name: str = "iqn.2020.com.example:disk") -> None:
    control.ask("--mode", "target", "--op", "new", "--tid", "1", "--targetname", name)


def test_one_that_hangs_is_said_within_seconds_and_can_be_ended(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path) as session:
        plugin.start_storage(PORTAL, session)
        add_target(own_control(session))
        os.kill(pid(session), signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(TerraError, match="tgtd has not answered on its control socket 0 for 5 seconds, and hangs"):
            plugin.start_storage(PORTAL, session)
        assert time.monotonic() - began < 15
        assert plugin.stop_storage(session) is True
        assert tgtds(network) == []


def test_many_targets_go_with_a_few_looks(tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    targets = Control.targets

    def counting(self: Control) -> tuple[Exported, ...]:
        looks.append(1)
        return targets(self)

    with controller(tmp_path) as session:
        plugin.start_storage(PORTAL, session)
        for at in range(1, 31):
            words = ("--tid", str(at), "--targetname", f"iqn.2020.com.example:{at}")
            own_control(session).ask("--mode", "target", "--op", "new", *words)
        monkeypatch.setattr(Control, "targets", counting)
        assert plugin.stop_storage(session) is True
        assert len(looks) <= 5
        assert tgtds(network) == []


def test_it_is_started_once_and_ended_once(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path) as session:
        assert plugin.start_storage(PORTAL, session) is True
        (process,) = tgtds(network)
        assert process.pid == pid(session)
        assert plugin.start_storage(PORTAL, session) is False
        assert tgtds(network) == [process]
        assert own_control(session).portals() == {(ISCSI, 3260)}
        assert plugin.stop_storage(session) is True
        assert tgtds(network) == []
        assert plugin.stop_storage(session) is False
        assert sorted(path.name for path in session.paths.run.iterdir()) == ["tgtd", "tgtd.log"]
        assert not list((session.paths.run / "tgtd").iterdir())


def test_it_ends_although_it_has_targets(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path) as session:
        plugin.start_storage(PORTAL, session)
        add_target(own_control(session))
        assert plugin.stop_storage(session) is True
        assert tgtds(network) == []


def test_it_is_started_again_after_kill_9(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path) as session:
        plugin.start_storage(PORTAL, session)
        first = pid(session)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not tgtds(network), seconds=60, what="tgtd to be gone")
        assert plugin.start_storage(PORTAL, session) is True
        assert pid(session) != first
        assert own_control(session).answers()


def test_a_pid_file_that_names_somebody_else_harms_nobody(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path) as session:
        plugin.start_storage(PORTAL, session)
        bystander = Daemon(["sleep", "60"], log=tmp_path / "log")
        try:
            (session.paths.run / "tgtd.pid").write_text(f"{bystander.pid}\n")
            assert plugin.stop_storage(session) is True
            assert tgtds(network) == []
            assert bystander.alive
        finally:
            bystander.stop()


def test_two_controllers_side_by_side(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path / "a") as first, controller(tmp_path / "b") as second:
        assert plugin.start_storage(PORTAL, first) is True
        assert plugin.start_storage(Address(CONTROLLER), second) is True
        add_target(own_control(first))
        assert own_control(second).targets() == ()
        assert plugin.stop_storage(second) is True
        assert [process.pid for process in tgtds(network)] == [pid(first)]
        assert [one.id for one in own_control(first).targets()] == [1]


def test_a_portal_that_is_taken(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path / "a") as first, controller(tmp_path / "b") as second:
        plugin.start_storage(PORTAL, first)
        with pytest.raises(ConflictError, match=rf"{ISCSI}:3260: another iSCSI service answers there already"):
            plugin.start_storage(PORTAL, second)
        assert [process.pid for process in tgtds(network)] == [pid(first)]
        assert plugin.stop_storage(second) is False


def test_a_portal_that_is_no_address_of_this_machine(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path) as session:
        with pytest.raises(TerraError, match=r"10\.9\.9\.9: is not an address of this machine"):
            plugin.start_storage(Address("10.9.9.9"), session)
        assert tgtds(network) == []


def test_another_portal_is_added_without_interrupting_the_first(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path) as session:
        plugin.start_storage(PORTAL, session)
        process = tgtds(network)
        assert plugin.start_storage(Address(GATEWAY), session) is False
        assert own_control(session).portals() == {(ISCSI, 3260), (GATEWAY, 3260)}
        assert tgtds(network) == process


def test_a_portal_of_ipv6(tmp_path: Path) -> None:
    with controller(tmp_path) as session:
        assert plugin.start_storage(Address("::1"), session) is True
        assert own_control(session).portals() == {("::1", 3260)}
        assert plugin.start_storage(Address("::1"), session) is False


def test_the_number_of_the_control_socket(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path, control_port=7) as session:
        plugin.start_storage(PORTAL, session)
        assert (session.paths.run / "tgtd/socket.7").is_socket()
        (process,) = tgtds(network)
        assert "-C 7" in process.command


def test_a_root_that_is_too_deep_for_a_socket(tmp_path: Path, network: Network) -> None:
    with pytest.raises(TerraError, match="too long for a socket, which can have 107 characters") as refused:
        plugin.start_storage(PORTAL, Session(paths=Paths(tmp_path / ("x" * 80))))
    assert "--root" in refused.value.hint
    assert tgtds(network) == []


def test_a_tgtd_that_lost_its_socket_is_not_doubled(tmp_path: Path, network: Network) -> None:
    with controller(tmp_path) as session:
        plugin.start_storage(PORTAL, session)
        process = tgtds(network)
        (session.paths.run / "tgtd/socket.0").unlink()
        with pytest.raises(TerraError, match=rf"tgtd \(process {pid(session)}\) runs and does not answer"):
            plugin.start_storage(PORTAL, session)
        assert tgtds(network) == process
        os.kill(pid(session), signal.SIGKILL)


def test_the_controller_of_the_whole_machine_uses_its_tgtd(network: Network, tmp_path: Path) -> None:
    """Check that the controller of ``/`` uses the system's tgtd, which the test starts at its usual place."""
    system = Control(31999)
    session = Session(tables={"iscsi": {"control_port": 31999}})
    daemon = Daemon(["tgtd", "-f", "-C", "31999", "--iscsi", f"portal={CONTROLLER}:3260"], log=tmp_path / "log")
    try:
        wait_until(system.answers, seconds=60, what="tgtd to answer")
        with pytest.raises(TerraError, match=f"the tgtd of this system does not answer on {ISCSI}:3260") as refused:
            plugin.start_storage(PORTAL, session)
        assert f"portal={ISCSI}:3260" in refused.value.hint
        assert plugin.start_storage(Address(CONTROLLER), session) is False
        assert plugin.stop_storage(session) is False
        assert system.answers()
        assert system.portals() == {(CONTROLLER, 3260)}
    finally:
        system.ask("--mode", "system", "--op", "delete")
        daemon.wait(10)
        for path in Path("/var/run/tgtd").glob("socket.31999*"):
            path.unlink()
