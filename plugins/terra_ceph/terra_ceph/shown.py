"""Names of images, and what ``rbd --format json`` says of them."""

from __future__ import annotations

import json
import re
from typing import Any

from attrs import frozen

from terra_core.errors import TerraError

_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)/([A-Za-z0-9][A-Za-z0-9._-]*)")
SNAPSHOT = re.compile(r"terra-[0-9]{1,9}")
"""The names of the snapshots that clones are made of."""
FIRST_SNAPSHOT = "terra-1"
_GOLDEN = re.compile(r"golden_[0-9a-f]+\.[0-9]{1,9}")
"""The names of golden volumes: no machine's has a low line."""


@frozen
class Name:
    """The name of a volume.

    :param pool: the pool that it was made in, whatever the table says later.
    :param image: the image, ``HOST.N``.
    """

    pool: str
    image: str

    def __str__(self) -> str:
        """Write it as rbd takes it."""
        return f"{self.pool}/{self.image}"

    @classmethod
    def parse(cls, text: str) -> Name:
        """Return the name in a record.

        :raises TerraError: when it is none.
        """
        found = _NAME.fullmatch(text)
        if found is None:
            raise TerraError(f"{text}: is no volume of this store, whose volumes are images POOL/HOST.N")
        return cls(found[1], found[2])


@frozen
class Parent:
    """What a clone is a clone of.

    :param pool: the pool of the image.
    :param id: the id of the image, which it keeps in the trash, too.
    :param trashed: whether it was removed while it has clones.
    """

    pool: str
    id: str
    trashed: bool


@frozen
class Image:
    """An image.

    :param id: what the cluster knows it by, and no other image ever.
    :param size: in bytes.
    :param snapshots: whether it has any.
    :param parent: what it is a clone of, if so.
    """

    id: str
    size: int
    snapshots: bool
    parent: Parent | None


@frozen
class Snapshot:
    """A snapshot of an image: its name, and its number, which a pool gives to one snapshot only."""

    id: int
    name: str


def parse_image(text: str) -> Image:
    """Parse the output of ``rbd info``."""
    row: dict[str, Any] = json.loads(text)
    above: dict[str, Any] = row.get("parent") or {}
    parent = Parent(above["pool"], above.get("id", ""), bool(above.get("trash"))) if above else None
    return Image(row["id"], row["size"], bool(row["snapshot_count"]), parent)


def parse_snapshots(text: str) -> list[Snapshot]:
    """Return the snapshots that clones are made of, in the output of ``rbd snap ls``, the oldest first."""
    rows = [Snapshot(row["id"], row["name"]) for row in json.loads(text)]
    return sorted((row for row in rows if SNAPSHOT.fullmatch(row.name)), key=lambda row: row.id)


def parse_names(text: str) -> list[str]:
    """Return the images in the output of ``rbd ls``."""
    return [str(name) for name in json.loads(text)]


def parse_trash(text: str) -> list[str]:
    """Return the ids of golden volumes in the output of ``rbd trash ls``, where they are kept while they have clones."""
    return [str(row["id"]) for row in json.loads(text) if _GOLDEN.fullmatch(row["name"])]


def parse_sizes(pool: str, text: str) -> dict[str, int]:
    """Return the bytes of the images in the output of ``rbd ls --long`` of a pool, by the names of volumes."""
    return {f"{pool}/{row['image']}": int(row["size"]) for row in json.loads(text) if "snapshot" not in row}


def differs(text: str) -> bool:
    """Return whether the output of ``rbd diff`` names anything."""
    return bool(json.loads(text))


def next_snapshot(snapshots: list[Snapshot]) -> str:
    """Return a name that no snapshot has."""
    numbers = (int(one.name.rpartition("-")[2]) for one in snapshots)
    return f"terra-{max(numbers, default=0) + 1}"
