"""The packages of Debian and Ubuntu that programs come with, for the error when one is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

_packages: dict[str, str] = {}


def name_packages(packages: Mapping[str, str]) -> None:
    """Register the packages that programs come with; each module does so for the programs that it runs.

    :param packages: the package's name by the program's.
    """
    _packages.update(packages)


def install_hint(program: str) -> str:
    """Return what to do where a program is not installed."""
    name = PurePosixPath(program).name
    package = _packages.get(name)
    if package is None:
        return f"install the package that provides {name!r}"
    return f"install it with: apt-get install {package}, or what provides {name!r} where there is no apt-get"


name_packages({
    "blkid": "util-linux", "blockdev": "util-linux", "findmnt": "util-linux", "ip": "iproute2", "losetup": "mount",
    "lsblk": "util-linux", "mount": "mount", "partx": "util-linux", "prlimit": "util-linux", "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86", "setpriv": "util-linux", "setsid": "util-linux", "sfdisk": "fdisk",
    "systemctl": "systemd", "udevadm": "udev", "umount": "mount", "wipefs": "util-linux",
})  # fmt: skip
