"""What ``[networkd]`` becomes, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from terra_core.config.server import ResolvConf, Server
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.config.values import Address, Domain
from terra_core.errors import ConfigError
from terra_core.hookspecs import RenderedFile, RenderedLink
from terra_networkd import plugin
from terra_networkd.link import Link
from terra_networkd.netdev import Netdev
from terra_networkd.network import Network
from terra_networkd.sections import lines_of_section, spelled

SERVER = structure({"hostname": "a", "version": "1", "os": "r.example/os:1", "repo": "r.example/t"}, Server)
KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
LAN: dict[str, object] = {"file": "20-lan", "match": {"name": ["eth0"]}}
PEER = {"public_key": KEY, "allowed_ips": ["10.9.0.0/16", "fd00:9::/64"], "endpoint": "[fd00::1]:51820"}


def everything(server: Server = SERVER, **table: Any) -> list[RenderedFile | RenderedLink]:
    """Return all that the plugin renders from a table."""
    return list(plugin.render_network(server=server, session=Session(source="server.toml", tables={"networkd": table})))


def files(server: Server = SERVER, **table: object) -> dict[str, RenderedFile]:
    """Return the rendered files by path."""
    return {piece.path: piece for piece in everything(server, **table) if isinstance(piece, RenderedFile)}


def links(server: Server = SERVER, **table: object) -> dict[str, str]:
    """Return the targets of rendered links by path."""
    return {piece.path: piece.target for piece in everything(server, **table) if isinstance(piece, RenderedLink)}


def text(path: str, **table: Any) -> str:
    """Return the text of one file, without the line that says where it is from."""
    head, _, rest = files(**table)[f"etc/systemd/network/{path}"].content.decode().partition("\n\n")
    assert head == "# Made by Terra from the [networkd] table of server.toml."
    return rest


def network(**sections: object) -> dict[str, object]:
    """Return an entry of ``networks``."""
    return LAN | sections


def netdev(kind: str, **sections: object) -> dict[str, object]:
    """Return an entry of ``netdevs``."""
    return {"file": "10-dev", "netdev": {"name": "dev0", "kind": kind}, **sections}


def problems(server: Server = SERVER, **table: object) -> tuple[str, ...]:
    """Return the problems of a table that is refused."""
    with pytest.raises(ConfigError) as caught:
        everything(server, **table)
    return caught.value.problems


@pytest.mark.parametrize("table", [{}, {"networks": []}, {"links": [{"file": "10-a", "match": {"type": ["ether"]}}]}])
def test_without_networks_every_wired_interface_asks(table: dict[str, object]) -> None:
    assert text("80-terra-wired.network", **table) == (
        "[Match]\nName=en* eth*\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=ipv4\nKeepConfiguration=yes\n\n"
        "[DHCPv4]\nClientIdentifier=mac\n"
    )


def test_a_static_network() -> None:
    entry = network(
        link={"mtu_bytes": 9000, "required_for_online": "routable"},
        network={
            "address": ["10.0.20.5/24", "fd00:20::5/64"],
            "gateway": ["10.0.20.1"],
            "dns": ["10.0.20.1"],
            "domains": ["Example.com", "example.org"],
            "ntp": ["time.example.com"],
        },
        address=[{"address": "10.0.20.6/24", "label": "eth0:1", "preferred_lifetime": "0"}],
        route=[
            {"destination": "10.0.0.0/8", "gateway": "10.0.20.2", "metric": 50},
            {"destination": "10.3.0.0/16", "scope": "link"},
        ],
        routing_policy_rule=[{"from": "10.0.20.0/24", "table": 7, "priority": 10}],
        neighbor=[{"address": "10.0.20.9", "link_layer_address": "54-B2-03-07-F1-D1"}],
    )
    assert (
        text("20-lan.network", networks=[entry])
        == """\
[Match]
Name=eth0

[Link]
MTUBytes=9000
RequiredForOnline=routable

[Network]
KeepConfiguration=yes
Address=10.0.20.5/24
Address=fd00:20::5/64
Gateway=10.0.20.1
DNS=10.0.20.1
Domains=Example.com
Domains=example.org
NTP=time.example.com

[Address]
Address=10.0.20.6/24
Label=eth0:1
PreferredLifetime=0

[Route]
Destination=10.0.0.0/8
Gateway=10.0.20.2
Metric=50

[Route]
Destination=10.3.0.0/16
Scope=link

[RoutingPolicyRule]
From=10.0.20.0/24
Table=7
Priority=10

[Neighbor]
Address=10.0.20.9
LinkLayerAddress=54:b2:03:07:f1:d1
"""
    )


def test_dhcp_asks_and_keeps_as_the_firmware_did_unless_told_otherwise() -> None:
    assert "KeepConfiguration=yes\n\n[DHCPv4]\nClientIdentifier=mac\n" in text(
        "20-lan.network", networks=[network(network={"dhcp": True})]
    )
    own = network(network={"dhcp": "ipv4", "keep_configuration": False}, dhcpv4={"client_identifier": "duid", "use_dns": False})
    assert text("20-lan.network", networks=[own]).endswith(
        "[Network]\nDHCP=ipv4\nKeepConfiguration=no\n\n[DHCPv4]\nClientIdentifier=duid\nUseDNS=no\n"
    )
    assert "DHCPv4" not in text("20-lan.network", networks=[network(network={"dhcp": "ipv6"})])
    assert "KeepConfiguration" not in text("20-lan.network", networks=[network(network={"link_local_addressing": False})])


def test_a_port_keeps_nothing() -> None:
    table: dict[str, Any] = {
        "netdevs": [netdev("bridge", bridge={"stp": False})],
        "networks": [
            network(network={"bridge": "dev0"}, bridge={"cost": 5, "use_bpdu": True}, bridge_vlan=[{"vlan": "10-20"}])
        ],
    }
    assert text("20-lan.network", **table) == (
        "[Match]\nName=eth0\n\n[Network]\nBridge=dev0\n\n[Bridge]\nUseBPDU=yes\nCost=5\n\n[BridgeVLAN]\nVLAN=10-20\n"
    )


@pytest.mark.parametrize(
    ("match", "line"),
    [
        ({"name": ["en*", "eth?"]}, "Name=en* eth?"),
        ({"name": ["!docker*", "!veth*"]}, "Name=!docker* veth*"),
        ({"mac_address": ["54b20307f1d1", "54:B2:03:07:F1:D2"]}, "MACAddress=54:b2:03:07:f1:d1 54:b2:03:07:f1:d2"),
        ({"permanent_mac_address": ["54:b2:03:07:f1:d1"]}, "PermanentMACAddress=54:b2:03:07:f1:d1"),
        ({"path": ["pci-0000:02:00.0-*"]}, "Path=pci-0000:02:00.0-*"),
        ({"driver": ["virtio_net"], "type": ["ether"]}, "Driver=virtio_net\nType=ether"),
        ({"virtualization": "!container", "name": ["e*"]}, "Virtualization=!container\nName=e*"),
    ],
)
def test_matches(match: dict[str, object], line: str) -> None:
    assert text("20-lan.network", networks=[network(match=match)]) == f"[Match]\n{line}\n"


@pytest.mark.parametrize(
    ("kind", "sections", "lines"),
    [
        ("dummy", {}, ""),
        ("veth", {"peer": {"name": "peer0"}}, "\n[Peer]\nName=peer0\n"),
        (
            "bond",
            {
                "bond": {
                    "mode": "802.3ad",
                    "mii_monitor_sec": 0.1,
                    "up_delay_sec": 2,
                    "lacp_transmit_rate": "fast",
                    "min_links": 1,
                }
            },
            "\n[Bond]\nMode=802.3ad\nLACPTransmitRate=fast\nMIIMonitorSec=100ms\nUpDelaySec=2s\nMinLinks=1\n",
        ),
        (
            "bond",
            {"bond": {"mode": "active-backup", "arp_interval_sec": 0.0005, "arp_ip_targets": ["10.0.0.1", "10.0.0.2"]}},
            "\n[Bond]\nMode=active-backup\nARPIntervalSec=500us\nARPIPTargets=10.0.0.1 10.0.0.2\n",
        ),
        ("bridge", {"bridge": {"stp": True, "forward_delay_sec": 15}}, "\n[Bridge]\nForwardDelaySec=15s\nSTP=yes\n"),
        ("vrf", {"vrf": {"table": 42}}, "\n[VRF]\nTable=42\n"),
        (
            "vxlan",
            {"vxlan": {"vni": 7, "remote": "10.0.0.9", "destination_port": 4789, "mac_learning": False, "independent": True}},
            "\n[VXLAN]\nVNI=7\nRemote=10.0.0.9\nMacLearning=no\nDestinationPort=4789\nIndependent=yes\n",
        ),
    ],
)
def test_devices(kind: str, sections: dict[str, object], lines: str) -> None:
    expected = f"[NetDev]\nName=dev0\nKind={kind}\n{lines}"
    assert text("10-dev.netdev", netdevs=[netdev(kind, **sections)]) == expected


@pytest.mark.parametrize(
    ("kind", "section", "lines"),
    [
        ("vlan", {"id": 20, "gvrp": True}, "[VLAN]\nId=20\nGVRP=yes\n"),
        ("macvlan", {"mode": "source", "source_mac_address": ["54:b2:03:07:f1:d1"]}, "[MACVLAN]\nMode=source\nSource"),
        ("ipvlan", {"mode": "L3S", "flags": "vepa"}, "[IPVLAN]\nMode=L3S\nFlags=vepa\n"),
        ("vxlan", {"vni": 7, "group": "239.1.1.1"}, "[VXLAN]\nVNI=7\nGroup=239.1.1.1\n"),
    ],
)
def test_devices_upon_another(kind: str, section: dict[str, object], lines: str) -> None:
    table: dict[str, Any] = {"netdevs": [netdev(kind, **{kind: section})], "networks": [network(network={kind: ["dev0"]})]}
    assert lines in text("10-dev.netdev", **table)
    assert text("20-lan.network", **table).endswith(f"[Network]\n{spelled(kind)}=dev0\n")


def test_wireguard_with_keys_is_read_by_networkd_only() -> None:
    entry = netdev("wireguard", wireguard={"private_key": KEY, "listen_port": 51820}, wireguard_peer=[PEER])
    (file,) = (file for path, file in files(netdevs=[entry]).items() if path.endswith(".netdev"))
    assert (file.mode, file.owner) == (0o640, "root:systemd-network")
    assert text("10-dev.netdev", netdevs=[entry]).endswith(
        f"[WireGuard]\nPrivateKey={KEY}\nListenPort=51820\n\n"
        f"[WireGuardPeer]\nPublicKey={KEY}\nAllowedIPs=10.9.0.0/16 fd00:9::/64\nEndpoint=[fd00::1]:51820\n"
    )
    shared = netdev("wireguard", wireguard={"private_key_file": "/etc/wg/key"}, wireguard_peer=[PEER | {"preshared_key": KEY}])
    assert files(netdevs=[shared])["etc/systemd/network/10-dev.netdev"].mode == 0o640
    elsewhere = netdev("wireguard", wireguard={"private_key_file": "/etc/wg/key"}, wireguard_peer=[PEER])
    assert files(netdevs=[elsewhere])["etc/systemd/network/10-dev.netdev"].mode == 0o644


def test_a_wrong_secret_is_not_shown() -> None:
    wrong = f"{KEY}x"
    entry = netdev("wireguard", wireguard={"private_key": wrong}, wireguard_peer=[PEER | {"preshared_key": wrong}])
    first, second = problems(netdevs=[entry])
    assert first.startswith("server.toml: networkd.netdevs[0].wireguard.private_key: expected a key")
    assert second.startswith("server.toml: networkd.netdevs[0].wireguard_peer[0].preshared_key: expected a key")
    assert KEY not in first + second


def test_a_link_names_an_interface_or_leaves_its_name_alone() -> None:
    match = {"permanent_mac_address": ["54:b2:03:07:f1:d1"]}
    named = {"file": "10-lan", "match": match, "link": {"name": "lan0", "wake_on_lan": ["magic", "phy"]}}
    assert text("10-lan.link", links=[named]) == (
        "[Match]\nPermanentMACAddress=54:b2:03:07:f1:d1\n\n[Link]\nMACAddressPolicy=persistent\nName=lan0\n"
        "AlternativeNamesPolicy=database onboard slot path\nWakeOnLan=magic phy\n"
    )
    other = {"file": "10-lan", "match": match, "link": {"mtu_bytes": 9000, "mac_address": "02:00:00:00:00:01"}}
    assert text("10-lan.link", links=[other]).endswith(
        "[Link]\nMACAddress=02:00:00:00:00:01\nNamePolicy=keep kernel database onboard slot path\n"
        "AlternativeNamesPolicy=database onboard slot path\nMTUBytes=9000\n"
    )


def test_the_units_are_enabled_and_netplan_is_not_read() -> None:
    units = "/usr/lib/systemd/system"
    assert links() == {
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": f"{units}/systemd-networkd.service",
        "etc/systemd/system/sockets.target.wants/systemd-networkd.socket": f"{units}/systemd-networkd.socket",
        "etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service": (
            f"{units}/systemd-networkd-wait-online.service"
        ),
        "etc/systemd/system/dbus-org.freedesktop.network1.service": f"{units}/systemd-networkd.service",
        "etc/systemd/system-generators/netplan": "/dev/null",
    }


def test_name_servers_go_to_resolv_conf() -> None:
    table: dict[str, Any] = {
        "networks": [
            network(network={"dns": ["10.0.0.1", "fd00::1"], "domains": ["example.com"]}),
            {
                "file": "30-b",
                "match": {"name": ["eth1"]},
                "network": {"dns": ["10.0.0.1", "10.0.0.2"], "domains": ["example.org"]},
            },
        ]
    }
    assert files(**table)["etc/resolv.conf"].content.decode() == (
        "nameserver 10.0.0.1\nnameserver fd00::1\nnameserver 10.0.0.2\nsearch example.com example.org\n"
    )
    own = evolve(SERVER, resolvconf=ResolvConf(nameservers=(Address("1.1.1.1"),)))
    assert "etc/resolv.conf" not in files(own, **table), "server.toml says itself what stands there"
    assert "etc/resolv.conf" not in files(networks=[network()])


def test_resolved_is_enabled_where_the_image_has_it() -> None:
    table: dict[str, Any] = {
        "resolved": True,
        "networks": [network(network={"dns": ["10.0.0.1:53#a.example"], "domains": ["~."]})],
    }
    assert "etc/resolv.conf" not in files(**table)
    found = links(**table)
    assert found["etc/resolv.conf"] == "../run/systemd/resolve/stub-resolv.conf"
    assert (
        found["etc/systemd/system/sysinit.target.wants/systemd-resolved.service"]
        == "/usr/lib/systemd/system/systemd-resolved.service"
    )
    assert "DNS=10.0.0.1:53#a.example\nDomains=~.\n" in text("20-lan.network", **table)
    (problem,) = problems(evolve(SERVER, resolvconf=ResolvConf(search=(Domain("a.example"),))), **table)
    assert problem.startswith("server.toml: networkd.resolved: ")


@pytest.mark.parametrize(
    ("entry", "path", "words"),
    [
        ({"match": {"name": ["e"]}}, "file", "required and missing"),
        ({"file": "20-a"}, "match", "required and missing"),
        (network(file="lan"), "file", "two digits"),
        (network(file="20-../../passwd"), "file", "two digits"),
        (network(file="20-lan.network"), "file", "without its suffix"),
        (network(match={}), "match", "matches nothing"),
        (network(match={"name": []}), "match", "matches nothing"),
        (network(match={"name": ["a b"]}), "match.name[0]", "wildcards"),
        (network(match={"name": ["eth0", "!eth1"]}), "match.name", "negates the whole list"),
        (network(match={"name": "eth0"}), "match.name", "expected a list"),
        (network(match={"mac_address": ["01:00:00:00:00:00"]}), "match.mac_address[0]", "group"),
        (network(network={"adress": []}), "network.adress", "no such key"),
        (network(network={"dhcp": "yes"}), "network.dhcp", "not one of"),
        (network(network={"dhcp": "true"}), "network.dhcp", "not one of"),
        (network(network={"address": ["10.0.0.1"]}), "network.address[0]", "prefix length"),
        (network(network={"address": ["10.0.0.1/24"], "gateway": ["10.0.1.1"]}), "network.gateway[0]", "10.0.0.0/24"),
        (network(network={"address": ["10.0.0.1/24"], "gateway": ["10.0.0.1"]}), "network.gateway[0]", "interface itself"),
        (network(network={"gateway": ["10.0.1.1"]}), "network.gateway[0]", "there is none"),
        (network(network={"dns": ["dns.example.com"]}), "network.dns[0]", "address of a name server"),
        (network(network={"dns": ["10.0.0.1#a.example"]}), "network.dns[0]", "systemd-resolved"),
        (network(network={"dns": ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]}), "network.dns[3]", "more than 3"),
        (network(network={"domains": ["~example.com"]}), "network.domains[0]", "systemd-resolved"),
        (network(network={"dnssec": True}), "network.dnssec", "systemd-resolved"),
        (network(network={"ntp": ["a b"]}), "network.ntp[0]", "name of a host"),
        (network(network={"bond": "bond0"}), "network.bond", 'no netdev of kind bond is named "bond0"'),
        (network(network={"vlan": ["v1"]}), "network.vlan[0]", "no netdev of kind vlan"),
        (network(network={"primary_slave": True}), "network.primary_slave", "without bond"),
        (network(link={"mtu_bytes": 60}), "link.mtu_bytes", "from 68 to 65535"),
        (network(link={"mtu_bytes": 1000}, network={"address": ["fd00::1/64"]}), "link.mtu_bytes", "1280"),
        (network(link={"mtu_bytes": True}), "link.mtu_bytes", "whole number"),
        (network(dhcpv4={"use_dns": False}), "dhcpv4", "unless network.dhcp"),
        (network(bridge={"cost": 5}), "bridge", "without network.bridge"),
        (network(route=[{}]), "route[0].destination", "a destination, a gateway or both"),
        (network(route=[{"destination": "default"}]), "route[0].destination", "network with its prefix length"),
        (network(route=[{"destination": "10.0.0.1/8"}]), "route[0].destination", "10.0.0.0/8"),
        (
            network(route=[{"destination": "10.0.0.0/8", "gateway": "fd00::1", "gateway_on_link": True}]),
            "route[0].gateway",
            "IPv6",
        ),
        (network(route=[{"destination": "10.0.0.0/8", "gateway": "10.0.0.0"}]), "route[0].gateway", "there is none"),
        (
            network(route=[{"destination": "10.0.0.0/8", "type": "blackhole", "gateway": "1.1.1.1"}]),
            "route[0].gateway",
            "has no",
        ),
        (network(address=[{"address": "fd00::1/64", "label": "a"}]), "address[0].label", "no label"),
        (network(routing_policy_rule=[{"from": "10.0.0.0/8", "to": "fd00::/8"}]), "routing_policy_rule[0].to", "one family"),
        (network(routing_policy_rule=[{"table": 0}]), "routing_policy_rule[0].table", "from 1"),
        (network(bridge_vlan=[{"vlan": "20-10"}]), "bridge_vlan[0].vlan", "from 1 to 4094"),
        (network(network={"address": ["10.0.0.1/24", "10.0.0.1/16"]}), "network.address", "address of this network already"),
    ],
)
def test_refused_networks(entry: dict[str, object], path: str, words: str) -> None:
    found = problems(networks=[entry])
    assert any(problem.startswith(f"server.toml: networkd.networks[0].{path}: ") and words in problem for problem in found), (
        found
    )
    assert len(found) <= 2


@pytest.mark.parametrize(
    ("entry", "path", "words"),
    [
        (netdev("tun"), "netdev.kind", "not one of"),
        (netdev("dummy", netdev={"name": "a/b", "kind": "dummy"}), "netdev.name", "interface name"),
        (netdev("dummy", netdev={"name": "lo", "kind": "dummy"}), "netdev.name", "loopback"),
        (netdev("vrf"), "vrf", "required and missing"),
        (netdev("dummy", vrf={"table": 7}), "vrf", "only in vrf"),
        (netdev("vrf", vrf={"table": 0}), "vrf.table", "from 1"),
        (netdev("vlan", vlan={"id": 5}), "netdev.name", "nothing would ever make it"),
        (netdev("vlan", vlan={"id": 4095}), "vlan.id", "from 1 to 4094"),
        (netdev("bond", bond={"lacp_transmit_rate": "fast"}), "bond.lacp_transmit_rate", "means nothing in mode balance-rr"),
        (netdev("bond", bond={"up_delay_sec": 1}), "bond.up_delay_sec", "needs mii_monitor_sec"),
        (netdev("bond", bond={"mii_monitor_sec": 61}), "bond.mii_monitor_sec", "from 0 to 60 seconds"),
        (netdev("bond", bond={"mii_monitor_sec": float("nan")}), "bond.mii_monitor_sec", "a number"),
        (netdev("bond", bond={"arp_interval_sec": 1}), "bond.arp_interval_sec", "need each other"),
        (netdev("bond", bond={"arp_interval_sec": 1, "arp_ip_targets": ["fd00::1"]}), "bond.arp_ip_targets[0]", "IPv4"),
        (netdev("bridge", bridge={"stp": True, "forward_delay_sec": 2}), "bridge.max_age_sec", "forward_delay_sec"),
        (
            netdev("macvlan", macvlan={"mode": "vepa", "source_mac_address": ["02:00:00:00:00:01"]}),
            "macvlan.source_mac_address",
            "source",
        ),
        (netdev("vxlan", vxlan={"vni": 1, "remote": "10.0.0.1", "group": "239.0.0.1"}), "vxlan.group", "not both"),
        (netdev("wireguard", wireguard={}), "wireguard.private_key_file", "required and missing"),
        (
            netdev("wireguard", wireguard={"private_key": KEY, "private_key_file": "/a"}),
            "wireguard.private_key_file",
            "one of the two",
        ),
        (netdev("wireguard", wireguard={"private_key_file": "/a/../b"}), "wireguard.private_key_file", "absolute path"),
    ],
)
def test_refused_devices(entry: dict[str, object], path: str, words: str) -> None:
    found = problems(netdevs=[entry])
    assert any(problem.startswith(f"server.toml: networkd.netdevs[0].{path}: ") and words in problem for problem in found), (
        found
    )
    assert len(found) <= 2


@pytest.mark.parametrize(
    ("link", "path", "words"),
    [
        ({"name": "lan0"}, "link.name", "one interface only"),
        ({"name": "lan/0"}, "link.name", "interface name"),
        ({"mac_address": "02:00:00:00:00:01"}, "link.mac_address", "one interface only"),
        ({"name_policy": ["kernel", "whim"]}, "link.name_policy[1]", "not one of"),
        ({"wake_on_lan": ["off", "magic"]}, "link.wake_on_lan", "stands alone"),
        ({"duplex": "both"}, "link.duplex", "not one of"),
        ({"rx_channels": 0}, "link.rx_channels", "from 1"),
    ],
)
def test_refused_links(link: dict[str, object], path: str, words: str) -> None:
    found = problems(links=[{"file": "10-a", "match": {"driver": ["virtio_net"]}, "link": link}])
    assert any(problem.startswith(f"server.toml: networkd.links[0].{path}: ") and words in problem for problem in found), found


def test_what_is_wrong_between_files() -> None:
    def named(file: str, name: str, **own: object) -> dict[str, object]:
        return {"file": file, "match": {"name": [name]}, "network": own}

    vlans = [
        {"file": "10-a", "netdev": {"name": "va", "kind": "vlan"}, "vlan": {"id": 5}},
        {"file": "10-a", "netdev": {"name": "vb", "kind": "vlan"}, "vlan": {"id": 5}},
        {"file": "10-c", "netdev": {"name": "va", "kind": "vlan"}, "vlan": {"id": 6}},
        {"file": "10-d", "netdev": {"name": "br", "kind": "bridge"}},
    ]
    networks = [
        named("20-a", "eth0", vlan=["va", "vb"], address=["10.0.0.1/24"], gateway=["10.0.0.254"]),
        named("20-b", "eth0"),
        named("20-b", "eth1", address=["10.0.0.1/16"], gateway=["10.0.0.254"]),
        named("20-d", "eth2", bridge="br", address=["10.1.0.1/16"]),
        named("20-e", "br", bridge="br"),
        named("20-f", "eth3", bond="br"),
    ]
    found = [problem.removeprefix("server.toml: networkd.") for problem in problems(netdevs=vlans, networks=networks)]
    assert sorted(found) == sorted([
        'networks[3].network.address: the interface is a part of "br", which has this instead',
        'netdevs[1].file: "10-a" is the file of netdevs[0] already',
        'networks[2].file: "20-b" is the file of networks[1] already',
        'netdevs[2].netdev.name: "va" is the name of netdevs[0] already',
        'networks[5].network.bond: "br" is a netdev of kind bridge, not bond',
        'networks[0].network.vlan[1]: "vb" has the number 5 on this interface, which "va" has already',
        "networks[4].network: goes round in a circle: br carries br",
        'networks[1].match: "20-a" matches the same interfaces and is read first, so this file would have no effect',
        'networks[2].network.address: "10.0.0.1" is an address of networks[0] already',
        "networks[2].network.gateway[0]: networks[0].network.gateway[0] is a default route like it; "
        "one of them needs a metric, in [[networkd.networks.route]]",
    ])  # fmt: skip


def test_machines_that_are_told_apart_by_hardware_may_have_the_same_address() -> None:
    def of(file: str, mac: str) -> dict[str, object]:
        own = {"address": ["10.0.0.1/24"], "gateway": ["10.0.0.254"]}
        return {"file": file, "match": {"mac_address": [mac]}, "network": own}

    assert len(files(networks=[of("20-a", "02:00:00:00:00:01"), of("20-b", "02:00:00:00:00:02")])) == 2


def test_two_default_routes_with_metrics_and_tables() -> None:
    def of(file: str, name: str, subnet: int, **route: object) -> dict[str, object]:
        way = {"gateway": f"10.{subnet}.0.254"} | route
        return {"file": file, "match": {"name": [name]}, "network": {"address": [f"10.{subnet}.0.1/24"]}, "route": [way]}

    assert files(networks=[of("20-a", "eth0", 0, metric=1), of("20-b", "eth1", 1, metric=2), of("20-c", "eth2", 2, table=7)])
    (problem,) = problems(networks=[of("20-a", "eth0", 0, metric=1), of("20-b", "eth1", 1, metric=1)])
    assert "networks[1].route[0]: networks[0].route[0] is a default route like it" in problem


def test_every_problem_at_once() -> None:
    assert len(problems(networks=[{"file": "x"}, network(network={"address": ["a"]}, zoo=1)], links=[{}], extra=1)) == 7


def test_no_more_files_than_anybody_needs() -> None:
    many = [{"file": f"20-{at}", "match": {"name": [f"e{at}"]}} for at in range(513)]
    assert problems(networks=many) == ("server.toml: networkd.networks: expected at most 512, got 513",)
    assert len(files(networks=many[:512])) == 512


def sections() -> Iterator[tuple[str, str, bool, Mapping[str, Any]]]:
    """Yield every table of an entry: the list, its name, whether it is a list, and the types of its keys."""
    for kind, model in (("links", Link), ("netdevs", Netdev), ("networks", Network)):
        for name, hint in get_type_hints(model).items():
            models = [one for one in (hint, *get_args(hint)) if isinstance(one, type) and attrs.has(one)]
            if models:
                yield kind, name, get_origin(hint) is tuple, get_type_hints(models[0])


TEXTS = [
    (kind, name, listed, key, get_origin(hint) is tuple)
    for kind, name, listed, hints in sections()
    for key, hint in hints.items()
    if any(getattr(one, "__supertype__", one) is str for one in (hint, *get_args(hint)))
]
"""Every key that takes text which is not one of a few words."""
EVIL = [
    "x\nEvil=1",
    "x\n[Network]\nEvil=1",
    "x\rEvil=1",
    "x\\",
    "x\0",
    "",
    " ",
    "x # y",
    "; x",
    "x\u2028Evil=1",
    "x" * 5000,
    "%H",
]


def test_there_are_many_keys_that_take_text() -> None:
    assert len(TEXTS) > 50


@pytest.mark.parametrize(("kind", "name", "listed", "key", "many"), TEXTS)
def test_no_text_leaves_its_line(kind: str, name: str, listed: bool, key: str, many: bool) -> None:
    for evil in EVIL:
        section: object = {key.removesuffix("_"): [evil] if many else evil}
        entry = {"file": "10-a", name: [section] if listed else section}
        path = f"{kind}[0].{name}{'[0]' if listed else ''}.{key.removesuffix('_')}{'[0]' if many else ''}: "
        assert any(path in problem for problem in problems(SERVER, **{kind: [entry]})), evil


@settings(deadline=None)
@given(st.text() | st.from_regex(r"[A-Za-z0-9_.:/!~#\[\]*?@=\\;% -]{1,40}", fullmatch=True))
def test_any_text_is_refused_or_one_line(raw: str) -> None:
    lines: dict[str, Any] = {
        "match": {"name": [raw]},
        "network": {"dns": [raw], "domains": [raw], "ntp": [raw], "address": [raw], "gateway": [raw]},
        "dhcpv4": {"hostname": raw},
        "route": [{"destination": raw, "source": raw, "preferred_source": raw}],
    }
    for section, value in lines.items():
        for key, one in (value[0] if isinstance(value, list) else value).items():
            some = {"match": {"name": ["e"]}, "network": {"dhcp": True}} | {
                section: [{key: one}] if section == "route" else {key: one}
            }
            try:
                content = files(networks=[{"file": "10-a", **some}], resolved=True)["etc/systemd/network/10-a.network"].content
            except ConfigError:
                continue
            content.decode("ascii")
            assert re.fullmatch(rb"(?:(?:#[ -~]*|\[[A-Za-z0-9]+\]|[A-Za-z0-9]+=[!-~][ -~]*|)\n)+", content)


def test_a_value_that_got_past_the_models_is_not_written() -> None:
    entry = structure(network(), Network)
    for evil in ("x\nEvil=1", "x\\", "", "é"):
        with pytest.raises(ValueError, match="Name= cannot hold"):
            lines_of_section("match", evolve(entry.match, name=(evil,)))


LINK_KEYS = """
MACAddress PermanentMACAddress OriginalName Path Driver Type Kind Host Virtualization Architecture MACAddressPolicy NamePolicy
Name AlternativeNamesPolicy AlternativeName MTUBytes BitsPerSecond Duplex AutoNegotiation WakeOnLan TransmitQueues ReceiveQueues
TransmitQueueLength ReceiveChecksumOffload TransmitChecksumOffload GenericSegmentationOffload GenericReceiveOffload
LargeReceiveOffload TCPSegmentationOffload TCP6SegmentationOffload RxChannels TxChannels CombinedChannels RxBufferSize
TxBufferSize RxFlowControl TxFlowControl
"""
"""Keys of systemd 252; the keys of other files are asked of systemd-networkd itself, by another test."""


def test_keys_of_link_files_are_udevs() -> None:
    assert {spelled(key) for kind, _, _, hints in sections() if kind == "links" for key in hints} == set(LINK_KEYS.split())


def test_literal_words_are_plain() -> None:
    words = [
        word
        for _, _, _, hints in sections()
        for hint in hints.values()
        for one in (hint, *get_args(hint))
        if get_origin(one) is Literal
        for word in get_args(one)
        if isinstance(word, str)
    ]
    assert words
    assert all(re.fullmatch(r"[A-Za-z0-9.+-]+", word) for word in words)


def test_files_of_others_are_none_of_its_business() -> None:
    other = RenderedFile(path="etc/hostname", content=b"x")
    assert not plugin.check_network(files=[other], session=Session())
