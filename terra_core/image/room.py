"""Room for downloads on the disk that an image is unpacked to, which has to have the space for an image anyway."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.image.removal import remove
from terra_core.system.openat import DIRECTORY
from terra_core.system.undo import Undo


@contextmanager
def room_in(root: Path) -> Iterator[Path]:
    """Yield an unused path in the root of a tree; at the end, remove it and restore the times of the root.

    :param root: a directory; an image that is unpacked there meanwhile cannot know the name, and has to spare it.
    """
    place = root / f".terra-{secrets.token_hex(16)}"
    fd = os.open(root, DIRECTORY | os.O_NOFOLLOW)
    with Undo() as undo:
        undo.callback(os.close, fd)
        undo.callback(_clear, fd, os.fsencode(place.name))
        yield place


def _clear(root: int, name: bytes) -> None:
    status = os.fstat(root)
    remove(root, name)
    os.utime(root, ns=(status.st_atime_ns, status.st_mtime_ns))
