"""The volumes and targets of machines, by the plugins that made them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Lock
from typing import TypeVar

import structlog
from attrs import Factory, evolve, frozen

from terra_core.config.controller import Controller
from terra_core.config.node import OS_LABEL, Allocation, NetworkGroup
from terra_core.config.session import Session
from terra_core.config.values import Hostname, PluginName
from terra_core.controller.golden import Golden
from terra_core.controller.records import KeptTarget, KeptVolume, Record, SetAside
from terra_core.errors import ConflictError, PluginError, TerraError, result_or_reason
from terra_core.hookspecs import (
    CONTRACT,
    Backing,
    BootStep,
    Connected,
    Export,
    Role,
    Storage,
    Store,
    Target,
    TargetRequest,
    Volume,
    VolumeRequest,
)
from terra_core.plugins import Plugins
from terra_core.system.progress import Event
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)
R = TypeVar("R", bound=Role)
A = TypeVar("A")
Connections = Mapping[str, Mapping[int, Sequence[Connected]]]
"""Who is connected to targets, by storage plugin and number."""
MB = 1024 * 1024
LOOK_SECONDS = 1.0
"""How often the room of the store is looked at while an image is laid down, in seconds."""
_SHARE = 20
"""Looking at it takes one of so many parts of the time at most."""
_MOST_VOLUMES = 256


@frozen(kw_only=True)
class Disks:
    """The disks of machines: their volumes and targets.

    :param config: controller.toml.
    :param session: its plugins' tables and its paths.
    :param plugins: what is installed.
    """

    config: Controller
    session: Session
    plugins: Plugins
    _taking: Lock = Factory(Lock)

    def plan(self, record: Record, number: Callable[[Hostname, str], int]) -> tuple[KeptTarget, ...]:
        """Plan a machine's targets with the plugins that controller.toml selects; change nothing.

        Those that it has already stay as they are, and are not among them.

        :param number: returns a target number that was never used before.
        """
        storage = self._selected(Storage)
        store = self._selected(Store)
        there = {one.target.label for one in record.targets}
        disks = 0 if not record.targets else self._first_free(store, record)
        kept: list[KeptTarget] = []
        for group in sorted(record.node.groups, key=lambda group: group.label != OS_LABEL):
            if group.label in there:
                continue
            request = TargetRequest(
                hostname=record.node.hostname,
                number=number(record.node.hostname, group.label),
                generation=record.generation,
                label=group.label,
                volumes=tuple(planned_volumes(store, record.node.hostname, group, disks, self.session)),
                boot=group.label == OS_LABEL,
                portal=self.config.portal,
                planned=tuple(one.target for one in (*record.every_target, *kept) if one.storage == storage.plugin),
            )
            kept.append(_planned(storage, store, request, self.session))
            disks += len(group.disk)
        return tuple(kept)

    def plan_again(self, record: Record, first: int) -> tuple[KeptTarget, ...]:
        """Plan the targets of a machine with volumes of other names; change nothing.

        :param first: the number of its first disk, as the store knows it.
        """
        found: list[KeptTarget] = []
        numbers = count(first)
        for kept in record.targets:
            store, volumes = self._store(kept), list[Volume]()
            for volume, number in zip(kept.target.volumes, numbers, strict=False):
                request = VolumeRequest(hostname=record.node.hostname, number=number, size=volume.size, full=volume.full)
                volumes.append(_planned_volume(store, request, self.session))
            found.append(evolve(kept, target=evolve(kept.target, volumes=tuple(volumes))))
        return tuple(found)

    def plan_version(
        self, record: Record, number: Callable[[Hostname, str], int]
    ) -> tuple[tuple[KeptTarget, ...], tuple[KeptVolume, ...]]:  # fmt: skip
        """Plan a further target for the system of a machine, by the plugins that its present one is of; change nothing.

        :param number: as for :meth:`plan`.
        :returns: the target, and volumes for a copy of the present system.
        """
        (present,) = record.system
        storage, store = self._storage(present.storage), self._store(present)
        group = next(group for group in record.node.groups if group.label == OS_LABEL)
        known = [one.target for one in record.every_target]
        taken = [volume.name for target in known for volume in target.volumes]
        volumes = self._free_volumes(store, record.node.hostname, group, taken)
        copies = self._free_volumes(store, record.node.hostname, group, [*taken, *(one.name for one in volumes)], thin=True)
        request = TargetRequest(
            hostname=record.node.hostname,
            number=number(record.node.hostname, group.label),
            generation=record.generation,
            label=group.label,
            volumes=volumes,
            boot=True,
            portal=present.target.portal,
            planned=tuple(one.target for one in record.every_target if one.storage == storage.plugin),
            again=True,
        )
        kept = evolve(_planned(storage, store, request, self.session), made=False)
        if kept.target.name in {target.name for target in known}:
            raise TerraError(
                f"the storage plugin {storage.plugin!r} gives a machine no second target for its system",
                hint="terra delete and terra apply make the machine anew, and its data goes",
            )
        return (kept,), tuple(KeptVolume(store=present.store, volume=volume) for volume in copies)

    def _free_volumes(
        self, store: Store, hostname: Hostname, group: NetworkGroup, taken: Sequence[str], *, thin: bool = False
    ) -> tuple[Volume, ...]:  # fmt: skip
        """Plan volumes under names that nothing has."""
        for first in range(_MOST_VOLUMES):
            try:
                volumes = tuple(planned_volumes(store, hostname, group, first, self.session, thin=thin))
            except ConflictError:  # one is there of which nobody knows
                continue
            if not {volume.name for volume in volumes} & set(taken):
                return volumes
        raise TerraError(f"{hostname} has no name left for a further volume")

    def _first_free(self, store: Store, record: Record) -> int:
        """Return a number from which on no volume of a machine has the names that the store would give to further ones."""
        known = {volume.name for kept in record.every_target for volume in kept.target.volumes}
        there = {kept.target.label for kept in record.targets}
        wanted = sum(len(group.disk) for group in record.node.groups if group.label not in there)
        for first in range(sum(len(kept.target.volumes) for kept in record.every_target), _MOST_VOLUMES):
            requests = [VolumeRequest(hostname=record.node.hostname, number=first + at, size=1) for at in range(wanted)]
            with suppress(ConflictError):
                if known.isdisjoint(store.plan_volume(request, self.session).name for request in requests):
                    return first
        raise TerraError(f"{record.hostname} has no name left for a further volume")

    def tells_connected(self, kept: KeptTarget) -> bool:
        """Return whether it can be told that a machine has let go of a target."""
        return self._storage(kept.storage).brings("find_connected")

    def are_there(self, targets: Sequence[KeptTarget]) -> bool:
        """Return whether the volumes of targets are as they were made."""
        return all(isinstance(export, Export) for export in self._exports(targets))

    @contextmanager
    def copied(
        self, kept: KeptTarget, copies: Sequence[KeptVolume], session: Session
    ) -> Iterator[Mapping[str, Sequence[Path]]]:  # fmt: skip
        """Offer copies of the volumes of a target as local disks, by the label of its group, and remove them at the end.

        :param copies: what to make, in the order of the volumes; what a controller that was killed left of them goes.
        """
        store = self._store(kept)
        self.drop(copies)
        with Undo() as undo:
            undo.callback(self.drop, copies)
            with Undo() as stack:
                opened = []
                for origin, copy in zip(kept.target.volumes, copies, strict=True):
                    stack.enter_context(store.clone_volume(origin, copy.volume, session))
                    opened.append(stack.enter_context(store.open_volume(copy.volume, session)))
                yield {kept.target.label: opened}

    def drop(self, volumes: Sequence[KeptVolume]) -> None:
        """Remove volumes that no machine reaches."""
        for one in volumes:
            self.plugins.named(Store, one.store, source=self.session.source).remove_volume(one.volume, self.session)

    def connect(self, targets: Sequence[KeptTarget], session: Session) -> BootStep:
        """Return what a machine needs in order to reach its targets; change nothing.

        :param targets: all of them, as they are planned.
        """
        return self._storage(targets[0].storage).connect_root([kept.target for kept in targets], session)

    def takes_further(self, targets: Sequence[KeptTarget], further: Sequence[KeptTarget]) -> bool:
        """Return whether a machine that has its boot steps can reach further targets by words of its kernel line alone."""
        if {kept.storage for kept in further} != {targets[0].storage}:
            return False
        return self.connect(targets, self.session) == self.connect([*targets, *further], self.session)

    def grows(self, kept: KeptTarget) -> str:
        """Say why the volumes of a target cannot be made larger; nothing when they can."""
        store = self._store(kept)
        return "" if store.brings("grow_volume") else f"the store plugin {store.plugin!r} makes no volume larger"

    def grow(self, kept: KeptTarget, sizes: Sequence[int], stack: Undo, session: Session) -> KeptTarget:
        """Make the volumes of a target larger, that is not exported now; they get their size back when the stack is left
        with an exception.

        :param sizes: in MB.
        """
        store, volumes = self._store(kept), []
        for volume, size in zip(kept.target.volumes, sizes, strict=True):
            if size > volume.size:
                with self._taking:
                    self.require_room((size - volume.size) * MB if volume.full else 0)
                    stack.enter_context(store.grow_volume(volume, size, session))
            volumes.append(evolve(volume, size=size))
        return evolve(kept, target=evolve(kept.target, volumes=tuple(volumes)))

    def withdraw(self, kept: KeptTarget) -> None:
        """Take a target away; its volumes stay."""
        self._storage(kept.storage).release_target(kept.target, self.session)

    def clear(self, kept: KeptTarget) -> None:
        """Take a target away, and then what there is of its volumes."""
        self.withdraw(kept)
        for volume in kept.target.volumes:
            self._store(kept).remove_volume(volume, self.session)

    def make(self, targets: Sequence[KeptTarget], golden: Golden | None, stack: Undo, session: Session) -> None:
        """Make the volumes of targets; they are removed when the stack is left with an exception.

        :param golden: what they shall be clones of; ``None`` for empty ones.
        """
        for kept in targets:
            store = self._store(kept)
            origins = golden.of_group(kept.target.label) if golden is not None else ()
            for at, volume in enumerate(kept.target.volumes):
                made = (
                    store.clone_volume(origins[at].volume, volume, session) if origins else store.make_volume(volume, session)
                )
                if not volume.full:
                    stack.enter_context(made)
                    continue
                with self._taking:  # what is free for one is not free for another that looks at the same time
                    self.require_room(volume.size * MB)
                    stack.enter_context(made)

    def require_room(self, needed: int = 0) -> None:
        """Check that the selected store has room for more without touching what it keeps for the machines that there are.

        :param needed: in bytes.
        :raises ConflictError: when it has not.
        """
        room = self._selected(Store).measure_store(self.session)
        if room is None or room.free - needed >= room.reserve:
            return
        asked = f"{needed // MB} MB are asked for, " if needed else ""
        raise ConflictError(
            f"there is no room for a further machine: {asked}{room.free // MB} MB of {room.size // MB} MB are free in the "
            f"store, and {room.reserve // MB} MB are kept for the machines that there are",
            hint="make room: terra delete takes a machine away, terra images shows what nobody uses; or enlarge the store",
        )

    def watching(self, session: Session) -> Session:
        """Return a session whose work ends where it takes what the store keeps for the machines that there are.

        The room is looked at once a second at most, when something is reported: what is written to a sparse file takes it then.
        A store that takes long to say it is asked less often.
        """
        due = time.monotonic() + LOOK_SECONDS

        def report(event: Event) -> None:
            nonlocal due
            session.report(event)
            began = time.monotonic()
            if began >= due:
                self.require_room()
                ended = time.monotonic()
                due = ended + max(LOOK_SECONDS, _SHARE * (ended - began))

        return session.reporting_to(report)

    @contextmanager
    def opened(self, targets: Sequence[KeptTarget], session: Session) -> Iterator[Mapping[str, Sequence[Path]]]:
        """Offer the volumes of targets as local disks, by the label of their group."""
        with Undo() as stack:
            disks: dict[str, list[Path]] = {}
            for kept in targets:
                store = self._store(kept)
                opened = [stack.enter_context(store.open_volume(volume, session)) for volume in kept.target.volumes]
                disks[kept.target.label] = opened
            yield disks

    def provision(self, kept: KeptTarget, stack: Undo, session: Session) -> None:
        """Export a target to its machine for the first time; it is taken away when the stack is left with an exception."""
        stack.enter_context(self._storage(kept.storage).provision_target(self._export(kept), session))

    def restore(self, targets: Sequence[KeptTarget], session: Session) -> list[str]:
        """Export targets to their machines again; each store and each storage plugin is asked once for all of its own.

        :returns: for each target, in their order, why it cannot be exported; empty where it is.
        """
        reasons = dict.fromkeys(range(len(targets)), "")
        exports: dict[str, list[tuple[int, Export]]] = {}
        for at, (kept, export) in enumerate(zip(targets, self._exports(targets), strict=True)):
            if isinstance(export, Export):
                exports.setdefault(kept.storage, []).append((at, export))
            else:
                reasons[at] = export
        for name, found in exports.items():
            said = self._restored(name, [export for _, export in found], session)
            reasons.update(zip((at for at, _ in found), said, strict=True))
        return list(reasons.values())

    def connections(self, storages: Iterable[str]) -> Connections:
        """Return who is connected to the targets of some storage plugins now.

        :raises TerraError: when a storage service runs and does not say.
        """
        return {name: self._storage(name).find_connected(self.session) for name in sorted(set(storages))}

    def connected(self, targets: Sequence[KeptTarget], connections: Connections | None = None) -> Sequence[Connected]:
        """Return who is connected to any of these targets.

        :param connections: as they were a moment ago; those of now when left out.
        :raises TerraError: when a storage service runs and does not say.
        """
        seen = connections if connections is not None else self.connections(kept.storage for kept in targets)
        return [one for kept in targets for one in seen[kept.storage].get(kept.target.id, ())]

    def release(self, record: Record | SetAside) -> None:
        """Take the targets of a machine away, and then its volumes."""
        for kept in reversed(record.every_target):
            self.clear(kept)
        if isinstance(record, Record) and record.upgrade is not None:
            self.drop(record.upgrade.scratch)

    def release_unknown(self, hostname: Hostname) -> None:
        """Take away any other target of a machine whose record does not name all of them, where the plugins can tell."""
        targets = self._selected(Storage).release_host(hostname, self.session)
        volumes = self._selected(Store).remove_volumes(hostname, self.session)
        if not (targets or volumes):
            _log.warning("its record does not say which targets it had: they may be left", hostname=hostname)

    def start(self, others: Sequence[str]) -> bool:
        """Start the storage services that do not answer; return whether one had to be started.

        :param others: storage plugins beside the selected one that machines have their targets from.
        :raises TerraError: when the selected one's service cannot be started.
        """
        started = self._selected(Storage).start_storage(self.config.portal, self.session)
        for name in others:
            try:
                started |= self._storage(name).start_storage(self.config.portal, self.session)
            except TerraError as error:  # its machines show the problem; those of other plugins go on
                _log.error("a storage service cannot be started", plugin=name, reason=str(error))
        return started

    def stop(self, others: Sequence[str]) -> None:
        """Stop the storage services that were started here."""
        self._selected(Storage).stop_storage(self.session)
        for name in others:
            with suppress(TerraError):
                self._storage(name).stop_storage(self.session)

    def leave(self, storages: Sequence[str]) -> None:
        """Stop the storage services here, all of them.

        :raises TerraError: when one does not stop.
        """
        for name in storages:
            self._storage(name).stop_storage(self.session)

    def _restored(self, name: str, exports: Sequence[Export], session: Session) -> Sequence[str]:
        def asked() -> Sequence[str]:
            reasons = self._storage(name).restore_targets(exports, session)
            if len(reasons) != len(exports):
                raise PluginError(f"plugin {name!r} did not give a reason for each target from restore_targets")
            return reasons

        return _of_each(asked, len(exports))

    def _exports(self, targets: Sequence[KeptTarget]) -> Iterator[Export | str]:
        """Yield how the volumes of each target are reached, or why one of them cannot be."""
        volumes: dict[str, list[Volume]] = {}
        for kept in targets:
            volumes.setdefault(kept.store, []).extend(kept.target.volumes)
        found = {name: iter(self._reached(name, own)) for name, own in volumes.items()}
        for kept in targets:
            answers = [next(found[kept.store]) for _ in kept.target.volumes]
            reasons = [answer for answer in answers if isinstance(answer, str)]
            backings = tuple(answer for answer in answers if isinstance(answer, Backing))
            yield reasons[0] if reasons else Export(target=kept.target, backings=backings)

    def _reached(self, name: str, volumes: Sequence[Volume]) -> Sequence[Backing | str]:
        def asked() -> Sequence[Backing | str]:
            store = self.plugins.named(Store, name, source=self.session.source)
            answers = store.reach_volumes(volumes, self.session)
            if len(answers) != len(volumes) or "" in answers:
                raise PluginError(f"plugin {name!r} did not give a backing or a reason for each volume from reach_volumes")
            return answers

        return _of_each(asked, len(volumes))

    def _export(self, kept: KeptTarget) -> Export:
        store = self._store(kept)
        backings = tuple(store.reach_volume(volume, self.session) for volume in kept.target.volumes)
        return Export(target=kept.target, backings=backings)

    def _storage(self, name: str) -> Storage:
        return self.plugins.named(Storage, name, source=self.session.source)

    def _store(self, kept: KeptTarget) -> Store:
        return self.plugins.named(Store, kept.store, source=self.session.source)

    def _selected(self, role: type[R]) -> R:
        return self.plugins.fill(role, self.config.plugins, source=self.session.source)


def planned_volumes(
    store: Store, hostname: Hostname, group: NetworkGroup, first: int, session: Session, *, thin: bool = False
) -> Iterator[Volume]:  # fmt: skip
    """Yield the volumes that a store would make for a group; nothing is touched.

    :param hostname: the name under which the store keeps them.
    :param first: the number of the group's first disk, from 0.
    :param thin: whether they shall be thin whatever the file says.
    :raises PluginError: when the store planned one of another size, or not in full where that was asked for.
    """
    for number, disk in enumerate(group.disk, first):
        wanted = Allocation.THIN if thin else disk.allocation
        full = None if wanted is None else wanted is Allocation.FULL
        request = VolumeRequest(hostname=hostname, number=number, size=disk.size, full=full)
        yield _planned_volume(store, request, session)


def _planned_volume(store: Store, request: VolumeRequest, session: Session) -> Volume:
    volume = store.plan_volume(request, session)
    if volume.size != request.size:
        raise PluginError(f"plugin {store.plugin!r} planned a volume of {volume.size} MB in place of {request.size} MB")
    if request.full is not None and volume.full is not request.full:
        raise PluginError(f"plugin {store.plugin!r} planned {volume.name} with another allocation than was asked for")
    return volume


def _of_each(asked: Callable[[], Sequence[A]], count: int) -> Sequence[A | str]:
    """Ask a plugin for something of each of several things; where that fails as a whole, the reason is that of each."""
    answers = result_or_reason(asked)
    return [answers] * count if isinstance(answers, str) else answers


def _planned(storage: Storage, store: Store, request: TargetRequest, session: Session) -> KeptTarget:
    target = storage.plan_target(request, session)
    _require_as_asked(storage, request, target)
    return KeptTarget(storage=PluginName(storage.plugin), store=PluginName(store.plugin), contract=CONTRACT, target=target)


def _require_as_asked(storage: Storage, request: TargetRequest, target: Target) -> None:
    for name, wanted, found in (
        ("label", request.label, target.label),
        ("id", request.number, target.id),
        ("volumes", request.volumes, target.volumes),
        ("portal", request.portal, target.portal),
    ):
        if found != wanted:
            raise PluginError(f"plugin {storage.plugin!r} planned a target whose {name} is {found!r} in place of {wanted!r}")
