"""A root file system that is small enough to build on in a test: a shell, a few programs, and the account ``terra``."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from terra_core.system.process import run

_PROGRAMS = ("cat", "chmod", "cp", "dd", "false", "id", "ls", "mkdir", "rm", "sh", "sleep", "touch", "true")


def write_tiny_root(tar: Path, *more: str) -> None:
    """Write the tar of the root file system, with this machine's own programs and the libraries that they need.

    Its ``/etc/resolv.conf`` is a symbolic link to where systemd-resolved writes, as on Ubuntu, and ``/home/terra`` is private.

    :param tar: the file to make.
    :param more: the names of further programs.
    """
    programs = [f"/usr/bin/{name}" for name in (*_PROGRAMS, *more)]
    libraries = {word for word in run(["ldd", *programs]).text.split() if word.startswith(("/lib", "/usr/lib"))}
    with tarfile.open(tar, "w", dereference=True) as archive:
        for name, mode in {"etc": 0o755, "home": 0o755, "root": 0o700, "run": 0o755, "tmp": 0o1777}.items():
            _directory(archive, name, mode)
        _directory(archive, "home/terra", 0o750, owner=1000)
        for path in sorted(libraries):
            archive.add(path, path.rstrip(":"))
        for path in programs:
            archive.add(path, path.removeprefix("/usr"))
        _link(archive, "sbin/init", "../bin/true")
        _link(archive, "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
        _file(archive, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nterra:x:1000:1000::/home/terra:/bin/sh\n")
        _file(archive, "etc/group", "root:x:0:\nterra:x:1000:\nsystemd-network:x:998:\n")


def _directory(archive: tarfile.TarFile, name: str, mode: int, owner: int = 0) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, owner, owner
    archive.addfile(info)


def _link(archive: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    archive.addfile(info)


def _file(archive: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(text), 0o644
    archive.addfile(info, io.BytesIO(text.encode()))
