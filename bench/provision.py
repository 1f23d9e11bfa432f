"""How long a machine takes, and how much disk: the first of an image, each further one, fifty at once, and other ways.

    python bench/provision.py [--rounds N] [--machines N] [--jobs N]

The controller's parts run in this process, with a registry, tgtd and dnsmasq in a network of the bench's own; all that it owns
is on a btrfs in a file, which shares blocks between files. The ways take turns, so that whatever else the machine does hits
all of them. Printed are medians. Exit code 1 when a further machine takes more than its share.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from attrs import define, evolve, field, frozen

from iso.build import Recipe, build
from lab.engine import Engine
from lab.images import RECIPES, BaseImage, offer
from lab.network import CONTROLLER, GATEWAY, ISCSI, Network
from lab.registry import Registry
from lab.site import CONFIG, LEASES
from terra_core.config.controller import Controller, Paths
from terra_core.config.loader import load, make_document
from terra_core.config.node import NetworkNode
from terra_core.controller.daemon import make_services
from terra_core.controller.keeping import Keeper
from terra_core.controller.machines import Machines
from terra_core.plugins import Plugins
from terra_core.system.mounts import loop_device, mounted
from terra_core.system.process import Daemon, run
from terra_core.system.progress import Event, Report, silent
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

SECONDS, BYTES = 1.0, 8 << 20
_BUILD = Path(__file__).parent.parent / "build"
_DISK = 200 << 30
_SIZE = 4096
_LAST_LEASE = "10.0.10.250"
_MB = 1 << 20
_BETWEEN = "between"
"""The time in which no machine is made."""


@define
class Steps:
    """Takes the events of machines' work, one after another, and what each step took.

    :param seconds: by step.
    """

    seconds: dict[str, float] = field(factory=dict)
    _step: str = _BETWEEN
    _since: float = field(factory=time.perf_counter)

    def __call__(self, event: Event) -> None:
        self.begin(event.step)

    def begin(self, step: str) -> None:
        """Note that a step begins."""
        now = time.perf_counter()
        self.seconds[self._step] = self.seconds.get(self._step, 0.0) + now - self._since
        self._step, self._since = step, now

    def slowest_first(self) -> list[tuple[str, float]]:
        """Return each step of the machines' work with its seconds."""
        steps = [(name, seconds) for name, seconds in self.seconds.items() if name != _BETWEEN]
        return sorted(steps, key=lambda item: -item[1])


@define
class Taken:
    """What the rounds of a way took: seconds, and bytes of new disk."""

    seconds: list[float] = field(factory=list)
    disk: list[int] = field(factory=list)

    def measure(self, used: Callable[[], int], way: Callable[[int], object], number: int) -> None:
        """Go the way once, with a machine of a number.

        :param used: returns how many bytes of the disk are taken.
        """
        before, began = used(), time.perf_counter()
        way(number)
        self.seconds.append(time.perf_counter() - began)
        self.disk.append(used() - before)


@frozen
class Bench:
    """A controller's parts, and the disk that they are on.

    :param machines: the use cases.
    :param image: the reference of what is provisioned.
    :param place: where the disk is mounted.
    """

    machines: Machines
    image: str
    place: Path

    def provision(self, number: int, steps: Steps | None = None) -> Mapping[str, Any]:
        """Provision a machine."""
        table = {
            "hostname": f"node-{number}",
            "mac": f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}",
            "image": self.image,
            "groups": [
                {
                    "label": "os",
                    "disk": [{"device": "/dev/sda", "size": _SIZE}],
                    "subvolumes": [{"name": "home", "path": "/home"}, {"name": "log", "path": "/var/log"}],
                }
            ],
        }
        steps = steps or Steps()
        steps.begin("reserve")
        record = self.machines.reserve(make_document(table, NetworkNode, source="node.toml"))
        made = self.machines.provision(record, steps)
        steps.begin(_BETWEEN)
        return made

    def in_full(self, number: int) -> None:
        """Provision a machine as if the filesystem plugin gave no copy an identity of its own."""
        with mock.patch.object(self.machines.goldens, "ready", return_value=nullcontext()):
            self.provision(number)

    def by_qemu(self, number: int) -> None:
        """Put an overlay over what is laid down, mount it, and write a name into it: the least that anybody could do."""
        golden = next(self.place.glob("iscsi/golden_*/0.lun"))
        overlay, shown = self.place / f"{number}.qcow2", self.place / f"{number}.img"
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", golden, "-F", "raw", overlay])
        shown.touch()
        export = f"type=fuse,id=e,node-name=d,mountpoint={shown},writable=on"
        words = ["qemu-storage-daemon", "--blockdev", f"driver=qcow2,node-name=d,file.driver=file,file.filename={overlay}"]
        daemon = Daemon([*words, "--export", export], log=self.place / "qemu.log")
        with Undo() as undo:
            undo.callback(daemon.stop, 10)
            wait_until(lambda: shown.stat().st_size > 0, seconds=10, what="the overlay to be shown", interval=0.005)
            place = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            device = undo.enter_context(loop_device(shown))
            undo.callback(run, ["btrfs", "device", "scan", "--forget", device], accept=(0, 1))
            undo.enter_context(mounted(device, place, filesystem="btrfs", options=("subvol=/os",)))
            (place / "etc/hostname").write_text(f"node-{number}\n")

    def used(self) -> int:
        """Return how many bytes of the disk are taken, with all that was written."""
        run(["sync", "--file-system", self.place], timeout=600)
        found = os.statvfs(self.place)
        return (found.f_blocks - found.f_bfree) * found.f_frsize


@contextmanager
def bench(jobs: int) -> Iterator[Bench]:
    """Offer a controller's parts on a disk of their own."""
    with Undo() as undo:
        network = undo.enter_context(Network("bench"))
        engine = undo.enter_context(Engine(_BUILD / "engine", network))
        registry = undo.enter_context(Registry(network, _BUILD / "registry"))
        recipe = Recipe.load(RECIPES / "terraos")
        image = str(offer(BaseImage(recipe, build(recipe)), engine, registry.address, push=True))
        work = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="terra-bench-")))
        work.chmod(0o755)
        place = undo.enter_context(btrfs_in_a_file(work))
        undo.enter_context(network.inside())
        machines = undo.enter_context(controller(place, jobs))
        yield Bench(machines, image, place)


@contextmanager
def controller(root: Path, jobs: int, report: Report = silent) -> Iterator[Machines]:
    """Offer a controller's parts, in a network of the lab's, with their storage and boot services.

    :param root: where it keeps all that it owns.
    :param jobs: how many machines it works on at once.
    :param report: takes what is done for no operation.
    """
    with Undo() as undo:
        paths, plugins = Paths(root), Plugins.discover()
        paths.etc.mkdir(parents=True)
        config = CONFIG.replace(LEASES[1], _LAST_LEASE)  # a site's range has no more than fifty addresses
        (paths.etc / "controller.toml").write_text(f'address = "{CONTROLLER}"\ngateway = "{GATEWAY}"\njobs = {jobs}\n{config}')
        document = load(paths.etc / "controller.toml", Controller, owners=plugins.names)
        services = make_services(document, document.value.overridden(storage_address=ISCSI), paths, plugins)
        undo.callback(services.store.close)
        machines = Machines(evolve(services, session=services.session.reporting_to(report)))
        undo.callback(machines.upgrading.following.end)
        keeper = Keeper(machines)
        keeper.begin()
        undo.callback(_take_down, machines)
        keeper.look()
        yield machines


@contextmanager
def btrfs_in_a_file(work: Path) -> Iterator[Path]:
    """Offer a new btrfs, as a store that shares blocks has it."""
    file, place = work / "disk.img", work / "root"
    place.mkdir()
    file.touch()
    os.truncate(file, _DISK)
    run(["mkfs.btrfs", "--quiet", file])
    with loop_device(file) as device, mounted(device, place, filesystem="btrfs"):
        yield place


def _take_down(machines: Machines) -> None:
    from terra_core.hookspecs import Boot, Storage

    services = machines._services  # the bench is what the daemon is otherwise
    services.role(Storage).stop_storage(services.session)
    services.role(Boot).stop_boot(services.session)


def show(name: str, taken: Taken, further: Taken) -> None:
    """Print the line of a way."""
    seconds, disk = median(taken.seconds), median(taken.disk)
    ratio = median(further.seconds) / seconds
    said = ", ".join(f"{one:.2f}" for one in taken.seconds)
    print(f"  {name:<34}{seconds:8.2f} s {disk / _MB:9.1f} MB   clone to this {ratio:5.2f}   {said}", flush=True)


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--machines", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=4)
    options = parser.parse_args()
    with bench(options.jobs) as at:
        steps, first = Steps(), Taken()
        first.measure(at.used, lambda number: at.provision(number, steps), 1)
        print(f"the first machine: {first.seconds[0]:.2f} s, {first.disk[0] / _MB:.0f} MB of new disk; by step, in seconds")
        for name, seconds in steps.slowest_first():
            print(f"  {name:<12}{seconds:7.2f}")
        further, full, qemu, steps = Taken(), Taken(), Taken(), Steps()
        for turn in range(options.rounds):
            further.measure(at.used, lambda number: at.provision(number, steps), 10 + turn)
            full.measure(at.used, at.in_full, 1000 + turn)
            qemu.measure(at.used, at.by_qemu, 2000 + turn)
        print(f"one after another, medians of {options.rounds} rounds")
        show("a further machine, a clone", further, further)
        show("laid down in full", full, further)
        show("qemu-img create -b, and mount", qemu, further)
        each = ", ".join(f"{name} {seconds / options.rounds:.3f}" for name, seconds in steps.slowest_first())
        print(f"  the clone by step, in seconds: {each}")
        before, began = at.used(), time.perf_counter()
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(at.provision, range(100, 100 + options.machines)))
        seconds = (time.perf_counter() - began) / options.machines
        disk = (at.used() - before) / options.machines
        print(f"{options.machines} machines, {options.jobs} at once: {seconds:.2f} s and {disk / _MB:.1f} MB each")
        print(f"  {'in full, one after another':<34}{median(full.seconds) / seconds:8.1f} times as long each")
    marks = (
        ("seconds of a further machine", median(further.seconds), SECONDS),
        ("MB of new disk of it", median(further.disk) / _MB, BYTES / _MB),
        ("seconds of each of many at once", seconds, SECONDS),
        ("MB of new disk of each", disk / _MB, BYTES / _MB),
    )
    for name, value, mark in marks:
        print(f"  {name:<34}{value:8.2f}   bound {mark:6.2f}   {'held' if value < mark else 'MISSED'}")
    return 0 if all(value < mark for _, value, mark in marks) else 1


if __name__ == "__main__":
    sys.exit(main())
