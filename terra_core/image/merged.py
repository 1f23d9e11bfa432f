"""What an image holds when all of its layers are applied, without applying them: kinds and links by path, and no content.

Layers are merged by the rules that :mod:`terra_core.image.apply` follows: directories are reached through the links that are
there by then, and whiteouts hide what the layers below have.
"""

from __future__ import annotations

from bisect import bisect_right

from attrs import define, field, frozen

from terra_core.image.paths import split_path
from terra_core.oci.faults import ImageError, shown
from terra_core.oci.limits import Limits
from terra_core.oci.tar import Entry, Kind
from terra_core.oci.whiteouts import Whiteout, read_whiteout

_MOST_LINKS = 40


@frozen
class Link:
    """A symbolic link.

    :param target: word for word.
    """

    target: bytes


@frozen
class Special:
    """A device, a FIFO or a socket."""


Folder = dict[bytes, "Node"]
"""A directory: what it holds by name."""
Node = Folder | Link | Special | int
"""A node of the tree; a regular file is the number of its entry among those of all layers."""

_SPECIAL = Special()


@frozen(kw_only=True)
class Place:
    """Where a path leads.

    :param path: the path without any link in it, as far as it is known.
    :param node: what is there; ``None`` when nothing is.
    :param missing: how many components at the end of ``path`` are not there.
    :param blocked: why it leads nowhere; empty when it leads to something, or to where something could be made.
    """

    path: bytes
    node: Node | None
    missing: int = 0
    blocked: str = ""


@define
class MergedTree:
    """The tree of an image; layers go in from the lowest to the highest.

    Memory is some 200 bytes an entry, and an image has a million of them at most.

    :param limits: how long paths may be.
    """

    limits: Limits
    linked: set[tuple[bytes, bytes]] = field(factory=set, init=False)
    """The directories of both ends of hard links, those of every layer."""
    _root: Folder = field(factory=dict, init=False)
    _entries: int = field(default=0, init=False)
    _first: list[int] = field(factory=list, init=False)
    _own: set[tuple[int, bytes]] = field(factory=set, init=False)
    _replaced: set[bytes] = field(factory=set, init=False)

    def begin_layer(self) -> None:
        """Begin the next layer; later entries belong to it."""
        self._first.append(self._entries)
        self._own.clear()

    def add(self, entry: Entry) -> None:
        """Take an entry of the layer.

        :raises ImageError: when applying it would fail.
        """
        number, self._entries = self._entries, self._entries + 1
        path, name = split_path(entry.name, self.limits.path_bytes)
        if not name:
            return
        whiteout = read_whiteout(name)
        if whiteout is not None:
            self._whiteout(path, whiteout)
            return
        directory, folder = self._open(path)
        if entry.kind is Kind.DIRECTORY:
            before = folder.get(name)
            if not isinstance(before, dict):
                if before is not None:
                    self._replaced.add(_join(directory, name))
                folder[name] = {}
        else:
            folder[name] = self._node(entry, number, directory)
        if len(self._first) > 1:
            self._own.add((id(folder), name))

    def find(self, path: bytes, *, follow: bool = True) -> Place:
        """Find out where a path leads, within the tree, as openat2(2) resolves it with ``RESOLVE_IN_ROOT``.

        :param path: relative to the root.
        :param follow: whether a link at the path itself is followed.
        """
        waiting = path.split(b"/")[::-1]
        way: list[tuple[bytes, Node | None]] = []
        links = 0
        while waiting:
            name = waiting.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if way and way[-1][1] is None:
                    return self._place(way, "it leads back from a directory that is not there")
                way = way[:-1]
                continue
            above: Node | None = way[-1][1] if way else self._root
            if above is not None and not isinstance(above, dict):
                return self._place(way, f"/{shown(b'/'.join(part for part, _ in way))} is no directory")
            node = above.get(name) if above is not None else None
            if isinstance(node, Link) and (follow or any(part not in (b"", b".") for part in waiting)):
                links += 1
                if links > _MOST_LINKS:
                    return self._place(way, "it leads through a loop of symbolic links")
                way = [] if node.target.startswith(b"/") else way
                waiting += node.target.split(b"/")[::-1]
                continue
            way.append((name, node))
        return self._place(way, "")

    def stood_elsewhere(self, path: bytes) -> bytes:
        """Return the first part of a path that was no directory in a lower layer; nothing when there is none."""
        parts = path.split(b"/")
        prefixes = (b"/".join(parts[: at + 1]) for at in range(len(parts)))
        return next((prefix for prefix in prefixes if prefix in self._replaced), b"")

    def layer_of(self, number: int) -> tuple[int, int]:
        """Return the layer of a file, and the number of its entry there; both from 0."""
        layer = bisect_right(self._first, number) - 1
        return layer, number - self._first[layer]

    def names(self, path: str) -> frozenset[str]:
        """Return the names in a directory; none when there is no such directory."""
        node = self.find(_bytes(path)).node
        return frozenset(map(_text, node)) if isinstance(node, dict) else frozenset()

    def file_at(self, path: str) -> str:
        """Return the path of the regular file at ``path`` without any link in it; an empty string when there is none."""
        place = self.find(_bytes(path))
        return _text(place.path) if isinstance(place.node, int) else ""

    def _place(self, way: list[tuple[bytes, Node | None]], blocked: str) -> Place:
        path = b"/".join(name for name, _ in way)
        missing = sum(node is None for _, node in way)
        return Place(path=path, node=way[-1][1] if way else self._root, missing=missing, blocked=blocked)

    def _node(self, entry: Entry, number: int, directory: bytes) -> Node:
        if entry.kind is Kind.FILE:
            return number
        if entry.kind is Kind.SYMLINK:
            return Link(entry.target)
        if entry.kind is not Kind.LINK:
            return _SPECIAL
        path, name = split_path(entry.target, self.limits.path_bytes)
        place = self.find(path)
        folder = place.node
        linked = folder.get(name) if isinstance(folder, dict) else None
        if linked is None or isinstance(linked, dict):
            raise ImageError(f"a hard link to {shown(entry.target)!r}, which is not there")
        self.linked.add((place.path, directory))
        return linked

    def _open(self, path: bytes) -> tuple[bytes, Folder]:
        """Return the path and the content of a directory; make what of it is missing."""
        missing: list[bytes] = []
        place = self.find(path)
        while not isinstance(place.node, dict):
            if place.blocked or place.node is not None:
                raise ImageError(place.blocked or "a file stands where its directory has to be")
            path, _, name = path.rpartition(b"/")
            missing.append(name)
            place = self.find(path)
        directory, folder = place.path, place.node
        for name in reversed(missing):
            if name in folder:
                raise ImageError(f"its directory is reached through {shown(name)!r}, a link that leads nowhere")
            below: Folder = {}
            directory, folder[name] = _join(directory, name), below
            folder = below
        return directory, folder

    def _whiteout(self, path: bytes, whiteout: Whiteout) -> None:
        hidden = whiteout.hidden
        place = self.find(path)
        if len(self._first) < 2 or not isinstance(place.node, dict):
            return
        if whiteout.opaque:
            self._hide_below(place.path, place.node)
            return
        if hidden not in place.node:
            return
        node = place.node[hidden]
        if isinstance(node, dict):
            self._hide_below(_join(place.path, hidden), node)
            gone = not node
        else:
            gone = True
        if gone and (id(place.node), hidden) not in self._own:
            self._remove(place.path, place.node, hidden)

    def _hide_below(self, path: bytes, folder: Folder) -> None:
        """Remove what lower layers have in a directory."""
        found = [(path, folder)]
        for above, each in found:  # grows while it is walked
            found += ((_join(above, name), node) for name, node in each.items() if isinstance(node, dict))
        for above, each in reversed(found):
            for name, node in list(each.items()):
                kept = (id(each), name) in self._own or (isinstance(node, dict) and node)
                if not kept:
                    self._remove(above, each, name)

    def _remove(self, path: bytes, folder: Folder, name: bytes) -> None:
        if not isinstance(folder.pop(name), dict):
            self._replaced.add(_join(path, name))


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def _bytes(path: str) -> bytes:
    return path.encode(errors="surrogateescape")


def _text(path: bytes) -> str:
    return path.decode(errors="surrogateescape")
