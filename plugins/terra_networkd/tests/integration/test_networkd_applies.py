"""A machine's systemd-networkd does what server.toml says: the daemon itself, in a namespace with interfaces of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.namespace import Namespace
from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.hookspecs import RenderedFile
from terra_core.system.namespaces import private_mounts
from terra_core.system.process import Daemon, run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from terra_networkd import plugin

SERVER = structure({"hostname": "a", "version": "1", "os": "r.example/os:1", "repo": "r.example/t"}, Server)
PROGRAM = "/lib/systemd/systemd-networkd"
TABLE: dict[str, Any] = {
    "netdevs": [
        {
            "file": "10-br0",
            "netdev": {"name": "br0", "kind": "bridge", "mac_address": "02:00:00:00:77:03"},
            "bridge": {"stp": False},
        },
        {
            "file": "10-vx0",
            "netdev": {"name": "vx0", "kind": "vxlan"},
            "vxlan": {"vni": 77, "independent": True, "local": "10.77.1.2", "destination_port": 4789},
        },
    ],
    "networks": [
        {
            "file": "20-eth0",
            "match": {"name": ["eth0"]},
            "link": {"mtu_bytes": 1400},
            "network": {"address": ["10.77.1.2/24", "fd77:1::2/64"], "gateway": ["10.77.1.1"]},
            "address": [{"address": "10.77.1.3/24", "label": "eth0:more"}],
            "route": [
                {"destination": "10.99.0.0/16", "gateway": "10.77.1.1", "metric": 7},
                {"destination": "10.98.0.0/16", "type": "blackhole", "table": 77},
            ],
            "routing_policy_rule": [{"from": "10.77.9.0/24", "table": 77, "priority": 770}],
        },
        {"file": "20-eth1", "match": {"mac_address": ["02:00:00:00:77:01"]}, "network": {"dhcp": "ipv4"}},
        {"file": "20-eth2", "match": {"name": ["eth2"]}, "network": {"bridge": "br0"}},
        {"file": "20-br0", "match": {"name": ["br0"]}, "network": {"address": ["10.77.3.2/24"]}},
        {"file": "20-vx0", "match": {"name": ["vx0"]}, "network": {"address": ["10.77.4.2/24"]}},
    ],
}


@contextmanager
def networkd(machine: Namespace, table: Mapping[str, Any], log: Path) -> Iterator[None]:
    """Run systemd-networkd in a namespace with the files of a table, and none of those of this machine."""
    pieces = plugin.render_network(server=SERVER, session=Session(source="server.toml", tables={"networkd": table}))
    with machine.inside(), private_mounts():
        for place in ("/run", "/etc/systemd/network"):
            run(["mount", "--types", "tmpfs", "--options", "mode=755", "terra-test", place])
        Path("/run/systemd").mkdir()  # systemd has it made by then
        # Where /sys cannot be written, nobody waits for udev, which no container has.
        run(["mount", "--types", "sysfs", "--options", "ro", "sysfs", "/sys"])
        for piece in pieces:
            if isinstance(piece, RenderedFile) and piece.path.startswith("etc/systemd/network/"):
                Path("/", piece.path).write_bytes(piece.content)
        daemon = Daemon([PROGRAM], log=log, owned=True, env={"SYSTEMD_LOG_TARGET": "console"})
    try:
        yield  # the mounts are the daemon's alone now
    finally:
        daemon.stop()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Namespace]:
    """Yield a namespace whose eth0, eth1 and eth2 have their other ends in a network with a DHCP server."""
    with Namespace("networkd") as machine, Namespace("networkd-net") as net, Undo() as undo:
        for at in range(3):
            own, other = (f"eth{at}", "address", f"02:00:00:00:77:0{at}"), (f"eth{at}", "netns", net.name)
            machine.ip("link", "add", *own, "type", "veth", "peer", *other)
            net.ip("address", "add", f"10.77.{at + 1}.1/24", "dev", f"eth{at}")
            net.ip("link", "set", f"eth{at}", "up")
        words = [
            "dnsmasq",
            "--keep-in-foreground",
            "--port=0",
            "--conf-file=/dev/null",
            "--interface=eth1",
            "--bind-interfaces",
        ]
        words += [
            "--user=root",
            "--pid-file",
            f"--dhcp-leasefile={tmp_path / 'leases'}",
            "--dhcp-range=10.77.2.50,10.77.2.59,1h",
        ]
        server = Daemon(net.command(words), log=tmp_path / "dnsmasq.log", owned=True)
        undo.callback(server.stop)
        yield machine


def asked(machine: Namespace, *words: str) -> Sequence[Mapping[str, Any]]:
    """Return what ``ip`` prints in the machine; the kernel's answer, not networkd's."""
    answer: Sequence[Mapping[str, Any]] = json.loads(machine.ip("-json", "-details", *words) or "[]")
    return answer


def addresses(machine: Namespace, name: str) -> set[str]:
    found = [entry for entry in asked(machine, "address") if entry["ifname"] == name]
    return {f"{one['local']}/{one['prefixlen']}" for entry in found for one in entry["addr_info"] if one["scope"] == "global"}


def test_interfaces_get_what_server_toml_says(machine: Namespace, tmp_path: Path) -> None:
    expected = {
        "eth0": {"10.77.1.2/24", "10.77.1.3/24", "fd77:1::2/64"},
        "br0": {"10.77.3.2/24"},
        "vx0": {"10.77.4.2/24"},
        "eth2": set(),
    }
    log = tmp_path / "networkd.log"

    def given() -> bool:
        return all(addresses(machine, name) == some for name, some in expected.items()) and bool(addresses(machine, "eth1"))

    with networkd(machine, TABLE, log):
        wait_until(given, seconds=60, what="addresses")
        links = {entry["ifname"]: entry for entry in asked(machine, "link")}
        assert links["eth0"]["mtu"] == 1400
        assert links["eth2"]["master"] == "br0"
        assert links["br0"]["address"] == "02:00:00:00:77:03"
        assert links["br0"]["linkinfo"]["info_data"]["stp_state"] == 0
        assert links["vx0"]["linkinfo"]["info_data"]["id"] == 77
        (leased,) = addresses(machine, "eth1")
        assert leased.startswith("10.77.2.5")
        routes = {(one["dst"], one.get("gateway"), one.get("dev"), one.get("metric")) for one in asked(machine, "route")}
        assert ("default", "10.77.1.1", "eth0", None) in routes
        assert ("10.99.0.0/16", "10.77.1.1", "eth0", 7) in routes
        (hole,) = asked(machine, "route", "show", "table", "77")
        assert (hole["type"], hole["dst"]) == ("blackhole", "10.98.0.0/16")
        (rule,) = [one for one in asked(machine, "rule") if one["priority"] == 770]
        assert (rule["src"], rule["srclen"], rule["table"]) == ("10.77.9.0", 24, "77")
    lease = (tmp_path / "leases").read_text().split()
    assert lease[4] == "01:02:00:00:00:77:01", "it names itself by its hardware address, as boot firmware does"
    assert addresses(machine, "eth1") == {leased}, "networkd ends, and the address stays: a disk may lie behind it"
    assert addresses(machine, "eth0") == expected["eth0"]


def test_without_a_table_every_wired_interface_gets_an_address(machine: Namespace, tmp_path: Path) -> None:
    with networkd(machine, {}, tmp_path / "networkd.log"):
        wait_until(lambda: bool(addresses(machine, "eth1")), seconds=60, what="an address")
