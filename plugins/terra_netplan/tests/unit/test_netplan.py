"""What ``[netplan]`` becomes, and what is refused."""

from __future__ import annotations

import pytest
import yaml

from terra_core.config.session import Session
from terra_core.errors import ConfigError
from terra_core.hookspecs import RenderedFile
from terra_netplan import plugin
from tests.unit.servers import SERVER


def rendered(**table: object) -> RenderedFile:
    """Return the one file that the plugin renders from a table."""
    (file,) = plugin.render_network(SERVER, Session(source="server.toml", tables={"netplan": table}))
    return file


def ethernets(**table: object) -> dict[str, dict[str, object]]:
    """Return the interfaces of the rendered file."""
    network = yaml.safe_load(rendered(**table).content)["network"]
    assert (network["version"], network["renderer"]) == (2, "networkd")
    found: dict[str, dict[str, object]] = network["ethernets"]
    return found


def problems(**table: object) -> tuple[str, ...]:
    """Return the problems of a table that is refused."""
    with pytest.raises(ConfigError) as caught:
        rendered(**table)
    return caught.value.problems


def test_seed_interface_asks_by_dhcp() -> None:
    file = rendered(interfaces=[{"name": "eth0"}])
    assert (file.path, file.mode, file.owner) == ("etc/netplan/50-terra.yaml", 0o600, "root:root")
    assert ethernets(interfaces=[{"name": "eth0"}]) == {
        "eth0": {"dhcp4": True, "dhcp6": False, "critical": True, "dhcp-identifier": "mac"}
    }


def test_static_interface() -> None:
    interface = {
        "name": "eth1",
        "addresses": ["10.0.20.5/24", "fd00:20::5/64"],
        "gateway": "10.0.20.1",
        "nameservers": ["10.0.20.1"],
        "mtu": 9000,
        "optional": True,
    }
    assert ethernets(interfaces=[interface])["eth1"] == {
        "dhcp4": False,
        "dhcp6": False,
        "critical": True,
        "addresses": ["10.0.20.5/24", "fd00:20::5/64"],
        "routes": [{"to": "default", "via": "10.0.20.1"}],
        "nameservers": {"addresses": ["10.0.20.1"]},
        "mtu": 9000,
        "optional": True,
    }


def test_dhcp_beside_an_address_when_asked_for() -> None:
    assert ethernets(interfaces=[{"name": "eth0", "addresses": ["10.0.0.2/24"], "dhcp4": True}])["eth0"]["dhcp4"] is True
    assert ethernets(interfaces=[{"name": "eth0", "dhcp4": False}])["eth0"]["dhcp4"] is False


@pytest.mark.parametrize("table", [{}, {"interfaces": []}])
def test_without_interfaces_every_wired_one_asks(table: dict[str, object]) -> None:
    found = ethernets(**table)
    assert sorted(interface["match"]["name"] for interface in found.values()) == ["en*", "eth*"]  # type: ignore[index]  # as parsed
    assert all(interface["dhcp4"] and interface["optional"] for interface in found.values())


def test_a_name_that_yaml_reads_otherwise_stays_a_name() -> None:
    assert list(ethernets(interfaces=[{"name": "0x10"}, {"name": "on"}, {"name": "1e3"}])) == ["0x10", "on", "1e3"]


@pytest.mark.parametrize(
    ("interface", "path", "words"),
    [
        ({}, "name", "required and missing"),
        ({"name": ""}, "name", "interface name"),
        ({"name": "eth0\n  evil: 1"}, "name", "interface name"),
        ({"name": "a234567890123456"}, "name", "at most 15"),
        ({"name": "-x"}, "name", "interface name"),
        ({"name": "e", "addresses": ["10.0.0.1"]}, "addresses[0]", "prefix length"),
        ({"name": "e", "addresses": ["10.0.0.1/255.255.255.0"]}, "addresses[0]", "prefix length"),
        ({"name": "e", "addresses": ["fe80::1%eth0/64"]}, "addresses[0]", "prefix length"),
        ({"name": "e", "addresses": ["10.0.0.1/24", "10.0.0.1/33"]}, "addresses[1]", "prefix length"),
        ({"name": "e", "addresses": "10.0.0.1/24"}, "addresses", "expected a list"),
        ({"name": "e", "addresses": ["10.0.0.2/24"], "gateway": "10.0.1.1"}, "gateway", "10.0.0.0/24"),
        ({"name": "e", "gateway": "10.0.1.1"}, "gateway", "there is none"),
        ({"name": "e", "gateway": "nowhere"}, "gateway", "an IP address"),
        ({"name": "e", "nameservers": ["a"]}, "nameservers[0]", "an IP address"),
        ({"name": "e", "mtu": 12}, "mtu", "from 68 to 65535"),
        ({"name": "e", "mtu": 1000, "dhcp6": True}, "mtu", "1280"),
        ({"name": "e", "mtu": "1500"}, "mtu", "a whole number"),
        ({"name": "e", "dhcp4": "false"}, "dhcp4", "true or false"),
        ({"name": "e", "dhcp": True}, "dhcp", "no such key"),
    ],
)
def test_refused(interface: dict[str, object], path: str, words: str) -> None:
    (problem,) = problems(interfaces=[interface])
    assert problem.startswith(f"server.toml: netplan.interfaces[0].{path}: ")
    assert words in problem


def test_two_interfaces_of_one_name() -> None:
    (problem,) = problems(interfaces=[{"name": "eth0"}, {"name": "eth1"}, {"name": "eth0"}])
    assert problem == 'server.toml: netplan.interfaces[2].name: "eth0" is the name of interfaces[0] already'


def test_every_problem_at_once() -> None:
    assert len(problems(interfaces=[{"name": ""}, {"name": "a", "mtu": 1}, {"nom": "a"}], extra=1)) == 5
