"""What the controller sees of machines while they boot and run: what the boot service saw, and who is connected to disks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
from attrs import define, frozen

from terra_core.controller.happening import Happening, Kind, Stage, utc
from terra_core.controller.happening_rows import Machine
from terra_core.controller.machines import Machines
from terra_core.controller.records import KeptTarget
from terra_core.controller.services import Services
from terra_core.errors import TerraError
from terra_core.hookspecs import Boot, Connected, Sighting, Storage
from terra_core.system.files import write_file

_log = structlog.get_logger(__name__)
SECONDS = 1.0
"""How often the controller looks."""
_CONNECTIONS_SECONDS = 3.0
_SHARE = 50
"""A look at connections takes a fiftieth of the time until the next one: of many targets, it takes long."""
_LONGEST_SECONDS = 60.0
"""After this time there is a next one in any case: a look that was slow by chance makes nobody blind for long."""
_GONE_SECONDS = 15.0
"""How long a machine may be without its disks before it counts as off: after a fault of the storage service it comes back."""
_TARGETS = "connected"


@frozen
class Disk:
    """A disk group of a machine that somebody is connected to.

    :param number: the number of its target.
    :param label: its label.
    :param address: where it is connected from; empty where that is not known.
    """

    number: int
    label: str
    address: str


@define
class _Seen:
    """What was recorded of a machine's connections.

    :param disks: the numbers of the targets that it was connected to.
    :param lost: since when none of them is there any more, in seconds of the monotonic clock; ``None`` while one is.
    """

    disks: frozenset[int]
    lost: float | None = None


class Observer:
    """Records what machines do, in a thread of its own.

    :param services: the controller's parts.
    :param machines: its use cases.
    """

    def __init__(self, services: Services, machines: Machines) -> None:
        self._services, self._machines = services, machines
        self._happenings = services.store.happenings
        self._position: str | None = None
        self._seen: dict[Machine, _Seen] | None = None
        self._owners: dict[int, tuple[Machine, KeptTarget] | None] = {}
        self._next_connections = 0.0
        self._connected: dict[str, Mapping[int, Sequence[Connected]]] = {}
        self._problems: dict[str, str] = {}

    def look(self) -> None:
        """Record what is new; called every second."""
        self._try("boot", self._follow_boots)
        now = time.monotonic()
        if now >= self._next_connections:
            self._try("storage", self._follow_connections)
            taken = time.monotonic() - now
            pause = min(max(_CONNECTIONS_SECONDS, _SHARE * taken), _LONGEST_SECONDS)
            self._next_connections = time.monotonic() + pause

    def forget(self) -> None:
        """Forget what was seen: another host sees machines from now on."""
        self._seen, self._position, self._owners, self._connected = None, None, {}, {}

    def _follow_boots(self) -> None:
        if not self._machines.network_boot.is_here:
            return
        position = self._position if self._position is not None else _read(self._file)
        found = self._services.role(Boot).follow_boots(position, self._services.session)
        machines = self._services.store.machines_of({sighting.mac for sighting in found.seen})
        for sighting in found.seen:
            if sighting.mac in machines:
                self._record_sighting(machines[sighting.mac], sighting)
        if found.position != position:
            with suppress(TerraError):  # it is written a moment later; what is read twice is better than what is lost
                self._happenings.flush()
            with suppress(OSError):  # a full disk
                write_file(self._file, found.position.encode())
        self._position = found.position

    def _record_sighting(self, machine: Machine, sighting: Sighting) -> None:
        kind, stage = (Kind.FILE, Stage.BOOTING) if sighting.file else (Kind.DHCP, None)
        named = {"address": sighting.address, "file": sighting.file}
        data = {name: value for name, value in named.items() if value}
        self._happenings.record(*machine, kind, sighting.text, data, stage=stage, time=_utc_of(sighting.time))

    def _follow_connections(self) -> None:
        """Compare who is connected with what was recorded last; a storage plugin that does not say hides nobody of another."""
        self._connected = {}
        for name in self._machines.storages:
            self._try(f"storage {name}", partial(self._ask, name))
        connected: dict[Machine, tuple[Disk, ...]] = {}
        for name, found in self._connected.items():
            for machine, disks in self._disks_of(name, found).items():
                connected[machine] = (*connected.get(machine, ()), *disks)
        looked = {number for found in self._connected.values() for number in found}
        self._owners = {number: owner for number, owner in self._owners.items() if number in looked}
        if self._seen is None:
            self._seen = self._recorded()
        self._compare(self._seen, connected, time.monotonic())

    def _ask(self, name: str) -> None:
        """Ask a storage plugin who is connected; one that cannot tell is not taken to say that nobody is."""
        selected = self._services.role(Storage).plugin
        if name == selected and Storage.role in self._machines.troubles.services:
            return
        storage = self._services.plugins.named(Storage, name, source=self._services.session.source)
        if storage.brings("find_connected"):
            self._connected[name] = storage.find_connected(self._services.session)

    def _recorded(self) -> dict[Machine, _Seen]:
        """Return the machines that had their disks as far as is recorded; those of one whose login was cut are not known."""
        own = {(record.hostname, record.generation) for record in self._services.store.every()}
        logins = {one.machine: _numbers(one) for one in self._happenings.last_of(Kind.LOGIN)}
        seen = {machine: _Seen(numbers) for machine, numbers in logins.items() if numbers}
        booted = (machine for machine, boot in self._happenings.boots().items() if boot.stage is Stage.BOOTED)
        found = {**{machine: _Seen(frozenset()) for machine in booted}, **seen}
        return {machine: one for machine, one in found.items() if machine in own}

    def _compare(self, seen: dict[Machine, _Seen], connected: Mapping[Machine, Sequence[Disk]], now: float) -> None:
        unasked = self._unasked(seen)
        for machine, disks in connected.items():
            numbers = frozenset(disk.number for disk in disks)
            known = seen.get(machine, _Seen(frozenset()))
            kept = known.disks & unasked.get(machine, frozenset())
            so_far = known.disks & numbers | kept
            for disk in disks:
                if disk.number not in known.disks:
                    so_far |= {disk.number}
                    self._record_login(machine, disk, so_far)
            seen[machine] = _Seen(numbers | kept)
        for machine in seen.keys() - connected.keys():
            known = seen[machine]
            if unasked.get(machine):
                known.lost = None
            elif known.lost is None:
                known.lost = now
            elif now - known.lost >= _GONE_SECONDS:
                del seen[machine]
                self._happenings.record(
                    *machine, Kind.LOGIN, "is not connected to its disks any more", {_TARGETS: []}, stage=Stage.OFF
                )

    def _unasked(self, machines: Iterable[Machine]) -> Mapping[Machine, frozenset[int]]:
        """Return the numbers of these machines' targets of which no storage plugin said who is connected."""
        if self._connected.keys() >= set(self._machines.storages):
            return {}
        found = dict[Machine, frozenset[int]]()
        for record in self._services.store.named([hostname for hostname, _ in machines]):
            numbers = frozenset(kept.target.id for kept in record.every_target if kept.storage not in self._connected)
            if numbers:
                found[record.hostname, record.generation] = numbers
        return found

    def _record_login(self, machine: Machine, disk: Disk, numbers: frozenset[int]) -> None:
        text = f"is connected to its disks {disk.label}{f' from {disk.address}' if disk.address else ''}"
        data = {_TARGETS: sorted(numbers), "label": disk.label, "target": disk.number, "address": disk.address}
        self._happenings.record(*machine, Kind.LOGIN, text, data, stage=Stage.BOOTING)

    def _disks_of(self, storage: str, connected: Mapping[int, Sequence[Connected]]) -> Mapping[Machine, Sequence[Disk]]:
        """Return the machines whose own targets these are, and that are connected to them by their own names."""
        unknown = connected.keys() - self._owners.keys()
        self._owners.update(dict.fromkeys(unknown))  # a number is never given twice, and one of another controller is none here
        self._owners.update(self._services.store.targets(unknown))
        found: dict[Machine, list[Disk]] = {}
        for number, clients in connected.items():
            owner = self._owners[number]
            if owner is None or owner[1].storage != storage:
                continue
            machine, kept = owner
            own = [one for one in clients if not one.name or one.name == kept.target.client]
            if own:
                found.setdefault(machine, []).append(Disk(number, str(kept.target.label), own[0].address))
        return found

    def _try(self, what: str, work: Callable[[], None]) -> None:
        problem = ""
        try:
            work()
        except TerraError as error:
            problem = str(error)
        except Exception as error:  # the boundary of the thread: whatever happened, it has to look again
            problem = f"a defect of Terra's: {error!r}"
        if problem and self._problems.get(what) != problem:
            _log.warning("what machines do is not seen", service=what, reason=problem)
        self._problems[what] = problem

    @property
    def _file(self) -> Path:
        return self._services.session.paths.run / "boots.position"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _numbers(happening: Happening) -> frozenset[int]:
    numbers = happening.data.get(_TARGETS)
    return frozenset(one for one in numbers if type(one) is int) if isinstance(numbers, list) else frozenset()


def _utc_of(seconds: float) -> str:
    """Return a time of a service's log; the present one where that is to come, or no time at all."""
    now = datetime.now(UTC)
    try:
        return utc(min(datetime.fromtimestamp(seconds, UTC), now))
    except (ValueError, OverflowError, OSError):
        return utc(now)
