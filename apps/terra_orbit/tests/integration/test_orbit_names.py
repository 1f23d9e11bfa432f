"""The name servers of a container: those of its network's DHCP server, unless its file gives it a resolv.conf."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from lab.network import Network
from orbit_lab.agent import Agent
from orbit_lab.dhcp import DhcpServer
from terra_core.system.waiting import wait_until

DHCP = '[[networks]]\ntype = "macvlan"\nname = "ob0"\n[networks.ipam]\ntype = "dhcp"\n'


def write(path: Path, more: str = "") -> Path:
    path.write_text(f'id = "one"\nimage = "tiny:1"\n{more}\n{DHCP}')
    return path


def resolver(agent: Agent) -> str:
    return agent.ob("exec", "one", "cat", "/etc/resolv.conf").text


def test_they_come_from_the_dhcp_server_and_again_after_a_crash(agent: Agent, network: Network, tmp_path: Path) -> None:
    with DhcpServer(network, names=["10.0.10.53", "10.0.10.54"]):
        agent.ob("create", write(tmp_path / "1.toml"))
        assert resolver(agent) == "search lab.test\nnameserver 10.0.10.53\nnameserver 10.0.10.54\n"
        os.kill(agent.get("one")["pid"], signal.SIGKILL)
        wait_until(lambda: agent.get("one")["restarts"] == 1, seconds=30, what="it to be brought back")
        agent.wait_for("one")
        assert resolver(agent) == "search lab.test\nnameserver 10.0.10.53\nnameserver 10.0.10.54\n"
        agent.ob("delete", "-t", "0", "one")


def test_a_file_of_its_own_wins(agent: Agent, network: Network, tmp_path: Path) -> None:
    own = '[configs.resolver]\npath = "/etc/resolv.conf"\ncontent = "nameserver 10.9.9.9\\n"\n'
    with DhcpServer(network, names=["10.0.10.53"]):
        agent.ob("create", write(tmp_path / "1.toml", own))
        assert resolver(agent) == "nameserver 10.9.9.9\n"
        agent.ob("delete", "-t", "0", "one")


def test_a_server_that_knows_of_none_changes_nothing(agent: Agent, network: Network, tmp_path: Path) -> None:
    with DhcpServer(network):
        agent.ob("create", write(tmp_path / "1.toml"))
        assert "10.0.10.53" not in resolver(agent)
        agent.ob("delete", "-t", "0", "one")
