"""Starting a version of the system on trial, keeping it, and giving it up; see docs/decisions/0087 and 0089.

What the machine starts by itself stands on every disk of its root. Each disk has its own word: the machine does what the one
says that its firmware starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

from attrs import Factory, evolve, frozen

from terra_core.config.controller import THIS_MACHINE, Paths
from terra_core.config.node import OS_LABEL
from terra_core.config.session import Session
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.hookspecs import Bootloader, Filesystem, Roots, StartChoice
from terra_core.image.contained import ContainedRoot
from terra_core.plugins import Plugins
from terra_core.system.locks import locked
from terra_core.system.progress import Event, Report, silent
from terra_core.system.waiting import WaitedInVain
from terra_core.upgrade.leftovers import half_of_version
from terra_core.upgrade.starts import DiskStart, read_starts, start_disks, write_starts
from terra_core.versions.failures import Failure, failures, forget_failure, make_room, note_failure
from terra_core.versions.ledger import read_ledger, write_ledger
from terra_core.versions.look import open_versions, place_for_mounts, read_known
from terra_core.versions.look import remove as remove_version
from terra_core.versions.record import PLACE, Record, place_of, read_record

KERNEL_LINE = Path("/proc/cmdline")
_CONTAINER, _INIT_LINE = Path("/run/systemd/container"), Path("/proc/1/cmdline")
_RUNNING = Path("/")
_TRY = re.compile(r"(?:^|\s)terra\.try=(\S+)")
_OTHER_SECONDS = 600
_UPGRADE_SECONDS = 1800
_UNKNOWN = "it was to be started on trial, and another version runs now: it did not come up, or a person chose another one"
_AWAY = "was started by a disk that had been away, and {} is the version that is kept"

Change = Callable[[StartChoice], StartChoice]


class How(TypedDict, total=False):
    """How a machine's versions are looked at and changed: the further parameters of the functions here.

    :param report: takes progress events; nobody when left out.
    :param paths: where locks are, and where mounts are made that nobody else sees; those of this machine when left out.
    :param plugins: the installed plugins; found when left out.
    :param kernel_line: the kernel line of the running machine.
    """

    report: Report
    paths: Paths
    plugins: Plugins | None
    kernel_line: Path


class OverruledError(ConflictError):
    """A version on trial is not the one that the machine was told to try.

    :param by_person: whether somebody has chosen another one since; a disk that had been away has started it otherwise.
    """

    def __init__(self, message: str, *, by_person: bool) -> None:
        super().__init__(message)
        self.by_person = by_person


@frozen(kw_only=True)
class State:
    """What runs, and what the next start does.

    :param running: the version that runs; of a root that was mounted elsewhere, that one.
    :param trying: whether it runs on trial, by the word ``terra.try=`` of the kernel line.
    :param disks: every disk of the root, with what it starts.
    :param failed: why versions were given up, by name.
    :param left: whether an upgrade that did not come to its end has left a half of a version, which takes room.
    """

    running: str
    trying: bool = False
    disks: tuple[DiskStart, ...] = ()
    failed: Mapping[str, Failure] = Factory(dict)
    left: bool = False

    @property
    def choices(self) -> tuple[StartChoice, ...]:
        """What the disks start that say so."""
        return tuple(disk.choice for disk in self.disks if disk.choice is not None)

    @property
    def able(self) -> bool:
        """Whether a version can be tried: at least one disk says what it starts."""
        return bool(self.choices)

    @property
    def kept(self) -> tuple[str, ...]:
        """The versions that the disks start by themselves: one, unless a disk was missing while another one was kept."""
        return tuple(dict.fromkeys(choice.kept or OS_LABEL for choice in self.choices))

    @property
    def once(self) -> tuple[str, ...]:
        """The versions that a next start tries: none or one, as a rule."""
        return tuple(dict.fromkeys(choice.once for choice in self.choices if choice.once))

    @property
    def tried(self) -> tuple[str, ...]:
        """The versions whose try has begun, and which nobody has kept or given up."""
        return tuple(dict.fromkeys(choice.tried for choice in self.choices if choice.tried))

    @property
    def needed(self) -> dict[str, str]:
        """The versions that may not be removed, each with what the machine needs it for."""
        return self.needed_without(())

    def needed_without(self, given_way: Collection[str]) -> dict[str, str]:
        """Return the versions that may not be removed when some are not to be tried any more, each with what it is needed for.

        :param given_way: those that another one is tried instead of.
        """
        needed = dict.fromkeys((name for name in self.once if name not in given_way), "is to be tried at the next start")
        needed |= dict.fromkeys(self.kept, "is the version that the machine starts by itself")
        if not self.able or self.problems:
            needed[OS_LABEL] = "holds the boot menu by which the machine starts"
        return needed

    @property
    def problems(self) -> tuple[str, ...]:
        """What a person should know of disks that do not say what they start, or could not be written."""
        return tuple(disk.problem for disk in self.disks if disk.problem)


def state(root: Path = _RUNNING, **how: Unpack[How]) -> State:
    """Return what runs, and what the next start does.

    :param root: where the root of a version is mounted; ``/`` for the one that runs.
    :param how: as :class:`How` says, as of the others.
    :raises TerraError: when nobody has written down what was laid down, or a plugin is missing.
    """
    with _opened(root, **how) as opened:
        paths = how.get("paths", THIS_MACHINE)
        return evolve(opened.state, left=opened.half is not None and _nobody_upgrades(paths))


def try_once(version: str, root: Path = _RUNNING, **how: Unpack[How]) -> State:
    """Let the next start try a version, and each start after it the one that is kept. Why it was given up before is forgotten.

    :param version: a version that lies on the disks.
    :param root: as for :func:`state`, as the others.
    :returns: the state then; a disk that could not be written has a problem.
    :raises NotFoundError: when there is no such version.
    :raises TerraError: when no disk could be written.
    """
    with _opened(root, **how) as opened:
        opened.require(version)
        opened.forget(version)
        make_room(opened.top)
        return opened.write(f"try {version} at the next start", partial(trying, version))


def keep(version: str, root: Path = _RUNNING, **how: Unpack[How]) -> State:
    """Let every start from now on start a version; no try is left.

    :param version: a version that lies on the disks.
    :returns: the state then; a disk that could not be written has a problem.
    :raises NotFoundError: when there is no such version.
    :raises TerraError: when no disk could be written.
    """
    with _opened(root, **how) as opened:
        opened.require(version)
        return opened.keep(version)


def keep_tried(version: str, root: Path = _RUNNING, **how: Unpack[How]) -> State:
    """Keep the version that runs on trial, as :func:`keep` does, if it is the one that the machine was told to try.

    :raises OverruledError: when it is not; the disks say then what the machine was told last.
    :raises TerraError: as for :func:`keep`.
    """
    with _opened(root, **how) as opened:
        opened.require(version)
        opened.require_wanted(version)
        return opened.keep(version)


def give_up(version: str, reason: str, root: Path = _RUNNING, **how: Unpack[How]) -> State:
    """Write down why a version is not kept, and take its try back; the next start starts the version that is kept.

    The reason is on the disks before the try is taken back. The version itself stays, and this does not restart the machine.

    :param version: a version that lies on the disks, and is not kept.
    :param reason: why, in words, as ``terra versions`` shows it.
    :returns: the state then; a disk that could not be written has a problem.
    :raises NotFoundError: when there is no such version.
    :raises ConflictError: when it is the one that is kept.
    :raises TerraError: when the reason, or no disk, could be written.
    """
    with _opened(root, **how) as opened:
        opened.require(version)
        if opened.state.kept == (version,):
            raise ConflictError(f"{version}: is the version that is kept", hint="first: terra rollback --to ANOTHER")
        return opened.give_up(version, reason)


def settle(root: Path = _RUNNING, **how: Unpack[How]) -> State:
    """Bring the disks to one word; to be called once after each start, also of a version that is not on trial.

    On trial, nothing is changed. Otherwise a version whose try has come to nothing is given up, with that as the reason; and
    when a disk says that the version that runs is kept, all disks are made to say so, such as one that was missing before.
    When the machine was started by a disk that had been away and has an old word, all disks get the word that counts, which
    the next start is by.

    :returns: the state then; a disk that could not be written has a problem.
    :raises TerraError: as the others.
    """
    with _opened(root, **how) as opened:
        now = opened.state
        if now.trying or not now.able:
            return now
        for version in now.tried:
            if version not in (now.running, opened.told) and version in opened.places:
                now = opened.give_up(version, _UNKNOWN)
        counts = opened.told if opened.told in now.kept and opened.told in opened.places else now.running
        wanted = StartChoice(kept=counts, once=opened.asked)
        if counts in now.kept and any(_plain(choice) != wanted for choice in now.choices):
            if counts != now.running and len(now.kept) > 1:
                opened.say(f"{now.running} {_AWAY.format(counts)}")
            now = opened.write(f"start {counts} from now on, by every disk", lambda _: wanted)
        return now


@frozen(kw_only=True)
class GoingBack:
    """A version that is to be kept in the place of another one.

    :param version: its name.
    :param image: the image that it is of.
    :param laid: when it was laid down, as RFC 3339 has it.
    :param kept: what is kept until now.
    :param running: the version that runs.
    :param left: the versions that count as given up then: later ones that are kept now, one that runs on trial, and those that
        are to be tried.
    """

    version: str
    image: str
    laid: str
    kept: tuple[str, ...]
    running: str
    left: tuple[str, ...] = ()


def former(version: str | None, root: Path = _RUNNING, **how: Unpack[How]) -> GoingBack:
    """Return the version to go back to; nothing is written.

    :param version: its name. When left out, it is the one that is kept, while another one runs on trial or is to be tried;
        otherwise the newest that was laid down before the one that is kept, and was not given up.
    :param root: as for :func:`state`.
    :raises NotFoundError: when there is no such version.
    :raises TerraError: when no disk says what it starts.
    """
    with _opened(root, **how) as opened:
        now = opened.state
        if not now.able:
            told = "; ".join(now.problems) or "the machine's root is on no partition of a disk"
            raise TerraError(f"nothing is started by itself but the first version: {told}", hint="choose one in the boot menu")
        records = {name: record for name in opened.places if (record := _record_of(name, opened.places)) is not None}
        if version is None:
            version = _before(now, records)
        opened.require(version)
        found = records[version]
        later = {name for name in now.kept if name in records and place_of(records[name]) > place_of(found)}
        left = {*later, *now.once, *([now.running] if now.trying else [])} - {version}
        return GoingBack(
            version=version,
            image=found.image,
            laid=found.laid,
            kept=now.kept,
            running=now.running,
            left=tuple(sorted(left)),
        )


def go_back(going: GoingBack, root: Path = _RUNNING, **how: Unpack[How]) -> State:
    """Keep a version in the place of others, which count as given up from then on: no upgrade tries them again by itself.

    :param going: from :func:`former`.
    :returns: the state then; a disk that could not be written has a problem.
    :raises NotFoundError: when there is no such version any more.
    :raises TerraError: when no disk could be written.
    """
    with _opened(root, **how) as opened:
        opened.require(going.version)
        opened.keep(going.version)
        for name in going.left:
            try:
                note_failure(opened.top, name, f"somebody went back from it to {going.version}")
            except TerraError as error:  # what starts is written already
                opened.say(f"warning: {error.message}")
        return evolve(opened.state, failed=failures(opened.top))


def remove(version: str, root: Path = _RUNNING, **how: Unpack[How]) -> None:
    """Remove a version that the machine does not need, while nobody upgrades it or changes what it starts.

    What upgrades have left that did not come to their end goes before it.

    :raises TerraError: when there is no such version, or the machine needs it.
    """
    paths, report, plugins = how.get("paths", THIS_MACHINE), how.get("report", silent), how.get("plugins")
    with place_for_mounts(root, paths), upgrades_locked(paths, report, _OTHER_SECONDS), starts_locked(paths):
        try:
            with _opened(root, locking=False, **how) as opened:
                needed = opened.state.needed
                with suppress(TerraError):  # a version may be removed all the same
                    opened.remove_half()
        except TerraError:  # what its disks start is not known
            needed = State(running="").needed
        remove_version(version, root, needed=needed, report=report, plugins=plugins, paths=paths)


def tidy(root: Path = _RUNNING, **how: Unpack[How]) -> None:
    """Remove what upgrades have left that were killed, or whose machine lost its power; nothing while an upgrade goes on.

    :raises TerraError: as the others.
    """
    paths = how.get("paths", THIS_MACHINE)
    with (
        suppress(WaitedInVain),
        place_for_mounts(root, paths),
        upgrades_locked(paths, silent, seconds=0),
        _opened(root, **how) as opened,
    ):
        opened.remove_half()


@contextmanager
def upgrades_locked(paths: Paths, report: Report, seconds: float = _UPGRADE_SECONDS) -> Iterator[None]:
    """Keep others from upgrading this machine for the time of a block; who needs both locks takes this one first.

    :param report: is told when that has to be waited for.
    :param seconds: how long to wait for another upgrade to end.
    """
    said: list[Event] = []

    def waiting() -> None:
        if not said:
            said.append(Event("lock", "wait for another upgrade of this machine to end"))
            report(said[0])

    place, what = paths.run / "upgrade.lock", "another upgrade of this machine to end"
    with locked(place, seconds=seconds, what=what, waiting=waiting):
        yield


def _nobody_upgrades(paths: Paths) -> bool:
    try:
        with upgrades_locked(paths, silent, seconds=0):
            return True
    except WaitedInVain:
        return False


@contextmanager
def starts_locked(paths: Paths) -> Iterator[None]:
    """Keep others from changing what this machine starts for the time of a block."""
    with locked(paths.run / "starts.lock", seconds=_OTHER_SECONDS, what="others to write what the machine starts"):
        yield


def _before(now: State, records: Mapping[str, Record]) -> str:
    """Return the version to go back to, from the one that is kept or from one that runs on trial or is to be tried."""
    if now.once or (now.trying and now.running not in now.kept):
        return now.kept[0]
    kept = max((place_of(records[name]) for name in now.kept if name in records), default=0)
    older = {name: one for name, one in records.items() if place_of(one) < kept and name not in now.failed}
    if not older:
        raise NotFoundError(
            f"no version was laid down before {', '.join(now.kept)} that was not given up",
            hint=f"name one: the disks hold {', '.join(sorted(records))}",
        )
    # Rather a version than a snapshot of it.
    return max(older, key=lambda name: (place_of(older[name]), older[name].version == name, name))


def _plain(choice: StartChoice) -> StartChoice:
    return evolve(choice, kept=choice.kept or OS_LABEL)


class Opened:
    """A machine's versions and disks, while nobody else changes what they start.

    :param state: what runs, and what the disks start.
    :param roots: the roots beside each other.
    :param filesystem: removes roots.
    :param bootloader: reads and writes what disks start.
    :param session: who listens.
    """

    def __init__(
        self, state: State, roots: Roots, filesystem: Filesystem, bootloader: Bootloader, session: Session
    ) -> None:  # fmt: skip
        self.state = state
        self._filesystem = filesystem
        self.places = roots.places
        self._top = roots.top
        self._bootloader = bootloader
        self._session = session

    @property
    def top(self) -> Path:
        """The directory of all roots."""
        if self._top is None:
            raise TerraError("a system on this file system has one version")
        return self._top

    @property
    def told(self) -> str:
        """The version that every start was told to start last; empty when nobody has written that down."""
        return read_ledger(self._top).kept if self._top is not None else ""

    @property
    def asked(self) -> str:
        """The version that every disk is asked to try, since the machine was started; empty when it is none."""
        once = read_ledger(self._top).once if self._top is not None else ""
        return once if not self.state.tried and all(choice.once == once for choice in self.state.choices) else ""

    @property
    def half(self) -> Path | None:
        """The half of a version that an upgrade has left which did not come to its end, or that one is making now."""
        return half_of_version(self._top) if self._top is not None else None

    def remove_half(self) -> None:
        """Remove that."""
        if (half := self.half) is not None:
            self.say("remove a half of a version, of an upgrade that did not come to its end")
            self._filesystem.remove_root(half, self._session)

    def say(self, text: str) -> None:
        """Tell who listens."""
        self._session.report(Event("choice", text))

    def require_wanted(self, version: str) -> None:
        """Refuse a version on trial that the machine was not told to try, and let every disk say what it was told last.

        :raises OverruledError: when it is such a version.
        """
        ledger = read_ledger(self.top)
        if not ledger.kept or version in (ledger.kept, ledger.once):
            return
        asked = [version in (choice.once, choice.tried) for choice in self.state.choices]
        if not any(asked):
            raise OverruledError(f"somebody has chosen {ledger.kept} meanwhile", by_person=True)
        if all(asked):  # by an earlier Terra, which writes to the disks alone
            return
        if ledger.kept in self.places:
            self.write(f"start {ledger.kept} from now on, by every disk", lambda _: StartChoice(kept=ledger.kept))
        raise OverruledError(f"it {_AWAY.format(ledger.kept)}", by_person=False)

    def require(self, version: str) -> None:
        """Refuse what is no version.

        :raises NotFoundError: when it is none.
        """
        if _record_of(version, self.places) is None:
            raise NotFoundError(f"{version}: there is no version of that name", hint="terra versions lists them")

    def write(self, what: str, change: Change) -> State:
        """Change what every disk starts, and before that the word beside the versions, which counts when disks differ."""
        self.say(what)
        self._note(change)
        self.state = evolve(self.state, disks=write_starts(self.state.disks, change, self._bootloader, self._session))
        return self.state

    def keep(self, version: str) -> State:
        """Let every start from now on start a version."""
        self.write(f"start {version} from now on", lambda _: StartChoice(kept=version))
        self.forget(version)
        return self.state

    def give_up(self, version: str, reason: str) -> State:
        """Write down why a version is given up, and take its try back."""
        note_failure(self.top, version, reason)
        told = self.write(f"{version} is given up: {reason}", lambda choice: without(choice, version))
        self.state = evolve(told, failed=failures(self.top))
        return self.state

    def forget(self, version: str) -> None:
        """Forget why a version was given up."""
        forget_failure(self.top, version)
        self.state = evolve(self.state, failed=failures(self.top))

    def _note(self, change: Change) -> None:
        if self._top is None:
            return
        ledger = read_ledger(self._top)
        former = StartChoice(kept=ledger.kept or next(iter(self.state.kept), OS_LABEL), once=ledger.once)
        told = _plain(change(former))
        with suppress(TerraError):  # on a full disk, the words of the disks are all that there is
            write_ledger(self._top, evolve(ledger, kept=told.kept, once=told.once))


def without(choice: StartChoice, version: str) -> StartChoice:
    """Return a choice that does not try a version."""
    once, tried = ("" if name == version else name for name in (choice.once, choice.tried))
    return evolve(choice, once=once, tried=tried)


def trying(version: str, choice: StartChoice) -> StartChoice:
    """Return a choice that tries a version once, and keeps what it kept."""
    return evolve(choice, once=version, tried="")


def on_trial(root: Path, running: str, kernel_line: Path = KERNEL_LINE) -> bool:
    """Return whether the version that runs was started on trial; never of a root that is mounted elsewhere.

    :param root: where the version's root is mounted.
    :param running: its name.
    """
    return root == Path("/") and tried_by(started_with(kernel_line)) == running


def started_with(kernel_line: Path = KERNEL_LINE, container: Path = _CONTAINER, init_line: Path = _INIT_LINE) -> str:
    """Return the words that the running system was started with.

    The kernel line that a container sees is its host's. There, the words are those that its init was given, as systemd has it
    for itself and for ``ConditionKernelCommandLine=`` of units (systemd(1), "Kernel Command Line").

    :param kernel_line: the kernel line; another one than the machine's own counts whatever else there is.
    :param container: the file that systemd makes in a container.
    :param init_line: the words of its init, as proc_pid_cmdline(5) has them.
    """
    own = kernel_line == KERNEL_LINE and container.exists()
    return (init_line if own else kernel_line).read_text(errors="replace").replace("\0", " ")


def tried_by(line: str) -> str:
    """Return the version that a kernel line says is on trial; empty when it says none."""
    found = _TRY.search(line)
    return found[1] if found else ""


@contextmanager
def _opened(
    root: Path,
    *,
    report: Report = silent,
    paths: Paths = THIS_MACHINE,
    plugins: Plugins | None = None,
    kernel_line: Path = KERNEL_LINE,
    locking: bool = True,
) -> Iterator[Opened]:
    plugins = plugins or Plugins.discover()
    with (
        place_for_mounts(root, paths) as work,
        starts_locked(paths) if locking else nullcontext(),
        ContainedRoot(root) as inside,
    ):
        record = read_known(inside, root)
        with open_versions(record, root, work, plugins, report) as (filesystem, roots, session):
            bootloader = plugins.fill(Bootloader, {"bootloader": record.bootloader}, source=f"{root}/{PLACE}")
            now = State(
                running=roots.running,
                trying=on_trial(root, roots.running, kernel_line),
                disks=read_starts(start_disks(root), bootloader, session),
                failed=failures(roots.top) if roots.top is not None else {},
            )
            yield Opened(now, roots, filesystem, bootloader, session)


def _record_of(version: str, places: Mapping[str, Path]) -> Record | None:
    place = places.get(version)
    if place is None:
        return None
    try:
        with ContainedRoot(place) as inside:
            return read_record(inside)
    except (TerraError, OSError):
        return None
