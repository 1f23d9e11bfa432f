"""Upgrading machines on loop devices, ended in every way that an upgrade ends in, and counted by what happened.

    python -m tests.integration.install.upgrades COUNT [SEED]

upgrades small machines on btrfs, on a mirror of it with and without one of its disks, on ext4 and on xfs, and a whole system
that decides in a container, COUNT times together, and prints the counts. What a machine's boot loader does is done here as
GRUB's menu does it. A power cut is a copy of the disks at that instant: a clone of their files, which has all blocks that were
written by then, and none that came later.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random

from attrs import Factory, define, frozen

from lab.disks import MB, Disk, attached, sparse
from lab.engine import Engine
from lab.network import Network
from lab.registry import Registry
from lab.suite import choose
from terra_core.config.controller import Paths
from terra_core.config.node import Upgrades
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.errors import TerraError
from terra_core.hookspecs import Bootloader, StartChoice
from terra_core.install.disks import part_device
from terra_core.plugins import Plugins
from terra_core.system.mounts import directory_mounted, loop_device, mounted, sweep
from terra_core.system.namespaces import keep_mounts_private
from terra_core.system.process import Argument, run
from terra_core.system.progress import Event, Report, silent
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from terra_core.upgrade.health import Network as Reach
from terra_core.upgrade.health import Seen
from terra_core.upgrade.judge import Questions, judge
from terra_core.upgrade.observe import check_problem, room_problem
from terra_core.upgrade.plan import Plan
from terra_core.upgrade.trial import give_up, keep, settle, state
from terra_core.upgrade.use import Upgrade, upgrade
from terra_core.versions.look import difference, versions
from terra_core.versions.record import PLACE
from tests.integration.install.contained import Contained, contained
from tests.integration.install.grounds import SYSTEM, Ground, group
from tests.unit.oci.making import LayoutMaker, file, folder, hardlink, symlink, tar
from tests.vm.tried import CHECK

TERRA = Path(sys.executable).parent / "terra"
KINDS = ("btrfs", "mirror", "ext4", "xfs")
CONTAINED = "container"
"""A machine whose version on trial runs in a container, and decides by itself; on btrfs."""
ENDS = ("kept", "check fails", "disk full on trial", "no word", "disk full", "killed", "power cut")
"""How an upgrade ends."""
TRIALS = ENDS[:4]
"""Those that come when the version is laid down whole, and runs on trial."""
_IMAGES = 9
_SIZE = {"btrfs": 512, "mirror": 512, "ext4": 320, "xfs": 420, CONTAINED: 4096}
_BROKEN = "etc/broken"
"""The file of a version whose check fails then."""
_STORE_MB = 24 << 10
_FICLONE = 0x40049409
_MENU = "boot/grub/grub.cfg"
_STATE = "etc/app/keys/state"
_CUTS = 3
"""How many power cuts come at random moments, beside those at the beginning of each step."""
_INSTALL_SECONDS = 900
_TURN = 8
"""Every such upgrade of :func:`main` is decided in a container."""


@frozen
class Known:
    """A version as it has to be.

    :param digest: of its image.
    :param changes: how it differs from what was laid down.
    """

    digest: str
    changes: frozenset[tuple[str, str]] = frozenset()


@define
class Machine:
    """A machine.

    :param kind: one of :data:`KINDS`, or :data:`CONTAINED`.
    :param files: its disks.
    :param running: the version that runs.
    :param known: the versions that there are.
    :param data: what stands in its subvolume.
    """

    kind: str
    files: list[Path]
    running: str = "os"
    known: dict[str, Known] = Factory(dict)
    data: str = ""

    @property
    def filesystem(self) -> str:
        """The type of its file system."""
        return self.kind if self.kind in ("ext4", "xfs") else "btrfs"


@define
class Opened:
    """The disks of a machine while they are attached.

    :param parts: the devices of its file system.
    :param esps: the EFI system partition of each disk.
    :param devices: the disks and all of their partitions.
    """

    machine: Machine
    parts: list[Path]
    esps: list[Path]
    devices: list[Path]

    @contextmanager
    def root(self, version: str, place: Path) -> Iterator[Path]:
        """Mount the root of a version as the machine does."""
        place.mkdir(exist_ok=True)
        if self.machine.filesystem == "btrfs":
            options = (f"subvol=/{version}", *self._degraded)
            with mounted(self.parts[0], place, filesystem="btrfs", options=options) as root:
                yield root
        else:
            with directory_mounted(self.parts[0], version, place, filesystem=self.machine.filesystem) as root:
                yield root

    @contextmanager
    def top(self, place: Path) -> Iterator[Path]:
        """Mount all of the file system."""
        place.mkdir(exist_ok=True)
        options = ("subvolid=5", *self._degraded) if self.machine.filesystem == "btrfs" else ()
        with mounted(self.parts[0], place, filesystem=self.machine.filesystem, options=options) as top:
            yield top

    @property
    def _degraded(self) -> tuple[str, ...]:
        return ("degraded",) if len(self.parts) < len(self.machine.files) else ()


@define
class Campaign:
    """Upgrades machines, and looks at everything after each.

    :param ground: where the registry is.
    :param store: a directory on a file system that clones files.
    :param contained: where versions decide in containers; ``None`` for nowhere.
    :param happened: how often what happened, by the kind of machine, the end, and what came of it.
    :param took: how long each upgrade took, in seconds, with all that was looked at, by the kind of machine.
    """

    ground: Ground
    store: Path
    images: list[str]
    random: Random
    contained: Contained | None = None
    happened: Counter[tuple[str, str, str]] = Factory(Counter)
    machines: list[Machine] = Factory(list)
    took: dict[str, list[float]] = Factory(dict)
    upgrades: int = 0
    cuts: int = 0
    _first: int = 0
    _plugins: Plugins = Factory(Plugins.discover)
    _seconds: float = 20.0

    def begin(self, kinds: Sequence[str] = KINDS) -> None:
        """Install a machine of each kind."""
        for kind in kinds:
            count = 2 if kind == "mirror" else 1
            files = [sparse(self.store / f"{kind}-{at}.img", _SIZE[kind]) for at in range(count)]
            machine = Machine(kind=kind, files=files)
            with attached(files) as disks:
                lines = ['boot = "bios"', f'filesystem = "{machine.filesystem}"']
                own = group("os", "raid1" if count > 1 else "single", disks, *lines, data="/data")
                named = '[upgrade]\nkeep = ["/etc/app/keys"]\n'
                named += f'check = ["/{CHECK}"]\n' if kind == CONTAINED else ""
                node = self.ground.node(own, named, hostname=f"on-{kind}", image=self._images_of(machine)[0])
                run(self.ground.command(node), timeout=_INSTALL_SECONDS)
                self._forget(machine, disks)
            with self.opened(machine) as there, there.root("os", self._place("root")) as root:
                machine.known["os"] = self._known("os", root)
            self.machines.append(machine)

    def upgrade(self, machine: Machine, end: str) -> str:
        """Upgrade a machine once, end it so, start the machine, and look at everything; return what came of it."""
        away = machine.kind == "mirror" and self.random.random() < 0.5
        chosen = [self.random.randrange(2)] if away else None
        self._first = self.random.randrange(len(chosen or machine.files))
        former, began = machine.running, time.monotonic()
        with (
            self.opened(machine, chosen) as disks,
            disks.root(former, self._place("root")) as root,
            disks.top(self._place("top")) as top,
        ):
            self._live(machine, root, top)
            how = getattr(self, f"_{end.replace(' ', '_')}", self._whole)
            plan, cuts = how(machine, root, top)
        came_of = self._after(machine, end, plan, cuts, chosen)
        assert came_of != "kept" or end == "kept" or end not in TRIALS, came_of
        assert (machine.running == former) == (came_of != "kept")
        if away:
            self._come_back(machine)
        self.require_well(machine, f"{machine.kind}: {end}")
        if end in TRIALS and plan is not None and not plan.there:
            assert len(machine.known) == 2, "the oldest go, also those that are left of an upgrade that was cut off"
        self.upgrades += 1
        name = f"{machine.kind}, a disk away" if away else machine.kind
        self.happened[(name, end, came_of)] += 1
        self.took.setdefault(machine.kind, []).append(time.monotonic() - began)
        return came_of

    # What is done to an upgrade

    def _whole(self, machine: Machine, root: Path, top: Path) -> tuple[Plan, list[list[Path]]]:
        with self._planned(root, self._other(machine)) as planned:
            planned.carry_out()
            self._laid(machine, planned.plan)
            return planned.plan, []

    def _disk_full(self, machine: Machine, root: Path, top: Path) -> tuple[Plan | None, list[list[Path]]]:
        before, layers, half = sorted(path.name for path in top.iterdir()), _layers(top), (top / ".terra/new").exists()
        with _filled(top / "data", spare=MB // 2):
            try:
                with self._planned(root, self._other(machine)) as planned:
                    if planned.plan.there:
                        planned.carry_out()
                        return planned.plan, []
                    planned.carry_out()
                    raise AssertionError(f"{planned.plan.version} was laid down on a full disk")
            except (TerraError, OSError) as error:
                told = str(error)
        assert "No space left" in told.partition("not wholly undone")[0] or "are free" in told, told
        assert sorted(path.name for path in top.iterdir()) == before
        refused = "are free" in told  # before anything is removed, such as what a killed upgrade has left
        assert (top / ".terra/new").exists() == (half and refused), told
        assert _layers(top) <= layers, told
        return None, []

    def _killed(self, machine: Machine, root: Path, top: Path) -> tuple[Plan, list[list[Path]]]:
        image = self._other(machine)
        with self._planned(root, image) as planned:
            plan = planned.plan
        words: list[Argument] = [TERRA, "upgrade", "--http", "--root", root, image]
        began, pause = time.monotonic(), self.random.uniform(0.3, 1) * self._seconds
        process = subprocess.Popen(
            self.ground.network.command(words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(pause)
            self._seconds = time.monotonic() - began  # it was faster: the next one is killed earlier
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._laid(machine, plan, if_there=top)
        return plan, []

    def _power_cut(self, machine: Machine, root: Path, top: Path) -> tuple[Plan, list[list[Path]]]:
        made: list[list[Path]] = []
        lock, steps = threading.Lock(), set[str]()

        def cut() -> None:
            with lock:
                made.append([_clone(path, path.with_name(f"cut-{len(made)}-{path.name}")) for path in machine.files])

        def report(event: Event) -> None:
            if event.step not in steps:
                steps.add(event.step)
                cut()

        timers = [threading.Timer(self.random.uniform(0.05, 1) * self._seconds, cut) for _ in range(_CUTS)]
        began = time.monotonic()
        with Undo() as undo:
            for timer in timers:
                timer.start()
                undo.callback(timer.join)
                undo.callback(timer.cancel)
            with self._planned(root, self._other(machine), report) as planned:
                planned.carry_out()
                self._laid(machine, planned.plan, kept=True)
                plan = planned.plan
            self._seconds = time.monotonic() - began
        cut()
        return plan, made

    # What becomes of it

    def _after(
        self, machine: Machine, end: str, plan: Plan | None, cuts: list[list[Path]], chosen: list[int] | None
    ) -> str:
        former = machine.running
        if cuts:
            self._look_at(machine, plan, cuts, chosen)
        if plan is None:
            self._settled(machine, chosen)
            return "nothing laid down"
        version, on_trial = self._start(machine, chosen)
        assert version in (former, plan.tried), (version, plan)
        if not plan.tried:
            assert plan.obstacle.startswith(f"{plan.there} was given up before"), plan.obstacle
            self._settled(machine, chosen)
            return "not tried again"
        if end in TRIALS:
            assert on_trial, (end, version)
        if not on_trial:
            self._settled(machine, chosen)
            return "the former one starts"
        if end not in TRIALS:  # also on a full disk: what is to be tried may be there already
            end = self.random.choice(TRIALS)
        machine.running = version
        if self._judged(machine, end, chosen, carried=not plan.there):
            self._settled(machine, chosen)
            return "kept"
        machine.running, again = self._start(machine, chosen)
        assert (machine.running, again) == (former, False), (machine.running, again)
        if machine.kind == CONTAINED and end == "no word":
            self._settled_in_container(machine, version)
        reasons = self._settled(machine, chosen)
        assert version in reasons, (version, reasons)
        return f"back: {' '.join(reasons[version].split())[:40]}"

    def _judged(self, machine: Machine, end: str, chosen: list[int] | None, *, carried: bool) -> bool:
        """Do what a version on trial does, which runs now; return whether it is kept.

        :param carried: whether it was laid down just now, with what the machine had of its own then.
        """
        if machine.kind == CONTAINED:
            return self._judged_in_container(machine, end, carried=carried)
        if end == "no word":
            return False
        check = ("sh", "-c", "echo the shop does not answer; exit 3") if end == "check fails" else ("true",)
        with self.opened(machine, chosen) as disks, Undo() as stack:
            root = stack.enter_context(disks.root(machine.running, self._place("root")))
            assert not carried or (root / _STATE).read_text() == machine.data
            if end == "disk full on trial":
                top = stack.enter_context(disks.top(self._place("top")))
                stack.enter_context(_filled(top / "data"))
            questions = Questions(
                look=lambda: Seen(state="running", network=Reach.ROUTE),
                check=check_problem,
                room=lambda: room_problem(root / PLACE),
                uptime=lambda: 60.0,
                pause=lambda seconds: None,
            )
            reason = judge(Upgrades(check=check), Reach.ROUTE, questions)
            assert bool(reason) == (end != "kept"), (end, reason)
            if reason:
                with suppress(TerraError):  # a full disk does not take the reason
                    give_up(machine.running, reason, root, paths=self._paths, plugins=self._plugins)
                return False
            keep(machine.running, root, paths=self._paths, plugins=self._plugins)
            return True

    def _judged_in_container(self, machine: Machine, end: str, *, carried: bool) -> bool:
        """Let a version on trial run in a container, where it decides by itself; return whether it is kept."""
        assert self.contained is not None
        with self.opened(machine) as disks, Undo() as stack:
            root = stack.enter_context(disks.root(machine.running, self._place("root")))
            assert not carried or (root / _STATE).read_text() == machine.data
            if end == "check fails":
                (root / _BROKEN).touch()
            with Undo() as meanwhile:
                if end == "disk full on trial":
                    top = stack.enter_context(disks.top(self._place("top")))
                    meanwhile.enter_context(_filled(top / "data"))
                kept = self.contained.decided(root, disks.devices, machine.running, cut=end == "no word")
            machine.known[machine.running] = self._known(machine.running, root)  # it has written logs, and what is its own
        assert kept == (end == "kept"), end
        return kept

    def _settled_in_container(self, machine: Machine, tried: str) -> None:
        assert self.contained is not None
        with self.opened(machine) as disks, disks.root(machine.running, self._place("root")) as root:
            self.contained.settled(root, disks.devices, machine.running, tried)
            machine.known[machine.running] = self._known(machine.running, root)

    def _settled(self, machine: Machine, chosen: list[int] | None) -> Mapping[str, str]:
        """Do what each start does at its end; return why versions were given up."""
        with self.opened(machine, chosen) as disks, disks.root(machine.running, self._place("root")) as root:
            now = settle(root, paths=self._paths, plugins=self._plugins)
            assert now.choices == (StartChoice(kept=machine.running),) * len(disks.esps), (machine.running, now)
            return {name: failure.reason for name, failure in now.failed.items()}

    def _look_at(self, machine: Machine, plan: Plan | None, cuts: list[list[Path]], chosen: list[int] | None) -> None:
        """Look at what each power cut has left, and let the machine go on with one of them."""
        assert plan is not None
        tidy, whole = self.random.randrange(len(cuts)), machine.files
        for at, files in enumerate(cuts):
            machine.files = files
            self._require_whole(machine, f"power cut {at + 1} of {len(cuts)}", chosen)
            self.cuts += 1
        for at, files in enumerate(cuts):
            for path, into in zip(files, whole, strict=True):
                if at == tidy:
                    path.replace(into)
                else:
                    path.unlink()
        machine.files = whole

    def _require_whole(self, machine: Machine, when: str, chosen: list[int] | None = None) -> None:
        """Check that what would start is one of the versions that are known, and that all of them are whole."""
        with self.opened(machine, chosen) as disks:
            with disks.top(self._place("top")) as top:
                started = {self._next(disks, at, top)[0] for at in range(len(disks.esps))}
                there = [name for name in machine.known if (top / name / PLACE / "record.json").is_file()]
                assert (top / "data/state").read_text() == machine.data, when
            assert started <= set(there), (when, started, there)
            assert machine.running in there, (when, there)
            for name in there:
                with disks.root(name, self._place("root")) as root:
                    assert self._known(name, root) == machine.known[name], (when, name)
        if len(machine.files) == 1:
            menu = f"(loop0,gpt3)/{machine.running}/{_MENU}"
            assert "Terra: on-" in run(["grub-fstest", machine.files[0], "cat", menu]).text, f"{when}: GRUB reads no journal"

    def require_well(self, machine: Machine, when: str) -> None:
        """Check that a machine that has settled has the versions that are known, all of them whole, and nothing else."""
        self._require_whole(machine, when)
        with self.opened(machine) as disks, disks.root(machine.running, self._place("root")) as root:
            now = state(root, paths=self._paths, plugins=self._plugins)
            assert set(now.kept) == {machine.running}, (when, now)
            found = {one.name for one in versions(root, plugins=self._plugins, paths=self._paths)}
        machine.known = {name: one for name, one in machine.known.items() if name in found}
        assert found == set(machine.known), (when, found)

    # The machine

    @contextmanager
    def opened(self, machine: Machine, chosen: Sequence[int] | None = None) -> Iterator[Opened]:
        """Attach the disks of a machine.

        :param chosen: those that are there; all when left out.
        """
        files = machine.files if chosen is None else [machine.files[at] for at in chosen]
        with attached(files) as disks:
            parts, esps = ([part_device(disk.device, number) for disk in disks] for number in (3, 2))
            try:
                if machine.filesystem == "btrfs":
                    run(["btrfs", "device", "scan", "--forget", *parts], accept=(0, 1))
                    if run(["btrfs", "device", "scan", *parts], accept=(0, 1)).code:
                        # A loop device of another number that had a later state of this disk, and that nobody has mounted.
                        run(["btrfs", "device", "scan", "--forget"])
                        run(["btrfs", "device", "scan", *parts])
                devices = [disk.device for disk in disks]
                numbered = [path for device in devices for path in sorted(device.parent.glob(f"{device.name}p*"))]
                yield Opened(machine, parts, esps, [*devices, *numbered])
            finally:
                self._forget(machine, disks)

    def _forget(self, machine: Machine, disks: Sequence[Disk]) -> None:
        if machine.filesystem == "btrfs":
            parts = [part_device(disk.device, 3) for disk in disks]
            for part in parts:  # a thread that ends a little later holds the mounts that it saw
                command: list[Argument] = ["btrfs", "device", "scan", "--forget", part]
                wait_until(partial(_is_forgotten, command), seconds=60, what=f"{part} to be mounted nowhere")

    def _start(self, machine: Machine, chosen: list[int] | None) -> tuple[str, bool]:
        """Do what GRUB's menu does on the disk that the firmware starts; return what starts, and whether it is on trial."""
        with self.opened(machine, chosen) as disks, disks.top(self._place("top")) as top:
            at = self._first
            version, choice = self._next(disks, at, top)
            if choice.once:
                grub = self._plugins.fill(Bootloader, {}, source="test")
                grub.write_choice(disks.esps[at], StartChoice(kept=choice.kept, tried=choice.once), Session())
            return version, version == choice.once

    def _next(self, disks: Opened, at: int, top: Path) -> tuple[str, StartChoice]:
        choice = self._plugins.fill(Bootloader, {}, source="test").read_choice(disks.esps[at], Session())
        named = [choice.once, choice.kept, "os"]
        others = sorted(path.name for path in top.iterdir() if not path.name.startswith("."))
        version = next(name for name in (*named, *others) if name and (top / name / _MENU).is_file())
        return version, choice

    def _live(self, machine: Machine, root: Path, top: Path) -> None:
        """Do what a machine and its user do."""
        machine.data = f"{self.random.getrandbits(64):x}"
        (top / "data/state").write_text(machine.data)
        (root / _STATE).parent.mkdir(parents=True, exist_ok=True)
        (root / _STATE).write_text(machine.data)
        (root / f"usr/share/mine-{self.random.randrange(3)}").write_text(machine.data)
        run(["sync", "--file-system", top])
        machine.known[machine.running] = self._known(machine.running, root)

    def _known(self, version: str, root: Path) -> Known:
        told = difference(root, paths=self._paths)
        assert told.record.version == version, (told.record.version, version)
        return Known(told.record.digest, frozenset((one.path, one.what.value) for one in told.changes))

    def _come_back(self, machine: Machine) -> None:
        """Let a mirror have all of its disks again, as docs/installing.md says."""
        with self.opened(machine) as disks, disks.top(self._place("top")) as top:
            run(["btrfs", "scrub", "start", "-B", top], timeout=300, accept=(0, 3))
            run(["btrfs", "balance", "start", "-dconvert=raid1,soft", "-mconvert=raid1,soft", top], timeout=300)
        former = machine.running
        self._first = self.random.randrange(len(machine.files))
        version, on_trial = self._start(machine, None)
        assert not on_trial
        with self.opened(machine) as disks, disks.root(version, self._place("root")) as root:
            now = settle(root, paths=self._paths, plugins=self._plugins)
            assert now.choices == (StartChoice(kept=former),) * len(disks.esps), (version, former, now)
        machine.running, again = self._start(machine, None)
        assert (machine.running, again) == (former, False), "a disk that was away says nothing of what is kept"

    def _other(self, machine: Machine) -> str:
        """Return an image that the running version is not of; of whole systems, one that no version is of."""
        there = machine.known.values() if machine.kind == CONTAINED else [machine.known[machine.running]]
        own = tuple(one.digest for one in there)
        return self.random.choice([image for image in self._images_of(machine) if not image.endswith(own)])

    def _images_of(self, machine: Machine) -> list[str]:
        return self.contained.images if machine.kind == CONTAINED and self.contained else self.images

    def _laid(self, machine: Machine, plan: Plan, *, if_there: Path | None = None, kept: bool = False) -> None:
        """Note what an upgrade has laid down, and removed."""
        if not plan.there and (if_there is None or (if_there / plan.version).is_dir()):
            machine.known[plan.version] = Known(plan.digest)
        for name in plan.removed:
            if not kept and if_there is None:
                machine.known.pop(name, None)

    @contextmanager
    def _planned(self, root: Path, image: str, report: Report = silent) -> Iterator[Upgrade]:
        with (
            self.ground.network.inside(),
            upgrade(
                parse_image_reference(image), root, plain_http=True, report=report, paths=self._paths, plugins=self._plugins
            ) as planned,
        ):
            yield planned

    @property
    def _paths(self) -> Paths:
        return Paths(root=self.ground.work / "own")

    def _place(self, name: str) -> Path:
        return self.ground.work / name


@contextmanager
def _filled(directory: Path, spare: int = 0) -> Iterator[None]:
    """Let a file system be full for the time of a block.

    :param spare: what is left free, in bytes.
    """
    place, size = directory / "all", 64 * MB
    with place.open("wb", buffering=0) as opened:
        while size >= MB // 8:  # what btrfs says that is free is a guess
            try:
                opened.write(os.urandom(size))
                os.fsync(opened.fileno())
            except OSError:
                size //= 2
        opened.truncate(max(0, os.fstat(opened.fileno()).st_size - spare))
        os.fsync(opened.fileno())
    try:
        yield
    finally:
        place.unlink()
        run(["sync", "--file-system", directory])


def _layers(top: Path) -> set[str]:
    """Return the names of the layers of images that are kept."""
    directory = top / ".terra/layers"
    return {path.name for path in directory.iterdir()} if directory.is_dir() else set()


def _is_forgotten(command: Sequence[Argument]) -> bool:
    return b"busy" not in run(command, accept=(0, 1)).stderr


def _clone(path: Path, into: Path) -> Path:
    """Clone a file in an instant (ioctl_ficlone(2))."""
    with path.open("rb") as source, into.open("xb") as target:
        fcntl.ioctl(target, _FICLONE, source.fileno())
    return into


def _build(random: Random, at: int) -> list[bytes]:
    """Return the layers of an image: the same system, a second layer that few of them share, and a third of its own."""
    lower = Random(at // 3)  # noqa: S311  # no secret
    names = [f"usr/lib/app/{number}".encode() for number in range(40)]
    second = [file(name, lower.randbytes(lower.randrange(20_000))) for name in names]
    removed = random.sample(names, 5)
    changed = [name for name in random.sample(names, 12) if name not in removed]
    third = [
        folder(b"usr/share"),
        file(b"usr/share/same", hashlib.shake_128(b"same").digest(2 * MB)),
        file(b"usr/share/program", random.randbytes(random.randrange(MB, 3 * MB)), mode=0o4755),
        hardlink(b"usr/share/other", b"usr/share/program"),
        symlink(b"usr/share/link", f"program-{at}".encode()),
        file(b"etc/release", f"version {at}\n".encode()),
        folder(b"usr/lib/app", mode=random.choice([0o755, 0o711])),
        *(file(name, random.randbytes(random.randrange(60_000)), uid=random.randrange(3)) for name in changed),
        *(file(b"usr/lib/app/.wh." + name.rpartition(b"/")[2]) for name in removed),
    ]
    more = [tar(file(b"etc/more", f"{at}".encode()))] if random.random() < 0.3 else []
    folders = [folder(name) for name in (b"usr", b"usr/lib", b"usr/lib/app")]
    return [tar(*SYSTEM, folder(b"data")), tar(*folders, *second), tar(*third), *more]


def _push(network: Network, registry: Registry, work: Path, random: Random) -> list[str]:
    """Push images; return their references by digest."""
    found = []
    for at in range(_IMAGES):
        layout, name = work / f"layout-{at}", f"{registry.address}/stellarproject/counted"
        digest = LayoutMaker(layout).image(_build(random, at))["digest"]
        words = ["skopeo", "--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}:latest"]
        run(network.command([*words, f"docker://{name}:{at}"]), timeout=120)
        found.append(f"{name}@{digest}")
    return found


@contextmanager
def campaign(
    network: Network, registry: Registry, work: Path, seed: int, whole: Contained | None = None
) -> Iterator[Campaign]:
    """Yield a campaign whose disks are on a file system that clones files; nothing of it is left at the end.

    :param whole: where versions decide in containers.
    """
    random = Random(seed)  # noqa: S311  # no secret
    place = work / "store"
    place.mkdir()
    image = sparse(work / "store.img", _STORE_MB)
    run(["mkfs.xfs", "-q", "-m", "reflink=1", image])
    with Undo() as undo:
        undo.callback(image.unlink)
        undo.callback(sweep, work, work)
        device = undo.enter_context(loop_device(image))
        undo.enter_context(mounted(device, place, filesystem="xfs"))
        images = _push(network, registry, work, random)
        ground = Ground(network, images[0], work)
        yield Campaign(ground=ground, store=place, images=images, random=random, contained=whole)


def shown(happened: Mapping[tuple[str, str, str], int]) -> str:
    """Return what happened as a table."""
    rows = sorted(happened.items())
    return "\n".join(f"  {kind:<20}{end:<20}{came_of:<48}{count:>5}" for (kind, end, came_of), count in rows)


def taken(seconds: Mapping[str, Sequence[float]]) -> str:
    """Return how long upgrades took, by the kind of machine, as a table."""
    rows = ((kind, len(each), sum(each) / len(each), max(each)) for kind, each in sorted(seconds.items()))
    return "\n".join(f"  {kind:<20}{count:>5} in {mean:.1f} s each, {most:.1f} s at most" for kind, count, mean, most in rows)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # a program of its own


def main(words: Sequence[str]) -> int:
    """Run the campaign; print its counts."""
    count, seed = int(words[0]) if words else 100, int(words[1]) if len(words) > 1 else time.time_ns() % 1_000_000
    _say(f"{count} upgrades from seed {seed}")
    choose()
    keep_mounts_private()  # a namespace that somebody else makes meanwhile would copy the mounts, and hold the disks
    with tempfile.TemporaryDirectory(prefix="terra-upgrades-") as directory, Network("upgrades") as network:
        work = Path(directory)
        with (
            Registry(network, work / "registry") as registry,
            Engine(work / "engine", network) as engine,
            campaign(network, registry, work, seed, contained(network, registry, engine, work)) as made,
        ):
            made.begin((*KINDS, CONTAINED))
            *small, whole = made.machines
            try:
                while made.upgrades < count:
                    turn, last = divmod(made.upgrades, _TURN)
                    inside = last == _TURN - 1
                    machine = whole if inside else small[(made.upgrades - turn) % len(small)]
                    end = made.random.choice(TRIALS if inside else ENDS)
                    came_of = made.upgrade(machine, end)
                    _say(f"{made.upgrades}: {machine.kind}: {end}: {came_of} ({made.took[machine.kind][-1]:.1f} s)")
                _say(f"{made.upgrades} upgrades, after none of which anything was off; {made.cuts} power cuts were looked at")
            finally:
                _say(shown(made.happened))
                _say(taken(made.took))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
