"""The network of the lab: apart from the host's, and gone when it is left."""

import socket
from pathlib import Path

import pytest

from iso.daemons import start
from lab.network import CONTROLLER, GATEWAY, ISCSI, Network
from terra_core.errors import CommandError, TerraError
from terra_core.system.process import Daemon, run
from terra_core.system.waiting import wait_until


def test_it_has_the_documented_addresses_and_the_host_has_not() -> None:
    with Network("addresses") as network:
        inside = run(network.command(["ip", "-4", "-brief", "address", "show", "dev", "br0"])).text
        assert {f"{address}/24" for address in (GATEWAY, CONTROLLER, ISCSI)} <= set(inside.split())
        assert "10.0.10." not in run(["ip", "-4", "-brief", "address"]).text
    assert not network.path.exists()


def test_it_has_no_way_out() -> None:
    with Network("closed") as network, network.inside(), pytest.raises(OSError, match="unreachable"):
        socket.create_connection(("192.0.2.1", 80), timeout=5)


def test_a_connection_made_inside_reaches_a_server_inside_and_the_thread_comes_back() -> None:
    before = Path("/proc/thread-self/ns/net").readlink()
    with Network("talk") as network:
        with network.inside():
            assert Path("/proc/thread-self/ns/net").readlink() != before
            server = socket.create_server((CONTROLLER, 9000))
        with server, network.connect(CONTROLLER, 9000) as client:
            accepted, _ = server.accept()
            with accepted:
                accepted.sendall(b"hello")
                assert client.recv(5) == b"hello"
        assert Path("/proc/thread-self/ns/net").readlink() == before


def test_two_networks_of_one_name_live_side_by_side() -> None:
    with Network("twin") as first, Network("twin") as second:
        assert first.name != second.name
        with first.inside():
            server = socket.create_server((CONTROLLER, 9000))
        with server, pytest.raises(ConnectionRefusedError):
            second.connect(CONTROLLER, 9000)


def test_a_tap_is_on_the_bridge_and_gone_afterwards() -> None:
    with Network("tap") as network:
        with network.tap("tap0"):
            assert "master br0" in run(["ip", "-n", network.name, "link", "show", "tap0"]).text
        with pytest.raises(CommandError, match="does not exist"):
            run(["ip", "-n", network.name, "link", "show", "tap0"])


def start_sleeping(network: Network, directory: Path) -> Daemon:
    """Start a program, and return it when it is in the network."""
    sleeper = start(network.command(["sleep", "3600"]), log=directory / "log")
    wait_until(lambda: any(one.name == "sleep" for one in network.processes()), seconds=60, what="it to be in the network")
    return sleeper


def test_a_program_that_is_left_in_it_is_ended_and_reported(tmp_path: Path) -> None:
    network = Network("busy")
    with pytest.raises(TerraError, match=r"still running when the network .*\(sleep 3600\)"), network:
        sleeper = start_sleeping(network, tmp_path)
    assert not sleeper.alive
    assert not network.path.exists()


def test_an_error_inside_leaves_nothing() -> None:
    network = Network("broken")
    with pytest.raises(ZeroDivisionError), network, network.tap("tap0"):
        _ = 1 / 0
    assert not network.path.exists()
