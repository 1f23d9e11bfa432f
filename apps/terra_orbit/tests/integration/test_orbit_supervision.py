"""Containers come back: after a crash, an engine's end, an agent's end at any step, a DHCP daemon's end."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.network import Network
from lab.processes import mentioning
from orbit_lab.agent import Agent
from orbit_lab.dhcp import DhcpServer
from orbit_lab.host import reaches
from terra_core.system.waiting import wait_until
from terra_core.testing.tiny import write_tiny_root

BRIDGE = '[[networks]]\ntype = "bridge"\nname = "ob1"\n[networks.ipam]\ntype = "host-local"\nsubnet = "10.88.0.0/24"\n'
DHCP = '[[networks]]\ntype = "macvlan"\nname = "ob0"\n[networks.ipam]\ntype = "dhcp"\n'


def write(path: Path, name: str = "one", network: str = BRIDGE) -> Path:
    path.write_text(f'id = "{name}"\nimage = "tiny:1"\n{network}')
    return path


@pytest.fixture(scope="module")
def dhcp(network: Network) -> Iterator[DhcpServer]:
    """Start a DHCP server on the network."""
    with DhcpServer(network) as server:
        yield server


def settled(agent: Agent, name: str = "one") -> bool:
    shown = agent.get(name)
    return shown["status"] == "running" and not shown["problem"]


@pytest.mark.parametrize("networks", [BRIDGE, DHCP], ids=["host-local", "dhcp"])
def test_one_that_crashes_comes_back_at_its_address(agent: Agent, dhcp: DhcpServer, tmp_path: Path, networks: str) -> None:
    agent.ob("create", write(tmp_path / "1.toml", network=networks))
    before = agent.get("one")
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: agent.get("one")["restarts"] == 1 and settled(agent), seconds=30, what="it to come back")
    after = agent.get("one")
    assert after["addresses"] == before["addresses"]
    assert after["networks"][0]["mac"] == before["networks"][0]["mac"]
    place = agent.host if networks == BRIDGE else agent.host.network
    wait_until(lambda: reaches(place, after["addresses"][0]), seconds=60, what="it to answer")


SYSTEMD = """\
#!/bin/sh
echo "Failed to create /init.scope control group: Read-only file system"
sleep 0.3
exit 255
"""


@pytest.fixture(scope="module")
def systemd(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make an image whose program is called systemd, and ends as systemd does when it lacks the rights that it needs."""
    tar = tmp_path_factory.mktemp("systemd") / "root.tar"
    write_tiny_root(tar)
    with tarfile.open(tar, "a") as archive:
        info = tarfile.TarInfo("usr/lib/systemd/systemd")
        info.size, info.mode = len(SYSTEMD), 0o755
        archive.addfile(info, io.BytesIO(SYSTEMD.encode()))
    engine.import_image(tar, "systemd:1", ['CMD ["/usr/lib/systemd/systemd"]'])
    return "systemd:1"


def test_systemd_without_the_rights_that_it_needs_is_no_success(agent: Agent, systemd: str, tmp_path: Path) -> None:
    path = tmp_path / "vhost.toml"
    path.write_text(f'id = "one"\nimage = "{systemd}"\n')
    said = agent.ob("create", path, accept=[1]).stderr.decode()
    assert "one ended at once, with exit code 255; it said:\nFailed to create /init.scope control group" in said
    assert "say privileged = true in its vhost.toml" in said
    assert agent.ob("list").text.count("\n") == 1, "nothing of it is left"


def test_one_that_goes_on_ending_says_how(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "vhost.toml"
    path.write_text('id = "one"\nimage = "tiny:1"\nargs = ["/bin/sh", "-c", "echo so it is; sleep 0.5; exit 7"]\n')
    agent.ob("create", path)
    wait_until(lambda: agent.get("one")["problem"], seconds=30, what="the agent to say that it goes on ending")
    assert "one ended at once, with exit code 7; it said:\nso it is" in agent.get("one")["problem"]
    assert "exit code 7" in agent.ob("list").stderr.decode()
    # The agent may just be starting it again.
    wait_until(lambda: agent.ob("delete", "--time", "0", "one", accept=[0, 1]).code == 0, seconds=30, what="it to be deleted")


def test_a_new_agent_disturbs_nothing(agent: Agent, dhcp: DhcpServer, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    agent.ob("create", write(tmp_path / "2.toml", "two", DHCP))
    before = [agent.get(name) for name in ("one", "two")]
    for end in (agent.stop, agent.kill):
        end()
        assert reaches(agent.host, before[0]["addresses"][0])
        assert reaches(agent.host.network, before[1]["addresses"][0])
        agent.start()
        wait_until(lambda: settled(agent, "one") and settled(agent, "two"), seconds=60, what="the agent to know them")
    after = [agent.get(name) for name in ("one", "two")]
    for key in ("pid", "addresses", "restarts"):
        assert [one[key] for one in after] == [one[key] for one in before]


def test_what_ended_while_no_agent_ran_is_brought_back(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    before = agent.get("one")
    agent.kill()
    os.kill(before["pid"], signal.SIGKILL)
    agent.start()
    wait_until(lambda: settled(agent), seconds=30, what="it to come back")
    assert agent.get("one")["addresses"] == before["addresses"]


def test_a_dhcp_daemon_that_ends_is_started_again_with_its_leases(agent: Agent, dhcp: DhcpServer, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml", network=DHCP))
    before = agent.get("one")
    (daemon,) = [process for process in mentioning([agent.root]) if process.name == "dhcp"]
    os.kill(daemon.pid, signal.SIGKILL)

    def again() -> bool:
        return any(one.name == "dhcp" and one.pid != daemon.pid for one in mentioning([agent.root]))

    wait_until(again, seconds=60, what="the DHCP daemon to be back")
    wait_until(lambda: settled(agent), seconds=60, what="the lease to be taken up again")
    after = agent.get("one")
    assert (after["pid"], after["addresses"], after["restarts"]) == (before["pid"], before["addresses"], 0)
    agent.ob("delete", "-t", "0", "one")
    assert before["addresses"][0].partition("/")[0] not in dhcp.held()  # the new daemon gave it back


@pytest.mark.long
def test_without_a_dhcp_server_there_is_no_container_and_a_reason(agent: Agent, dhcp: DhcpServer, tmp_path: Path) -> None:
    dhcp.stop()
    try:
        failed = agent.ob("create", write(tmp_path / "1.toml", network=DHCP), accept=[1], timeout=120)
    finally:
        dhcp.start()
    assert b"cannot be connected to the network ob0" in failed.stderr
    assert b"no DHCP server answered" in failed.stderr
    assert agent.rows() == []


def test_an_engine_that_is_killed_and_comes_back(agent: Agent, engine: Engine, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    before = agent.get("one")
    engine.restart()
    wait_until(lambda: agent.get("one")["pid"] != before["pid"] and settled(agent), seconds=60, what="it to come back")
    after = agent.get("one")
    assert after["addresses"] == before["addresses"]
    wait_until(lambda: reaches(agent.host, after["addresses"][0]), seconds=60, what="it to answer")
