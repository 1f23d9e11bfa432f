"""Whiteouts in a tree: they remove what lower layers have put there, and leave what their own layer has."""

from __future__ import annotations

import os
import stat
from hashlib import blake2b

from attrs import define, field

from terra_core.image.directories import Directories, Directory, Identity
from terra_core.image.removal import Fate, empty, remove
from terra_core.oci.whiteouts import Whiteout
from terra_core.system.openat import DIRECTORY

_KEPT_LENGTH = 40


@define
class LayerRecord:
    """What the layer being applied has put into the tree: its own whiteouts do not remove that, whatever their order.

    Places are known by their directory's inode and their name, so that a path through a link counts as the same place. An
    inode number that is used again within one layer belongs to that layer either way.

    :param spared: a place that no whiteout touches, nor what is below it.
    """

    spared: tuple[Identity, bytes] | None = None
    _written: dict[Identity, set[bytes]] = field(factory=dict, init=False)
    _settled: set[tuple[Identity, bytes]] = field(factory=set, init=False)

    def wrote(self, directory: Identity, name: bytes) -> None:
        """Note that the layer put ``name`` there."""
        names = self._written.get(directory)
        if names is None:
            self._written[directory] = {_short(name)}
        else:
            names.add(_short(name))

    def has(self, directory: Identity, name: bytes) -> bool:
        """Return whether the layer put ``name`` there."""
        return _short(name) in self._written.get(directory, ())

    def fate(self, directory: Identity, name: bytes) -> Fate:
        """Return what happens to ``name`` there when a whiteout hides what lower layers had."""
        if (directory, name) == self.spared:
            return Fate.UNTOUCHED
        return Fate.STAYS if self.has(directory, name) else Fate.GOES

    def settle(self, directory: Identity, name: bytes) -> bool:
        """Return whether this is the first whiteout of ``name`` there: nothing is left for a second one to hide."""
        place = (directory, _short(name))
        if place in self._settled:
            return False
        self._settled.add(place)
        return True


def _short(name: bytes) -> bytes:
    """Return a name, or the digest of a long one, which has another length: a layer of long names must not fill the memory."""
    return name if len(name) <= _KEPT_LENGTH else blake2b(name, digest_size=_KEPT_LENGTH + 1).digest()


def apply_whiteout(directories: Directories, path: bytes, whiteout: Whiteout, record: LayerRecord | None) -> None:
    """Do what a whiteout says.

    :param path: the directory that it stands in, relative to the root.
    :param record: what the layer has written so far; None for the lowest layer, which can hide nothing.
    """
    directory = directories.find(path)
    if directory is None or record is None:
        return
    if whiteout.opaque:
        _hide_all(directories, path, directory, record)
    elif whiteout.hidden:
        _hide(directories, path, whiteout.hidden, record)


def _hide_all(directories: Directories, path: bytes, directory: Directory, record: LayerRecord) -> None:
    if not record.settle(directory.identity, b""):
        return
    directories.forget()
    directory = directories.open(path)
    directory.changed = True
    empty(directory.fd, record.fate)


def _hide(directories: Directories, path: bytes, name: bytes, record: LayerRecord) -> None:
    # Whatever is removed may be part of the paths of open directories.
    directories.forget()
    directory = directories.open(path)
    if not record.settle(directory.identity, name):
        return
    directory.changed = True
    if not record.has(directory.identity, name):
        remove(directory.fd, name, record.fate)
        return
    try:
        mode = os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory.fd)
        try:
            empty(fd, record.fate)
        finally:
            os.close(fd)
