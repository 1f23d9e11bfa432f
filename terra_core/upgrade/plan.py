"""What an upgrade will fetch, keep and lose; a pure function of what was found."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from terra_core.config.node import OS_LABEL
from terra_core.oci.documents import Descriptor
from terra_core.versions.difference import Change, What
from terra_core.versions.manifest import Entry
from terra_core.versions.record import Record, number_of

_BLOCK = 4096


@frozen(kw_only=True)
class Plan:
    """What an upgrade will do.

    :param former: how the version that runs was laid down.
    :param image: the next image, as it is named.
    :param digest: the digest of its manifest.
    :param version: the name of the next version that is laid down.
    :param there: the version that is of this image already; empty when there is none.
    :param layers: its layers.
    :param present: how many of them, from the lowest on, the disks hold.
    :param kept: changes that the next version will have too, and files that make the machine itself.
    :param lost: changes that it will not have. The version that runs keeps them.
    :param tried: the version that the next start tries; empty when it is none.
    :param obstacle: why it is none, in words; empty when there is nothing to try.
    :param removed: versions that are removed when the next one is there: what was given up first, then the oldest.
    :param given_way: the versions that the next start was to try until now, if it tries another one instead.
    :param needed: the room that a version takes about which shares nothing with the others, in bytes; 0 where it shares.
    """

    former: Record
    image: str
    digest: str
    version: str
    there: str
    layers: tuple[Descriptor, ...]
    present: int
    kept: tuple[str, ...]
    lost: tuple[Change, ...]
    tried: str = ""
    obstacle: str = ""
    removed: tuple[str, ...] = ()
    given_way: tuple[str, ...] = ()
    needed: int = 0

    @property
    def fetched(self) -> int:
        """The bytes that are fetched."""
        return sum(layer.size for layer in set(self.layers[self.present :]))

    def as_json(self) -> dict[str, Any]:
        """Return the plan as ``terra upgrade --plan -o json`` prints it."""
        return {
            "from": {"version": self.former.version, "image": self.former.image, "digest": self.former.digest},
            "to": {"version": self.there or self.version, "image": self.image, "digest": self.digest},
            "there": self.there,
            "layers": len(self.layers),
            "layers_present": self.present,
            "bytes": self.fetched,
            "needed": self.needed,
            "tried": self.tried,
            "obstacle": self.obstacle,
            "removed": list(self.removed),
            "kept": list(self.kept),
            "lost": [{"path": one.path, "change": one.what.value, "kind": one.kind} for one in self.lost],
        }


def room_of(manifest: Mapping[str, Entry]) -> int:
    """Return the room that a version takes on a file system that shares nothing, in bytes.

    :param manifest: every file of it, by path; one with several names is counted for each.
    """
    return sum(-(-entry.size // _BLOCK) * _BLOCK if entry.kind == "file" else _BLOCK for entry in manifest.values())


def next_name(names: Iterable[str], last: int = 0) -> str:
    """Return the name of the next version: ``os.N``, with a number that none of these has reached.

    :param last: the highest number that a version had which is gone.
    """
    return f"{OS_LABEL}.{max([last, *(number_of(name) or 0 for name in names)]) + 1}"


def surplus(names: Iterable[str], spared: Collection[str], failed: Collection[str], most: int) -> tuple[str, ...]:
    """Return the versions that are one too many when a further one is laid down: what was given up first, then the oldest.

    Only what an installation or an upgrade has named counts: a snapshot that a person made is theirs. Numbers say which is the
    oldest, whatever the clock said when each was laid down.

    :param names: the versions that there are.
    :param spared: those that are needed.
    :param failed: those that were given up: nobody goes back to them.
    :param most: how many there may be then.
    """
    own = sorted((number, name) for name in names if (number := number_of(name)) is not None)
    free = sorted((name for _, name in own if name not in spared), key=lambda name: name not in failed)
    return tuple(free[: max(0, len(own) + 1 - most)])


def sorted_out(changes: Sequence[Change], own: Collection[str], keep: Collection[str]) -> tuple[list[str], list[Change]]:
    """Return the paths that the next version takes over, and the changes that it does not have.

    :param own: the files that make the machine itself, by their paths without a leading slash.
    :param keep: the paths of ``[upgrade] keep``.
    """
    kept = {*(f"/{path}" for path in own), *keep}
    lost = [one for one in changes if not _within(one.path, kept) and not _leads_to(one, kept)]
    return sorted(kept), lost


def _within(path: str, kept: Collection[str]) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in kept)


def _leads_to(change: Change, kept: Collection[str]) -> bool:
    """Return whether it is a directory that was made for what is kept."""
    made = change.what is What.ADDED and change.kind == "directory"
    return made and any(one.startswith(f"{change.path}/") for one in kept)
