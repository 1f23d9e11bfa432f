"""How a tree differs from what was laid down."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path

from attrs import frozen

from terra_core.errors import TerraError
from terra_core.system.reading import NotRegularError
from terra_core.versions.manifest import Entry, digest_of, entries


class What(Enum):
    """What became of a file."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@frozen(kw_only=True)
class Change:
    """A file that is not as it was laid down.

    :param path: from the root, with a leading slash; names that are not UTF-8 have surrogates in place of such bytes.
    :param what: what became of it.
    :param kind: what it is now, or was when it is gone.
    :param details: what of it has changed, of ``kind``, ``content``, ``mode``, ``owner`` and ``attributes``.
    """

    path: str
    what: What
    kind: str
    details: tuple[str, ...] = ()


def changes(laid_down: Mapping[str, Entry], root: Path, *, left_out: str) -> list[Change]:
    """Return how a tree differs from a manifest, by path.

    Times of files do not count, nor which names a file has besides. Only files are read whose mark is another than when they
    were laid down.

    :param root: a directory below which nothing is mounted.
    :param left_out: as for :func:`terra_core.versions.manifest.entries`.
    :raises TerraError: naming what cannot be read.
    """
    found: list[Change] = []
    seen: set[str] = set()
    for path, entry in entries(root, left_out=left_out):
        former = laid_down.get(path)
        seen.add(path)
        if former is None:
            found.append(Change(path=f"/{path}", what=What.ADDED, kind=entry.kind))
        elif details := tuple(_details(former, entry, root, path)):
            found.append(Change(path=f"/{path}", what=What.CHANGED, kind=entry.kind, details=details))
    gone = (path for path in laid_down if path not in seen)
    found += [Change(path=f"/{path}", what=What.REMOVED, kind=laid_down[path].kind) for path in gone]
    return sorted(found, key=lambda change: change.path)


def _details(former: Entry, now: Entry, root: Path, path: str) -> Iterator[str]:
    if former.kind != now.kind:
        yield "kind"
    elif _has_other_content(former, now, root, path):
        yield "content"
    if former.mode != now.mode:
        yield "mode"
    if (former.uid, former.gid) != (now.uid, now.gid):
        yield "owner"
    if former.attributes != now.attributes:
        yield "attributes"


def _has_other_content(former: Entry, now: Entry, root: Path, path: str) -> bool:
    if now.kind != "file":
        return former.content != now.content
    if former.size != now.size:
        return True
    if former.mark == now.mark:
        return False
    try:
        return digest_of(root, path) != former.content
    except (FileNotFoundError, NotADirectoryError, NotRegularError):  # somebody has put something else there just now
        return True
    except OSError as error:
        if error.errno == errno.ELOOP:
            return True
        raise TerraError(f"{root / path}: cannot be read: {error.strerror}") from error
