"""VLANs, bonds, bridges, routes and matches: what they become, and what makes no sense between devices."""

from __future__ import annotations

import pytest
import yaml

from terra_core.config.session import Session
from terra_core.errors import ConfigError
from terra_netplan import plugin

Table = dict[str, object]


def network(**table: object) -> dict[str, dict[str, Table]]:
    """The devices of the rendered file, by kind and name."""
    (file,) = plugin.render_network(Session(tables={"netplan": table}))
    found = yaml.safe_load(file.content)["network"]
    return {kind: devices for kind, devices in found.items() if kind not in ("version", "renderer")}


def problems(**table: object) -> tuple[str, ...]:
    """What is said of a table that is refused."""
    with pytest.raises(ConfigError) as caught:
        plugin.render_network(Session(source="server.toml", tables={"netplan": table}))
    return caught.value.problems


def eth(name: object = "eth0", **keys: object) -> Table:
    return {"name": name, **keys}


def test_a_bond_takes_the_place_of_its_interfaces() -> None:
    bond = {"name": "bond0", "interfaces": ["eth0", "eth1"], "parameters": {"mode": "802.3ad", "lacp_rate": "fast"}}
    found = network(interfaces=[eth(), eth("eth1", mtu=9000)], bonds=[bond])
    none = {"dhcp4": False, "dhcp6": False}
    assert found["ethernets"] == {"eth0": none, "eth1": {**none, "mtu": 9000}}
    assert found["bonds"] == {
        "bond0": {
            "interfaces": ["eth0", "eth1"],
            "parameters": {"mode": "802.3ad", "lacp-rate": "fast"},
            "dhcp4": True,
            "dhcp6": False,
            "critical": True,
            "dhcp-identifier": "mac",
        }
    }


def test_a_bridge_says_that_it_speaks_no_spanning_tree() -> None:
    bridge = {"name": "br0", "interfaces": ["eth0"], "addresses": ["10.0.0.2/24"], "parameters": {"stp": False, "priority": 0}}
    found = network(interfaces=[eth()], bridges=[bridge])
    assert found["bridges"]["br0"]["parameters"] == {"stp": False, "priority": 0}
    assert found["bridges"]["br0"]["dhcp4"] is False


def test_costs_of_a_bridges_interfaces() -> None:
    parameters = {"path_cost": {"eth0": 4}, "port_priority": {"eth0": 0}}
    found = network(interfaces=[eth()], bridges=[{"name": "br0", "interfaces": ["eth0"], "parameters": parameters}])
    assert found["bridges"]["br0"]["parameters"] == {"path-cost": {"eth0": 4}, "port-priority": {"eth0": 0}}


def test_a_vlan_on_a_bond_in_a_bridge() -> None:
    found = network(
        interfaces=[eth()],
        bonds=[{"name": "bond0", "interfaces": ["eth0"], "dhcp4": False}],
        vlans=[{"name": "bond0.20", "id": 20, "link": "bond0"}],
        bridges=[{"name": "br20", "interfaces": ["bond0.20"]}],
    )
    assert found["vlans"] == {"bond0.20": {"id": 20, "link": "bond0", "dhcp4": False, "dhcp6": False}}
    assert found["bonds"]["bond0"]["dhcp4"] is False
    assert found["bridges"]["br20"]["dhcp4"] is True


def test_a_bridge_alone_is_a_network_too() -> None:
    assert list(network(bridges=[{"name": "br0", "addresses": ["10.9.0.1/24"]}])) == ["bridges"]


def test_an_interface_by_its_hardware_address_gets_a_name() -> None:
    match = {"macaddress": "54-B2-03-07-F1-D1"}
    found = network(interfaces=[eth("lan", match=match, set_name="lan0"), eth("other", match={"driver": "virtio*"})])
    assert found["ethernets"]["lan"]["match"] == {"macaddress": "54:b2:03:07:f1:d1"}
    assert found["ethernets"]["lan"]["set-name"] == "lan0"
    assert found["ethernets"]["other"]["match"] == {"driver": "virtio*"}


def test_routes_name_servers_and_router_advertisements() -> None:
    routes = [
        {"to": "10.0.0.0/8", "via": "192.168.1.254", "metric": 0},
        {"to": "default", "via": "fe80::1"},
        {"to": "10.1.0.0/16", "via": "172.16.0.1", "on_link": True},
    ]
    keys = {"gateway": "192.168.1.1", "nameservers": ["9.9.9.9"], "search": ["Example.com"], "accept_ra": False}
    found = network(interfaces=[eth(addresses=["192.168.1.5/24", "fd00::5/64"], routes=routes, **keys)])["ethernets"]["eth0"]
    assert found["routes"] == [
        {"to": "default", "via": "192.168.1.1"},
        {"to": "10.0.0.0/8", "via": "192.168.1.254", "metric": 0},
        {"to": "default", "via": "fe80::1"},
        {"to": "10.1.0.0/16", "via": "172.16.0.1", "on-link": True},
    ]
    assert found["nameservers"] == {"search": ["example.com"], "addresses": ["9.9.9.9"]}
    assert found["accept-ra"] is False


STATIC: Table = {"addresses": ["10.0.0.2/24"]}


@pytest.mark.parametrize(
    ("keys", "path", "words"),
    [
        ({**STATIC, "gateway": "fd00::1"}, "gateway", "in no network"),
        ({**STATIC, "gateway": "fe80::1"}, "gateway", "in no network"),
        ({**STATIC, "routes": [{"to": "fd00::/8", "via": "10.0.0.1"}]}, "routes[0].via", "leads to no network of IPv6"),
        ({**STATIC, "routes": [{"to": "10.1.0.0/16", "via": "10.9.0.1"}]}, "routes[0].via", "on_link = true"),
        ({**STATIC, "routes": [{"to": "10.1.0.5/16", "via": "10.0.0.1"}]}, "routes[0].to", "10.1.0.0/16"),
        ({**STATIC, "routes": [{"to": "10.1.0.5", "via": "10.0.0.1"}]}, "routes[0].to", "prefix length"),
        ({**STATIC, "routes": [{"to": "anywhere", "via": "10.0.0.1"}]}, "routes[0].to", "default"),
        ({**STATIC, "routes": [{"to": "default"}]}, "routes[0].via", "required and missing"),
        ({**STATIC, "routes": [{"to": "default", "via": "10.0.0.1", "metric": -1}]}, "routes[0].metric", "from 0"),
        ({"routes": [{"to": "default", "via": "fd00::1"}]}, "routes[0].via", "there is none"),
        ({"addresses": ["0.0.0.0/0"]}, "addresses[0]", "of one machine"),
        ({"addresses": ["224.0.0.1/24"]}, "addresses[0]", "of one machine"),
        ({**STATIC, "routes": [{"to": "default", "via": "ff02::1", "on_link": True}]}, "routes[0].via", "of one machine"),
        ({"nameservers": ["0.0.0.0"]}, "nameservers[0]", "of one machine"),
        ({"search": ["a b"]}, "search[0]", "a domain"),
        ({"match": {}}, "match", "matches nothing"),
        ({"match": {"macaddress": "ff:ff:ff:ff:ff:ff"}}, "match.macaddress", "one interface"),
        ({"match": {"name": "en*\n evil"}}, "match.name", "wildcards"),
        ({"match": {"driver": ""}}, "match.driver", "wildcards"),
        ({"set_name": "lan0"}, "set_name", "needs a match"),
        ({"set_name": "lan0", "match": {"name": "en*"}}, "set_name", "needs a match"),
        ({"set_name": "-", "match": {"name": "en0"}}, "set_name", "interface name"),
        ({"accept_ra": "yes"}, "accept_ra", "true or false"),
        ({"wifis": {}}, "wifis", "no such key"),
    ],
)
def test_an_interface_that_is_refused(keys: Table, path: str, words: str) -> None:
    (problem,) = problems(interfaces=[eth(**keys)])
    assert problem.startswith(f"server.toml: netplan.interfaces[0].{path}: ")
    assert words in problem


TWO = [eth(), eth("eth1")]
MAC = "54:b2:03:07:f1:d1"


@pytest.mark.parametrize(
    ("table", "path", "words"),
    [
        ({"interfaces": TWO, "bridges": [{"name": "eth1"}]}, "bridges[0].name", "is the name of interfaces[1] already"),
        (
            {"interfaces": [eth(), eth("x", match={"macaddress": MAC}, set_name="eth0")]},
            "interfaces[1].set_name",
            "is the name of interfaces[0] already",
        ),
        (
            {"interfaces": [eth("a", match={"macaddress": MAC}), eth("b", match={"macaddress": MAC.upper()})]},
            "interfaces[1].match.macaddress",
            "interfaces[0]",
        ),
        (
            {"interfaces": [eth(addresses=["10.0.0.2/24"]), eth("eth1", addresses=["10.0.0.2/16"])]},
            "interfaces[1].addresses[0]",
            "interfaces[0].addresses[0] already",
        ),
        ({"interfaces": TWO, "bonds": [{"name": "b", "interfaces": ["eth2"]}]}, "bonds[0].interfaces[0]", "no device \"eth2\""),
        ({"interfaces": TWO, "bonds": [{"name": "b", "interfaces": []}]}, "bonds[0].interfaces", "needs an interface"),
        ({"interfaces": TWO, "bonds": [{"name": "b"}]}, "bonds[0].interfaces", "required and missing"),
        (
            {"interfaces": TWO, "bonds": [{"name": "a", "interfaces": ["eth0"]}, {"name": "b", "interfaces": ["a"]}]},
            "bonds[1].interfaces[0]",
            "bonds are made of interfaces",
        ),
        (
            {"interfaces": TWO, "bonds": [{"name": "a", "interfaces": ["eth0"]}, {"name": "b", "interfaces": ["eth0"]}]},
            "bonds[1].interfaces[0]",
            "bonds[0].interfaces[0] already",
        ),
        (
            {"interfaces": [eth(addresses=["10.0.0.2/24"])], "bridges": [{"name": "b", "interfaces": ["eth0"]}]},
            "interfaces[0].addresses",
            "a part of \"b\"",
        ),
        (
            {"interfaces": [eth(dhcp4=True)], "bridges": [{"name": "b", "interfaces": ["eth0"]}]},
            "interfaces[0].dhcp4",
            "a part of \"b\"",
        ),
        ({"vlans": [{"name": "v", "id": 5, "link": "eth9"}]}, "vlans[0].link", "no device \"eth9\""),
        ({"interfaces": TWO, "vlans": [{"name": "v", "id": 0, "link": "eth0"}]}, "vlans[0].id", "from 1 to 4094"),
        ({"interfaces": TWO, "vlans": [{"name": "v", "id": 4095, "link": "eth0"}]}, "vlans[0].id", "from 1 to 4094"),
        (
            {"interfaces": TWO, "vlans": [{"name": "v", "id": 5, "link": "eth0"}, {"name": "w", "id": 5, "link": "eth0"}]},
            "vlans[1].id",
            "vlans[0] already",
        ),
        (
            {"interfaces": [eth(mtu=1500)], "vlans": [{"name": "v", "id": 5, "link": "eth0", "mtu": 9000}]},
            "vlans[0].mtu",
            "do not fit",
        ),
        ({"vlans": [{"name": "v", "id": 5, "link": "v"}]}, "vlans[0].link", "circle"),
        (
            {"vlans": [{"name": "v", "id": 5, "link": "b"}], "bridges": [{"name": "b", "interfaces": ["v"]}]},
            "vlans[0].link",
            "circle",
        ),
        (
            {"interfaces": [eth(**STATIC, gateway="10.0.0.1", routes=[{"to": "0.0.0.0/0", "via": "10.0.0.9"}])]},
            "interfaces[0].routes[0]",
            "interfaces[0].gateway is a default route without a metric already",
        ),
        (
            {"interfaces": TWO, "bonds": [{"name": "b", "interfaces": ["eth0"], "parameters": {"lacp_rate": "fast"}}]},
            "bonds[0].parameters.lacp_rate",
            "means nothing in mode balance-rr",
        ),
        (
            {
                "interfaces": TWO,
                "bonds": [{"name": "b", "interfaces": ["eth0"], "parameters": {"mode": "active-backup", "primary": "eth1"}}],
            },
            "bonds[0].parameters.primary",
            "no interface of this bond",
        ),
        (
            {"interfaces": TWO, "bonds": [{"name": "b", "interfaces": ["eth0"], "parameters": {"mode": 4}}]},
            "bonds[0].parameters.mode",
            "is not one of balance-rr",
        ),
        (
            {"interfaces": TWO, "bonds": [{"name": "b", "interfaces": ["eth0"], "parameters": {"up_delay": 5}}]},
            "bonds[0].parameters.up_delay",
            "needs mii_monitor_interval",
        ),
        ({"bridges": [{"name": "b", "parameters": {"path_cost": {"e": 1}}}]}, "bridges[0].parameters.path_cost", "no int"),
        ({"bridges": [{"name": "b", "parameters": {"forward_delay": 4}}]}, "bridges[0].parameters.max_age", "more than"),
        ({"bridges": [{"name": "b", "parameters": {"priority": 65536}}]}, "bridges[0].parameters.priority", "from 0 to 65535"),
    ],
)
def test_devices_that_do_not_go_together(table: Table, path: str, words: str) -> None:
    (problem,) = problems(**table)
    assert problem.startswith(f"server.toml: netplan.{path}: ")
    assert words in problem


def test_what_is_wrong_in_one_device_hides_nothing_of_another() -> None:
    found = problems(
        interfaces=[{"name": "eth0", "mtu": "x"}, {"nom": "eth1"}],
        bonds=[{"name": "b", "interfaces": ["eth7"], "parameters": {"mode": "fast"}}],
        vlans=[{"name": "v", "id": "5", "link": "eth0"}, {"name": "v", "id": 6, "link": "eth8"}],
    )
    assert len(found) == 8, found
