"""How long many network machines take from one image to the next, and how much disk; boots left out.

    python bench/fleet.py [--machines N] [--rounds N] [--jobs N]

The controller's parts run in this process, with a registry, tgtd and dnsmasq in a network of the bench's own; all that it owns
is on a btrfs in a file, which shares blocks between files. The images are terraos with a layer above it that is another one in
the next. Each machine has files of its own, and runs while its next version is prepared; then all are switched off at once,
and take over what is their own; then each says that it is well. Nothing boots.

A few machines go one after another, in turns with the least that anybody could do: a copy of what is laid down that shares its
blocks, and the same files copied there. Printed are medians. Exit code 1 when a mark is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from unittest import mock

from attrs import define, field, frozen

from bench.provision import Steps, Taken, btrfs_in_a_file, controller
from iso.build import Recipe, build
from lab.images import RECIPES
from lab.network import Network
from lab.registry import Registry
from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.config.session import Session
from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.controller.disks import Disks
from terra_core.controller.happening import Kind, Stage
from terra_core.controller.machines import Machines
from terra_core.controller.records import KeptTarget, Phase
from terra_core.controller.turning import Turning
from terra_core.hookspecs import Registry as RegistryRole
from terra_core.plugins import Plugins
from terra_core.system.mounts import loop_device, mounted
from terra_core.system.namespaces import private_mounts
from terra_core.system.process import run
from terra_core.system.progress import Event
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from terra_core.testing.images import MadeImage, tree

SECONDS, BYTES = 60.0, 8 << 20
"""Of a hundred machines, and of each."""
_HUNDRED = 100
_SIZE = 4096
_MB = 1 << 20
_OWN = 1 << 20
"""How much each machine has in /home, in bytes."""
_PACKAGE = 4 << 20
_LONGEST = 1800.0


@define
class Heard:
    """Takes the events of what is done for no operation.

    :param steps: who they are for now.
    """

    steps: Steps = field(factory=Steps)

    def __call__(self, event: Event) -> None:
        self.steps(event)


@frozen
class Fleet:
    """Machines of a controller, and the disk that they are on.

    :param machines: the use cases.
    :param images: the references of what they have, and of the next.
    :param place: where the disk is mounted.
    :param work: a directory for mounts.
    :param heard: takes events.
    """

    machines: Machines
    images: Sequence[ImageReference]
    place: Path
    work: Path
    heard: Heard

    def provision(self, number: int) -> None:
        """Make a machine that has run once."""
        table = {
            "hostname": _name(number),
            "mac": f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}",
            "image": str(self.images[0]),
            "groups": [
                {
                    "label": "os",
                    "disk": [{"device": "/dev/sda", "size": _SIZE}],
                    "subvolumes": [{"name": "home", "path": "/home"}, {"name": "log", "path": "/var/log"}],
                }
            ],
        }
        self.machines.provision(
            self.machines.reserve(make_document(table, NetworkNode, source="node.toml")), lambda event: None
        )
        with self.opened(self.volume(number)) as (root, home):
            (root / "etc/machine-id").write_text(f"{hashlib.md5(_name(number).encode()).hexdigest()}\n")  # noqa: S324  # no secret
            (root / "etc/ssh").mkdir(exist_ok=True)
            (root / "etc/ssh/ssh_host_ed25519_key").write_text(f"the key of {number}\n")
            (home / "data").write_bytes(os.urandom(_OWN))

    def volume(self, number: int) -> Path:
        """Return the file of a machine's system."""
        (system,) = self.machines.store.get(_name(number)).system
        return Path(system.target.volumes[0].name)

    @contextmanager
    def opened(self, volume: Path, *options: str) -> Iterator[tuple[Path, Path]]:
        """Mount the root of a system, and its /home, each at a place of its own."""
        with Undo() as undo:
            device = undo.enter_context(loop_device(volume))
            undo.callback(run, ["btrfs", "device", "scan", "--forget", device], accept=(0, 1))
            places = []
            for subvolume in ("os", "home"):
                place = Path(undo.enter_context(tempfile.TemporaryDirectory(dir=self.work)))
                undo.enter_context(mounted(device, place, filesystem="btrfs", options=(f"subvol=/{subvolume}", *options)))
                places.append(place)
            yield places[0], places[1]

    def prepare(self, number: int, steps: Steps | None = None) -> None:
        """Make the next version of a machine that runs."""
        steps = steps or Steps()
        upgrading = self.machines.upgrading
        upgrading.upgrade(self.machines.store.get(_name(number)), self.images[1], steps)
        steps.begin("between")

    def switch_off(self, numbers: Sequence[int]) -> None:
        """Switch machines off, and wait until each boots its next version when it is switched on."""
        following = self.machines.upgrading.following
        following.look()
        wait_until(lambda: not following.carrying, seconds=_LONGEST, what="all to be taken over", interval=0.005)
        self.require(numbers, Phase.TRIAL)

    def connect(self, numbers: Sequence[int]) -> None:
        """Let machines be seen on the disks of their next versions."""
        with connected({kept.target.id for number in numbers for kept in self.machines.store.get(_name(number)).system}):
            self.machines.upgrading.following.look()

    def report(self, numbers: Sequence[int]) -> None:
        """Let machines say that they are well, and wait until each keeps what it has."""
        happenings = self.machines.store.happenings
        for number in numbers:
            record = self.machines.store.get(_name(number))
            data = {"state": "running", "failed": [], "boot_id": _name(number), "image": record.digest}
            happenings.record(record.hostname, record.generation, Kind.REPORT, "is running", data, stage=Stage.BOOTED)
        happenings.flush()
        self.machines.upgrading.following.look()
        self.require(numbers, Phase.KEPT)

    def require(self, numbers: Sequence[int], phase: Phase) -> None:
        """Check that machines are as far as they have to be."""
        for number in numbers:
            record = self.machines.store.get(_name(number))
            if record.upgrade is None or record.upgrade.phase is not phase:
                raise SystemExit(f"{record.hostname} is not {phase.value}: {record.upgrade}")

    def one(self, number: int, steps: Steps | None = None) -> None:
        """Bring a machine from one image to the next."""
        self.heard.steps = steps or Steps()
        with running():
            self.prepare(number, steps)
        self.heard.steps.begin("look")
        self.switch_off([number])
        self.heard.steps.begin("connect")
        self.connect([number])
        self.heard.steps.begin("keep")
        self.report([number])
        self.heard.steps.begin("between")

    def by_hand(self, number: int) -> None:
        """Do the least that anybody could: a copy of what is laid down, and of a machine's own files into it."""
        golden = self.golden()
        clone, former = self.place / f"{number}.next", self.place / f"{number}.former"
        run(["cp", "--reflink=always", golden, clone])
        run(["cp", "--reflink=always", self.volume(number), former])
        run(["btrfstune", "-m", clone])
        run(["btrfstune", "-m", former])
        with self.opened(clone) as (root, home), self.opened(former, "ro") as (old_root, old_home):
            (root / "etc/hostname").write_text(f"{_name(number)}\n")
            run(["cp", "--archive", old_root / "etc/machine-id", root / "etc/machine-id"])
            run(["cp", "--archive", "--no-target-directory", old_root / "etc/ssh", root / "etc/ssh"])
            run(["cp", "--archive", "--no-target-directory", f"{old_home}/.", home])
            run(["sync", "--file-system", root], timeout=600)
        former.unlink()

    def golden(self) -> Path:
        """Return the volume on which the next image is laid down."""
        rows = self.machines.store.golden.every()
        return Path(next(row for row in rows if row.image == str(self.images[1])).volumes[0].volume.name)

    def used(self) -> int:
        """Return how many bytes of the disk are taken, with all that was written, and without what was removed."""
        run(["btrfs", "filesystem", "sync", self.place], timeout=600)
        found = os.statvfs(self.place)
        return (found.f_blocks - found.f_bfree) * found.f_frsize


@contextmanager
def running() -> Iterator[None]:
    """Let machines count as switched on in a block; nothing is connected to a disk here."""
    with mock.patch.object(Turning, "is_off", return_value=False):
        yield


@contextmanager
def connected(targets: Collection[int]) -> Iterator[None]:
    """Let machines count as connected to some targets in a block."""

    def found(_: Disks, kept: Sequence[KeptTarget], connections: object = None) -> Sequence[KeptTarget]:
        return [one for one in kept if one.target.id in targets]

    with mock.patch.object(Disks, "connected", found):
        yield


def processor_seconds() -> float:
    """Return what this process and the programs that it has waited for have used."""
    return sum(os.times()[:4])


def _name(number: int) -> str:
    return f"node-{number}"


def push(registry: Registry) -> list[ImageReference]:
    """Push the image and the next one; return their names."""
    base = build(Recipe.load(RECIPES / "terraos")).read_bytes()
    role = Plugins.discover().fill(RegistryRole, {}, source="bench")
    names = [parse_image_reference(f"{registry.address}/bench/machine:{number}") for number in range(2)]
    for number, name in enumerate(names):
        package = tree({"usr/lib/package": hashlib.shake_128(f"{number}".encode()).digest(_PACKAGE)})
        role.push_image(name, MadeImage([base, package]), (), Session(plain_http=True))
    return names


@contextmanager
def fleet(jobs: int) -> Iterator[Fleet]:
    """Offer a controller's parts on a disk of their own, without machines."""
    with Undo() as undo:
        network = undo.enter_context(Network("bench"))
        work = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="terra-bench-")))
        work.chmod(0o755)
        registry = undo.enter_context(Registry(network, work / "registry"))
        place = undo.enter_context(btrfs_in_a_file(work))
        undo.enter_context(network.inside())
        heard = Heard()
        yield Fleet(undo.enter_context(controller(place, jobs, heard)), push(registry), place, work, heard)


def in_turns(at: Fleet, rounds: int) -> None:
    """Bring machines from one image to the next one after another, in turns with the least; print both."""
    own, least, steps = Taken(), Taken(), Steps()
    for number in range(1, rounds + 1):
        own.measure(at.used, lambda number: at.one(number, steps), number)
        least.measure(at.used, at.by_hand, number + rounds)
    print(f"one after another, medians of {rounds} rounds")
    for name, taken in (("an upgrade", own), ("the least by hand", least)):
        seconds, disk = median(taken.seconds), median(taken.disk)
        said = ", ".join(f"{one:.2f}" for one in taken.seconds)
        ratio = median(own.seconds) / seconds
        print(f"  {name:<20}{seconds:8.2f} s {disk / _MB:7.1f} MB   upgrade to this {ratio:5.2f}   {said}", flush=True)
    each = ", ".join(f"{name} {seconds / rounds:.3f}" for name, seconds in steps.slowest_first())
    print(f"  the upgrade by step, in seconds: {each}", flush=True)


def at_once(at: Fleet, numbers: Sequence[int], jobs: int) -> tuple[float, float]:
    """Bring many machines from one image to the next; return the seconds, and the bytes of new disk of each."""
    before, begun, worked = at.used(), time.perf_counter(), processor_seconds()
    with running(), ThreadPoolExecutor(jobs) as pool:
        list(pool.map(at.prepare, numbers))
    prepared = time.perf_counter()
    at.switch_off(numbers)
    carried = time.perf_counter()
    at.connect(numbers)
    connected_at = time.perf_counter()
    at.report(numbers)
    ended, worked = time.perf_counter(), processor_seconds() - worked
    disk = (at.used() - before) / len(numbers)
    booting = connected_at - carried
    print(
        f"{len(numbers)} machines, {jobs} at once: {ended - begun - booting:.1f} s; "
        f"the next versions made {prepared - begun:.1f} s, "
        f"what is their own taken over {carried - prepared:.1f} s, kept {ended - connected_at:.1f} s"
    )
    print(f"  {booting:.1f} s more when all begin their trial at once, which is in the time of their boots")
    print(f"  {worked / len(numbers):.2f} processor seconds each, those of the kernel's own threads and of tgtd aside")
    print(f"  {disk / _MB:.1f} MB of new disk each, of which {_OWN / _MB:.0f} MB is what each has in /home")
    return ended - begun - booting, disk


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--machines", type=int, default=_HUNDRED)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with private_mounts(), fleet(options.jobs) as at:
        numbers = range(1, 2 * options.rounds + options.machines + 1)
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(at.provision, numbers))
        print(f"{len(numbers)} machines are there", flush=True)
        rest = list(numbers[2 * options.rounds :])
        began = time.perf_counter()
        at.one(rest.pop())
        print(f"the first one, for which the next image is laid down: {time.perf_counter() - began:.1f} s", flush=True)
        in_turns(at, options.rounds)
        seconds, disk = at_once(at, rest, options.jobs)
    marks = (
        (f"seconds of {_HUNDRED} machines", seconds * _HUNDRED / len(rest), SECONDS),
        ("MB of new disk of each", disk / _MB, BYTES / _MB),
    )
    for name, value, mark in marks:
        print(f"  {name:<34}{value:8.2f}   bound {mark:6.2f}   {'held' if value < mark else 'MISSED'}")
    return 0 if all(value < mark for _, value, mark in marks) else 1


if __name__ == "__main__":
    sys.exit(main())
