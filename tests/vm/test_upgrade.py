"""A machine that upgrades itself: the next version beside the one that runs, started, and with what is the machine's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.disks import sparse
from lab.machine import Machine
from lab.site import Site
from tests.vm.nodes import expect_healthy
from tests.vm.test_install import booted
from tests.vm.upgrades import BOOT_SECONDS, BUILD, Builds, comes_up, make, restart, terra, versions

_IDENTITY = "cat /etc/machine-id; sudo sha256sum /etc/ssh/ssh_host_*_key; sudo cat /etc/iscsi/initiatorname.iscsi; hostname"
_OWN = (
    "sudo mkdir -p /etc/app",
    "echo secret | sudo tee /etc/app/key",
    "sudo chown terra /etc/app/key",
    "sudo chmod 600 /etc/app/key",
    "echo mine | sudo tee /etc/mine",
    f"echo by hand | sudo tee {BUILD}",
    "echo note > ~/note",
    "echo data | sudo tee /srv/data/file",
    "sync",
)
_UPGRADE = 'keep = ["/etc/app"]\ntimeout = "30m"'
_MB = 1 << 20


@pytest.fixture(scope="module")
def builds(site: Site, lab_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """Return what pushes images that are the next version of each other."""
    return Builds(site, lab_key, tmp_path_factory.mktemp("builds"))


@pytest.fixture(scope="module")
def two(builds: Builds) -> tuple[str, str]:
    """Push an image and its next version; return their names."""
    return builds.push(1), builds.push(2)


@pytest.mark.long
def test_the_next_version_by_bios(
    site: Site, lab_key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], two: tuple[str, str]
) -> None:
    disks = [sparse(tmp_path / "grown.img", 6144)]
    make(site, capsys, tmp_path, "grown-01", disks, two[0], _UPGRADE)
    with booted(site, lab_key, "52:54:00:00:0e:01", "bios", disks, seconds=BOOT_SECONDS) as machine:
        from_one_version_to_the_next(machine, "grown-01", two)


@pytest.mark.long
def test_the_next_version_of_a_mirror_where_secure_boot_is_on(
    site: Site, lab_key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], two: tuple[str, str]
) -> None:
    disks = [sparse(tmp_path / f"pair-{at}.img", 6144) for at in range(2)]
    make(site, capsys, tmp_path, "grown-02", disks, two[0], _UPGRADE)
    with booted(site, lab_key, "52:54:00:00:0e:02", "secure", disks, seconds=BOOT_SECONDS) as machine:
        from_one_version_to_the_next(machine, "grown-02", two)
        machine.ssh("sync")
    with booted(site, lab_key, "52:54:00:00:0e:03", "secure", disks[1:], seconds=BOOT_SECONDS) as machine:
        mounts = {"/": "/os.1", "/home": "/home", "/srv/data": "/data"}
        expect_healthy(machine, "grown-02", mounts, missing=True, version="os.1")
        assert [row["version"] for row in versions(machine)] == ["os", "os.1"]


def from_one_version_to_the_next(machine: Machine, hostname: str, images: tuple[str, str]) -> None:
    """Live in a machine, upgrade it, start the next version, and look at what is there and what is not."""
    expect_healthy(machine, hostname, {"/": "/os", "/home": "/home", "/srv/data": "/data"})
    identity = machine.ssh(_IDENTITY).text
    for command in _OWN:
        machine.ssh(command)
    changed = {one["path"]: one["change"] for one in terra(machine, "diff -o json")["changes"]}
    assert changed.items() >= {"/etc/app/key": "added", "/etc/mine": "added", BUILD: "changed"}.items()
    ours = [path for path in changed if path.startswith("/usr/")]
    assert ours == [], "neither the machine nor Terra changes what is the image's"
    assert not [path for path in changed if path.startswith(("/home/", "/srv/data/"))], "data is no part of the image"
    assert [(row["version"], row["state"]) for row in versions(machine)] == [("os", "running")]

    plan = terra(machine, f"upgrade --http --plan -o json {images[1]}")
    assert plan["layers"] - plan["layers_present"] == 1
    assert plan["bytes"] < _MB
    assert {"/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key", "/etc/app", "/etc/hostname"} <= set(plan["kept"])
    lost = {one["path"] for one in plan["lost"]}
    assert {"/etc/mine", BUILD} <= lost
    assert not [path for path in lost if path.startswith("/etc/app")]
    assert [row["version"] for row in versions(machine)] == ["os"], "a plan writes nothing"

    terra(machine, f"upgrade --http -o json {images[1]}")
    rows = [(row["version"], row["state"], row["image"]) for row in versions(machine)]
    assert rows == [("os", "running", images[0]), ("os.1", "tried at the next start", images[1])]
    assert terra(machine, f"upgrade --http -o json {images[1]}")["there"] == "os.1", "the second time there is nothing to do"

    restart(machine)
    comes_up(machine, "os.1")
    expect_healthy(machine, hostname, {"/": "/os.1", "/home": "/home", "/srv/data": "/data"}, version="os.1")
    assert machine.ssh(_IDENTITY).text == identity
    assert machine.ssh(f"cat {BUILD}").text == "2\n"
    assert machine.ssh("stat --format='%U %a' /etc/app/key; sudo cat /etc/app/key").text == "terra 600\nsecret\n"
    assert machine.ssh("test -e /etc/mine", accept=(1,)).stdout == b""
    assert machine.ssh("cat ~/note /srv/data/file").text == "note\ndata\n"
    rows = [(row["version"], row["state"], row["kept"]) for row in versions(machine)]
    assert rows == [("os", "laid down", False), ("os.1", "running", True)]
    changed = {one["path"]: one["change"] for one in terra(machine, "diff -o json")["changes"]}
    assert not {"/etc/machine-id", "/etc/fstab", "/etc/app", BUILD} & set(changed)
    assert not [path for path in changed if path.startswith("/usr/")]
