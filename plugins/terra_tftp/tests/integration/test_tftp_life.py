"""The life of the service: started once, outliving, started again when it died, stopped without touching others."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from lab.network import CONTROLLER, GATEWAY, Network
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.errors import TerraError
from terra_core.hookspecs import BootNetwork
from terra_core.system.process import Daemon, run
from terra_core.system.processes import start_time
from terra_core.system.progress import Event
from terra_core.system.waiting import wait_until
from terra_tftp import TftpPlugin, plugin
from tftp_lab import BOOT_NETWORK, MakeSession, pid_of
from tftp_lab.clients import fetch

pytest_plugins = ["tftp_lab.fixtures"]

SERVER = {"dhcp": "server", "range": ["10.0.10.50", "10.0.10.99"]}


def test_a_controller_that_starts_again_finds_it(tftp_session: MakeSession) -> None:
    session = tftp_session(**SERVER)
    assert plugin.start_boot(BOOT_NETWORK, [], session)
    first = pid_of(session)
    again = TftpPlugin()
    assert not again.start_boot(BOOT_NETWORK, [], session)
    assert pid_of(session) == first
    assert again.stop_boot(session)
    assert not (session.paths.run / "tftp/dnsmasq.pid").exists()
    with pytest.raises(TimeoutError):
        fetch(CONTROLLER, "pxelinux.cfg/default", seconds=0.5)


def test_other_settings_start_it_again(tftp_session: MakeSession) -> None:
    plugin.start_boot(BOOT_NETWORK, [], tftp_session())
    first = pid_of(tftp_session())
    assert plugin.start_boot(BOOT_NETWORK, [], tftp_session(dhcp="proxy"))
    assert pid_of(tftp_session()) != first
    assert plugin.start_boot(BootNetwork(address=Address(GATEWAY)), [], tftp_session(dhcp="proxy"))
    assert fetch(GATEWAY, "pxelinux.cfg/default")


def test_killed_it_comes_back_with_what_it_served(tftp_session: MakeSession) -> None:
    session = tftp_session(**SERVER)
    plugin.start_boot(BOOT_NETWORK, [], session)
    first = pid_of(session)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: start_time(first) == "", seconds=60, what="dnsmasq to be gone")
    assert plugin.start_boot(BOOT_NETWORK, [], session)
    assert pid_of(session) != first
    assert fetch(CONTROLLER, "pxelinux.cfg/default")


def test_one_that_hangs_is_started_again_and_that_is_said(tftp_session: MakeSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terra_tftp.service._SILENCE", 1)
    monkeypatch.setattr("terra_tftp.service._PAUSE", 0)
    told: list[Event] = []
    session = tftp_session(**SERVER).reporting_to(told.append)
    plugin.start_boot(BOOT_NETWORK, [], session)
    first = pid_of(session)
    os.kill(first, signal.SIGSTOP)
    assert plugin.start_boot(BOOT_NETWORK, [], session)
    assert pid_of(session) != first
    assert fetch(CONTROLLER, "pxelinux.cfg/default")
    assert [event.text for event in told] == ["warning: dnsmasq did not answer on 10.0.10.3 for 1 s, and is started again"]
    assert not plugin.start_boot(BOOT_NETWORK, [], session)


def test_its_log_is_bounded(tftp_session: MakeSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terra_tftp.service._LOG_LIMIT", 200)
    monkeypatch.setattr("terra_tftp.service._PAUSE", 0)
    session = tftp_session()
    plugin.start_boot(BOOT_NETWORK, [], session)
    for _ in range(10):
        assert not plugin.start_boot(BOOT_NETWORK, [], session)
    log, former = (session.paths.run / "tftp" / name for name in ("dnsmasq.log", "dnsmasq.log.1"))
    wait_until(lambda: log.stat().st_size > 0, seconds=20, what="dnsmasq to note what it has sent, which it does afterwards")
    assert log.stat().st_size <= 400
    assert "sent" in former.read_text()


def test_another_process_that_has_got_its_number_is_left_alone(tftp_session: MakeSession, tmp_path: Path) -> None:
    session = tftp_session()
    plugin.start_boot(BOOT_NETWORK, [], session)
    plugin.stop_boot(session)
    other = Daemon(["cat", "/dev/zero"], log=Path("/dev/null"))
    try:
        (session.paths.run / "tftp/dnsmasq.pid").write_text(f"{other.pid}\n")
        assert not plugin.stop_boot(session)
        assert plugin.start_boot(BOOT_NETWORK, [], session)
        assert other.alive
    finally:
        other.stop()


def test_a_second_controller_has_its_own(tftp_session: MakeSession, tftp_paths: Paths) -> None:
    session = tftp_session()
    second = Session(paths=Paths(tftp_paths.root / "second"))
    plugin.start_boot(BOOT_NETWORK, [], session)
    try:
        assert plugin.start_boot(BootNetwork(address=Address(GATEWAY)), [], second)
        assert plugin.stop_boot(session)
        assert fetch(GATEWAY, "pxelinux.cfg/default")
    finally:
        plugin.stop_boot(second)


def test_a_taken_port_is_named_with_the_address(tftp_session: MakeSession) -> None:
    session = tftp_session()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((CONTROLLER, 69))
        with pytest.raises(TerraError, match=r"cannot answer on 10\.0\.10\.3: its UDP port 69 \(TFTP\) is taken"):
            plugin.start_boot(BOOT_NETWORK, [], session)
    assert plugin.start_boot(BOOT_NETWORK, [], session)


def test_a_taken_dhcp_port_is_named(tftp_session: MakeSession) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 67))
        with pytest.raises(TerraError, match=r"its UDP port 67 \(DHCP\) is taken"):
            plugin.start_boot(BOOT_NETWORK, [], tftp_session(**SERVER))


def test_an_address_of_another_machine_is_refused(tftp_session: MakeSession) -> None:
    with pytest.raises(TerraError, match=r"10\.0\.10\.9: it is not an address of this machine"):
        plugin.start_boot(BootNetwork(address=Address("10.0.10.9")), [], tftp_session())


def test_a_tree_that_dnsmasq_cannot_reach_is_named(tftp_session: MakeSession, tftp_paths: Paths) -> None:
    tftp_paths.root.chmod(0o700)
    with pytest.raises(TerraError, match=f"cannot reach .*/tftp: {tftp_paths.root} has mode 0700"):
        plugin.start_boot(BOOT_NETWORK, [], tftp_session())


def test_it_does_not_run_as_root_and_leaves_nothing_in_the_network(tftp_session: MakeSession, tftp_network: Network) -> None:
    session = tftp_session(**SERVER)
    plugin.start_boot(BOOT_NETWORK, [], session)
    status = Path(f"/proc/{pid_of(session)}/status").read_text()
    assert "Uid:\t0\t" not in status
    assert [process.name for process in tftp_network.processes()] == ["dnsmasq"]
    plugin.stop_boot(session)
    wait_until(lambda: not tftp_network.processes(), seconds=60, what="the network to be empty")


def test_dnsmasq_finds_no_fault_in_any_configuration(tftp_session: MakeSession) -> None:
    for table in ({}, {"dhcp": "proxy"}, SERVER, {**SERVER, "dns": ["9.9.9.9"], "lease": "30m"}):
        session = tftp_session(**table)
        assert plugin.start_boot(BOOT_NETWORK, [], session)
        tested = run(["dnsmasq", "--test", f"--conf-file={session.paths.run / 'tftp/dnsmasq.conf'}"])
        assert b"syntax check OK" in tested.stderr
