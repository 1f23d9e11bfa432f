"""Golden volumes: made once for an image and a layout of disks, cloned for each machine, and removed when nobody uses them."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from attrs import asdict, evolve

from terra_core.config.node import Node
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.config.values import Hostname
from terra_core.controller.disks import planned_volumes
from terra_core.controller.golden import Golden, GoldenState, GoldenVolume, described_layout, full_reason, layout_key, token_of
from terra_core.controller.golden_rows import row_of_golden
from terra_core.controller.holding import Holding
from terra_core.controller.laying import Laying, session_of
from terra_core.controller.records import Record
from terra_core.controller.rows import sent
from terra_core.controller.services import Services
from terra_core.controller.sharing import Task
from terra_core.deploy import BootFiles
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.fitness import Fit
from terra_core.hookspecs import CONTRACT, Filesystem, Store
from terra_core.oci.source import ImageSource
from terra_core.plugins import filesystem_of
from terra_core.service.room import DatabaseFull
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Event
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

_log = structlog.get_logger(__name__)
_STEP = "golden"
GOLDEN = "golden"
"""The kind of work that lays an image down once."""
_SHORT = 19
"""So much of a digest is said: ``sha256:`` and twelve digits."""
_LEAST_DIGITS = 6


class Goldens:
    """The golden volumes of a controller. May be used from several threads.

    :param services: what the controller works with.
    :param laying: lays images down.
    """

    def __init__(self, services: Services, laying: Laying) -> None:
        self._services = services
        self._laying = laying
        self._rows = services.store.golden
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by layout; held to make and to remove
        self._using: Counter[str] = Counter()  # by layout: machines that are being cloned
        self._counting = threading.Lock()
        self._unfinished: Sequence[Golden] = ()

    @contextmanager
    def ready(self, record: Record, image: ImageSource, fit: Fit, session: Session) -> Iterator[Golden | None]:
        """Offer the golden volume for a machine, made if need be, and keep it meanwhile.

        It is made once, whoever asks for it at the same time; the others wait.

        :param record: the machine; what the image needs has been checked.
        :param fit: how it starts from the image.
        :returns: ``None`` when the disks of the machine can be no clones: the image is laid down in full then.
        :raises TerraError: when it cannot be made.
        """
        of_node, node = session_of(record, session), record.node
        filesystems: dict[str, Filesystem] = {
            group.label: filesystem_of(group, node, self._services.plugins, source=of_node.source) for group in node.groups
        }
        reason = full_reason(node, filesystems)
        if reason:
            session.report(Event(_STEP, f"{node.hostname} is laid down in full, and is no clone: {reason}"))
            yield None
            return
        names: dict[str, str] = {label: filesystem.plugin for label, filesystem in filesystems.items()}
        store = self._services.role(Store)
        layout = layout_key(
            node,
            str(image.digest),
            record.tables,
            names,
            store.plugin,
            self._services.plugins,
            host=self._services.store.host,
        )
        with Undo() as undo:
            with self._locked(layout, session):
                former = self._rows.of_layout(layout)
                golden = former if former is not None and self._is_kept(former, node, session) else None
                if golden is None:
                    pinned = former is not None and former.pinned
                    golden = self._make(record, layout, names, image, fit, session, pinned=pinned)
                self._count(layout, 1)
                undo.callback(self._count, layout, -1)
            self._rows.use(layout, _now())
            said = f"{node.hostname} is a clone of what is laid down of {golden.image} ({golden.digest[:_SHORT]})"
            session.report(Event(_STEP, said))
            yield golden

    def kernel(self, golden: Golden) -> Path:
        """Return the directory with copies of what the image boots."""
        return self._services.session.paths.state / "golden" / golden.token

    def kernel_files(self, golden: Golden) -> tuple[Path, Path] | None:
        """Return the copies of the kernel and of its initial RAM disk, where this host has both."""
        found = (self.kernel(golden) / "vmlinuz", self.kernel(golden) / "initrd.img")
        return found if all(path.is_file() for path in found) else None

    def keep_kernel(self, golden: Golden, files: BootFiles) -> None:
        """Keep what a clone boots, where another host has laid the image down and its copies are not here."""
        if files.kernel is None or files.initrd is None or self.kernel_files(golden) is not None:
            return
        place = self.kernel(golden)
        place.mkdir(parents=True, mode=0o700, exist_ok=True)
        for source, name in ((files.initrd, "initrd.img"), (files.kernel, "vmlinuz")):
            copy = place / f".{name}"
            shutil.copyfile(source, copy)
            copy.chmod(0o600)
            with copy.open("rb") as opened:
                os.fsync(opened.fileno())
            copy.replace(place / name)

    def require_unchanged(self, golden: Golden) -> None:
        """Check that nobody wrote to a golden volume while it was cloned, which may take minutes.

        :raises TerraError: when somebody did.
        """
        problem = self._problem(golden)
        if problem:
            raise TerraError(f"what {golden.image} is laid down on changed while it was cloned: {problem}", hint="try again")

    def leave(self, hostname: str) -> None:
        """Note that a machine goes, before its record does: from now on its golden volume may be unused."""
        with suppress(DatabaseFull):  # a machine can be deleted then all the same
            self._rows.leave(hostname, _now())

    def begin(self) -> None:
        """See what a controller that was killed had begun; called before anything is made."""
        self._unfinished = [golden for golden in self._rows.every() if golden.state is GoldenState.MAKING]
        self.remove_strays()

    def remove_strays(self) -> None:
        """Remove copies of kernels and golden volumes that no row names; a row is there before anything that it names."""
        directory = self._services.store.known_volumes
        volumes = sorted(directory.glob("golden_*") if directory is not None else ())
        self._remove_volumes(volumes, self.remove_copies())

    def remove_copies(self) -> Collection[str]:
        """Remove copies of kernels on this host that no row names; return the names of all golden volumes."""
        copies = [*(self._services.session.paths.state / "golden").glob("*")]
        # Those in the making first: they are among the others from the moment on that they are not among these.
        known = {*self._services.sharing.tokens(), *(golden.token for golden in self._rows.every())}
        for place in copies:
            if place.name not in known:
                shutil.rmtree(place, ignore_errors=True)
        return known

    def recover(self) -> None:
        """Remove what a controller that was killed had begun; who makes it anew by now has removed it himself."""
        for golden in self._unfinished:
            _log.warning("removing what was begun", golden=golden.owner, image=golden.image)
            with _logged(golden.owner):
                self._discard_unless_used(golden)
        self._unfinished = ()

    def take_up(self) -> None:
        """Remove what was begun by work that ended while the database did not answer; nobody makes it any more."""
        for golden in self._rows.every():
            if golden.state is GoldenState.MAKING:
                self._discard_unless_used(golden, making=True)

    def shown(self) -> list[dict[str, Any]]:
        """Return all golden volumes, those of other hosts too, as the API gives them."""
        machines = self._machines()
        return [golden.as_json(machines.get(golden.layout, 0), host) for golden, host in self._rows.everywhere()]

    def pin(self, digest: str, *, pinned: bool) -> list[dict[str, Any]]:
        """Keep the golden volumes of an image, those of other hosts too, also when they are unused, or no longer.

        :param digest: the digest of the image, or its beginning.
        :returns: them, as the API gives them.
        :raises NotFoundError: when there is none of this digest.
        """
        chosen = self._of(digest)
        self._rows.pin([golden.token for golden, _ in chosen], pinned=pinned)
        machines = self._machines()
        return [evolve(golden, pinned=pinned).as_json(machines.get(golden.layout, 0), host) for golden, host in chosen]

    def remove(self, digest: str) -> list[dict[str, Any]]:
        """Remove the golden volumes of an image on this host; its machines keep their disks.

        :param digest: the digest of the image, or its beginning.
        :returns: what was removed.
        :raises NotFoundError: when there is none of this digest.
        :raises ConflictError: when one is pinned, or a machine is being made from it; those before it are removed.
        """
        own, found = self._services.store.host, self._of(digest)
        chosen = [golden for golden, host in found if host == own]
        if not chosen:
            there = ", ".join(sorted({host for _, host in found}))
            said = f"{own} has nothing laid down of {digest!r}: {there} has"
            raise NotFoundError(said, hint="ask that one: terra --controller")
        if any(golden.pinned for golden in chosen):
            hint = f"first: terra images --unpin {chosen[0].digest}"
            raise ConflictError(f"{chosen[0].digest} is pinned", hint=hint)
        machines = self._machines()
        removed = []
        for golden in chosen:
            if not self._discard_unless_used(golden):
                hint = "wait for the end of it, and try again"
                raise ConflictError(f"a machine is being made from {golden.image} ({golden.described})", hint=hint)
            removed.append(golden.as_json(machines.get(golden.layout, 0), own))
        return removed

    def remove_unused(self) -> None:
        """Remove what no machine is of, and none was since ``keep_images``; what is pinned stays."""
        before = _now() - self._services.config.keep_images
        machines = self._machines()
        failed: TerraError | None = None
        for golden in self._rows.every():
            unused = golden.state is GoldenState.READY and not machines.get(golden.layout) and golden.used <= before
            if not unused or golden.pinned:
                continue
            try:
                if self._discard_unless_used(golden):
                    _log.info("the golden volume was unused and is removed", image=golden.image, layout=golden.described)
            except TerraError as error:
                failed = error  # the others can go all the same
        if failed is not None:
            raise failed

    def _remove_volumes(self, places: Sequence[Path], known: Collection[str]) -> None:
        """Remove golden volumes that no row names, such as those that were made after the backup that was restored.

        They have no machine's data on them, and no machine needs them. Where the directory was not marked as that of this
        database before, they may be those of another one, and stay.
        """
        for place in places:
            token = token_of(place.name)
            if token and token not in known:
                with _logged(place.name):
                    if self._services.role(Store).remove_volumes(Hostname(place.name), self._services.session):
                        _log.warning("removed golden volumes that the database does not know", golden=place.name)

    def _machines(self) -> Mapping[str, int]:
        """Return how many machines there are of each layout, those that have it in their other version among them."""
        others = (one.upgrade.other for one in self._services.store.everywhere() if isinstance(one, Record) and one.upgrade)
        return Counter(self._rows.machines()) + Counter(other.layout for other in others if other is not None and other.layout)

    def _of(self, digest: str) -> list[tuple[Golden, str]]:
        wanted = digest.removeprefix("sha256:")
        found = [one for one in self._rows.everywhere() if one[0].digest.removeprefix("sha256:").startswith(wanted)]
        if not found or len(wanted) < _LEAST_DIGITS:
            raise NotFoundError(f"no image is laid down with the digest {digest!r}", hint="terra images shows all of them")
        digests = sorted({golden.digest for golden, _ in found})
        if len(digests) > 1:
            raise ConflictError(f"several images begin with {digest!r}", hint=f"name one: {', '.join(digests)}")
        return found

    def _is_kept(self, golden: Golden, node: Node, session: Session) -> bool:
        """Return whether what was laid down before is as it was made; what is not is removed."""
        problem = golden.problem or self._problem(golden)
        if not problem and not golden.is_for(node):
            problem = "its row does not name the disks"
        if not problem and golden.state is GoldenState.READY:
            return True
        if golden.state is GoldenState.READY:
            text = f"warning: what {golden.image} was laid down on cannot be cloned, and is made anew: {problem}"
            session.report(Event(_STEP, text))
            _log.warning("a golden volume is not what was made", golden=golden.owner, reason=problem)
        self._discard(evolve(golden, problem=problem))
        return False

    def _problem(self, golden: Golden) -> str:
        """Say why volumes are not what was made; nothing when they are."""
        if golden.contract != CONTRACT:
            return f"it was made for contract {golden.contract}"
        try:
            store = self._store(golden)
            for one in golden.volumes:
                if not store.brings("stamp_volume"):  # which refuses the same
                    store.reach_volume(one.volume, self._services.session)
                if store.stamp_volume(one.volume, self._services.session) != one.stamp:
                    return f"somebody has written to {one.name}"
        except TerraError as error:
            return error.message
        return ""

    def _make(
        self,
        record: Record,
        layout: str,
        names: Mapping[str, str],
        image: ImageSource,
        fit: Fit,
        session: Session,
        *,
        pinned: bool,
    ) -> Golden:
        """Lay an image down for a layout, which nobody else does meanwhile."""
        store = self._services.role(Store)
        began = Golden(
            token=secrets.token_hex(8),
            layout=layout,
            image=str(record.node.image),
            digest=str(image.digest),
            described=described_layout(record.node, names),
            store=store.plugin,
            contract=CONTRACT,
            volumes=(),
            state=GoldenState.MAKING,
            used=_now(),
            pinned=pinned,
        )
        sharing = self._services.sharing
        with Undo() as undo:
            if sharing.helped:
                return self._have_made(began, record, image, fit, session)
            undo.enter_context(sharing.turn(session.report))
            golden = self._named(began, record, session)
            undo.when_failing(self._discard_logged, golden)
            self._rows.add(golden)
            return self._rows.finish(golden, self._laid(golden, record, image, fit, session, undo))

    def _have_made(self, began: Golden, record: Record, image: ImageSource, fit: Fit, session: Session) -> Golden:
        """Have an image laid down by whoever may, under a name of whoever does it."""

        def here(holding: Holding) -> None:
            self.make_for(began, record, image, fit, session.reporting_to(holding.report), holding)

        task = Task(
            kind=GOLDEN,
            subject=began.token,
            data={"record": sent(record), "golden": row_of_golden(began)},
            said=f"lay {began.image} down",
            here=here,
        )
        sharing = self._services.sharing
        with Undo() as undo:
            undo.when_failing(self._discard_logged, began)
            self._rows.add(began)
            outcome = undo.enter_context(sharing.done(task, session.report))
            token, volumes = outcome.said["token"], structure(outcome.said["volumes"], tuple[GoldenVolume, ...])
            adopt = partial(sharing.adopt, outcome=outcome)
            return self._rows.finish(began, volumes, token=token, beside=adopt)

    def make_for(
        self, began: Golden, record: Record, image: ImageSource, fit: Fit, session: Session, holding: Holding
    ) -> None:  # fmt: skip
        """Lay an image down under a name of its own, as a piece of work; the leader takes it over."""
        golden = self._named(evolve(began, token=secrets.token_hex(8)), record, session)
        with Undo() as undo:
            volumes = [asdict(one.volume) for one in golden.volumes]
            holding.will_make({"owner": golden.owner, "token": golden.token, "store": golden.store, "volumes": volumes})
            undo.when_failing(shutil.rmtree, self.kernel(golden), ignore_errors=True)
            stamped = self._laid(golden, record, image, fit, session, undo)
            holding.finish({"token": golden.token, "volumes": [asdict(one) for one in stamped]}, undo)

    def _named(self, began: Golden, record: Record, session: Session) -> Golden:
        """Plan the volumes."""
        golden = evolve(began, volumes=tuple(self._planned(began, record, self._store(began), session)))
        session.report(Event(_STEP, f"lay {golden.image} down once for all machines with {golden.described}"))
        return golden

    def _laid(
        self, golden: Golden, record: Record, image: ImageSource, fit: Fit, session: Session, undo: Undo
    ) -> Sequence[GoldenVolume]:  # fmt: skip
        """Make the volumes and lay the image down there; return them with their stamps."""
        store = self._store(golden)
        for one in golden.volumes:
            undo.enter_context(store.make_volume(one.volume, session))
        self._fill(golden, record, store, image, fit, session)
        return [evolve(one, stamp=store.stamp_volume(one.volume, session)) for one in golden.volumes]

    def _planned(self, golden: Golden, record: Record, store: Store, session: Session) -> Iterator[GoldenVolume]:
        number = 0
        for group in record.node.groups:
            for volume in planned_volumes(store, golden.owner, group, number, session, thin=True):
                yield GoldenVolume(label=group.label, name=volume.name, size=volume.size)
            number += len(group.disk)

    def _fill(
        self, golden: Golden, record: Record, store: Store, image: ImageSource, fit: Fit, session: Session
    ) -> None:
        kernel = self.kernel(golden)
        kernel.mkdir(parents=True, mode=0o700)
        with self._services.workspace(golden.owner) as work, Undo() as stack:
            volumes: dict[str, list[Path]] = {}
            for one in golden.volumes:
                path = stack.enter_context(store.open_volume(one.volume, session))
                volumes.setdefault(one.label, []).append(path)
            self._laying.lay_image(record, volumes, image, fit, golden, work, kernel, session)
        for file in kernel.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())

    def _discard_logged(self, golden: Golden) -> None:
        with _logged(golden.owner):
            self._discard(golden)

    def _discard(self, golden: Golden) -> None:
        """Remove volumes, copies and row, in this order: what is left can be removed by the row."""
        with uninterrupted():
            store = self._store(golden)
            for one in golden.volumes:
                store.remove_volume(one.volume, self._services.session)
            if golden.problem:
                store.remove_volumes(golden.owner, self._services.session)
            if token_of(golden.owner):  # a damaged row may hold anything, such as the way to another directory
                shutil.rmtree(self.kernel(golden), ignore_errors=True)
            self._rows.forget(golden)

    def _discard_unless_used(self, golden: Golden, *, making: bool = False) -> bool:
        """Remove what no machine is being made from; ``making`` leaves alone what was finished since it was read."""
        lock = self._locks[golden.layout]
        if not lock.acquire(blocking=False):
            return False
        with Undo() as undo:
            undo.callback(lock.release)
            if self._using[golden.layout]:
                return False
            now = self._rows.of_layout(golden.layout) if making else golden
            if now is None or now.token != golden.token or now.state is not golden.state:
                return False
            self._discard(golden)
        return True

    @contextmanager
    def _locked(self, layout: str, session: Session) -> Iterator[None]:
        """Hold the lock of a layout; who waits for another one to lay it down can be interrupted."""
        lock = self._locks[layout]

        def held() -> bool:
            if lock.acquire(blocking=False):
                return True
            session.report(Event(_STEP, "wait until another machine's work has laid the image down", 0, 1))
            return False

        wait_until(held, seconds=math.inf, what="the image to be laid down")
        with Undo() as undo:
            undo.callback(lock.release)
            yield

    def _count(self, layout: str, by: int) -> None:
        with self._counting:
            self._using[layout] += by

    def _store(self, golden: Golden) -> Store:
        return self._services.plugins.named(Store, golden.store, source=self._services.session.source)


@contextmanager
def _logged(owner: str) -> Iterator[None]:
    """Log why golden volumes cannot be removed; the row stays, by which it is tried again."""
    try:
        yield
    except TerraError as error:
        _log.error("a golden volume cannot be removed", golden=owner, reason=str(error))


def _now() -> int:
    return int(time.time())
