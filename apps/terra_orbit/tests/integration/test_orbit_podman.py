"""The agent beside Podman, whose socket speaks as a Docker Engine's."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.network import CONTROLLER, Network
from lab.registry import Registry
from orbit_lab.agent import Agent
from orbit_lab.host import Host, reaches
from orbit_lab.podman import Podman
from terra_core.system.process import run
from terra_core.system.waiting import wait_until
from terra_core.testing.tiny import write_tiny_root

BRIDGE = '[[networks]]\ntype = "bridge"\nname = "ob1"\n[networks.ipam]\ntype = "host-local"\nsubnet = "10.88.0.0/24"\n'
REF = f"{CONTROLLER}:5000/stored/podman:1"


@pytest.fixture(scope="module")
def podman(network: Network) -> Iterator[Podman]:
    """Podman with two images of one small system."""
    with tempfile.TemporaryDirectory(prefix="terra-podman-") as directory, Podman(Path(directory) / "data", network) as podman:
        write_tiny_root(Path(directory) / "tiny.tar")
        for version in ("1", "2"):
            changes = ['CMD ["/bin/sleep", "1000000"]', f"LABEL version={version}"]
            podman.import_image(Path(directory) / "tiny.tar", f"localhost/tiny:{version}", changes)
        yield podman


@pytest.fixture
def agent(podman: Podman, network: Network) -> Iterator[Agent]:
    """Start an agent that works with Podman; a test that leaves something behind fails."""
    with Host(network, "10.0.10.22") as host, Agent(podman, host) as agent:
        yield agent
        agent.clear()
        assert agent.left() == []
        wait_until(lambda: host.links() == {"lo", "eth0"}, seconds=60, what="the host to have its own links only")


def write(path: Path, name: str = "one", more: str = "", *, image: str = "localhost/tiny:1", tables: str = "") -> Path:
    path.write_text(f'id = "{name}"\nimage = "{image}"\n{more}\n{tables}\n{BRIDGE}')
    return path


def test_a_container_lives_as_beside_docker(agent: Agent, tmp_path: Path) -> None:
    script = 'args = ["/bin/sh", "-c", "echo out; echo err >&2; trap \\"exit 0\\" TERM; while true; do sleep 0.1; done"]'
    data = tmp_path / "data"
    data.mkdir()
    tables = f'[[mounts]]\nsource = "{data}"\ndestination = "/data"\n'
    tables += '[configs.motd]\npath = "/etc/motd"\ncontent = "Welcome.\\n"\n'
    limits = "[resources]\nmemory = 64\ncpu = 0.5\n"
    masked = f'{script}\nmasked_paths = ["/home", "/etc/passwd"]'
    agent.ob("create", write(tmp_path / "1.toml", more=masked, tables=tables + limits))
    before = agent.get("one")
    assert reaches(agent.host, before["addresses"][0])
    assert agent.ob("list").text.splitlines()[1].split()[:3] == ["one", "localhost/tiny:1", "running"]
    assert before["memory"]
    done = agent.ob("exec", "one", "sh", "-c", "echo within; echo wrong >&2; exit 7", accept=[7])
    assert (done.stdout, done.stderr) == (b"within\n", b"wrong\n")
    assert agent.ob("exec", "one", "cat", stdin=b"x" * 300_000).stdout == b"x" * 300_000
    seen = agent.ob("exec", "one", "sh", "-c", "ls /home; cat /etc/passwd /etc/motd")
    agent.ob("exec", "one", "sh", "-c", "echo first > /state; echo data > /data/file")
    assert seen.text == "Welcome.\n"
    logged = agent.ob("logs", "one")
    assert (logged.stdout, logged.stderr) == (b"out\n", b"err\n")
    second = write(tmp_path / "2.toml", more=f'{script}\nenv = ["A=2"]', image="localhost/tiny:2", tables=tables)
    agent.ob("update", second)
    assert (agent.get("one")["revisions"], agent.get("one")["addresses"]) == (2, before["addresses"])
    assert agent.ob("exec", "one", "sh", "-c", "echo $A; cat /data/file; ls /state || true").stdout == b"2\ndata\n"
    agent.ob("rollback", "one")
    assert agent.ob("exec", "one", "cat", "/state").text == "first\n"
    agent.ob("stop", "-t", "1", "one")
    assert agent.get("one")["status"] == "stopped"
    agent.ob("start", "one")
    assert agent.get("one")["addresses"] == before["addresses"]
    agent.ob("delete", "-t", "0", "one")
    assert (data / "file").read_text() == "data\n"


def test_one_that_crashes_comes_back(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    before = agent.get("one")
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: agent.get("one")["restarts"] == 1, seconds=30, what="it to be brought back")
    after = agent.wait_for("one")
    assert after["addresses"] == before["addresses"]


def test_a_checkpoint_goes_through_a_registry_and_comes_back(agent: Agent, registry: Registry, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml", more='env = ["A=it costs $5, \\"all\\" of it"]'))
    agent.ob("exec", "one", "sh", "-c", "echo kept > /state")
    agent.ob("push", "one", REF)
    words = ["skopeo", "inspect", "--config", "--tls-verify=false", f"docker://{REF}"]
    assert "io.terra.orbit.vhost" in run(agent.host.command(words), timeout=60).text
    agent.ob("restore", "--id", "two", REF)
    assert agent.ob("exec", "two", "sh", "-c", "cat /state; echo $A").text == 'kept\nit costs $5, "all" of it\n'


def test_memory_is_refused_and_the_container_runs_on(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    before = agent.get("one")
    refused = agent.ob("checkpoint", "--live", "--ref", REF, "one", accept=[1])
    assert b"its memory cannot be stored or brought back on this machine" in refused.stderr
    assert agent.get("one")["pid"] == before["pid"]


def test_an_image_that_is_missing_is_said(agent: Agent, tmp_path: Path) -> None:
    missing = agent.ob("create", write(tmp_path / "1.toml", image="127.0.0.1:1/none:1"), accept=[1])
    assert b"pulling 127.0.0.1:1/none:1" in missing.stderr
