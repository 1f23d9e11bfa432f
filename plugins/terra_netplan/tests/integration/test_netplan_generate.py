"""netplan itself takes what is rendered."""

from __future__ import annotations

import ipaddress
import re
import tempfile
from pathlib import Path
from typing import Literal

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terra_core.config.session import Session
from terra_core.errors import ConfigError
from terra_netplan import plugin
from terra_netplan.generator import find_generator, generate
from tests.unit.servers import SERVER

TABLES: dict[str, dict[str, object]] = {
    "nothing said": {},
    "dhcp": {"interfaces": [{"name": "eth0"}]},
    "both families": {"interfaces": [{"name": "eth0", "dhcp6": True}, {"name": "on", "optional": True}]},
    "static": {
        "interfaces": [
            {
                "name": "eth1",
                "addresses": ["10.0.20.5/24", "fd00:20::5/64"],
                "gateway": "10.0.20.1",
                "nameservers": ["10.0.20.1", "fd00:20::1"],
                "mtu": 9000,
            },
            {"name": "eth2", "addresses": ["fd00:30::5/64"], "gateway": "fd00:30::1"},
        ]
    },
    "matches and routes": {
        "interfaces": [
            {
                "name": "lan",
                "match": {"macaddress": "54:b2:03:07:f1:d1"},
                "set_name": "lan0",
                "addresses": ["10.0.20.5/24", "fd00:20::5/64"],
                "accept_ra": False,
                "search": ["example.com"],
                "routes": [
                    {"to": "default", "via": "10.0.20.1", "metric": 50},
                    {"to": "default", "via": "fe80::1"},
                    {"to": "10.9.0.0/16", "via": "172.16.0.1", "on_link": True},
                ],
            },
            {"name": "others", "match": {"name": "en*", "driver": "virtio_net"}, "optional": True},
        ]
    },
    "a bond with VLANs and a bridge": {
        "interfaces": [{"name": "eth0"}, {"name": "eth1"}, {"name": "eth2"}],
        "bonds": [
            {
                "name": "bond0",
                "interfaces": ["eth0", "eth1"],
                "dhcp4": False,
                "mtu": 9000,
                "parameters": {
                    "mode": "802.3ad",
                    "lacp_rate": "fast",
                    "mii_monitor_interval": 100,
                    "up_delay": 200,
                    "down_delay": 200,
                    "min_links": 1,
                    "ad_select": "bandwidth",
                    "transmit_hash_policy": "layer3+4",
                },
            }
        ],
        "vlans": [
            {"name": "storage", "id": 20, "link": "bond0", "addresses": ["10.0.20.5/24"], "mtu": 9000},
            {"name": "bond0.30", "id": 30, "link": "bond0"},
        ],
        "bridges": [
            {
                "name": "br0",
                "interfaces": ["bond0.30", "eth2"],
                "addresses": ["10.0.30.5/24"],
                "gateway": "10.0.30.1",
                "parameters": {
                    "stp": True,
                    "priority": 4096,
                    "forward_delay": 4,
                    "hello_time": 2,
                    "max_age": 6,
                    "ageing_time": 300,
                    "path_cost": {"eth2": 100},
                    "port_priority": {"eth2": 16},
                },
            }
        ],
    },
    "the keys of every device": {
        "interfaces": [
            {
                "name": "eth0",
                "macaddress": "52:54:00:00:00:01",
                "link_local": ["ipv4", "ipv6"],
                "dhcp6": True,
                "dhcp4_overrides": {"use_dns": False, "use_domains": "route", "hostname": "web", "route_metric": 5},
                "dhcp6_overrides": {"use_dns": False, "use_domains": "route", "hostname": "web", "route_metric": 5},
                "routes": [
                    {"to": "10.0.0.0/8", "scope": "link", "table": 5},
                    {"to": "10.1.0.0/16", "type": "blackhole"},
                    {"to": "10.2.0.0/16", "via": "10.3.0.1", "from": "10.3.0.9", "on_link": True, "mtu": 1400},
                ],
                "routing_policy": [{"from": "10.0.0.0/8", "to": "10.9.0.1", "table": 5, "priority": 10, "mark": 3}],
            },
            {"name": "eth1", "link_local": [], "dhcp4_overrides": {"use_domains": True, "send_hostname": False}},
        ],
        "vrfs": [
            {"name": "red", "table": 7, "interfaces": ["eth1"], "routing_policy": [{"from": "10.0.0.0/8", "priority": 9}]},
        ],
    },
    "tunnels of every kind": {
        "interfaces": [{"name": "eth0"}],
        "tunnels": [
            *(
                {"name": f"t-{mode}", "mode": mode, "local": "10.0.0.1", "remote": "10.0.0.2", "ttl": 64}
                for mode in ("sit", "gre", "ipip", "vti", "gretap")
            ),
            *(
                {"name": f"t-{mode}", "mode": mode, "local": "fd00::1", "remote": "fd00::2"}
                for mode in ("ip6gre", "ipip6", "ip6ip6", "vti6", "ip6gretap")
            ),
            {"name": "keyed", "mode": "gre", "local": "10.0.0.3", "remote": "10.0.0.4", "key": "5"},
            {"name": "k", "mode": "vti", "local": "10.0.0.5", "remote": "10.0.0.6", "keys": {"input": "5", "output": "9"}},
            {
                "name": "wg0",
                "mode": "wireguard",
                "keys": {"private": "/etc/wireguard/private.key"},
                "peers": [
                    {
                        "keys": {"public": f"{'A' * 43}=", "shared": "/etc/wireguard/shared.key"},
                        "allowed_ips": ["10.0.0.0/8", "fd00::/8"],
                        "endpoint": "[fd00::1]:51820",
                    }
                ],
            },
            {
                "name": "vx0",
                "mode": "vxlan",
                "id": 5,
                "link": "eth0",
                "remote": "239.0.0.1",
                "ttl": 4,
                "type_of_service": 8,
                "ageing": 300,
                "limit": 100,
                "arp_proxy": True,
                "short_circuit": False,
                "notifications": ["l2-miss", "l3-miss"],
                "checksums": ["udp", "zero-udp6-tx"],
            },
        ],
    },
    "a bond that asks by ARP": {
        "interfaces": [{"name": "eth0"}, {"name": "eth1"}],
        "bonds": [
            {
                "name": "bond0",
                "interfaces": ["eth0", "eth1"],
                "parameters": {
                    "mode": "active-backup",
                    "primary": "eth0",
                    "primary_reselect_policy": "better",
                    "fail_over_mac_policy": "active",
                    "gratuitous_arp": 3,
                    "arp_interval": 500,
                    "arp_ip_targets": ["10.0.0.1", "10.0.0.2"],
                },
            }
        ],
    },
}


def generated(tmp_path: Path, table: dict[str, object]) -> dict[str, str]:
    """Return what netplan makes of a table, by file name."""
    tmp_path.mkdir(exist_ok=True)
    for file in plugin.render_network(SERVER, Session(tables={"netplan": table})):
        path = tmp_path / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    generator = find_generator()
    assert generator is not None
    done = generate(generator, tmp_path)
    assert (done.code, done.stderr) == (0, b""), "netplan has something to say of the file"
    files = {path.name: path.read_text() for path in (tmp_path / "run/systemd/network").iterdir()}
    assert not re.search("=-[0-9]", "\n".join(files.values())), "systemd-networkd takes no negative number"
    return files


@pytest.mark.parametrize("name", TABLES)
def test_netplan_takes_it(tmp_path: Path, name: str) -> None:
    networks = [text for name, text in generated(tmp_path, TABLES[name]).items() if name.endswith(".network")]
    assert networks
    own = [text for text in networks if "\nBond=" not in text and "\nBridge=" not in text and "Name=red\n" not in text]
    assert all("CriticalConnection=true" in text or "KeepConfiguration=true" in text for text in own)


def test_what_networkd_is_told(tmp_path: Path) -> None:
    files = generated(tmp_path, TABLES["static"])
    lines = set(files["10-netplan-eth1.network"].splitlines())
    assert {"Address=10.0.20.5/24", "Address=fd00:20::5/64", "Gateway=10.0.20.1", "DNS=10.0.20.1"} <= lines
    assert "MTUBytes=9000" in "".join(files.values())


def test_dhcp_by_hardware_address(tmp_path: Path) -> None:
    lines = generated(tmp_path, TABLES["dhcp"])["10-netplan-eth0.network"].splitlines()
    assert {"Name=eth0", "DHCP=ipv4", "ClientIdentifier=mac"} <= set(lines)


def test_a_bond_is_made_of_its_interfaces_and_carries_its_vlans(tmp_path: Path) -> None:
    files = generated(tmp_path, TABLES["a bond with VLANs and a bridge"])
    assert "Bond=bond0" in files["10-netplan-eth0.network"].splitlines()
    assert {"Mode=802.3ad", "LACPTransmitRate=fast", "UpDelaySec=200ms"} <= set(files["10-netplan-bond0.netdev"].splitlines())
    assert {"VLAN=storage", "VLAN=bond0.30"} <= set(files["10-netplan-bond0.network"].splitlines())
    assert "Bridge=br0" in files["10-netplan-eth2.network"].splitlines()
    assert {"STP=true", "ForwardDelaySec=4"} <= set(files["10-netplan-br0.netdev"].splitlines())


def test_a_part_of_a_bond_asks_for_nothing(tmp_path: Path) -> None:
    lines = generated(tmp_path, TABLES["a bond that asks by ARP"])["10-netplan-eth0.network"].splitlines()
    assert not [line for line in lines if line.startswith("DHCP=")]
    assert "LinkLocalAddressing=no" in lines


def test_an_interface_is_renamed(tmp_path: Path) -> None:
    lines = generated(tmp_path, TABLES["matches and routes"])["10-netplan-lan.link"].splitlines()
    assert "Name=lan0" in lines
    assert any(line.lower().endswith("54:b2:03:07:f1:d1") for line in lines)


EXAMPLES = sorted(Path(__file__).parents[4].glob("examples/*server.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_netplan_takes_every_example(path: Path, tmp_path: Path) -> None:
    assert generated(tmp_path, tomli.loads(path.read_text())["netplan"])


def optionally(**keys: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Return a strategy for tables with any of these keys."""
    return st.fixed_dictionaries({}, optional=keys)


def network_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: int) -> str:
    return str(ipaddress.ip_network((address, bits), strict=False))


HOSTS: dict[int, st.SearchStrategy[str]] = {
    version: st.ip_addresses(network=network).map(str) for version, network in ((4, "10.0.0.0/8"), (6, "fd00::/8"))
}
ADDRESSES = st.one_of(
    st.builds("{}/{}".format, HOSTS[4], st.integers(8, 30)), st.builds("{}/{}".format, HOSTS[6], st.integers(16, 126))
)


def routes_of(version: Literal[4, 6], bits: int) -> st.SearchStrategy[dict[str, object]]:
    """Return a strategy for routes of one family, whose gateways need no address near."""
    networks = st.builds(network_of, st.ip_addresses(v=version), st.integers(1, bits))
    keys: dict[str, st.SearchStrategy[object]] = {
        "to": st.one_of(st.just("default"), networks),
        "via": HOSTS[version],
        "on_link": st.just(True),
    }
    return st.fixed_dictionaries(keys, optional={"metric": st.integers(0, 2**31 - 1), "table": st.integers(1, 2**31 - 1)})


ROUTES = st.one_of(routes_of(4, 32), routes_of(6, 128))
WAYS: dict[str, st.SearchStrategy[object]] = {
    "dhcp4": st.booleans(),
    "dhcp6": st.booleans(),
    "accept_ra": st.booleans(),
    "addresses": st.lists(ADDRESSES, max_size=3),
    "routes": st.lists(ROUTES, max_size=2),
    "nameservers": st.lists(st.one_of(*HOSTS.values()), max_size=2),
    "search": st.lists(st.sampled_from(["example.com", "a.example"]), max_size=2),
    "mtu": st.integers(1280, 9000),
    "optional": st.booleans(),
}
MATCHES = st.one_of(
    st.builds(lambda number: {"macaddress": f"52:54:00:00:00:{number:02x}"}, st.integers(0, 255)),
    st.builds(lambda name: {"name": name}, st.sampled_from(["en*", "eth?", "enp[1-3]s0", "eth7"])),
)
BONDS = st.one_of(
    st.fixed_dictionaries(
        {"mode": st.just("802.3ad")},
        optional={"lacp_rate": st.sampled_from(["slow", "fast"]), "min_links": st.integers(1, 255)},
    ),
    st.fixed_dictionaries({"mode": st.sampled_from(["balance-rr", "active-backup", "balance-tlb", "balance-alb"])}),
    st.fixed_dictionaries({"mode": st.just("balance-xor"), "mii_monitor_interval": st.integers(1, 60000)}),
)
BRIDGES = optionally(stp=st.booleans(), priority=st.integers(0, 65535), ageing_time=st.integers(0, 1000000))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, object]:
    """Draw tables of ``[netplan]``; now and then one that is refused for a conflict between two devices."""
    names = [f"eth{number}" for number in range(draw(st.integers(0, 4)))]
    parts = draw(st.integers(0, len(names)))
    free = names[parts:]
    interfaces: list[dict[str, object]] = [{"name": name} for name in names[:parts]]
    interfaces += [{"name": name, **draw(optionally(match=MATCHES, **WAYS))} for name in free]
    table: dict[str, object] = {"interfaces": interfaces}
    links = [*free]
    if parts:
        kind = draw(st.sampled_from(["bonds", "bridges"]))
        parameters = draw(BONDS if kind == "bonds" else BRIDGES)
        links.append("whole")
        table[kind] = [{"name": "whole", "interfaces": names[:parts], "parameters": parameters, **draw(optionally(**WAYS))}]
    if links:
        ids = draw(st.lists(st.integers(1, 4094), max_size=3, unique=True))
        ways = optionally(**{key: value for key, value in WAYS.items() if key != "mtu"})
        table["vlans"] = [{"name": f"v{id_}", "id": id_, "link": draw(st.sampled_from(links)), **draw(ways)} for id_ in ids]
    return table


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_netplan_takes_whatever_is_not_refused(table: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as root:
        try:
            files = generated(Path(root), table)
        except ConfigError as error:
            unexpected = [problem for problem in error.problems if "already" not in problem]
            if unexpected:
                pytest.fail(f"refused: {unexpected}")
            return
    assert files
