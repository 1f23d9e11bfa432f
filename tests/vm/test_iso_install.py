"""The nodes of the examples, as they stand but for the image's name: installed over ssh from terra.iso, disks and all."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.disks import digest_of, sparse
from lab.hardware import Bus, HardDisk, Medium
from lab.machine import Machine
from lab.network import GATEWAY
from lab.site import Site
from tests.vm.live import BOOT_SECONDS, address_of, let_in, say, started
from tests.vm.nodes import example, expect_healthy, profiles

pytestmark = pytest.mark.long

_INSTALL_SECONDS = 2400
_MEMORY = 2048
_SSH_LOST = 255
_IN_USE = "findmnt --noheadings --list --types btrfs,vfat --output TARGET; sudo losetup --noheadings --list"
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""A variable of UEFI's global vendor: four bytes of attributes, and one that is 1 when Secure Boot is on."""


def test_the_simple_node_where_secure_boot_is_on(site: Site, keyed: Path, lab_key: Path, tmp_path: Path) -> None:
    disk = HardDisk(sparse(tmp_path / "sda.img", 4096), Bus.SATA)
    with started(site, 0x11, "secure", Medium(image=keyed), [disk], memory=_MEMORY) as machine:
        machine.wait_for_ssh(address_of(machine), "terra", lab_key, seconds=BOOT_SECONDS)
        assert secure_boot(machine)
        install(machine, site, "simple-node.toml", ["/dev/sda"])
        entries = machine.ssh("efibootmgr").text
        assert re.search(r"^Boot[0-9A-F]{4}\* Terra", entries, re.MULTILINE), entries
        restart(machine, site, lab_key, "terra-01")
        expect_healthy(machine, "terra-01", {"/": "/os"})
        assert secure_boot(machine)


def test_the_complex_node_by_bios(site: Site, keyed: Path, lab_key: Path, tmp_path: Path) -> None:
    nvme = HardDisk(sparse(tmp_path / "nvme0n1.img", 4096), Bus.NVME)
    disks = {f"disk{at}": HardDisk(sparse(tmp_path / f"{at}.img", 512), Bus.SATA) for at in range(1, 6)}
    with started(site, 0x12, "bios", Medium(image=keyed), [nvme, *disks.values()], memory=_MEMORY) as machine:
        machine.wait_for_ssh(address_of(machine), "terra", lab_key, seconds=BOOT_SECONDS)
        machine.ssh("printf '2048,,L\\n' | sudo sfdisk --label dos /dev/nvme0n1")
        # Which disk gets which letter is up to the kernel, and may change with every boot.
        machine.ssh("yes mine | head --bytes=1M | sudo dd of=/dev/sdc conv=fsync status=none")
        unnamed = disks[machine.ssh("lsblk --nodeps --noheadings --output SERIAL /dev/sdc").text.strip()].image
        before = digest_of(unnamed)
        install(machine, site, "complex-node.toml", ["/dev/nvme0n1", *(f"/dev/sd{letter}" for letter in "abde")])
        restart(machine, site, lab_key, "mt-01")
        mounts = {"/": "/os", "/home": "/home", "/var/log": "/log", "/var/lib/containerd": "/containerd"}
        expect_healthy(machine, "mt-01", {**mounts, "/iscsi": "/luns", "/tftp": "/tftp"})
        assert profiles(machine, "/iscsi") == {"Data": "raid10", "Metadata": "raid10", "System": "raid10"}
    assert digest_of(unnamed) == before


def install(machine: Machine, site: Site, name: str, disks: Sequence[str]) -> None:
    """Copy a node.toml of the examples to the live system, and install what it says, as a person does."""
    node = example(name, image=f"{site.registry.address}/stellarproject/example:6")
    machine.ssh(f"cat > node.toml <<'END'\n{node}\nEND")
    before = machine.ssh(_IN_USE).text
    plan = machine.ssh("sudo terra-install --plan --http node.toml", timeout=300).text
    assert all(disk in plan for disk in disks), plan
    command = f"sudo terra-install --yes --http --json --gateway {GATEWAY} node.toml"
    lines = machine.ssh(command, timeout=_INSTALL_SECONDS).text.splitlines()
    done = json.loads(lines[-1])
    say(f"{name}: {done['seconds']:.1f} s: {done['steps']}")
    assert done["step"] == "done"
    assert machine.ssh(_IN_USE).text == before


def restart(machine: Machine, site: Site, key: Path, hostname: str) -> None:
    """Start the machine again, which has its own disks before the medium, and log in to what was installed."""
    machine.ssh("sudo systemctl reboot", accept=(0, _SSH_LOST))
    let_in(machine, site, hostname, key)


def secure_boot(machine: Machine) -> bool:
    """Return whether the firmware says that it started nothing but what is signed."""
    return machine.ssh(f"od --address-radix=n --format=u1 {_SECURE_BOOT}").text.split()[-1] == "1"
