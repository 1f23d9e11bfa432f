"""The states of machines as a person sees them: one word for what was done to a machine, and how far it came by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

import msgspec
from attrs import frozen
from litestar.serialization import encode_json

from terra_core.controller.happening import BootProgress, Stage
from terra_core.controller.records import Record, SetAside, State
from terra_core.controller.store import Store
from terra_core.system.garbage import uncollected


class Word(Enum):
    """The states that a machine may have."""

    PROVISIONING = "provisioning"
    READY = "ready"
    BOOTING = "booting"
    BOOTED = "booted"
    FAILED = "failed"
    DELETING = "deleting"


@frozen(kw_only=True)
class MachineState:
    """The state of a machine.

    :param word: the state.
    :param since: since when, in UTC as RFC 3339 has it; empty where that is not known.
    :param problem: the reason of a failure; empty otherwise.
    """

    word: Word
    since: str
    problem: str = ""


_BOOTABLE = frozenset(word.value for word in (Word.READY, Word.BOOTING, Word.BOOTED))
_UNSEEN = BootProgress()
_BY_STATE = {State.PROVISIONING.value: Word.PROVISIONING, State.DELETING.value: Word.DELETING, State.READY.value: Word.READY}
_BY_STAGE = {Stage.OFF: Word.READY, Stage.AWAY: Word.READY, Stage.BOOTING: Word.BOOTING, Stage.BOOTED: Word.BOOTED}


def state_of(record: Record | SetAside, since: str, boot: BootProgress) -> MachineState:
    """Return the state of a machine: by its record, and of one that can boot, by how far it came.

    :param since: since when the record is as it is.
    """
    problem = record.said if isinstance(record, SetAside) else record.problem
    if isinstance(record, SetAside) or problem:
        return MachineState(word=Word.FAILED, since=since, problem=problem)
    if record.state is not State.READY:
        return MachineState(word=_BY_STATE[record.state.value], since=since)
    return MachineState(word=_BY_STAGE[boot.stage], since=max(boot.since, since))


@frozen
class States:
    """Reads the states of machines.

    :param store: the records.
    """

    _store: Store

    def shown(self, record: Record | SetAside) -> dict[str, Any]:
        """Return what a machine's row has besides its record."""
        boot = self._store.happenings.boot(record.hostname, record.generation)
        return _shown(record, self._store.since(record), boot)

    def words(self, records: Sequence[Record | SetAside]) -> Sequence[str]:
        """Return the words for the states of machines."""
        boots = self._store.happenings.boots()
        return [state_of(record, "", _boot_of(record, boots)).word.value for record in records]


@frozen
class _Listed:
    """A row of the list.

    :param record: the machine that it was made of.
    :param since: since when its record is as it is.
    :param boot: how far its boot had come.
    :param trouble: what kept all machines from booting.
    :param row: the row, in JSON.
    """

    record: Record | SetAside
    since: str
    boot: BootProgress
    trouble: str
    row: msgspec.Raw

    def is_of(self, record: Record | SetAside, since: str, boot: BootProgress, trouble: str) -> bool:
        """Return whether a row that is made of these would be the same; what did not change is the same object."""
        same = self.record is record and self.boot is boot
        return same and (self.since, self.trouble) == (since, trouble)


class Listing:
    """Machines as ``terra list`` shows them. A row is kept as it was made until anything of it changes.

    May be used from several threads.

    :param store: the records.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listed: Mapping[str, _Listed] = {}

    def rows(self, trouble: Callable[[str], str], elsewhere: Mapping[str, str] = MappingProxyType({})) -> Sequence[msgspec.Raw]:
        """Return every machine by host name, in JSON, whichever host has its disks.

        :param trouble: says what keeps a machine from booting whose own record is right; an empty text for nothing.
        :param elsewhere: the same of all machines of other hosts, by host.
        """
        records, own = self._store.everywhere(), self._store.host
        boots, since, former = self._store.happenings.boots(), self._store.times(), self._listed
        listed = dict[str, _Listed]()
        with uncollected():
            for record in records:
                name = record.hostname
                said = trouble(name) if record.host == own else elsewhere.get(record.host, "")
                parts = (record, since.get(name, ""), _boot_of(record, boots), said)
                known = former.get(name)
                listed[name] = known if known is not None and known.is_of(*parts) else _Listed(*parts, _row(*parts))
        self._listed = listed
        return [one.row for one in listed.values()]


def with_trouble(row: dict[str, Any], trouble: str) -> dict[str, Any]:
    """Return a machine's row with what keeps all machines from booting, where it has no problem of its own."""
    return {**row, "problem": trouble} if row["state"] in _BOOTABLE else row


def _row(record: Record | SetAside, since: str, boot: BootProgress, trouble: str) -> msgspec.Raw:
    return msgspec.Raw(encode_json(with_trouble(record.as_row() | _shown(record, since, boot), trouble)))


def _boot_of(record: Record | SetAside, boots: Mapping[tuple[str, int], BootProgress]) -> BootProgress:
    return boots.get((record.hostname, record.generation), _UNSEEN) if type(record.generation) is int else _UNSEEN


def _shown(record: Record | SetAside, since: str, boot: BootProgress) -> dict[str, Any]:
    state = state_of(record, since, boot)
    addresses = boot.report.get("addresses")
    return {
        "state": state.word.value,
        "since": state.since,
        "problem": state.problem,
        "digest": record.digest if isinstance(record, Record) else "",
        "addresses": [one for one in addresses if isinstance(one, str)] if isinstance(addresses, list) else [],
    }
