"""Machines whose disks are laid down and upgraded here, so that all that they boot for is the decision on the next version."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve, frozen

from lab.disks import Disk, attached, sparse
from lab.hardware import HardDisk
from lab.images import build_base_images
from lab.machine import Machine
from lab.network import GATEWAY, Network
from lab.registry import Registry
from lab.site import terra_command
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.hookspecs import Registry as RegistryRole
from terra_core.install.disks import part_device
from terra_core.plugins import Plugins
from terra_core.system.mounts import directory_mounted, mounted
from terra_core.system.process import run
from terra_core.testing.images import MadeImage
from terra_core.upgrade.trial import State, state
from tests.unit.oci.making import Item, file, folder, symlink, tar
from tests.vm.nodes import group

HOSTNAME = "tried-01"
ADDRESS = "10.0.10.40"
CHECK = "usr/local/bin/check"
CHECKED = "THE CHECK BEGINS"
"""What the check of every image says on the console."""
BOOT_SECONDS = 1500
_DISK_MB = 4096
_INSTALL_SECONDS = 900
_UPGRADE_SECONDS = 600
_UID = 1000

_LAN = "etc/systemd/network/10-lan.network"
_SLOW = b"[Manager]\nDefaultTimeoutStartSec=900\nDefaultDeviceTimeoutSec=900\n"
"""Emulated beside much else, a machine is slower than any that these limits are made for."""
_CHECK = f"""\
#!/bin/sh
echo "{CHECKED}" > /dev/console
test ! -e /etc/slow || sleep 900
test ! -e /etc/broken || {{ echo "the application is broken"; exit 1; }}
"""
_FILL = """\
#!/bin/sh
mkdir -p /var/fill
number=0
for size in 256M 16M 1M 64K; do
	while fallocate --length "$size" "/var/fill/$number"; do number=$((number + 1)); done
done
exit 0
"""


def service(name: str, script: str, target: str, *lines: str) -> tuple[Item, ...]:
    """Return the files of a unit that runs a script in the start of a machine.

    :param target: the target that wants it, without ``.target``.
    :param lines: further lines of its ``[Unit]``.
    """
    text = "\n".join(["[Unit]", *lines, "[Service]", "Type=oneshot", f"ExecStart=/bin/sh /usr/local/sbin/{name}", ""])
    return (
        file(f"usr/local/sbin/{name}".encode(), script.encode(), mode=0o755),
        file(f"etc/systemd/system/{name}.service".encode(), text.encode()),
        folder(f"etc/systemd/system/{target}.target.wants".encode()),
        symlink(f"etc/systemd/system/{target}.target.wants/{name}.service".encode(), f"../{name}.service".encode()),
    )


BROKEN = (file(b"etc/broken", b""),)
SLOW = (file(b"etc/slow", b""),)
PANIC = service("early", "echo c > /proc/sysrq-trigger\n", "sysinit", "DefaultDependencies=no")
HANG = (file(b"usr/sbin/.wh.init"), file(b"usr/sbin/init", b"#!/bin/sh\nwhile :; do sleep 60; done\n", mode=0o755))
ALONE = (file(f"{Path(_LAN).parent}/.wh.{Path(_LAN).name}".encode()),)
FULL = service("fill", _FILL, "multi-user")


class Images:
    """Pushes images of a machine that are the next version of each other: of the same layers, but for the last one.

    :param public: the public half of the key that lets in, as a line.
    """

    def __init__(self, network: Network, registry: Registry, public: str) -> None:
        self._network, self._registry = network, registry
        base = build_base_images()["terraos"]
        common = tar(
            file(_LAN.encode(), f"[Match]\nName=eth0\n[Network]\nAddress={ADDRESS}/24\nGateway={GATEWAY}\n".encode()),
            folder(b"etc/systemd/system.conf.d"),
            file(b"etc/systemd/system.conf.d/slow.conf", _SLOW),
            file(b"etc/sudoers.d/terra", b"terra ALL=(ALL) NOPASSWD: ALL\n", mode=0o440),
            folder(b"home/terra/.ssh", mode=0o700, uid=_UID, gid=_UID),
            file(b"home/terra/.ssh/authorized_keys", f"{public}\n".encode(), mode=0o600, uid=_UID, gid=_UID),
            file(CHECK.encode(), _CHECK.encode(), mode=0o755),
        )
        self._layers = [*(path.read_bytes() for path in (base.tar, *base.components)), common]

    def push(self, name: str, *items: Item) -> str:
        """Push an image; return its reference.

        :param items: what its last layer has, beside the image's own name.
        """
        return self._push(name, items)[0]

    def push_as(self, name: str, *items: Item) -> str:
        """Push an image; return its reference by digest."""
        reference, digest = self._push(name, items)
        return f"{reference.rpartition(':')[0]}@{digest}"

    def _push(self, name: str, items: Sequence[Item]) -> tuple[str, str]:
        reference = parse_image_reference(f"{self._registry.address}/stellarproject/tried:{name}")
        image = MadeImage([*self._layers, tar(file(b"etc/build", f"{name}\n".encode()), *items)])
        role = Plugins.discover().fill(RegistryRole, {}, source="test")
        with self._network.inside():
            digest = role.push_image(reference, image, (), Session(plain_http=True))
        return str(reference), digest


@frozen
class Disks:
    """The disks of a machine, which is installed.

    :param files: their content.
    :param filesystem: the type of the file system of its root.
    """

    files: tuple[Path, ...]
    filesystem: str = "btrfs"

    def copied(self, directory: Path) -> Disks:
        """Return a copy of them, below a directory that is made."""
        directory.mkdir()
        copies = tuple(directory / path.name for path in self.files)
        for path, copy in zip(self.files, copies, strict=True):
            run(["cp", "--reflink=auto", "--sparse=always", path, copy], timeout=600)
        return evolve(self, files=copies)

    def remove(self) -> None:
        """Remove them."""
        for path in self.files:
            path.unlink()

    def without_first(self) -> Disks:
        """Return those that are there when the first one is away."""
        return evolve(self, files=self.files[1:])

    def plugged(self) -> list[HardDisk]:
        """Return them as those of a virtual machine."""
        return [HardDisk(path) for path in self.files]

    @contextmanager
    def opened(self, version: str = "os") -> Iterator[Path]:
        """Offer the mounted root of a version; disks that are away are no obstacle."""
        place = self.files[0].parent / "root"
        place.mkdir(exist_ok=True)
        with attached(self.files) as disks:
            parts = [part_device(disk.device, 3) for disk in disks]
            if self.filesystem != "btrfs":
                with directory_mounted(parts[0], version, place, filesystem=self.filesystem) as root:
                    yield root
                return
            run(["btrfs", "device", "scan", *parts])
            try:
                with mounted(parts[0], place, filesystem="btrfs", options=(f"subvol=/{version}", "degraded")) as root:
                    yield root
            finally:
                run(["btrfs", "device", "scan", "--forget", *parts], accept=(0, 1))

    def state(self) -> State:
        """Return what they start, and which versions were given up."""
        with self.opened() as root:
            return state(root)


def installed(
    network: Network, directory: Path, image: str, count: int, upgrade: str, *, filesystem: str = "btrfs"
) -> Disks:
    """Install a machine that has its system on so many disks, which any firmware starts.

    :param directory: one that is made, for its disks.
    :param upgrade: the table ``[upgrade]`` of its node.toml.
    :param filesystem: of its root.
    """
    directory.mkdir()
    files = [sparse(directory / f"disk-{at}.img", _DISK_MB) for at in range(count)]
    with attached(files) as disks:
        text = f'hostname = "{HOSTNAME}"\nimage = "{image}"\n[upgrade]\n{upgrade}\n'
        own = group("os", "raid1" if count > 1 else "single", count, filesystem=filesystem, home="/home")
        text += _with_devices(own, disks)
        node = directory / "node.toml"
        node.write_text(text)
        installer = Path(sys.executable).parent / "terra-install"
        run(network.command([installer, "--http", "--gateway", GATEWAY, node]), timeout=_INSTALL_SECONDS)
    return Disks(tuple(files), filesystem)


def upgraded(network: Network, disks: Disks, image: str) -> None:
    """Lay the next version down on the disks of a machine that is off, to be tried by its next start."""
    with disks.opened() as root:
        run(network.command([terra_command(), "upgrade", "--http", "--root", root, image]), timeout=_UPGRADE_SECONDS)
        now = state(root)
        assert [(one.kept, one.once) for one in now.choices] == [("os", "os.1")] * len(disks.files), now


def _with_devices(text: str, disks: Sequence[Disk]) -> str:
    for disk in disks:
        text = text.replace("DISK", f'"{disk.device}"', 1)
    return text


def tries(machine: Machine, version: str = "os.1") -> int:
    """Return how often a version was started on trial, by what its kernel said on the console."""
    said = machine.serial.read_text(errors="replace")
    return len(re.findall(rf"Kernel command line:.*\bterra\.try={re.escape(version)}(?!\S)", said))


def wait_for_former(machine: Machine, version: str = "os") -> None:
    """Wait until the last start of a machine is of a version that is not on trial, and asks who wants to log in."""
    line = rf"Kernel command line:(?=[^\n]* version={re.escape(version)}(?!\S))(?![^\n]*terra\.try=)"
    machine.wait_for_match(rf"(?s){line}(?:(?!Kernel command line:).)*{HOSTNAME} login:", seconds=BOOT_SECONDS)
