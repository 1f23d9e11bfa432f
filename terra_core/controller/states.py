"""The states of machines as a person sees them: one word for what was done to a machine, and how far it came by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from attrs import frozen

from terra_core.controller.happening import BootProgress, Stage
from terra_core.controller.records import Record, SetAside, State
from terra_core.controller.store import Store


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

    def rows(self, records: Sequence[Record | SetAside]) -> Sequence[dict[str, Any]]:
        """Return machines as ``terra list`` shows them."""
        boots, since = self._store.happenings.boots(), self._store.times()
        return [record.as_row() | _shown(record, since.get(record.hostname, ""), _boot_of(record, boots)) for record in records]

    def words(self, records: Sequence[Record | SetAside]) -> Sequence[str]:
        """Return the words for the states of machines."""
        boots = self._store.happenings.boots()
        return [state_of(record, "", _boot_of(record, boots)).word.value for record in records]


def _boot_of(record: Record | SetAside, boots: Mapping[tuple[str, int], BootProgress]) -> BootProgress:
    return boots.get((record.hostname, record.generation), BootProgress()) if type(record.generation) is int else BootProgress()


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
