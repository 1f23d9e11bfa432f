"""Deleting a subvolume, also on a file system that has no room left.

btrfs writes before it frees. To delete a subvolume needs more than a megabyte for metadata at once: from what is free, or else
from the reserve that the kernel keeps for removals. Where both are used up, it says that no space is left (ENOSPC). A commit
makes the room free that was taken by what is deleted already, and fills the reserve. To delete a file needs far less room, and
the files of what is to go anyway give theirs back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from terra_btrfs.nested import delete_nested
from terra_core.config.node import OWN
from terra_core.system.process import run

_SNAP_DESTROY = 0x5000940F
"""The request of ioctl(2) by which a subvolume is deleted (``linux/btrfs.h``)."""
_ARGUMENT = struct.Struct("=q4088s")
"""``struct btrfs_ioctl_vol_args``."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMOVED = "removed-"
"""How names in :data:`OWN` begin of what has lost its own name and is being removed."""
_SECONDS = 600


def delete(subvolume: Path) -> None:
    """Delete a subvolume with all that were made within it; its blocks are freed in the background.

    Where the disk is full, what was deleted until then is committed first, and at last the subvolume is emptied, for which it
    loses its name: half of one has none.

    :raises OSError: when it cannot be deleted.
    """
    remedies: Iterator[Callable[[Path], Path]] = iter((_commit, _emptied))
    while True:
        try:
            delete_nested(subvolume)
            _delete(subvolume)
        except OSError as error:
            remedy = next(remedies, None) if error.errno in _FULL else None
            if remedy is None:
                raise
        else:
            return
        subvolume = remedy(subvolume)


def finish(target: Path) -> None:
    """Delete what has lost its name already, of a removal that was killed.

    :param target: a root in the same file system.
    """
    own = _own(target)
    for place in sorted(own.glob(f"{_REMOVED}*")) if own is not None else ():
        delete(place)


def _delete(subvolume: Path) -> None:
    asked = bytearray(_ARGUMENT.pack(0, os.fsencode(subvolume.name)))
    directory = os.open(subvolume.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(directory, _SNAP_DESTROY, asked)
    finally:
        os.close(directory)


def _commit(subvolume: Path) -> Path:
    run(["btrfs", "filesystem", "sync", subvolume.parent], timeout=_SECONDS)
    return subvolume


def _emptied(subvolume: Path) -> Path:
    """Delete the files of a subvolume, the largest first; return where it is then.

    :raises OSError: when it cannot lose its name.
    """
    own = _own(subvolume)
    if own is None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(subvolume))
    if own not in subvolume.parents:
        subvolume = subvolume.rename(own / f"{_REMOVED}{secrets.token_hex(8)}")
    for _, place in sorted(_files(subvolume), reverse=True):
        with suppress(OSError):  # such as one that is immutable
            place.unlink()
    return _commit(subvolume)


def _files(subvolume: Path) -> Iterator[tuple[int, Path]]:
    """Yield the regular files of a subvolume, each with the blocks that it takes."""
    for directory, _, names in os.walk(subvolume):
        for name in names:
            place = Path(directory, name)
            with suppress(OSError):
                status = place.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield status.st_blocks, place


def _own(target: Path) -> Path | None:
    """Return Terra's own directory in the file system of a root."""
    for directory in target.parents:
        own = directory / OWN
        if own.is_dir() and not own.is_symlink():
            return own
    return None
