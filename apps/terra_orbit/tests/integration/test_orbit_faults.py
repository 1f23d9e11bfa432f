"""Whatever ends in the middle of something: the agent at each step of a creation and a deletion, the engine, what it needs."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lab.engine import Engine
from lab.network import Network
from orbit_lab.agent import Agent
from orbit_lab.dhcp import DhcpServer
from terra_core.system.process import Daemon
from terra_core.system.waiting import wait_until

BRIDGE = '[[networks]]\ntype = "bridge"\nname = "ob1"\n[networks.ipam]\ntype = "host-local"\nsubnet = "10.88.0.0/24"\n'
DHCP = '[[networks]]\ntype = "macvlan"\nname = "ob0"\n[networks.ipam]\ntype = "dhcp"\n'
Sign = Callable[[Agent], object]


def write(path: Path, tables: str = BRIDGE) -> Path:
    path.write_text(f'id = "one"\nimage = "tiny:1"\n{tables}')
    return path


def settled(agent: Agent) -> bool:
    shown = agent.get("one")
    return shown["status"] == "running" and not shown["problem"]


def noted(agent: Agent, question: str) -> list[Any]:
    """Return the answer of the agent's database, without asking the agent."""
    path = agent.root / "var/lib/terra/orbit/orbit.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(question).fetchall()


def contained(agent: Agent, *, every: bool = False) -> list[Any]:
    """Return the containers that run in the engine, or all that it has."""
    with closing(agent.engine.client()) as client:
        found: list[Any] = client.api.containers(all=every)
        return found


def given(agent: Agent) -> list[Path]:
    """Return the addresses that are taken from pools."""
    pools = (agent.root / "var/lib/terra/orbit/networks").glob("*/*")
    return [path for path in pools if path.name[:4] not in ("lock", "last")]


CREATING: dict[str, Sign] = {
    "noted": lambda agent: noted(agent, "select uid from containers"),
    "made": lambda agent: contained(agent, every=True),
    "started": contained,
    "address given": given,
    "bridge made": lambda agent: agent.host.links() - {"lo", "eth0"},
    "connected": lambda agent: noted(agent, "select uid from attachments where addresses != '[]'"),
}
DELETING: dict[str, Sign] = {
    "marked": lambda agent: noted(agent, "select uid from containers where state = 'deleting'"),
    "ended": lambda agent: not contained(agent),
    "address returned": lambda agent: not given(agent),
    "disconnected": lambda agent: not noted(agent, "select uid from attachments"),
    "removed": lambda agent: not contained(agent, every=True),
}


def kill_at(agent: Agent, words: list[str], sign: Sign, log: Path) -> None:
    """Let the agent do something, kill it at a sign of how far it is, and start it again."""
    command = Daemon(words, log=log, env=agent.environment())
    try:
        wait_until(lambda: not command.alive or sign(agent), seconds=30, what="the agent to be that far", interval=0.002)
        agent.kill()
        command.wait(60)
    finally:
        if command.alive:
            command.stop()
    agent.start()


@pytest.mark.parametrize("step", CREATING)
def test_an_agent_that_is_killed_while_it_creates_goes_on(agent: Agent, tmp_path: Path, step: str) -> None:
    file = write(tmp_path / "one.toml")
    kill_at(agent, agent.words("create", file), CREATING[step], tmp_path / "log")
    wait_until(lambda: settled(agent), seconds=30, what="it to run")
    assert len(contained(agent, every=True)) == len(given(agent)) == 1


@pytest.mark.parametrize("step", DELETING)
def test_an_agent_that_is_killed_while_it_deletes_goes_on(agent: Agent, tmp_path: Path, step: str) -> None:
    agent.ob("create", write(tmp_path / "one.toml"))
    kill_at(agent, agent.words("delete", "-t", "0", "one"), DELETING[step], tmp_path / "log")
    wait_until(lambda: not agent.rows(), seconds=30, what="it to be gone")
    assert agent.left() == []


def test_what_is_deleted_while_the_engine_is_away_is_gone_when_that_is_back(
    agent: Agent, engine: Engine, tmp_path: Path
) -> None:
    agent.ob("create", write(tmp_path / "one.toml"))
    with closing(engine.client()) as client:
        wait_until(lambda: client.ping(), seconds=60, what="the engine to answer")
    command = Daemon(agent.words("delete", "-t", "0", "one"), log=tmp_path / "log", env=agent.environment())
    engine.restart()
    command.wait(60)
    wait_until(lambda: not agent.rows(), seconds=60, what="it to be gone")
    assert contained(agent, every=True) == []


def test_one_that_was_removed_behind_the_agents_back_is_made_again(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "one.toml"))
    before = agent.get("one")
    with closing(agent.engine.client()) as client:
        client.containers.list()[0].remove(force=True)
    wait_until(lambda: agent.get("one")["pid"] not in (0, before["pid"]) and settled(agent), seconds=60, what="it to be back")
    assert agent.get("one")["addresses"] == before["addresses"]


def test_an_image_that_is_gone_is_said(agent: Agent, tmp_path: Path) -> None:
    with closing(agent.engine.client()) as client:
        client.images.get("tiny:1").tag("passing", "1")
        file = tmp_path / "one.toml"
        client.api.import_image_from_data(b"\0" * 10240, repository="passing", tag="2")
        file.write_text(f'id = "one"\nimage = "passing:2"\nargs = ["/none"]\n{BRIDGE}')
        refused = agent.ob("create", file, accept=[1])
        assert b"/none" in refused.stderr
        client.images.remove("passing:1")
        client.images.remove("passing:2")
    missing = agent.ob("create", file, accept=[1])
    assert b"pulling docker.io/library/passing:2" in missing.stderr or b"pulling passing:2" in missing.stderr


def test_a_mount_whose_source_goes_keeps_it_down_with_a_reason_until_it_is_back(agent: Agent, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    agent.ob("create", write(tmp_path / "one.toml", f'[[mounts]]\nsource = "{data}"\ndestination = "/data"\n{BRIDGE}'))
    agent.ob("stop", "-t", "0", "one")
    shutil.rmtree(data)
    refused = agent.ob("start", "one", accept=[1])
    assert f"{data} is not there".encode() in refused.stderr
    wait_until(lambda: "is not there" in agent.get("one")["problem"], seconds=60, what="the reason to be shown")
    data.mkdir()
    wait_until(lambda: settled(agent), seconds=60, what="it to run again")


@pytest.mark.long
def test_a_lease_that_cannot_be_had_keeps_it_down_with_a_reason_until_the_server_is_back(
    agent: Agent, network: Network, tmp_path: Path
) -> None:
    with DhcpServer(network) as server:
        agent.ob("create", write(tmp_path / "one.toml", DHCP))
        before = agent.get("one")
        server.stop()
        os.kill(before["pid"], signal.SIGKILL)
        wait_until(lambda: "cannot be connected" in agent.get("one")["problem"], seconds=90, what="the reason to be shown")
        server.start()
        wait_until(lambda: settled(agent), seconds=120, what="it to run again")
        assert agent.get("one")["addresses"] == before["addresses"]
        agent.ob("delete", "-t", "0", "one")


def test_one_that_ignores_sigterm_is_deleted_all_the_same(agent: Agent, tmp_path: Path) -> None:
    ignore = 'args = ["/bin/sh", "-c", "trap \\"\\" TERM; while true; do sleep 0.1; done"]\n'
    agent.ob("create", write(tmp_path / "one.toml", ignore + BRIDGE))
    agent.ob("delete", "-t", "1", "one")
    assert agent.rows() == []
