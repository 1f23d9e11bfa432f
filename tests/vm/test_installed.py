"""A controller that was installed from its package, in a virtual machine with systemd; and a node that boots from it."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.images import build_base_images, offer
from lab.machine import Machine
from lab.site import Site
from terra_core.system.process import run
from tests.vm.nodes import example, expect_running

_ROOT = Path(__file__).parents[2]
_SECONDS = 1200
_HOST, _NODE = "52:54:00:00:0d:01", "52:54:00:00:0d:02"
_LEASES = ("10.0.10.150", "10.0.10.199")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build Terra's package, and fetch what it depends on and the image does not have."""
    place = tmp_path_factory.mktemp("packages")
    built = run([_ROOT / "tools/deb"], timeout=900, cwd=_ROOT).text.split()[-1]
    shutil.copy(_ROOT / built, place)
    with tarfile.open(build_base_images()["terraos"].tar) as root:
        status = root.extractfile(next(member for member in root if member.name.removeprefix("./") == "var/lib/dpkg/status"))
        assert status is not None
        there = tmp_path_factory.mktemp("image") / "status"
        there.write_bytes(status.read())
    package = next(place.glob("*.deb"))
    options = ["--simulate", "--no-install-recommends", f"--option=Dir::State::status={there}"]
    listed = re.findall(r"^Inst (\S+)", run(["apt-get", *options, "install", package], timeout=120).text, re.MULTILINE)
    run(["apt-get", "-qq", "download", *sorted({*listed} - {"terra"})], timeout=300, cwd=place)
    return place


@pytest.fixture
def host(site: Site, packages: Path, lab_key: Path, tmp_path: Path) -> Iterator[Machine]:
    """Boot a machine whose image has the packages."""
    context = tmp_path / "context"
    shutil.copytree(packages, context / "packages")
    text = (Path(__file__).parent / "server.toml").read_text()
    text = text.replace('hostname = "example"', 'hostname = "controller"')
    text = text.replace('userland = """\n', 'userland = """\nADD packages /packages\nRUN dpkg --install /packages/*.deb\n')
    public = lab_key.with_suffix(".pub").read_text().strip()
    (context / "server.toml").write_text(f'{text}\n[ssh]\n  keys = ["{public}"]\n')
    site.command(["create", "--push", context / "server.toml"])
    node = tmp_path / "host.toml"
    image = f"{site.registry.address}/stellarproject/controller:6"
    node.write_text(example("node.toml", hostname="host", mac=_HOST, image=image).replace("size = 4096", "size = 16384"))
    site.command(["provision", node])
    with Machine(site.network, _HOST, site.directory / "serial/host.log", memory=1536) as machine:
        machine.wait_for_ssh(machine.wait_for_address(site.leases, seconds=_SECONDS), "terra", lab_key, seconds=_SECONDS)
        yield machine


@pytest.mark.long
def test_a_node_boots_from_a_controller_that_was_installed(site: Site, host: Machine, lab_key: Path, tmp_path: Path) -> None:
    address = host.ssh("hostname --all-ip-addresses").text.split()[0]
    pxe = offer(build_base_images()["pxe"], site.engine, site.registry.address, push=True)
    _end_dhcp_of(site)
    _write(
        host,
        "/etc/terra/controller.toml",
        f'address = "{address}"\n[docker]\ninsecure = ["{site.registry.address}"]\n'
        f'[tftp]\ndhcp = "server"\nrange = ["{_LEASES[0]}", "{_LEASES[1]}"]\n',
    )
    host.ssh("sudo systemctl disable --now tgt.service", timeout=120)  # Debian's, which would be used
    host.ssh("sudo systemctl enable --now controller.service", timeout=300)
    shown = _properties(host, "controller.service", "ActiveState", "Type", "WatchdogUSec", "StatusText", "NRestarts")
    assert (shown["ActiveState"], shown["Type"], shown["WatchdogUSec"]) == ("active", "notify", "1min 30s")
    exposure = re.search(
        r"([\d.]+) [A-Z]+", host.ssh("systemd-analyze security controller.service --no-pager | tail -n 1").text
    )
    assert exposure is not None
    assert float(exposure[1]) < 5.0
    assert "terra-tgtd-" in host.ssh("systemctl list-units --no-legend --type=scope 'terra-*'").text
    assert "terra-dnsmasq-" in host.ssh("systemctl list-units --no-legend --type=scope 'terra-*'").text
    assert "TERRA_API=" in host.ssh("sudo journalctl -u controller -o export --no-pager").text

    host.ssh(f"sudo terra pxe {pxe}", timeout=300)
    image = f"{site.registry.address}/stellarproject/example:6"
    _write(host, "/root/node.toml", example("node.toml", hostname="node", mac=_NODE, image=image))
    row = json.loads(host.ssh("sudo terra provision /root/node.toml", timeout=_SECONDS).text)
    assert row["hostname"] == "node"
    completed = "COMP_WORDS='terra delete n' COMP_CWORD=2 _TERRA_COMPLETE=bash_complete terra"
    assert host.ssh(f"sudo env {completed}").text == "plain,node\n"

    with Machine(site.network, _NODE, site.directory / "serial/node.log") as node:
        leases = tmp_path / "leases"

        def copied() -> Path:
            leases.write_bytes(host.ssh("sudo cat /var/lib/terra/dnsmasq.leases").stdout)
            return leases

        node.wait_for_console("login:", seconds=_SECONDS)
        node.wait_for_ssh(node.wait_for_address(copied(), seconds=30), "terra", lab_key, seconds=_SECONDS)
        expect_running(node, "node")
        before = host.ssh("pgrep -x tgtd; pgrep -x dnsmasq").text
        host.ssh("sudo systemctl restart controller.service", timeout=300)
        assert host.ssh("pgrep -x tgtd; pgrep -x dnsmasq").text == before, "the services went on"
        assert node.ssh("echo still here > ~/note && sync && cat ~/note").text == "still here\n"
        backup = "sudo terra backup /root/backup.tar && sudo stat --format %a /root/backup.tar"
        assert host.ssh(backup, timeout=300).text.split()[-1] == "600"
    assert _properties(host, "controller.service", "NRestarts") == {"NRestarts": "0"}
    host.ssh("sudo systemctl stop controller.service && sudo terra controller --stop && sudo dpkg --remove terra", timeout=300)
    assert host.ssh("pgrep -x tgtd", accept=(1,)).text == ""


def _end_dhcp_of(site: Site) -> None:
    """End the site's controller and its DHCP server; its targets go on, as the machine's root is on one of them."""
    site.stop_controller()
    (found,) = [process for process in site.network.processes() if process.name == "dnsmasq"]
    run(["kill", str(found.pid)])


def _write(machine: Machine, path: str, text: str) -> None:
    machine.ssh(f"sudo tee {path} >/dev/null <<'END'\n{text}\nEND\n")


def _properties(machine: Machine, unit: str, *names: str) -> dict[str, str]:
    lines = machine.ssh(f"systemctl show {unit} --property={','.join(names)}").text.splitlines()
    return dict(line.split("=", 1) for line in lines)
