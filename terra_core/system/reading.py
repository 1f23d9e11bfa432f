"""Text that others wrote, as the programs around Terra read it: how to open a file, to decode it and to split it into lines.

Editors of other systems put a byte order mark in front of a text and end its lines by CR LF. Docker, OpenSSH, the C library and
TOML end a line by LF, with a CR before it or not, and by nothing else, while :meth:`str.splitlines` also splits at form feeds,
at U+0085 and at U+2028, so that one line of theirs would be two of Terra's.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_OCTAL = re.compile(r"\\([0-7]{3})")
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
}


def decoded(data: bytes, errors: str = "strict") -> str:
    """Return UTF-8 as text, without the byte order mark that may stand in front of it.

    :param errors: what becomes of bytes that are not UTF-8, as :meth:`bytes.decode` has it.
    :raises ValueError: when it is not UTF-8, or UTF-16 whatever ``errors`` says; the message goes on from the file's name.
    """
    if data.startswith(_WIDE_BOMS):
        raise ValueError("is UTF-16, where UTF-8 is expected")
    try:
        return data.removeprefix(_BOM).decode(errors=errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start + len(data) - len(data.removeprefix(_BOM))})") from None


def salvaged(data: bytes) -> str:
    """Return a text that nobody can be asked to mend, such as a file of an image: what is not UTF-8 is replaced."""
    return data.removeprefix(_BOM).decode(errors="replace")


def lines_of(text: str) -> list[str]:
    """Return the lines of a text without their ends, each LF or CR LF."""
    lines = text.split("\n")
    last = lines.pop()
    return [line.removesuffix("\r") for line in lines] + ([last] if last else [])


def unescaped(field: str) -> str:
    """Return a field as it was before the kernel wrote spaces and line feeds in it as octal numbers, as in fstab(5)."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), field)


class NotRegularError(OSError):
    """Something else than a regular file stands where one is expected; it was looked at, and not opened."""


def open_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading, see :func:`open_found`.

    :param follow: whether a symbolic link at ``path`` itself is followed.
    :raises NotRegularError: when something else stands there.
    :raises OSError: when it cannot be opened.
    """
    found = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        return os.fdopen(open_found(found, str(path)), "rb")
    finally:
        os.close(found)


def open_found(found: int, name: str) -> int:
    """Open a regular file for reading that was looked up with ``O_PATH``, see open(2).

    What it is, is looked at before it is opened: a FIFO would wait for a writer, and to open a device can load a module, make a
    loop device or start a watchdog.

    :param found: the descriptor that it was looked up with; it stays open.
    :param name: what errors call it.
    :returns: a descriptor, for the caller to close.
    :raises NotRegularError: when it is something else.
    """
    kind = stat.S_IFMT(os.fstat(found).st_mode)
    if kind != stat.S_IFREG:
        raise NotRegularError(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}, and no file", name)
    return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)


def read_regular(path: Path, most: int, *, follow: bool = True) -> bytes:
    """Return the content of a regular file.

    :param most: the most bytes that it may have.
    :param follow: whether a symbolic link at ``path`` itself is followed.
    :raises NotRegularError: when it is something else.
    :raises OSError: when it has more, or cannot be read.
    """
    with open_regular(path, follow=follow) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most // 1024} KiB", str(path))
    return data
