"""What the kernel says of mount options before there is anything to mount (``fsopen(2)``, ``fsconfig(2)``)."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence

_FSOPEN, _FSCONFIG = 430, 431
_FSOPEN_CLOEXEC = 1
_SET_FLAG, _SET_STRING = 0, 1
_MESSAGE = 4096
_MOUNTS = frozenset({
    "async", "atime", "auto", "comment", "context", "defaults", "dev", "diratime", "exec", "group", "iversion", "lazytime",
    "loud", "mand", "noatime", "nodev", "nodiratime", "noexec", "noiversion", "nolazytime", "nomand", "norelatime",
    "nostrictatime", "nosuid", "nosymfollow", "owner", "relatime", "silent", "strictatime", "suid", "sync", "user", "users",
})  # fmt: skip
"""The options of mount(8) for every file system: those of the mount, and those that are not the kernel's."""

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long

_NONE = "terra.none=1"
"""An option that no file system has."""

GROWING = "x-systemd.growfs"
"""The option by which systemd grows a file system to the size of its disk when it is mounted (systemd.mount(5))."""


def refused_options(filesystem: str, options: Sequence[str]) -> tuple[str, ...]:
    """Return what stands against mount options of a type of file system, a reason for each that this kernel does not take.

    Where the kernel cannot be asked, before Linux 5.2 or in a container, no option is refused: mount(8) will do that.

    :param filesystem: the type, such as ``ext4``.
    :param options: such as ``noatime`` or ``commit=60``.
    """
    own = [option for option in options if option.partition("=")[0] not in _MOUNTS]
    if not own:
        return ()
    context, code = _called(_FSOPEN, filesystem.encode(), _FSOPEN_CLOEXEC)
    if code == errno.ENODEV:
        return (f"the kernel of this machine knows no {filesystem}",)
    if code:
        return ()
    try:
        return tuple(f'"{option}": {reason}' for option in own if (reason := _refused(context, option)))
    finally:
        os.close(context)


def takes(filesystem: str, option: str) -> bool:
    """Return whether this kernel takes a mount option of a type of file system; ``False`` where it does not say.

    Of a type that has not come to the interface yet (btrfs before Linux 6.8), the kernel takes any text, and looks at it later.

    :param filesystem: the type, such as ``ext4``.
    :param option: such as ``commit=60``.
    """
    context, code = _called(_FSOPEN, filesystem.encode(), _FSOPEN_CLOEXEC)
    if code:
        return False
    try:
        return bool(_refused(context, _NONE)) and not _refused(context, option)
    finally:
        os.close(context)


def _refused(context: int, option: str) -> str:
    name, equals, value = option.partition("=")
    said = value.encode() if equals else None
    _, code = _called(_FSCONFIG, context, _SET_STRING if equals else _SET_FLAG, name.encode(), said, 0)
    if not code:
        return ""
    try:  # the kernel's own words, such as: e ext4: Unknown parameter 'ssd'
        return os.read(context, _MESSAGE).decode(errors="replace").partition(" ")[2].strip() or os.strerror(code)
    except OSError:
        return os.strerror(code)


def _called(number: int, *arguments: bytes | int | None) -> tuple[int, int]:
    """Return the result of a system call, and its error number or zero."""
    answer = int(_syscall(number, *arguments))
    return answer, ctypes.get_errno() if answer < 0 else 0
