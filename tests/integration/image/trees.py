"""Applying made-up images, and looking at what is on disk."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from terra_core.image import Applied, apply_layers
from terra_core.oci import Layout, Limits
from tests.unit.oci.making import Blob, LayoutMaker


@frozen
class Seen:
    """Everything about one file that an image can say."""

    kind: int
    mode: int
    owner: tuple[int, int]
    size: int
    mtime: int
    content: bytes
    device: int
    links: tuple[bytes, ...]
    xattrs: tuple[tuple[str, bytes], ...]


def look(root: Path, *, hashed: bool = False) -> dict[bytes, Seen]:
    """Return every file below a directory, and the directory itself as an empty name.

    :param hashed: keep the digest of each file's content, not the content: for trees of a real size.
    """
    found: dict[bytes, os.stat_result] = {}
    waiting = [b""]
    base = os.fsencode(root)
    for name in waiting:
        path = base + b"/" + name if name else base
        found[name] = os.lstat(path)
        if stat.S_ISDIR(found[name].st_mode):
            entries = sorted(os.listdir(path))  # noqa: PTH208  # a name may be no text, so paths are bytes here
            waiting += [name + b"/" + entry if name else entry for entry in entries]
    inodes: dict[int, list[bytes]] = {}
    for name, status in found.items():
        inodes.setdefault(status.st_ino, []).append(name)
    return {name: _see(base, name, status, tuple(inodes[status.st_ino]), hashed) for name, status in found.items()}


def _see(base: bytes, name: bytes, status: os.stat_result, links: tuple[bytes, ...], hashed: bool) -> Seen:
    path = base + b"/" + name if name else base
    kind = stat.S_IFMT(status.st_mode)
    content = b""
    if kind == stat.S_IFREG:
        with Path(os.fsdecode(path)).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest() if hashed else file.read()
    elif kind == stat.S_IFLNK:
        content = os.readlink(path)  # noqa: PTH115  # the same
    attributes = os.listxattr(path, follow_symlinks=False)
    return Seen(
        kind,
        stat.S_IMODE(status.st_mode),
        (status.st_uid, status.st_gid),
        0 if kind == stat.S_IFDIR else status.st_size,
        status.st_mtime_ns,
        content,
        status.st_rdev,
        links,
        tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in sorted(attributes)),
    )


def apply(place: Path, layers: Sequence[Blob | bytes], limits: Limits | None = None) -> tuple[Path, Applied]:
    """Make an image of layers in ``place`` and apply it to a new root there; return the root."""
    assert os.geteuid() == 0, "these tests need root: only root can give files their owners"
    maker = LayoutMaker(place / "layout")
    maker.image(layers)
    layout = Layout(maker.path)
    root = place / "root"
    root.mkdir()
    return root, apply_layers(layout.image(), root, limits=limits)
