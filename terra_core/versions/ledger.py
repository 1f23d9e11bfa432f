"""What a machine was told last of its versions, kept beside them: what it starts, and how far they were counted.

Each disk has a word of its own of what it starts. One that was away has an old one when it comes back; this file is on the file
system of all versions, so that it is as new as what was written there last (see docs/decisions/0103).
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs
from attrs import evolve, frozen

from terra_core.config.node import OWN
from terra_core.config.structure import StructureError, structure
from terra_core.errors import TerraError
from terra_core.system.files import sync_directory, write_file
from terra_core.system.reading import read_regular
from terra_core.versions.record import number_of

_PLACE = f"{OWN}/ledger.json"
_LIMIT = 64 * 1024


@frozen(kw_only=True)
class Ledger:
    """What is known of the versions of a machine beside themselves.

    :param kept: the version that every start was told to start; empty when nobody has written that down.
    :param once: the version that a start was told to try, until that has come to something.
    :param number: the highest number of a version that was removed: no later one gets it again.
    """

    kept: str = ""
    once: str = ""
    number: int = 0


def read_ledger(top: Path) -> Ledger:
    """Return what is written down; of what cannot be read, nothing is known.

    :param top: the directory of all roots.
    """
    try:
        return structure(json.loads(read_regular(top / _PLACE, _LIMIT, follow=False)), Ledger)
    except (OSError, ValueError, RecursionError, StructureError):
        return Ledger()


def write_ledger(top: Path, ledger: Ledger) -> None:
    """Write it down; it is on the disk when this returns. Where it cannot be written, nothing is known from now on.

    An old word would count for more than none, and a full disk takes no new one.

    :param top: the directory of all roots.
    :raises TerraError: when it cannot be written.
    """
    place = top / _PLACE
    try:
        place.parent.mkdir(exist_ok=True, mode=0o700)
        try:
            write_file(place, json.dumps(attrs.asdict(ledger)).encode(), mode=0o600)
        except OSError:
            place.unlink(missing_ok=True)
            raise
        sync_directory(top)
    except OSError as error:
        raise TerraError(f"{place}: cannot be written: {error.strerror}") from error


def note_removed(top: Path, version: str) -> None:
    """Write down that a version is removed, whose number no later one may get: a disk that is away may still name it.

    :param top: the directory of all roots.
    :raises TerraError: as for :func:`write_ledger`.
    """
    ledger, number = read_ledger(top), number_of(version) or 0
    if number > ledger.number:
        write_ledger(top, evolve(ledger, number=number))
