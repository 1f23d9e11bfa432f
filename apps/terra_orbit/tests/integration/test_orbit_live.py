"""Programs go on where they stood, where the kernel and CRIU can; elsewhere a reason is given, and they run on untouched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.network import CONTROLLER, Network
from lab.registry import Registry
from orbit_lab.agent import Agent
from orbit_lab.host import Host, reaches
from terra_core.system.process import run
from terra_core.system.waiting import wait_until
from terra_core.testing.tiny import write_tiny_root

REF = f"{CONTROLLER}:5000/stored/live-word:1"
VHOST = """\
id = "one"
image = "tiny:1"
args = ["/bin/sh", "-c", "read word < /proc/sys/kernel/random/uuid; while true; do echo $word > /word; sleep 0.2; done"]

[[networks]]
type = "bridge"
name = "ob1"
[networks.ipam]
type = "host-local"
subnet = "10.88.0.0/24"
"""


@pytest.fixture(scope="module")
def engine(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Start an engine that has checkpoints."""
    with Engine(tmp_path_factory.mktemp("engine"), network, experimental=True) as engine:
        tar = tmp_path_factory.mktemp("tiny") / "tiny.tar"
        write_tiny_root(tar)
        engine.import_image(tar, "tiny:1")
        yield engine


@pytest.fixture(scope="module")
def other(engine: Engine, network: Network) -> Iterator[Agent]:
    """Start a second agent, on another host, that answers on its network."""
    with Host(network, "10.0.10.21") as host, Agent(engine, host, address="10.0.10.21") as agent:
        yield agent


def word(agent: Agent) -> str:
    """Return the word that the program has in its memory only: a program that started anew would have another."""
    agent.ob("exec", "one", "rm", "-f", "/word")

    def said() -> str:
        return agent.ob("exec", "one", "cat", "/word", accept=range(256)).text.strip()

    return wait_until(said, seconds=60, what="the program to say its word")


def test_a_program_goes_on_where_it_was(agent: Agent, other: Agent, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(VHOST)
    agent.ob("create", tmp_path / "one.toml")
    before, kept = agent.get("one"), word(agent)
    with agent.host.inside():
        problem = agent.client().get("/v1/memory")["problem"]
    store: tuple[str, ...] = ("checkpoint", "--live", "--ref", REF, "one")
    if problem:
        assert problem.encode() in agent.ob(*store, accept=[1]).stderr
        assert (agent.get("one")["pid"], word(agent)) == (before["pid"], kept)
        return
    agent.ob(*store, timeout=300)
    after = agent.get("one")
    assert (after["status"], after["addresses"], after["problem"]) == ("running", before["addresses"], "")
    assert reaches(agent.host, after["addresses"][0])
    assert word(agent) == kept
    agent.ob("delete", "-t", "0", "one")
    agent.ob("restore", "--live", REF, timeout=300)
    assert word(agent) == kept
    env = {**agent.environment(), "TERRA_TARGET_TOKEN": other.token}
    run(agent.words("migrate", "--live", "--to", "10.0.10.21", "--ref", REF, "one"), env=env, timeout=300)
    assert agent.rows() == []
    assert word(other) == kept
    assert reaches(other.host, other.get("one")["addresses"][0])
    other.ob("delete", "-t", "0", "one")
    agent.ob("restore", REF, timeout=300)
    assert word(agent) != kept
