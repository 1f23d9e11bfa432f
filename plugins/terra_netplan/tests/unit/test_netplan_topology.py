"""VLANs, bonds, bridges, routes and matches: what they become, and what makes no sense between devices."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import yaml

from terra_core.config.session import Session
from terra_core.errors import ConfigError
from terra_core.hookspecs import RenderedFile
from terra_netplan import plugin
from tests.unit.servers import SERVER

Table = dict[str, object]


def rendered(**table: object) -> Sequence[RenderedFile]:
    """Return the rendered files."""
    return plugin.render_network(SERVER, Session(tables={"netplan": table}))


def network(**table: object) -> dict[str, dict[str, Table]]:
    """Return the devices of the rendered file, by kind and name."""
    (file,) = rendered(**table)
    found = yaml.safe_load(file.content)["network"]
    return {kind: devices for kind, devices in found.items() if kind not in ("version", "renderer")}


def problems(**table: object) -> tuple[str, ...]:
    """Return the problems of a table that is refused."""
    with pytest.raises(ConfigError) as caught:
        plugin.render_network(SERVER, Session(source="server.toml", tables={"netplan": table}))
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


def test_what_a_device_is_made_of_stands_before_it() -> None:
    vlans = [{"name": "v5.6", "id": 6, "link": "v5"}, {"name": "v5", "id": 5, "link": "br0"}]
    found = network(interfaces=[eth()], vlans=vlans, bridges=[{"name": "br0", "interfaces": ["eth0"]}])
    assert list(found) == ["ethernets", "bridges", "vlans"]
    assert list(found["vlans"]) == ["v5", "v5.6"]


def test_kinds_that_need_each_other_stand_in_several_files() -> None:
    costs = {"path_cost": {"v20": 20, "eth1": 4}}
    files = rendered(
        interfaces=[eth(), eth("eth1")],
        vlans=[{"name": "v20", "id": 20, "link": "br0", "dhcp4": False}],
        bridges=[{"name": "br0", "interfaces": ["eth0"]}, {"name": "br20", "interfaces": ["v20", "eth1"], "parameters": costs}],
    )
    assert [file.path for file in files] == ["etc/netplan/50-terra.yaml", "etc/netplan/51-terra-001.yaml"]
    first, second = (yaml.safe_load(file.content)["network"] for file in files)
    assert (list(first["bridges"]), list(second["bridges"]), list(second["vlans"])) == (["br0"], ["br20"], ["v20"])
    assert all(file.mode == 0o600 and yaml.safe_load(file.content)["network"]["renderer"] == "networkd" for file in files)


def test_a_bridge_without_spanning_tree_waits_as_long_as_it_likes() -> None:
    for parameters in ({"forward_delay": 0}, {"forward_delay": 1}, {"forward_delay": 100}, {"hello_time": 0, "max_age": 0}):
        found = network(bridges=[{"name": "br0", "parameters": {"stp": False, **parameters}}])
        assert len(found["bridges"]["br0"]["parameters"]) == 1 + len(parameters)  # type: ignore[arg-type]  # a table
        for stp in ({}, {"stp": True}):
            assert problems(bridges=[{"name": "br0", "parameters": {**stp, **parameters}}])
    for parameters in ({"hello_time": 11}, {"max_age": 5}, {"priority": 65536}, {"ageing_time": -1}):
        assert problems(bridges=[{"name": "br0", "parameters": {"stp": False, **parameters}}])


def test_an_address_of_a_link_is_that_of_each_link() -> None:
    for address in ("fe80::1/64", "169.254.0.1/16", "10.9.9.9/32", "fd00::9/128"):
        bridges = [{"name": f"br{at}", "addresses": [f"10.{at}.0.1/24", address]} for at in range(2)]
        assert len(network(bridges=bridges)["bridges"]) == 2
        (problem,) = problems(bridges=[{"name": "br0", "addresses": [address, address]}])
        assert "bridges[0].addresses[0] already" in problem


def test_a_vrf_has_addresses_and_routes_of_its_own() -> None:
    keys: Table = {"addresses": ["10.0.0.2/24"], "gateway": "10.0.0.1"}
    vrfs = [{"name": "red", "table": 10, "interfaces": ["eth0"]}, {"name": "blue", "table": 20, "interfaces": ["eth1"]}]
    found = network(interfaces=[eth(**keys), eth("eth1", **keys), eth("eth2", **keys)], vrfs=vrfs)
    assert found["vrfs"]["red"] == {"table": 10, "interfaces": ["eth0"]}
    assert len(problems(interfaces=[eth(**keys), eth("eth1", **keys)])) == 2


def test_interfaces_that_are_told_apart_by_hardware_may_be_one_for_others() -> None:
    keys: Table = {"addresses": ["10.0.0.2/24"], "gateway": "10.0.0.1", "set_name": "lan"}
    by_name = [eth("a", match={"name": "enp3s0"}, **keys), eth("b", match={"name": "enp4s0"}, **keys)]
    assert list(network(interfaces=by_name)["ethernets"]) == ["a", "b"]
    one = {"macaddress": "54:b2:03:07:f1:d1"}
    assert network(interfaces=[eth("a", match={**one, "driver": "mlx4*"}), eth("b", match={**one, "driver": "hv_netvsc"})])
    swapped = [eth("eth0", match=one, set_name="eth1"), eth("eth1", match={"name": "x"}, set_name="eth0")]
    assert network(interfaces=swapped)
    assert len(problems(interfaces=[eth("a", match=one, **keys), eth("b", match=one, **keys)])) == 4


def test_the_keys_of_every_device() -> None:
    keys: Table = {
        "macaddress": "52-54-00-00-00-01",
        "link_local": [],
        "dhcp4_overrides": {"use_dns": False, "use_domains": "route", "hostname": "Web", "route_metric": 100},
        "routes": [{"to": "10.0.0.0/8", "scope": "link", "table": 5}, {"to": "10.1.0.0/16", "type": "blackhole"}],
        "routing_policy": [{"from": "10.0.0.0/8", "table": 5, "priority": 10, "mark": 3}],
    }
    assert network(interfaces=[eth(**keys)])["ethernets"]["eth0"] == {
        "dhcp4": True,
        "dhcp6": False,
        "critical": True,
        "dhcp-identifier": "mac",
        "macaddress": "52:54:00:00:00:01",
        "link-local": [],
        "dhcp4-overrides": {"use-dns": False, "use-domains": "route", "hostname": "web", "route-metric": 100},
        "routes": [{"to": "10.0.0.0/8", "scope": "link", "table": 5}, {"to": "10.1.0.0/16", "type": "blackhole"}],
        "routing-policy": [{"from": "10.0.0.0/8", "table": 5, "priority": 10, "mark": 3}],
    }


WIREGUARD = {"name": "wg0", "mode": "wireguard", "key": f"{'A' * 43}="}
PEER = {"keys": {"public": f"{'B' * 43}="}, "allowed_ips": ["10.0.0.0/8"]}


def test_a_tunnel_asks_for_nothing_by_itself() -> None:
    found = network(tunnels=[{**WIREGUARD, "port": 51820, "peers": [{**PEER, "endpoint": "[fd00::1]:51820"}]}])
    assert found["tunnels"]["wg0"] == {
        "mode": "wireguard",
        "key": f"{'A' * 43}=",
        "port": 51820,
        "peers": [{"keys": PEER["keys"], "allowed-ips": ["10.0.0.0/8"], "endpoint": "[fd00::1]:51820"}],
        "dhcp4": False,
        "dhcp6": False,
        "critical": True,
    }


@pytest.mark.parametrize(
    ("tunnel", "path", "words"),
    [
        ({"mode": "carrier-pigeon"}, "mode", "is not one of sit"),
        ({"mode": "sit"}, "remote", "required and missing"),
        ({"mode": "sit", "remote": "fd00::1"}, "remote", "an IPv4 address in mode sit"),
        ({"mode": "ip6gre", "local": "10.0.0.1", "remote": "fd00::2"}, "local", "an IPv6 address in mode ip6gre"),
        ({"mode": "vxlan", "id": 5, "local": "10.0.0.1", "remote": "fd00::2"}, "remote", "of one family"),
        ({"mode": "sit", "remote": "10.0.0.1", "id": 5}, "id", "only in vxlan"),
        ({"mode": "sit", "remote": "10.0.0.1", "key": "5"}, "key", "means nothing in mode sit"),
        ({"mode": "gre", "remote": "10.0.0.1", "key": "x"}, "key", "a number or an IPv4 address"),
        ({"mode": "vxlan"}, "id", "required and missing"),
        ({"mode": "vxlan", "id": 2**24}, "id", "from 1 to"),
        ({"mode": "vxlan", "id": 5, "ageing": 2**31}, "ageing", "to 2147483647"),
        ({"mode": "vxlan", "id": 5, "limit": 2**31}, "limit", "to 2147483647"),
        ({"mode": "vxlan", "id": 5, "link": "eth9"}, "link", "no device \"eth9\""),
        ({**WIREGUARD, "key": 5, "peers": [PEER]}, "key", "expected a string"),
        ({"mode": "wireguard", "peers": [PEER]}, "key", "required and missing"),
        ({**WIREGUARD, "key": "secret\nPostUp=evil", "peers": [PEER]}, "key", "expected a key of WireGuard's"),
        (WIREGUARD, "peers", "required and missing"),
        ({**WIREGUARD, "peers": [{**PEER, "endpoint": "a b:1"}]}, "peers[0].endpoint", "a host and its port"),
        ({**WIREGUARD, "peers": [{**PEER, "allowed_ips": ["10.0.0.0"]}]}, "peers[0].allowed_ips[0]", "prefix length"),
    ],
)
def test_a_tunnel_that_is_refused(tunnel: Table, path: str, words: str) -> None:
    (problem,) = problems(tunnels=[{"name": "t", **tunnel}])
    assert problem.startswith(f"server.toml: netplan.tunnels[0].{path}: ")
    assert words in problem
    assert "secret" not in problem


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
        ({**STATIC, "routes": [{"to": "default", "via": "10.0.0.1", "metric": 2**31}]}, "routes[0].metric", "to 2147483647"),
        ({**STATIC, "routes": [{"to": "default", "via": "10.0.0.1", "table": 2**31}]}, "routes[0].table", "to 2147483647"),
        ({"routing_policy": [{"from": "10.0.0.0/8", "priority": 2**31}]}, "routing_policy[0].priority", "to 2147483647"),
        ({"routing_policy": [{"from": "10.0.0.0/8", "mark": 2**31}]}, "routing_policy[0].mark", "to 2147483647"),
        ({"routing_policy": [{"from": "10.0.0.0/8", "mark": 0}]}, "routing_policy[0].mark", "from 1"),
        ({"dhcp4": True, "dhcp4_overrides": {"route_metric": 2**31}}, "dhcp4_overrides.route_metric", "to 2147483647"),
        ({**STATIC, "routes": [{"to": "default", "type": "blackhole"}]}, "routes[0].to", "of which family"),
        ({**STATIC, "routes": [{"to": "default", "scope": "link"}]}, "routes[0].to", "of which family"),
        ({**STATIC, "routes": [{"to": "default", "via": "10.0.0.1", "from": "fd00::2"}]}, "routes[0].from", "of IPv4"),
        ({"name": "renderer"}, "name", "a word of netplan's"),
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
        ({"addresses": [{"10.0.0.15/24": {"label": "a"}}, "10.0.0.16/24"]}, "addresses[0]", "expected a string, got a table"),
        ({"dhcp6": True, "dhcp4_overrides": {"use_dns": False}}, "dhcp6_overrides.use_dns", "as both families ask"),
        ({"dhcp4_overrides": {"use_domains": "maybe"}}, "dhcp4_overrides.use_domains", "is not one of"),
        ({"dhcp4_overrides": {"route_metric": -1}}, "dhcp4_overrides.route_metric", "from 0"),
        ({"link_local": ["ipv5"]}, "link_local[0]", "is not one of"),
        ({"macaddress": "ff:ff:ff:ff:ff:ff"}, "macaddress", "one interface"),
        ({"routes": [{"to": "10.0.0.0/8", "table": 0, "scope": "link"}]}, "routes[0].table", "from 1"),
        ({"routing_policy": [{"table": 5}]}, "routing_policy[0]", "expected from, to, or both"),
        ({"routing_policy": [{"from": "10.0.0.0/8", "to": "fd00::/8"}]}, "routing_policy[0].to", "of one family"),
        ({"routing_policy": [{"from": "10.0.0.1/8"}]}, "routing_policy[0].from", "an address in 10.0.0.0/8"),
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
            {"interfaces": [eth(**STATIC, gateway="10.0.0.1", routes=[{"to": "default", "via": "10.0.0.9", "table": 254}])]},
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
        ({"interfaces": TWO, "vrfs": [{"name": "r", "table": 0, "interfaces": ["eth0"]}]}, "vrfs[0].table", "from 1"),
        ({"interfaces": TWO, "vrfs": [{"name": "r", "table": 5, "interfaces": ["e"]}]}, "vrfs[0].interfaces[0]", "no device"),
        (
            {"vrfs": [{"name": "r", "table": 5, "routes": [{"to": "default", "via": "10.0.0.1", "table": 6}]}]},
            "vrfs[0].routes[0].table",
            "expected 5",
        ),
        (
            {
                "interfaces": TWO,
                "vrfs": [{"name": "r", "table": 5, "interfaces": ["eth0"]}, {"name": "s", "table": 6, "interfaces": ["eth0"]}],
            },
            "vrfs[1].interfaces[0]",
            "vrfs[0].interfaces[0] already",
        ),
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


@pytest.mark.parametrize("name", ["all", "default", "10"])
@pytest.mark.parametrize("kind", ["interfaces", "bridges"])
def test_a_name_that_networkd_passes_over_is_refused(kind: str, name: str) -> None:
    assert problems(**{kind: [{"name": name}]}) == (
        f'server.toml: netplan.{kind}[0].name: "{name}" is no name to networkd, which passes such an interface over',
    )


def test_only_an_interface_is_called_lo() -> None:
    assert network(interfaces=[eth("lo", addresses=["10.9.9.9/32"])])["ethernets"]["lo"]["addresses"] == ["10.9.9.9/32"]
    assert problems(bridges=[{"name": "lo"}]) == (
        'server.toml: netplan.bridges[0].name: "lo" is the name of every machine\'s loopback interface',
    )


def test_a_bridge_takes_no_tunnel_without_ethernet() -> None:
    bridge = {"name": "br0", "interfaces": ["tun0"]}
    ends = {"local": "10.0.0.2", "remote": "10.0.0.1"}
    assert network(tunnels=[{"name": "tun0", "mode": "gretap", **ends}], bridges=[bridge])["bridges"]["br0"]["interfaces"]
    for tunnel in ({**WIREGUARD, "name": "tun0", "peers": [PEER]}, {"name": "tun0", "mode": "gre", **ends}):
        assert problems(tunnels=[tunnel], bridges=[bridge]) == (
            f'server.toml: netplan.bridges[0].interfaces[0]: "tun0" is a tunnel of mode {tunnel["mode"]}, '
            "and bridges take those of Ethernet: gretap, ip6gretap, vxlan",
        )


def test_a_vrf_carries_no_vlan() -> None:
    assert problems(vlans=[{"name": "v1", "id": 1, "link": "red"}], vrfs=[{"name": "red", "table": 5}]) == (
        'server.toml: netplan.vlans[0].link: "red" is one of vrfs, which carry no VLAN',
    )


@pytest.mark.parametrize(
    ("address", "gateway", "text"),
    [
        ("10.0.0.2/24", "10.0.0.2", '"10.0.0.2" is the address of this interface itself'),
        ("10.0.0.2/24", "10.0.0.255", '"10.0.0.255" is the broadcast address of 10.0.0.0/24'),
        ("fd00::2/64", "fd00::2", '"fd00::2" is the address of this interface itself'),
    ],
)
def test_a_gateway_is_another_machine(address: str, gateway: str, text: str) -> None:
    assert problems(interfaces=[eth(addresses=[address], gateway=gateway)]) == (
        f"server.toml: netplan.interfaces[0].gateway: {text}",
    )
    assert problems(interfaces=[eth(addresses=[address], routes=[{"to": "default", "via": gateway}])]) == (
        f"server.toml: netplan.interfaces[0].routes[0].via: {text}",
    )


def test_a_route_that_is_on_the_link_is_taken_as_it_stands() -> None:
    route = {"to": "default", "via": "10.0.0.2", "on_link": True}
    assert network(interfaces=[eth(addresses=["10.0.0.2/24"], routes=[route])])


def test_a_gateway_at_the_end_of_a_small_network() -> None:
    assert network(interfaces=[eth(addresses=["10.0.0.2/31"], gateway="10.0.0.3")])
