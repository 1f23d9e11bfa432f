"""What an upgrade fetches and writes when one package of an image has changed, against laying the image down in full.

    python bench/upgrade.py [--rounds N]

The image is terraos with a layer above it that has a package of many files, a few of which are other ones in its next build. A
machine is installed on a disk in a file, and upgraded from one build to the next and so on. Printed are medians. Exit code 1
when more is fetched than the layer that changed, more is written than 1.2 times the changed files and 16 MB, or a diff takes
over 5 s.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from attrs import define, field

from iso.build import Recipe, build
from lab.disks import blank
from lab.images import RECIPES
from lab.network import Network
from lab.registry import Registry
from terra_core.config.controller import Paths
from terra_core.config.node import Node
from terra_core.config.session import Session
from terra_core.config.values import ImageReference, parse_host_address, parse_image_reference
from terra_core.documents import load
from terra_core.hookspecs import Registry as RegistryRole
from terra_core.install.disks import part_device
from terra_core.install.use import installation
from terra_core.plugins import Plugins
from terra_core.system.mounts import mounted
from terra_core.system.namespaces import private_mounts
from terra_core.system.process import run
from terra_core.system.undo import Undo
from terra_core.testing.images import MadeImage, tree
from terra_core.upgrade.use import upgrade
from terra_core.versions.look import difference

_MB = 1 << 20
_DISK_MB = 8192
_FILES, _CHANGED, _FILE = 400, 20, 64 << 10
"""How many files the package has, how many of them the next build changes, and their length."""
_MOST_DIFF = 5.0
_SLACK = 64 << 10
"""What a layer has beside the content of its files, in bytes."""


@define
class Taken:
    """What was measured: seconds, and bytes."""

    seconds: list[float] = field(factory=list)
    fetched: list[int] = field(factory=list)
    written: list[int] = field(factory=list)
    diff: list[float] = field(factory=list)


def package(build_number: int) -> bytes:
    """Return the layer of a build of the package: the first files are other ones in each."""
    return tree({
        f"usr/lib/package/{at}": hashlib.shake_128(f"{at} {build_number if at < _CHANGED else 0}".encode()).digest(_FILE)
        for at in range(_FILES)
    })  # fmt: skip


def push(registry: Registry, base: bytes, builds: int) -> list[ImageReference]:
    """Push the builds of the image, whose lowest layer is the base system; return their names."""
    role = Plugins.discover().fill(RegistryRole, {}, source="bench")
    names = [parse_image_reference(f"{registry.address}/bench/machine:{number}") for number in range(builds)]
    for number, name in enumerate(names):
        role.push_image(name, MadeImage([base, package(number)]), (), Session(plain_http=True))
    return names


@contextmanager
def installed(work: Path, image: ImageReference) -> Iterator[tuple[Path, Path, float, int]]:
    """Offer an installed machine: its root, the top of its file system, and what installing it took."""
    with blank(work, [_DISK_MB]) as (disk,):
        node = work / "node.toml"
        groups = f'[[groups]]\nlabel = "os"\n[[groups.disk]]\ndevice = "{disk.device}"\n'
        node.write_text(f'hostname = "bench"\nimage = "{image}"\n{groups}')
        began = time.perf_counter()
        gateway = parse_host_address("10.0.10.1")
        with installation(load(node, Node), gateway=gateway, plain_http=True, paths=Paths(work / "installer")) as found:
            found.carry_out()
        seconds = time.perf_counter() - began
        part = part_device(disk.device, 3)
        root, top = work / "root", work / "top"
        root.mkdir()
        top.mkdir()
        with (
            mounted(part, root, filesystem="btrfs", options=("subvol=/os",)),
            mounted(part, top, filesystem="btrfs", options=("subvolid=5",)),
        ):
            yield root, top, seconds, used(top)


def used(place: Path) -> int:
    """Return how many bytes of a file system are taken, with all that was written."""
    run(["btrfs", "subvolume", "sync", place], timeout=600)
    run(["btrfs", "filesystem", "sync", place], timeout=600)
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def measure(root: Path, top: Path, image: ImageReference, paths: Paths, taken: Taken) -> None:
    """Upgrade once."""
    before, began = used(top), time.perf_counter()
    with upgrade(image, root, plain_http=True, paths=paths) as planned:
        taken.fetched.append(planned.plan.fetched)
        planned.carry_out()
    taken.seconds.append(time.perf_counter() - began)
    taken.written.append(used(top) - before)
    began = time.perf_counter()
    difference(root, paths=paths)
    taken.diff.append(time.perf_counter() - began)


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    base = build(Recipe.load(RECIPES / "terraos")).read_bytes()
    with Undo() as undo:
        network = undo.enter_context(Network("bench"))
        work = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="terra-bench-")))
        registry = undo.enter_context(Registry(network, work / "registry"))
        undo.enter_context(network.inside())
        undo.enter_context(private_mounts())
        names = push(registry, base, rounds + 1)
        root, top, seconds, whole = undo.enter_context(installed(work, names[0]))
        taken = Taken()
        for name in names[1:]:
            measure(root, top, name, Paths(work / "own"), taken)
    changed, layer = _CHANGED * _FILE, _FILES * (_FILE + 1024) + _SLACK
    print(f"in full     {seconds:8.1f} s  {whole / _MB:8.1f} MB written")
    print(
        f"upgrade     {median(taken.seconds):8.1f} s  {median(taken.written) / _MB:8.1f} MB written, "
        f"{median(taken.fetched) / _MB:.1f} MB fetched; {changed / _MB:.1f} MB of files changed"
    )
    print(f"terra diff  {median(taken.diff):8.2f} s")
    right = (
        max(taken.fetched) <= layer and median(taken.written) <= 1.2 * changed + 16 * _MB and median(taken.diff) < _MOST_DIFF
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
