"""The examples of the seed's document, as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.config.loader import load
from terra_core.config.node import NetworkNode, Node, Profile, Stage
from terra_core.config.problems import DocumentError
from terra_core.config.server import Server
from terra_core.errors import ConfigError

SEED = Path(__file__).parent / "seed"


def test_server_loads_and_keeps_the_table_of_its_network_plugin() -> None:
    document = load(SEED / "server.toml", Server, owners={"netplan"})
    server = document.value
    assert (server.hostname, server.version, server.repo) == ("example", "6", "docker.io/stellarproject")
    assert str(server.os) == "docker.io/stellarproject/terraos:v11"
    assert server.userland == "RUN echo 'terra:terra' | chpasswd\nADD sshd_config /etc/ssh/\n"
    assert server.resolvconf.nameservers == ("8.8.8.8", "8.8.4.4")
    assert document.tables == {"netplan": {"interfaces": [{"name": "eth0"}]}}
    assert str(server.image) == "docker.io/stellarproject/example:6"


def test_server_without_the_network_plugin_says_what_is_installed() -> None:
    with pytest.raises(ConfigError) as caught:
        load(SEED / "server.toml", Server, owners={"networkd", "paper"})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{SEED / 'server.toml'}: netplan: neither a key of this file (")
    assert problem.endswith("nor the table of an installed plugin (networkd, paper)")


def test_simple_node_loads() -> None:
    node = load(SEED / "simple-node.toml", Node).value
    assert (node.hostname, str(node.image), node.mac) == ("terra-01", "docker.io/stellarproject/example:6", None)
    (group,) = node.groups
    assert (group.label, group.type, group.stage, group.mbr) == ("os", Profile.SINGLE, Stage.STAGE1, True)
    assert [(disk.device, disk.size) for disk in group.disk] == [("/dev/sda", None)]


def test_complex_node_loads() -> None:
    node = load(SEED / "complex-node.toml", Node).value
    system, storage = node.groups
    assert node.os_group is system
    assert {(sub.name, sub.path) for sub in system.subvolumes} == {
        ("home", "/home"),
        ("log", "/var/log"),
        ("containerd", "/var/lib/containerd"),
    }
    assert (storage.label, storage.type, storage.mbr) == ("storage", Profile.RAID10, False)
    assert [disk.device for disk in storage.disk] == ["/dev/sda", "/dev/sdb", "/dev/sdd", "/dev/sde"]
    assert [(sub.name, sub.path) for sub in storage.subvolumes] == [("luns", "/iscsi"), ("tftp", "/tftp")]


def test_pxe_node_with_the_placeholder_says_what_a_mac_looks_like() -> None:
    with pytest.raises(ConfigError) as caught:
        load(SEED / "pxe-node.toml", Node)
    assert caught.value.problems == (
        f"{SEED / 'pxe-node.toml'}: mac: expected a MAC address of six hexadecimal pairs, "
        'such as "54:b2:03:07:f1:d1", got "xx:xx:xx:xx:xx:xx"',
    )
    assert caught.value.exit_code == 2


def test_pxe_node_with_a_real_mac_is_ready_to_provision(tmp_path: Path) -> None:
    text = (SEED / "pxe-node.toml").read_text()
    path = tmp_path / "node.toml"
    path.write_text(text.replace("xx:xx:xx:xx:xx:xx", "54-B2-03-07-F1-D1"))
    node = load(path, NetworkNode).value
    assert node.mac == "54:b2:03:07:f1:d1"
    assert node.groups[0].disk[0].size == 128000


def test_a_node_for_local_disks_lacks_mac_and_size_for_provisioning() -> None:
    with pytest.raises(DocumentError) as caught:
        load(SEED / "simple-node.toml", NetworkNode)
    assert [problem.path for problem in caught.value.found] == ["groups[0].disk[0].size", "mac"]
    assert all("is required for provisioning: the " in problem.text for problem in caught.value.found)
