"""Where installations are tried: disks, a registry with a small image, and the command."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

from lab.disks import MB, Disk
from lab.network import GATEWAY, Network
from lab.registry import Registry
from terra_core.system.disks import signatures_of
from terra_core.system.mounts import mounted
from terra_core.system.process import Argument, Completed, run
from tests.unit.oci.making import Item, LayoutMaker, file, folder, tar

VERSION = b"6.1.0-42-amd64"
SYSTEM = (
    folder(b"boot"),
    file(b"boot/vmlinuz-" + VERSION, b"a kernel"),
    file(b"boot/initrd.img-" + VERSION, b"an initrd"),
    folder(b"etc"),
    file(b"etc/hostname", b"image\n"),
    folder(b"home"),
    folder(b"home/terra", uid=1000, gid=1000, mode=0o700),
    file(b"home/terra/note", b"from the image\n", uid=1000, gid=1000),
)
"""What the image holds."""


@frozen
class Ground:
    """The ground.

    :param network: where the registry is.
    :param image: the image in it.
    :param work: a directory for files.
    """

    network: Network
    image: str
    work: Path

    def node(self, *groups: str, hostname: str = "mt-01", image: str = "") -> Path:
        """Write a node.toml with these groups."""
        path = self.work / f"{hostname}.toml"
        path.write_text(f'hostname = "{hostname}"\nimage = "{image or self.image}"\n' + "".join(groups))
        return path

    def command(self, *words: Argument) -> list[str]:
        """Return the command line that installs, in the network."""
        return self.network.command([Path(sys.executable).parent / "terra-install", "--http", "--gateway", GATEWAY, *words])

    def install(self, *words: Argument, accept: Sequence[int] = (0,)) -> Completed:
        """Run ``terra-install`` to its end."""
        return run(self.command(*words), timeout=300, accept=accept)


def group(label: str, kind: str, devices: Sequence[Path | Disk], *lines: str, **subvolumes: str) -> str:
    """Return a group of node.toml, with further lines of its table."""
    text = [f'[[groups]]\nlabel = "{label}"\ntype = "{kind}"', *lines]
    for one in devices:
        text.append(f'[[groups.disk]]\ndevice = "{one.device if isinstance(one, Disk) else one}"')
    text += [f'[[groups.subvolumes]]\nname = "{name}"\npath = "{path}"' for name, path in subvolumes.items()]
    return "\n".join(text) + "\n"


def push(network: Network, registry: Registry, work: Path, *, name: str = "tiny", further: Sequence[Item] = ()) -> str:
    """Push an image to the registry; return its reference.

    :param further: what it holds beside :data:`SYSTEM`.
    """
    reference = f"{registry.address}/stellarproject/{name}:1"
    LayoutMaker(work / "layout").image([tar(*SYSTEM, *further)])
    source = f"oci:{work / 'layout'}:latest"
    words = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", source, f"docker://{reference}"]
    run(network.command(words), timeout=120)
    return reference


class Installed:
    """The file systems of an installed machine, mounted to be looked at.

    :param place: an empty directory.
    :param devices: a device of each group by its label; all of a group must be attached.
    """

    def __init__(self, place: Path, devices: Mapping[str, Sequence[Path]]) -> None:
        self._place = place
        self._devices = devices
        self._resources = ExitStack()

    def __enter__(self) -> Path:
        with ExitStack() as resources:
            for label, devices in self._devices.items():
                resources.callback(run, ["btrfs", "device", "scan", "--forget", *devices], accept=(0, 1))
                run(["btrfs", "device", "scan", *devices])
                place = self._place / label
                place.mkdir(parents=True)
                resources.callback(place.rmdir)
                resources.enter_context(mounted(devices[0], place, filesystem="btrfs", options=("subvolid=5", "ro")))
            self._resources = resources.pop_all()
        return self._place

    def __exit__(self, *failure: object) -> None:
        self._resources.close()


def profiles(place: Path) -> dict[str, str]:
    """Return the profiles of a mounted file system."""
    rows = json.loads(run(["btrfs", "--format", "json", "filesystem", "df", place]).text)["filesystem-df"]
    return {row["bg-type"]: row["bg-profile"].lower() for row in rows if row["bg-type"] != "GlobalReserve"}


def kinds(device: Path) -> set[str]:
    """Return what is on a device, in libblkid's words."""
    return {one.kind for one in signatures_of(device)}


def starts(disk: Disk) -> bool:
    """Return whether the first sector of a disk holds a boot loader."""
    with disk.device.open("rb") as opened:
        return any(opened.read(440))


def scribble(disk: Disk, seed: int) -> None:
    """Write something known all over a disk."""
    size = disk.file.stat().st_size // MB
    with disk.file.open("r+b") as opened:
        for at in range(0, size, max(1, size // 16)):
            opened.seek(at * MB + 4096)
            opened.write(f"{seed} at {at} ".encode() * 64)
