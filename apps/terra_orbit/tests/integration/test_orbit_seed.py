"""The README's story: a server image as a container on the local network, with systemd, ``ob exec`` and ssh."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.images import build_base_images, offer
from lab.network import CONTROLLER, Network
from lab.registry import Registry
from lab.site import terra_command
from orbit_lab.agent import Agent
from orbit_lab.dhcp import DhcpServer
from orbit_lab.host import Host
from terra_core.system.process import Argument, run
from terra_core.system.waiting import wait_until

EXAMPLES = Path(__file__).parents[4] / "examples"
IMAGE = f"{CONTROLLER}:5000/stellarproject/example:6"


@pytest.fixture(scope="module")
def engine(network: Network, registry: Registry, lab_key: Path) -> Iterator[Engine]:
    """Start an engine with the example's image, made by ``terra create``."""
    with tempfile.TemporaryDirectory(prefix="terra-orbit-") as directory, Engine(Path(directory) / "engine", network) as engine:
        offer(build_base_images()["terraos"], engine, registry.address, push=False)
        context = Path(directory) / "context"
        shutil.copytree(EXAMPLES, context)
        text = (EXAMPLES / "server.toml").read_text().replace("docker.io/", f"{registry.address}/")
        text += f'\n[ssh]\n  keys = ["{lab_key.with_suffix(".pub").read_text().strip()}"]\n'
        (context / "server.toml").write_text(text)
        words = network.command([terra_command(), "create", context / "server.toml"])
        run(words, env={"DOCKER_HOST": engine.host}, timeout=500)
        yield engine


def test_the_example_runs_as_a_container_and_lets_one_in(
    engine: Engine, network: Network, lab_key: Path, tmp_path: Path
) -> None:
    vhost = tmp_path / "vhost.toml"
    vhost.write_text((EXAMPLES / "vhost.toml").read_text().replace("docker.io/stellarproject/example:6", IMAGE))
    with Host(network, "10.0.10.20") as host, DhcpServer(network) as dhcp, Agent(engine, host) as agent:
        agent.ob("create", vhost)
        row = agent.ob("list").text.splitlines()[1].split()
        assert row[:3] == ["terra-vhost", IMAGE, "running"]
        address = row[3]
        assert address in dhcp.held()
        state = agent.ob("exec", "terra-vhost", "systemctl", "is-system-running", "--wait", accept=[0, 1])
        failed = agent.ob("exec", "terra-vhost", "systemctl", "--failed", "--no-legend").text
        assert (state.text, failed) == ("running\n", "")
        assert agent.ob("exec", "terra-vhost", "ls", "/etc/netplan").text == ""
        ssh: list[Argument] = ["ssh", "-i", lab_key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
        ssh += ["-o", "UserKnownHostsFile=/dev/null", f"terra@{address}", "id -un; ip -4 route show default"]
        words = network.command(ssh)
        wait_until(lambda: run(words, accept=range(256)).code == 0, seconds=60, what="ssh to let one in", interval=0.5)
        said = run(words).text.splitlines()
        assert said[0] == "terra"
        agent.ob("delete", "terra-vhost")
        assert agent.left() == []
        assert dhcp.held() == set()
        assert host.links() == {"lo", "eth0"}
        assert [process.name for process in host.processes()] == ["orbit-server"]
