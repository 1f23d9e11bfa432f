"""The images of volumes: ``HOST.N`` in the store's pool, and the snapshots that clones are made of."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from attrs import evolve, frozen

from terra_ceph.cluster import Cluster
from terra_ceph.settings import NAME, Settings
from terra_ceph.shown import (
    FIRST_SNAPSHOT,
    Image,
    Name,
    Snapshot,
    differs,
    next_snapshot,
    parse_image,
    parse_names,
    parse_sizes,
    parse_snapshots,
    parse_trash,
)
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import CommandError, ConflictError, NotFoundError, TerraError, result_or_reason
from terra_core.hookspecs import Backing, Volume, VolumeRequest
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Event, Report
from terra_core.system.threads import side_by_side
from terra_core.system.undo import Undo, undoing
from terra_core.system.waiting import WaitedInVain, wait_until

_MB = 1024 * 1024
_STEP = "allocate"
_OBJECTS = ("--object-size", "64K", "--stripe-unit", "64K", "--stripe-count", "1")
"""The objects of clones: the first write to one copies all of it, where Ceph's own 4 MiB make a clone large soon."""
_REMOVAL_SECONDS = 3600.0
_WATCHED_SECONDS = 45.0
"""Whoever was killed with an image open is taken for gone by the cluster after 30 seconds."""
_QUIET = "--no-progress"
_AT_ONCE = 8
_WORTH = 8
"""For so many images of a pool one program takes as long as a program for one of them."""
_MISSING = "it is never made anew: bring the image back, or delete the machine and provision it again"


@frozen
class Images:
    """The volumes in a pool.

    :param cluster: where it is.
    :param pool: where new ones are made.
    :param report: who listens.
    """

    cluster: Cluster
    pool: str
    report: Report

    @classmethod
    def of(cls, session: Session) -> Images:
        """Return the volumes of a controller.

        :raises ConfigError: when the table ``[ceph]`` is wrong.
        """
        return cls(Cluster.of(session), session.settings(NAME, Settings).pool, session.report)

    def plan(self, request: VolumeRequest) -> Volume:
        """Return the volume of a machine's disk; nothing is touched.

        :raises ConflictError: when there is an image of that name, which undoing a stored plan would remove.
        :raises TerraError: when it is asked for in full.
        """
        name = Name.parse(f"{self.pool}/{request.hostname}.{request.number}")
        if request.full:
            message = f"{name}: the store ceph makes no disk that has all of its room from the beginning"
            raise TerraError(message, hint='leave allocation = "full" away: the pool keeps what [ceph] reserve says free')
        if self._find(name) is not None:
            raise _there(name)
        return Volume(name=str(name), size=request.size)

    @contextmanager
    def made(self, volume: Volume, origin: Volume | None = None) -> Iterator[None]:
        """Make the image of a volume; it stays, unless the work that follows fails.

        :param origin: the volume that it is a clone of; none for an empty one.
        :raises ConflictError: when there is one of that name.
        """
        name = Name.parse(volume.name)
        self.report(Event(_STEP, f"allocating {volume.size} MB at {name}"))
        with Undo() as undo:
            self._make(name, volume, origin)
            undo.callback(self.remove, volume)
            yield
            undo.pop_all()

    @contextmanager
    def grown(self, volume: Volume, size: int) -> Iterator[None]:
        """Make the image of a volume larger; it stays so, unless the work that follows fails.

        :param size: in MB.
        :raises TerraError: when it is neither as it was made nor of that size.
        """
        name, larger = Name.parse(volume.name), evolve(volume, size=size)
        try:
            self.verify(volume)
        except TerraError:
            self.verify(larger)
        with Undo() as undo:
            undo.callback(self._resize, name, volume.size)
            self._resize(name, size)
            yield
            undo.pop_all()

    def reach(self, volume: Volume) -> Backing:
        """Return how a transport opens the image of a volume.

        :raises TerraError: when it is not what was made.
        """
        self.verify(volume)
        return self._backing(volume)

    def reach_all(self, volumes: Sequence[Volume]) -> list[Backing | str]:
        """Return what :meth:`reach` does of many volumes, or why that fails.

        A program for each image takes 44 ms of a processor (two cores, Ceph 16.2), one that opens all images of a pool 5 ms for
        each of them. An image that is not found right that way is looked at by itself.

        :raises TerraError: when the cluster does not answer.
        """
        sizes = self._sizes(volumes)

        def reached(volume: Volume) -> Backing | str:
            if sizes.get(volume.name) == volume.size * _MB:
                return self._backing(volume)
            return result_or_reason(partial(self.reach, volume))

        return side_by_side(reached, volumes, at_once=_AT_ONCE)

    def _backing(self, volume: Volume) -> Backing:
        return Backing(kind="rbd", address=volume.name, options={"conf": self.cluster.config, "id": self.cluster.user})

    def _sizes(self, volumes: Sequence[Volume]) -> dict[str, int]:
        """Return the bytes of the images of those pools of which enough volumes are asked for, by the names of volumes."""
        pools: Counter[str] = Counter()
        for volume in volumes:
            with suppress(TerraError):  # it is no name, which is said of it alone
                pools[Name.parse(volume.name).pool] += 1
        sizes: dict[str, int] = {}
        for pool, count in pools.items():
            words = ("ls", pool, "--format", "json")
            with suppress(CommandError, NotFoundError):  # which is said of each of its volumes then
                if count > 1 and len(parse_names(self.cluster.rbd(*words).text)) <= _WORTH * count:
                    sizes |= parse_sizes(pool, self.cluster.rbd(*words, "--long").text)
        return sizes

    def verify(self, volume: Volume) -> Image:
        """Check that the image of a volume is what was made.

        :raises TerraError: when it is missing, or has another size.
        """
        image = self._find(Name.parse(volume.name))
        if image is None:
            raise NotFoundError(f"{volume.name}: the image is missing", hint=_MISSING)
        if image.size != volume.size * _MB:
            message = f"{volume.name}: the image has {image.size} bytes instead of {volume.size * _MB}"
            raise TerraError(message, hint=_MISSING)
        return image

    def stamp(self, volume: Volume) -> str:
        """Return which image a volume is, and the snapshot since which nobody has written to it; one is made where needed.

        :raises TerraError: as :meth:`verify` does.
        """
        image = self.verify(volume)
        return f"{image.id}@{self._snapshot(Name.parse(volume.name)).id}"

    def remove(self, volume: Volume) -> bool:
        """Remove the image of a volume; return whether there was one.

        One that has clones is gone by its name, and its data when its last clone is removed.

        :raises TerraError: when somebody has it open, or the cluster keeps it.
        """
        with uninterrupted():
            return self._remove(Name.parse(volume.name))

    def remove_all(self, hostname: Hostname) -> bool:
        """Remove every image of a machine; return whether there was any."""
        own = re.compile(rf"{re.escape(hostname)}\.[0-9]{{1,9}}")
        names = parse_names(self.cluster.rbd("ls", self.pool, "--format", "json").text)
        with uninterrupted():
            removed = [self._remove(Name(self.pool, name)) for name in sorted(names) if own.fullmatch(name)]
        return any(removed)

    def _find(self, name: Name) -> Image | None:
        done = self.cluster.rbd("info", str(name), "--format", "json", accept=(0, errno.ENOENT))
        return parse_image(done.text) if done.code == 0 else None

    def _make(self, name: Name, volume: Volume, origin: Volume | None) -> None:
        try:
            if origin is None:
                words = ["create", str(name), "--size", f"{volume.size}M"]
            else:
                source = Name.parse(origin.name)
                snapshot = f"{source}@{self._snapshot_name(source)}"
                words = ["clone", snapshot, str(name), *_OBJECTS]
            there = self.cluster.rbd(*words, accept=(0, errno.EEXIST)).code == errno.EEXIST
            if not there and origin is not None and origin.size != volume.size:
                self._resize(name, volume.size)
        except BaseException as error:
            with undoing(error):
                self.remove(volume)
            raise
        if there:
            raise _there(name)

    def _resize(self, name: Name, size: int) -> None:
        image = self._find(name)
        if image is not None and image.size == size * _MB:  # which rbd takes for a mistake
            return
        self.cluster.rbd("resize", str(name), "--size", f"{size}M", "--allow-shrink", _QUIET, seconds=_REMOVAL_SECONDS)

    def _snapshot_name(self, name: Name) -> str:
        """Return the name of what :meth:`_snapshot` returns; a golden volume that nobody wrote to is asked once only."""
        return FIRST_SNAPSHOT if self._written(name, FIRST_SNAPSHOT) is False else self._snapshot(name).name

    def _snapshot(self, name: Name) -> Snapshot:
        """Return the snapshot with all that an image holds now; a new one, where somebody has written since the last.

        :raises NotFoundError: when there is no such image.
        """
        found = self._snapshots(name)
        if found and self._written(name, found[-1].name) is False:
            return found[-1]
        self.cluster.rbd("snap", "create", f"{name}@{next_snapshot(found)}", _QUIET)
        for former in found:
            self.cluster.rbd("snap", "rm", f"{name}@{former.name}", _QUIET, accept=(0, errno.ENOENT))
        return self._snapshots(name)[-1]

    def _snapshots(self, name: Name) -> list[Snapshot]:
        done = self.cluster.rbd("snap", "ls", str(name), "--format", "json", accept=(0, errno.ENOENT))
        if done.code:
            raise NotFoundError(f"{name}: the image is missing", hint=_MISSING)
        return parse_snapshots(done.text)

    def _written(self, name: Name, snapshot: str) -> bool | None:
        """Return whether somebody has written to an image since a snapshot; ``None`` when there is no such snapshot."""
        words = ("diff", str(name), "--from-snap", snapshot, "--whole-object", "--format", "json")
        done = self.cluster.rbd(*words, accept=(0, errno.ENOENT))
        return differs(done.text) if done.code == 0 else None

    def _remove(self, name: Name) -> bool:
        image = self._find(name)
        if image is not None and image.snapshots:
            self.cluster.rbd("snap", "purge", str(name), _QUIET)
        codes: list[int] = []

        def done() -> bool:
            words = ("rm", str(name), _QUIET)
            accept = (0, errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY)
            codes.append(self.cluster.rbd(*words, accept=accept, seconds=_REMOVAL_SECONDS).code)
            return codes[-1] != errno.EBUSY

        try:
            wait_until(done, seconds=_WATCHED_SECONDS, what=f"{name} to be closed", interval=1)
        except WaitedInVain as error:
            status = f"rbd --conf {self.cluster.config} --id {self.cluster.user} status {name}"
            raise TerraError(f"{name}: cannot be removed, for somebody has it open", hint=f"see who: {status}") from error
        if codes[-1] == errno.ENOTEMPTY:
            self.cluster.rbd("trash", "mv", str(name), accept=(0, errno.ENOENT))
        if image is None:  # whoever was killed over this has not looked for what the image was a clone of
            for id_ in parse_trash(self.cluster.rbd("trash", "ls", name.pool, "--format", "json").text):
                self._forget(name.pool, id_)
        elif image.parent is not None and image.parent.trashed:
            self._forget(image.parent.pool, image.parent.id)
        return codes[-1] != errno.ENOENT or image is not None

    def _forget(self, pool: str, id_: str) -> None:
        """Remove an image that was kept in the trash for its clones, unless it has further ones."""
        accept = (0, errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY)
        self.cluster.rbd("trash", "rm", f"{pool}/{id_}", _QUIET, accept=accept, seconds=_REMOVAL_SECONDS)


def _there(name: Name) -> ConflictError:
    return ConflictError(f"{name}: is there already, and may hold somebody's data", hint="look at it, and rename it: rbd mv")
