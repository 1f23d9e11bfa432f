"""One image, and a machine for each way that plugins have of giving it a root: every line of the matrix boots to a login.

A line says what reaches the disks, what is on them, and what starts the machine from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import frozen

from lab.disks import sparse
from lab.images import build_base_images
from lab.machine import Machine
from lab.podman import PodmanStorage
from lab.site import Site, terra_command
from tests.vm.nodes import example, expect_mounted, expect_running, group
from tests.vm.test_install import booted, install

pytestmark = pytest.mark.long

_BOOT_SECONDS = 600


@frozen(kw_only=True)
class Line:
    """A line of the matrix.

    :param hostname: the machine.
    :param filesystem: the plugin that makes its root, and the type of that.
    :param firmware: what starts it.
    :param disk: what lsblk(8) says of its disk: the name of its own, or what that is reached by.
    """

    hostname: str
    filesystem: str
    firmware: str
    disk: str = "vda"


INSTALLED = [
    Line(hostname="disk-ext4", filesystem="ext4", firmware="bios"),
    Line(hostname="disk-xfs", filesystem="xfs", firmware="uefi"),
]
PROVISIONED = [Line(hostname="net-ext4", filesystem="ext4", firmware="bios", disk="iscsi")]
BY_PODMAN = Line(hostname="net-podman", filesystem="ext4", firmware="bios", disk="iscsi")


def address_of(line: Line) -> str:
    at = [*INSTALLED, *PROVISIONED, BY_PODMAN].index(line)
    return f"52:54:00:00:1a:{at + 1:02x}"


def named(line: Line) -> str:
    return line.hostname


@pytest.mark.parametrize("line", INSTALLED, ids=named)
def test_a_machine_with_a_disk_of_its_own(
    line: Line, site: Site, lab_key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disks = [sparse(tmp_path / f"{name}.img", size) for name, size in (("os", 4096), ("data", 512))]
    chosen = f'filesystem = "{line.filesystem}"\noptions = ["noatime"]\n'
    system = group("os", "single", 1, boot=line.firmware, home="/home").replace(
        "[[groups.disk]]", f"{chosen}[[groups.disk]]", 1
    )
    data = group("data", "single", 1, luns="/iscsi").replace("[[groups.disk]]", 'filesystem = "xfs"\n[[groups.disk]]', 1)
    install(site, capsys, tmp_path, line.hostname, disks, system, data)
    with booted(site, lab_key, address_of(line), line.firmware, disks) as machine:
        mounts = {"/iscsi": ("xfs", "/luns"), "/run/terra/groups/data": ("xfs", "/"), "/home": (line.filesystem, "/home")}
        expect_whole(machine, line, mounts)
        assert "noatime" in expect_mounted(machine, "/", line.filesystem, "/os")["options"].split(",")
        machine.ssh("sudo touch /iscsi/written && echo written > ~/note && sync")
        machine.reboot(seconds=_BOOT_SECONDS)
        expect_whole(machine, line, mounts)
        assert machine.ssh("cat ~/note; ls /iscsi").text == "written\nwritten\n"


@pytest.mark.parametrize("line", PROVISIONED, ids=named)
def test_a_machine_with_a_disk_over_the_network(line: Line, site: Site, lab_key: Path, tmp_path: Path) -> None:
    boot_over_network(line, f"{site.registry.address}/stellarproject/example:6", site, lab_key, tmp_path)


def test_a_machine_whose_image_podman_built(site: Site, lab_key: Path, tmp_path: Path) -> None:
    """Build as on a machine that has no Docker Engine; everything else is as ever."""
    terraos = build_base_images()["terraos"]
    public = lab_key.with_suffix(".pub").read_text().strip()
    text = (Path(__file__).parent / "server.toml").read_text().replace('"example"', f'"{BY_PODMAN.hostname}"', 1)
    server = tmp_path / "server.toml"
    server.write_text(f'{text}\n[ssh]\n  keys = ["{public}"]\n[plugins]\n  builder = "podman"\n  registry = "podman"\n')
    with PodmanStorage(tmp_path / "podman", site.network) as podman:
        podman.import_image(terraos.tar, str(terraos.reference(site.registry.address)), terraos.recipe.changes)
        pushed = podman.inside([terra_command(), "create", "--push", server], timeout=900).text.strip()
    boot_over_network(BY_PODMAN, pushed.partition("@")[0], site, lab_key, tmp_path)


def boot_over_network(line: Line, image: str, site: Site, lab_key: Path, tmp_path: Path) -> None:
    """Provision a machine with an image, and boot it twice."""
    node = tmp_path / "node.toml"
    text = example("node.toml", hostname=line.hostname, mac=address_of(line), image=image)
    node.write_text(f'{text}\n[plugins]\n  filesystem = "{line.filesystem}"\n')
    site.command(["provision", node])
    serial = site.directory / "serial" / f"{line.hostname}.log"
    with Machine(site.network, address_of(line), serial, firmware=line.firmware) as machine:
        address = machine.wait_for_address(site.leases, seconds=_BOOT_SECONDS)
        machine.wait_for_ssh(address, "terra", lab_key, seconds=_BOOT_SECONDS)
        expect_whole(machine, line, {})
        machine.ssh("echo written > ~/note && sync")
        machine.reboot(seconds=_BOOT_SECONDS)
        expect_whole(machine, line, {})
        assert machine.ssh("cat ~/note").text == "written\n"
    site.command(["delete", "--force", line.hostname])


def expect_whole(machine: Machine, line: Line, mounts: Mapping[str, tuple[str, str]]) -> None:
    """Ask a machine whether all of it came up, from where its line says."""
    expect_running(machine, line.hostname)
    root = expect_mounted(machine, "/", line.filesystem, "/os")
    for path, (kind, place) in mounts.items():
        expect_mounted(machine, path, kind, place)
    disks = machine.ssh(f"lsblk --noheadings --inverse --output NAME,TRAN {root['source'].partition('[')[0]}").text
    assert line.disk in disks.replace("─", " ").split()
    assert machine.ssh("cat /home/terra/from-image/file").text == "kept\n"
