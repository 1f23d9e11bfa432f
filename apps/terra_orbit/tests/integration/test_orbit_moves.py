"""Containers as images: checkpoints, restores, and a move from one agent to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.network import CONTROLLER, Network
from lab.registry import Registry
from orbit_lab.agent import Agent
from orbit_lab.dhcp import DhcpServer
from orbit_lab.host import Host
from terra_core.system.process import run

BRIDGE = '[[networks]]\ntype = "bridge"\nname = "ob1"\n[networks.ipam]\ntype = "host-local"\nsubnet = "10.88.0.0/24"\n'
DHCP = '[[networks]]\ntype = "macvlan"\nname = "ob0"\n[networks.ipam]\ntype = "dhcp"\n'
REF = f"{CONTROLLER}:5000/stored/one:1"


@pytest.fixture(scope="module")
def other(engine: Engine, network: Network) -> Iterator[Agent]:
    """Start a second agent, on another host, that answers on its network."""
    with Host(network, "10.0.10.21") as host, Agent(engine, host, address="10.0.10.21") as agent:
        yield agent


def write(path: Path, name: str = "one", more: str = "", network: str = BRIDGE) -> Path:
    path.write_text(f'id = "{name}"\nimage = "tiny:1"\n{more}\n{network}')
    return path


def test_a_checkpoint_holds_files_and_configuration_and_restores_both(agent: Agent, registry: Registry, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml", more='env = ["A=it costs $5, \\"all\\" of it"]'))
    agent.ob("exec", "one", "sh", "-c", "echo kept > /state")
    agent.ob("checkpoint", "--ref", REF, "one")
    taken = agent.ob("restore", REF, accept=[1])
    assert b"there is a container one already" in taken.stderr
    agent.ob("restore", "--id", "two", REF)
    assert agent.ob("exec", "two", "sh", "-c", "cat /state; echo $A").text == 'kept\nit costs $5, "all" of it\n'
    assert agent.get("two")["addresses"] != agent.get("one")["addresses"]
    agent.ob("delete", "-t", "0", "one", "two")
    agent.ob("restore", REF)
    assert agent.ob("exec", "one", "cat", "/state").text == "kept\n"


def test_memory_is_refused_with_the_reason(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    refused = agent.ob("checkpoint", "--live", "--ref", REF, "one", accept=[1])
    assert b"its memory cannot be stored or brought back on this machine: criu" in refused.stderr


def test_an_image_that_is_no_checkpoint_is_refused(agent: Agent) -> None:
    assert b"is no checkpoint of a container" in agent.ob("restore", "tiny:1", accept=[1]).stderr


def test_a_push_arrives_at_the_registry(agent: Agent, registry: Registry, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    agent.ob("push", "one", REF)
    words = ["skopeo", "inspect", "--config", "--tls-verify=false", f"docker://{REF}"]
    assert "io.terra.orbit.vhost" in run(agent.host.command(words), timeout=60).text
    refused = agent.ob("push", "one", "127.0.0.1:1/none:1", accept=[1])
    assert b"pushing 127.0.0.1:1/none:1" in refused.stderr


def test_a_container_moves_with_its_files_and_its_address(
    agent: Agent, other: Agent, registry: Registry, network: Network, tmp_path: Path
) -> None:
    with DhcpServer(network):
        agent.ob("create", write(tmp_path / "1.toml", network=DHCP))
        agent.ob("exec", "one", "sh", "-c", "echo moved > /state")
        before = agent.get("one")
        env = {**agent.environment(), "TERRA_TARGET_TOKEN": other.token}
        run(agent.words("migrate", "--to", "10.0.10.21", "--ref", REF, "one"), env=env, timeout=120)
        assert agent.rows() == []
        assert agent.left() == [f"container one.1.{other.get('one')['uid']}"]  # they share the engine
        after = other.get("one")
        assert (after["status"], after["addresses"]) == ("running", before["addresses"])
        assert after["networks"][0]["mac"] == before["networks"][0]["mac"]
        assert other.ob("exec", "one", "cat", "/state").text == "moved\n"
        other.ob("delete", "-t", "0", "one")


def test_a_move_that_fails_leaves_the_container_running_where_it_was(
    agent: Agent, other: Agent, registry: Registry, tmp_path: Path
) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    agent.ob("exec", "one", "sh", "-c", "echo stays > /state")
    other.ob("create", write(tmp_path / "1.toml"))
    env = {**agent.environment(), "TERRA_TARGET_TOKEN": other.token}
    taken = run(agent.words("migrate", "--to", "10.0.10.21", "--ref", REF, "one"), env=env, timeout=120, accept=[1])
    assert b"there is a container one already" in taken.stderr
    wrong = run(agent.words("migrate", "--to", "10.0.10.21", "--ref", REF, "one"), env=agent.environment(), accept=[1])
    assert b"the token is not the one of this API" in wrong.stderr
    shown = agent.get("one")
    assert (shown["status"], shown["problem"]) == ("running", "")
    assert agent.ob("exec", "one", "cat", "/state").text == "stays\n"
    other.ob("delete", "-t", "0", "one")
