"""Room for what is downloaded, on the very disk that an image is unpacked to: it is where space for an image has to be."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.image.openat import DIRECTORY
from terra_core.image.removal import remove


@contextmanager
def room_in(root: Path) -> Iterator[Path]:
    """A path in the root of a tree, not made yet, that is gone in the end, with the times of the root as they were then.

    :param root: a directory; an image that is unpacked there meanwhile cannot know the name, and has to spare it.
    """
    place = root / f".terra-{secrets.token_hex(16)}"
    fd = os.open(root, DIRECTORY | os.O_NOFOLLOW)
    try:
        yield place
    finally:
        try:
            status = os.fstat(fd)
            remove(fd, os.fsencode(place.name))
            os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(fd)
