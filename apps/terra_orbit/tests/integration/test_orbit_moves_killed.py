"""An agent that is killed while a container goes from one to another: it is at one of them in the end, and never at both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.network import CONTROLLER, Network
from lab.registry import Registry
from orbit_lab.agent import Agent
from orbit_lab.host import Host
from terra_core.system.process import Daemon
from terra_core.system.waiting import wait_until

REF = f"{CONTROLLER}:5000/stored/killed:1"
VHOST = """\
id = "one"
image = "tiny:1"
args = ["/bin/sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done"]

[[networks]]
type = "bridge"
name = "ob1"
[networks.ipam]
type = "host-local"
subnet = "10.88.0.0/24"
"""
STEPS = ["migrate: stopping one", "checkpoint: storing one", "push: pushing", "migrate: starting one", "create: starting one"]


@pytest.fixture(scope="module")
def other(engine: Engine, network: Network) -> Iterator[Agent]:
    """Start a second agent, on another host, that answers on its network."""
    with Host(network, "10.0.10.21") as host, Agent(engine, host, address="10.0.10.21") as agent:
        yield agent


@contextmanager
def never_twice(engine: Engine) -> Iterator[None]:
    """Look all the time whether more than one container runs."""
    ended = threading.Event()
    seen: list[str] = []

    def look() -> None:
        client = engine.client()
        try:
            while not ended.wait(0.05):
                running = [str(one["Names"][0]) for one in client.api.containers()]
                if len(running) > 1:
                    seen.append(" and ".join(running))
        finally:
            client.close()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert seen == []


def move(agent: Agent, other: Agent, log: Path) -> Daemon:
    env = {**agent.environment(), "TERRA_TARGET_TOKEN": other.token}
    return Daemon(agent.words("migrate", "--to", "10.0.10.21", "--ref", REF, "one"), log=log, env=env)


def kill_at(victim: Agent, command: Daemon, step: str) -> None:
    """Kill an agent as soon as the command that moves a container tells of a step, and start it again when that has ended."""
    try:
        wait_until(lambda: not command.alive or step in command.tail(50), seconds=60, what=step, interval=0.01)
        assert command.alive, command.tail()
        victim.kill()
        command.wait(60)
    finally:
        if command.alive:
            command.stop()
    victim.start()


def whereabouts(agents: list[Agent]) -> list[Agent]:
    """Return the agents that have it and run it, once no other knows of it any more."""
    rows = {at: agent.rows() for at, agent in enumerate(agents)}
    settled = [row for found in rows.values() for row in found]
    if [(row["status"], row["problem"]) for row in settled] != [("running", "")]:
        return []
    return [agents[at] for at, found in rows.items() if found]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("side", ["source", "target"])
def test_it_is_in_one_place_in_the_end(
    agent: Agent, other: Agent, engine: Engine, registry: Registry, tmp_path: Path, side: str, step: str
) -> None:
    (tmp_path / "one.toml").write_text(VHOST)
    agent.ob("create", tmp_path / "one.toml")
    agent.ob("exec", "one", "sh", "-c", "echo kept > /state")
    with never_twice(engine):
        command = move(agent, other, tmp_path / "migrate.log")
        kill_at(agent if side == "source" else other, command, step)
        found: Callable[[], list[Agent]] = lambda: whereabouts([agent, other])  # noqa: E731  # read as one question
        (holder,) = wait_until(found, seconds=90, what="the container to be at one agent", interval=0.5)
    assert holder.ob("exec", "one", "cat", "/state").text == "kept\n"
    holder.ob("delete", "-t", "0", "one")
    for one in (agent, other):
        assert one.left() == []
        assert one.rows() == []


def test_while_the_other_agent_is_away_nothing_runs_and_it_is_said(
    agent: Agent, other: Agent, engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "one.toml").write_text(VHOST)
    agent.ob("create", tmp_path / "one.toml")
    command = move(agent, other, tmp_path / "migrate.log")
    try:
        wait_until(lambda: "migrate: starting one" in command.tail(50), seconds=60, what="the move", interval=0.01)
        other.kill()
        assert command.wait(60) == 1
        shown = agent.get("one")
        assert shown["status"] == "stopped"
        assert "on its way to http://10.0.10.21:9100" in shown["problem"]
        again = agent.ob("migrate", "--to", "10.0.10.21", "--ref", REF, "one", accept=[1])
        assert b"on its way to" in again.stderr
    finally:
        other.start()
    wait_until(lambda: whereabouts([agent, other]), seconds=90, what="the container to be at one agent", interval=0.5)
    other.clear()
