"""What netplan itself says of what is rendered, and of what key."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terra_core.config.session import Session
from terra_core.errors import ConfigError
from terra_core.hookspecs import RenderedFile
from terra_core.system.process import run
from terra_core.system.progress import Event
from terra_netplan import alone, check, plugin
from terra_netplan.generator import find_generator
from tests.unit.servers import SERVER

TABLE: dict[str, object] = {
    "interfaces": [{"name": "eth0"}, {"name": "eth1", "addresses": ["10.0.0.2/24"], "gateway": "10.0.0.1"}],
    "vlans": [{"name": "v10", "id": 10, "link": "eth0"}, {"name": "v20", "id": 20, "link": "eth0"}],
}


def session(table: dict[str, object]) -> Session:
    return Session(source="server.toml", tables={"netplan": table})


def altered(table: dict[str, object], pattern: str, text: str) -> list[RenderedFile]:
    """Return what is rendered from a table, with one thing put wrong."""
    (file,) = plugin.render_network(SERVER, session(table))
    content, count = re.subn(pattern, text, file.content.decode(), count=1, flags=re.DOTALL)
    assert count == 1
    return [evolve(file, content=content.encode())]


@pytest.mark.parametrize(
    ("pattern", "text", "path", "words"),
    [
        (r"id: 20\n( *)link: eth0", r"id: 20\n\1link: br9", "netplan.vlans[1]", "br9"),
        (r"id: 20", "id: many", "netplan.vlans[1].id", "many"),
        (r"via: 10.0.0.1", "via: 10.0.0", "netplan.interfaces[1].routes[0].via", "IP family"),
        (r"dhcp4: true", "dhcp4: true\n      evil-key: 1", "netplan.interfaces[0].evil_key", "unknown key 'evil-key'"),
        (r"vlans:", "veelans:", "netplan", "unknown key 'veelans'"),
        (r"version: 2", "version: 2: 3", "netplan", ""),
    ],
)
def test_what_netplan_refuses_is_said_with_the_key(pattern: str, text: str, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plugin.check_network(altered(TABLE, pattern, text), session(TABLE))
    (problem,) = caught.value.problems
    assert problem.startswith(f"server.toml: {path}"), problem
    assert "netplan refuses what this becomes: " in problem
    assert words in problem
    assert "/tmp" not in problem, "no path of this machine says anything of server.toml"


def test_what_it_says_of_a_device_is_said_with_the_device() -> None:
    no_dns = {"use_dns": False}
    table: dict[str, object] = {
        "interfaces": [{"name": "eth0", "dhcp6": True, "dhcp4_overrides": no_dns, "dhcp6_overrides": no_dns}]
    }
    with pytest.raises(ConfigError, match=r"netplan\.interfaces\[0\]: netplan refuses .*use-dns"):
        plugin.check_network(altered(table, r"(dhcp6-overrides:\s+use-dns:) false", r"\1 true"), session(table))


def test_files_of_others_are_none_of_its_business() -> None:
    other = RenderedFile(path="etc/hostname", content=b"x: [", mode=0o644)
    assert not plugin.check_network([other], session({}))
    assert plugin.check_network([other, *plugin.render_network(SERVER, session(TABLE))], session(TABLE))


def test_what_it_warns_of_is_passed_on() -> None:
    told: list[Event] = []
    files = altered(TABLE, r"routes:\n( *)- to: default\n *via: 10.0.0.1\n", r"gateway4: 10.0.0.1\n")
    assert plugin.check_network(files, session(TABLE).reporting_to(told.append))
    assert told[0].text.startswith("warning: netplan: `gateway4` has been deprecated"), told


def test_terra_create_refuses_what_netplan_refuses_also_of_the_context(tmp_path: Path) -> None:
    source = tmp_path / "server.toml"
    source.write_text('hostname = "s"\nversion = "1"\nos = "r.example/os:1"\nrepo = "r.example/t"\n[netplan]\n')
    command: list[str | Path] = [Path(sys.executable).parent / "terra", "create", "--dry", source]
    assert run(command).stdout
    own = tmp_path / "etc/netplan/50-terra.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("network:\n  version: 2\n  vlans:\n    v5: {id: 5, link: nowhere}\n")
    done = run(command, accept=(2,))
    assert b"server.toml: netplan: netplan refuses what this becomes: v5: interface 'nowhere' is not defined" in done.stderr


def test_a_generator_that_breaks_is_said_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "generate"
    broken.write_text("#!/bin/sh\necho 'ERROR: assertion failed: (family)' >&2\nkill -ABRT $$\n")
    broken.chmod(0o755)
    monkeypatch.setattr(check, "find_generator", lambda: broken)
    with pytest.raises(ConfigError) as caught:
        plugin.check_network(plugin.render_network(SERVER, session(TABLE)), session(TABLE))
    said = "netplan itself breaks over what this becomes: ERROR: assertion failed: (family)"
    assert caught.value.problems == (f"server.toml: netplan: {said}",)


def test_no_program_is_run_beside_the_generator(tmp_path: Path) -> None:
    """netplan would reload systemd and udev of the machine that builds, found by PATH and by absolute paths."""
    source, trace = tmp_path / "server.toml", tmp_path / "trace"
    source.write_text('hostname = "s"\nversion = "1"\nos = "r.example/os:1"\nrepo = "r.example/t"\n[netplan]\n')
    terra = Path(sys.executable).parent / "terra"
    run(["strace", "-f", "-e", "trace=execve,execveat", "-o", trace, terra, "create", "--dry", source])
    tried = re.findall(r'execve(?:at)?\([^"]*"([^"]+)"', trace.read_text())
    assert str(find_generator()) == tried[-1]
    assert {Path(path).name for path in tried} & {"systemctl", "udevadm", "networkctl", "netplan"} == set()


def test_a_program_that_may_start_none_has_threads_and_no_children() -> None:
    script = """
import os, subprocess, threading
threads = [threading.Thread(target=print, args=("thread",)) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
for start in (os.fork, lambda: subprocess.run(["true"]), lambda: os.posix_spawn("/bin/true", ["true"], {})):
    try:
        start()
        print("started")
    except BlockingIOError:
        print("refused")
"""
    done = run([sys.executable, "-I", alone.__file__, sys.executable, "-c", script])
    assert done.text.split() == ["thread"] * 3 + ["refused"] * 3


def test_what_cannot_be_confined_is_not_run_and_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "generate"
    program.write_text("no program")
    monkeypatch.setattr("terra_netplan.generator.GENERATORS", (program,))
    told: list[Event] = []
    assert not plugin.check_network(plugin.render_network(SERVER, session(TABLE)), session(TABLE).reporting_to(told.append))
    assert [event.text for event in told] == [f"warning: not checked by netplan: {program} was not run: Permission denied"]


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, object]:
    """Draw bridges and VLANs upon one another, in any order, with costs for every port."""
    names = ["eth0", "eth1", "eth2"]
    free, links = list(names), list(names)
    vlans: list[dict[str, object]] = []
    bridges: list[dict[str, object]] = []
    for at in range(draw(st.integers(1, 7))):
        if draw(st.booleans()) and free:
            ports = draw(st.lists(st.sampled_from(free), min_size=1, max_size=2, unique=True))
            free = [name for name in free if name not in ports]
            links = [name for name in links if name not in ports] + [f"br{at}"]
            costs = {port: draw(st.integers(1, 100)) for port in ports}
            parameters = {"path_cost": costs, "port_priority": dict.fromkeys(ports, 5)}
            bridges.append({"name": f"br{at}", "interfaces": ports, "dhcp4": False, "parameters": parameters})
        elif links:
            vlans.append({"name": f"v{at}", "id": at + 1, "link": draw(st.sampled_from(links)), "dhcp4": False})
            free.append(f"v{at}")
            links.append(f"v{at}")
    return {
        "interfaces": draw(st.permutations([{"name": name, "dhcp4": False} for name in names])),
        "vlans": draw(st.permutations(vlans)),
        "bridges": draw(st.permutations(bridges)),
        "vrfs": [{"name": "vrf0", "table": 7, "interfaces": [bridges[0]["name"]]}] if bridges else [],
    }


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_the_order_of_definitions_does_not_matter(table: dict[str, object]) -> None:
    assert plugin.check_network(plugin.render_network(SERVER, session(table)), session(table))
