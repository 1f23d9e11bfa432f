"""What systemd-networkd itself says of what is rendered, and of what key."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs
import pytest
import tomli
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.errors import ConfigError
from terra_core.hookspecs import RenderedFile
from terra_core.system.mounts import mount_points
from terra_core.system.process import run
from terra_core.system.progress import Event
from terra_networkd import plugin
from terra_networkd.netdev import Netdev
from terra_networkd.network import Network
from terra_networkd.sections import Section, lines_of_section

SERVER = structure({"hostname": "a", "version": "1", "os": "r.example/os:1", "repo": "r.example/t"}, Server)
README = Path(__file__).parents[2] / "README.md"
TABLE: dict[str, Any] = {
    "netdevs": [
        {"file": "10-bond0", "netdev": {"name": "bond0", "kind": "bond"}, "bond": {"mode": "802.3ad", "mii_monitor_sec": 0.1}},
        {"file": "10-v20", "netdev": {"name": "v20", "kind": "vlan"}, "vlan": {"id": 20}},
    ],
    "networks": [
        {"file": "20-ports", "match": {"name": ["eth0", "eth1"]}, "network": {"bond": "bond0"}},
        {"file": "20-bond0", "match": {"name": ["bond0"]}, "network": {"dhcp": "ipv4", "vlan": ["v20"]}},
        {
            "file": "20-v20",
            "match": {"name": ["v20"]},
            "network": {"address": ["10.0.20.5/24"], "gateway": ["10.0.20.1"]},
            "route": [
                {"destination": "10.1.0.0/16", "gateway": "10.0.20.2"},
                {"destination": "10.2.0.0/16", "gateway": "10.0.20.3"},
            ],
        },
    ],
}


def session(table: dict[str, Any], report: Callable[[Event], None] = lambda _: None) -> Session:
    return Session(source="server.toml", tables={"networkd": table}, report=report)


def rendered(table: dict[str, Any]) -> list[RenderedFile]:
    """Return the files that a table becomes."""
    return [piece for piece in plugin.render_network(server=SERVER, session=session(table)) if isinstance(piece, RenderedFile)]


def altered(table: dict[str, Any], pattern: str, text: str) -> list[RenderedFile]:
    """Return the files that a table becomes, with one thing put wrong."""
    changed = [(file, *re.subn(pattern, text, file.content.decode(), count=1)) for file in rendered(table)]
    assert [count for _, _, count in changed].count(1) == 1
    return [evolve(file, content=content.encode()) for file, content, _ in changed]


@pytest.mark.parametrize(
    ("pattern", "text", "path", "words"),
    [
        ("Address=10.0.20.5/24", "Address=10.0.20.5/240", "networks[2].network.address", "10.0.20.5/240"),
        ("Gateway=10.0.20.3", "Gateway=nowhere", "networks[2].route[1].gateway", "nowhere"),
        ("Id=20", "Id=5000", "netdevs[1].vlan.id", "VLAN identifier"),
        ("DHCP=ipv4", "DHCP=sometimes", "networks[1].network.dhcp", "sometimes"),
        ("Mode=802.3ad", "Mode=best", "netdevs[0].bond.mode", "best"),
        (r"\[Match\]\nName=eth0 eth1\n", "", "networks[0]", "Match"),
        ("Kind=bond\n", "", "netdevs[0]", "Kind"),
        ("VLAN=v20", "VLAN=v21", "networks[1]", "v21 NetDev could not be found"),
    ],
)
def test_what_networkd_refuses_is_said_with_the_key(pattern: str, text: str, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plugin.check_network(files=altered(TABLE, pattern, text), session=session(TABLE))
    start = f"server.toml: networkd.{path}: systemd refuses what this becomes: "
    assert any(problem.startswith(start) and words in problem for problem in caught.value.problems), caught.value.problems
    assert not any("/run/" in problem for problem in caught.value.problems), "the path is that of the machine"


def test_a_key_that_it_does_not_know_may_be_known_to_a_newer_one() -> None:
    told: list[Event] = []
    files = altered(TABLE, "DHCP=ipv4", "DHCP=ipv4\nFuture=1\n[Beyond]\nA=1")
    assert plugin.check_network(files=files, session=session(TABLE, told.append))
    assert [re.search("Unknown (key|section)", event.text) is not None for event in told] == [True, True]


def test_the_machine_that_checks_stays_as_it_is() -> None:
    def shape() -> object:
        links = run(["ip", "-oneline", "link"]).text
        return links, run(["ip", "-oneline", "address"]).text, mount_points(), sorted(Path("/run").iterdir())

    before = shape()
    assert plugin.check_network(files=rendered(TABLE), session=session(TABLE))
    assert shape() == before


def tables_of_readme() -> list[dict[str, Any]]:
    blocks = re.findall(r"```toml\n(.*?)```", README.read_text(), flags=re.DOTALL)
    return [tomli.loads(block)["networkd"] for block in blocks]


@pytest.mark.parametrize("table", [TABLE, {}, *tables_of_readme()])
def test_it_takes_what_is_rendered_without_a_word(table: dict[str, Any]) -> None:
    told: list[Event] = []
    assert plugin.check_network(files=rendered(table), session=session(table, told.append))
    assert told == []


def test_the_readme_shows_what_is_rendered() -> None:
    (shown,) = re.findall(r"```ini\n(.*?)```", README.read_text(), flags=re.DOTALL)
    first = next(file for file in rendered(tables_of_readme()[0]) if file.path.endswith("20-lan.network"))
    assert first.content.decode().partition("\n\n")[2] == shown


SAMPLES: dict[str, object] = {
    "address": "10.0.0.1/24", "peer": "10.0.0.2/32", "gateway": "10.0.0.254", "destination": "10.9.0.0/16",
    "source": "10.0.0.0/24", "preferred_source": "10.0.0.1", "dns": "10.0.0.1", "domains": "example.com", "ntp": "example.com",
    "mac_address": "02:00:00:00:00:01", "link_layer_address": "02:00:00:00:00:02", "ad_actor_system": "02:00:00:00:00:01",
    "permanent_mac_address": "02:00:00:00:00:01", "source_mac_address": "02:00:00:00:00:01", "from_": "10.0.0.0/24",
    "to": "10.1.0.0/16", "remote": "10.0.0.9", "local": "10.0.0.8", "group": "239.1.1.1", "arp_ip_targets": "10.0.0.3",
    "allowed_ips": "10.0.0.0/8", "endpoint": "10.0.0.1:5", "private_key_file": "/etc/key", "preshared_key_file": "/etc/key",
    "vlan": "7", "egress_untagged": "7", "host": "box", "virtualization": "kvm", "architecture": "x86-64",
}  # fmt: skip
KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="


def filled(model: type[Section]) -> Section:
    """Return a section with every key that it knows, whatever its keys are to each other."""
    values = {}
    for name, hint in get_type_hints(model).items():
        kinds = [kind for kind in (hint, *get_args(hint)) if kind is not type(None)]
        words = next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), None)
        plain = [getattr(kind, "__supertype__", kind) for kind in kinds]
        sample: object = KEY if name.endswith("_key") else SAMPLES.get(name, "word")
        if words:
            sample = words[-1]
        elif bool in plain:
            sample = True
        elif int in plain:
            sample = 7
        elif float in plain:
            sample = 7.0
        values[name] = (sample,) if get_origin(hint) is tuple else sample
    return model(**values)


def sections() -> Iterator[tuple[str, str, type[Section]]]:
    for suffix, entry in (("netdev", Netdev), ("network", Network)):
        for name, hint in get_type_hints(entry).items():
            models = [one for one in (hint, *get_args(hint)) if isinstance(one, type) and issubclass(one, Section)]
            if models:
                yield suffix, name, models[0]


@pytest.mark.parametrize(("suffix", "name", "model"), list(sections()))
def test_it_knows_every_key_that_a_section_can_have(suffix: str, name: str, model: type[Section]) -> None:
    lines = lines_of_section(name, filled(model), apart=name == "network")
    assert len(lines) > len(attrs.fields(model))
    told: list[Event] = []
    kind = {"peer": "veth", "wireguard_peer": "wireguard"}.get(name, name)
    head = f"[NetDev]\nName=dev0\nKind={kind}\n" if suffix == "netdev" and name != "netdev" else ""
    file = RenderedFile(path=f"etc/systemd/network/10-a.{suffix}", content=(head + "\n".join(lines) + "\n").encode())
    with suppress(ConfigError):  # what the sample values are to each other is of no interest here
        plugin.check_network(files=[file], session=session({}, told.append))
    assert told == [], "a key that it does not know is a warning"


def test_terra_create_refuses_what_networkd_refuses_also_of_the_context(tmp_path: Path) -> None:
    source = tmp_path / "server.toml"
    head = 'hostname = "s"\nversion = "1"\nos = "r.example/os:1"\nrepo = "r.example/t"\n[plugins]\nnetwork = "networkd"\n'
    source.write_text(head + '[networkd]\nnetworks = [{ file = "20-a", match.name = ["eth0"], network.dhcp = "ipv4" }]\n')
    command: list[str | Path] = [Path(sys.executable).parent / "terra", "create", "--dry", source]
    text = run(command).text
    assert "--- /etc/systemd/network/20-a.network (0644 root:root)\n" in text
    assert "--- /etc/systemd/system-generators/netplan -> /dev/null\n" in text
    assert "netplan.yaml" not in text
    own = tmp_path / "etc/systemd/network/20-a.network"
    own.parent.mkdir(parents=True)
    own.write_text("[Match]\nName=eth0\n[Network]\nAddress=nowhere\n")
    done = run(command, accept=(2,))
    assert b"server.toml: networkd.networks[0].network: systemd refuses what this becomes: " in done.stderr


def test_without_the_right_to_isolate_it_nothing_is_checked(tmp_path: Path) -> None:
    source = tmp_path / "server.toml"
    head = 'hostname = "s"\nversion = "1"\nos = "r.example/os:1"\nrepo = "r.example/t"\n[plugins]\nnetwork = "networkd"\n'
    source.write_text(f"{head}[networkd]\n")
    few = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"]
    assert "80-terra-wired" in run([*few, Path(sys.executable).parent / "terra", "create", "--dry", source]).text


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, Any]:
    """Draw bridges and VLANs upon one another, in any order."""
    names = ["eth0", "eth1", "eth2"]
    networks: dict[str, dict[str, Any]] = {
        name: {"file": f"20-{name}", "match": {"name": [name]}, "network": {}} for name in names
    }
    netdevs: list[dict[str, Any]] = []
    free = list(names)
    for at in range(draw(st.integers(1, 7))):
        if draw(st.booleans()) and free:
            name = f"br{at}"
            netdevs.append({"file": f"10-{name}", "netdev": {"name": name, "kind": "bridge"}})
            for port in draw(st.lists(st.sampled_from(free), min_size=1, max_size=2, unique=True)):
                networks[port]["network"]["bridge"] = name
                free.remove(port)
        else:
            name = f"v{at}"
            netdevs.append({"file": f"10-{name}", "netdev": {"name": name, "kind": "vlan"}, "vlan": {"id": at + 1}})
            networks[draw(st.sampled_from(sorted(networks)))]["network"].setdefault("vlan", []).append(name)
        networks[name] = {"file": f"20-{name}", "match": {"name": [name]}, "network": {}}
        free.append(name)
    for at, name in enumerate(free):
        networks[name]["network"]["address"] = [f"10.{at}.0.1/24"]
    return {"netdevs": draw(st.permutations(netdevs)), "networks": draw(st.permutations(list(networks.values())))}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_the_order_of_devices_does_not_matter(table: dict[str, Any]) -> None:
    told: list[Event] = []
    assert plugin.check_network(files=rendered(table), session=session(table, told.append))
    assert told == []
