"""Random images: stacks of layers that any tool has to unpack to the same tree. A seed names a stack for good."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from attrs import define, field, frozen

from tests.unit.oci.making import MTIME, Item, file, folder, hardlink, symlink, whiteout

_NAMES = (b"a", b"b", b"c", b"dir", b"etc", b"link", "ä".encode(), b"with space", b"x" * 120, b"-dash")
_TARGETS = (b"a", b"../b", b"/etc", b"/dir/a", b"nowhere", b"./c", b"../../../out", b"dir/..", b"/", b"x" * 150)
_MODES = (0o644, 0o600, 0o755, 0o4755, 0o2711, 0o1777, 0o000, 0o7777)
_XATTRS = {
    b"SCHILY.xattr.user.note": b"text",
    b"SCHILY.xattr.user.binary": bytes(range(1, 9)),
    b"SCHILY.xattr.security.capability": b"\x01\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"SCHILY.xattr.trusted.own": b"1",
}
_DEEPEST = 4


@define
class _Tree:
    """What stands where so far, without regard to symbolic links; good enough to choose names that make sense."""

    kinds: dict[bytes, bytes] = field(factory=dict)
    times: dict[bytes, int] = field(factory=dict)

    def of(self, *kinds: bytes) -> list[bytes]:
        return sorted(path for path, kind in self.kinds.items() if kind in kinds)

    def remove(self, path: bytes) -> None:
        for other in [one for one in self.kinds if one == path or one.startswith(path + b"/")]:
            del self.kinds[other]
            self.times.pop(other, None)

    def put(self, path: bytes, kind: bytes) -> None:
        if kind != b"5" or self.kinds.get(path) != b"5":
            self.remove(path)
        self.kinds[path] = kind
        for above in list(PurePosixPath(path.decode()).parents)[:-1]:
            self.kinds[str(above).encode()] = b"5"


class _Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  # nothing secret: the same seed has to give the same image
        self.tree = _Tree()
        self.written: set[bytes] = set()

    def layer(self, lowest: bool) -> list[Item]:
        """Return one layer: its entries, and the whiteouts of what is below it."""
        self.written = set()
        below = _Tree(kinds=dict(self.tree.kinds))
        makers: list[Callable[[], Item | None]] = [self._file] * 6 + [self._folder] * 4 + [self._symlink] * 2
        makers += [self._hardlink] * 2 + [self._special]
        if not lowest:
            makers += [lambda: self._whiteout(below)] * 3 + [lambda: self._opaque(below)]
        items = [self.random.choice(makers)() for _ in range(self.random.randint(1, 14))]
        return [item for item in items if item is not None]

    def _path(self) -> bytes | None:
        """Return a path whose directories are, or will be, directories of this tree."""
        parents = [b"", *self.tree.of(b"5")]
        parent = self.random.choice(parents)
        while self.random.random() < 0.25:
            parent = _join(parent, self.random.choice(_NAMES))
        if any(self.tree.kinds.get(above, b"5") != b"5" for above in _lineage(parent)) or parent.count(b"/") > _DEEPEST:
            return None
        return _join(parent, self.random.choice(_NAMES))

    def _place(self, kind: bytes) -> tuple[bytes, dict[str, Any]] | None:
        path = self._path()
        if path is None:
            return None
        self.tree.put(path, kind)
        self.written.add(path)
        pick = self.random
        pax: dict[bytes, bytes] = {}
        mtime, fraction = MTIME + pick.randint(-1000, 1000), 0
        if pick.random() < 0.4:
            fraction = pick.randint(0, 999_999_999)
            pax[b"mtime"] = b"%d.%09d" % (mtime, fraction)
        self.tree.times[path] = mtime * 1_000_000_000 + fraction
        if kind in (b"0", b"5") and pick.random() < 0.2:
            key = pick.choice(sorted(_XATTRS))
            pax[key] = _XATTRS[key]
        common: dict[str, Any] = {"uid": pick.choice((0, 0, 7, 1000, 65534)), "gid": pick.choice((0, 0, 8)), "mtime": mtime}
        name = pick.choice((path, path, b"./" + path, b"/" + path)) if len(path) < 90 else path
        return name, {**common, "pax": pax}

    def _file(self) -> Item | None:
        place = self._place(b"0")
        if place is None:
            return None
        size = self.random.choice((0, 1, 511, 512, 513, 5000))
        return file(place[0], self.random.randbytes(size), mode=self.random.choice(_MODES), **place[1])

    def _folder(self) -> Item | None:
        place = self._place(b"5")
        if place is None:
            return None
        slash = b"/" if self.random.random() < 0.5 else b""
        return folder(place[0] + slash, mode=self.random.choice(_MODES), **place[1])

    def _symlink(self) -> Item | None:
        place = self._place(b"2")
        return None if place is None else symlink(place[0], self.random.choice(_TARGETS), **place[1])

    def _special(self) -> Item | None:
        place = self._place(b"3")
        if place is None:
            return None
        kind, device = self.random.choice(((b"3", (1, 3)), (b"4", (7, 200)), (b"6", (0, 0))))
        return Item(name=place[0], type=kind, device=device, mode=self.random.choice(_MODES), **place[1])

    def _hardlink(self) -> Item | None:
        sources = self.tree.of(b"0")
        if not sources:
            return None
        source, path = self.random.choice(sources), self._path()
        if path is None or source == path or source.startswith(path + b"/"):
            return None
        self.tree.put(path, b"0")
        self.tree.times[path] = self.tree.times[source]
        self.written.add(path)
        return hardlink(path, source)

    def _whiteout(self, below: _Tree) -> Item | None:
        paths = [path for path in below.kinds if not self._touched(path)]
        if not paths:
            return None
        path = self.random.choice(sorted(paths))
        self.tree.remove(path)
        self.written.add(path)
        parent, _, name = path.rpartition(b"/")
        return whiteout(_join(parent, b".wh." + name))

    def _opaque(self, below: _Tree) -> Item | None:
        paths = [path for path in below.of(b"5") if not self._touched(path)]
        if not paths:
            return None
        path = self.random.choice(sorted(paths))
        time = self.tree.times.get(path)
        self.tree.remove(path)
        self.tree.kinds[path] = b"5"
        if time is not None:
            self.tree.times[path] = time
        self.written.add(_join(path, b".wh..wh..opq"))
        return whiteout(_join(path, b".wh..wh..opq"))

    def _touched(self, path: bytes) -> bool:
        """Return whether this layer has written anything at, above or below ``path``."""
        return any(one == path or one.startswith(path + b"/") or path.startswith(one + b"/") for one in self.written)


@frozen
class Stack:
    """A random image.

    :param layers: its layers, the lowest first.
    :param times: the change times that they tell, in nanoseconds; a directory that is only implied has none.
    """

    layers: list[list[Item]]
    times: dict[bytes, int]


def random_stack(seed: int) -> Stack:
    """Return a random image.

    :param seed: names the image: the same seed gives the same layers.
    """
    maker = _Maker(seed)
    layers = [maker.layer(lowest=position == 0) for position in range(maker.random.choice((1, 2, 2, 3, 3, 4)))]
    return Stack(layers, maker.tree.times)


def _join(parent: bytes, name: bytes) -> bytes:
    return parent + b"/" + name if parent else name


def _lineage(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[: length + 1]) for length in range(len(parts))] if path else []
