"""Programs of this machine in the initial RAM disk of another: with their own libraries, beside those that are there.

A program is run by its own dynamic linker, ld.so(8), with the path of its libraries: it never uses the image's C library.
Libraries that a program opens while it runs, such as those of nsswitch.conf(5), are not copied: it cannot resolve host names.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.machine.archive import File
from terra_core.system.packages import install_hint
from terra_core.system.process import clean_environment, run
from terra_core.system.reading import lines_of

PATH = "usr/lib/terra/programs"
"""The directory of the RAM disk that a step finds programs in."""
_OWN = "usr/lib/terra/own"
_LINKERS = "usr/lib/terra/linkers"
_LINKER = "@ld.so"
"""Its name is the first word of the command line of every program: systemd-shutdown(8) ends none whose name begins with ``@``,
which is how a program that the root stands on says so (see "Storage Daemons for the Root File System" of systemd)."""
_LIMIT = 64 << 20
_ELF = b"\x7fELF"
_INTERPRETER = 3
_HEADERS = 4096


def collect_programs(names: Sequence[str]) -> Mapping[str, File]:
    """Return what makes programs of this machine run in an initial RAM disk, by path.

    :param names: the programs, as the search path of Terra's own programs has them.
    :raises TerraError: when one is not installed, or is no program for Linux.
    """
    found: dict[str, File] = {}
    for name in names:
        program = _find(name)
        linker = _linker_of(program)
        if not linker:  # statically linked
            found[f"{PATH}/{name}"] = File(content=_content(program), mode=0o755)
            continue
        found[f"{_OWN}/{name}"] = File(content=_content(program), mode=0o755)
        found[f"{_LINKERS}/{_LINKER}"] = File(content=_content(Path(linker)), mode=0o755)
        for library in _libraries(Path(linker), program):
            found[f"{_OWN}/lib/{library.name}"] = File(content=_content(library))
        words = f"{_LINKER} --library-path /{_OWN}/lib /{_OWN}/{name}"
        wrapper = f'#!/bin/sh\nPATH="$PATH:/{_LINKERS}"\nexec {words} "$@"\n'
        found[f"{PATH}/{name}"] = File(content=wrapper.encode(), mode=0o755)
    return found


def check_programs(names: Sequence[str]) -> None:
    """Check that :func:`collect_programs` finds its programs.

    :raises TerraError: when one is not installed, or is no program for Linux.
    """
    for name in names:
        _linker_of(_find(name))


def _find(name: str) -> Path:
    found = shutil.which(name, path=clean_environment()["PATH"]) if "/" not in name else None
    if found is None:
        raise TerraError(f"{name}: not found on this machine, and the initial RAM disk needs it", hint=install_hint(name))
    return Path(found)


def _linker_of(program: Path) -> str:
    """Return the dynamic linker that an ELF file asks for (elf(5), ``PT_INTERP``); empty when it needs none."""
    with program.open("rb") as file:
        head = file.read(_HEADERS)
    if head[:6] != _ELF + b"\x02\x01":
        raise TerraError(f"{program}: is no 64-bit program, so the initial RAM disk of a machine cannot have it")
    try:
        (start,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        for at in range(start, start + size * count, size):
            kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", head, at)
            if kind == _INTERPRETER:
                return head[offset : offset + length].rstrip(b"\0").decode()
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise TerraError(f"{program}: cannot be read as a program: {error}") from error
    return ""


def _libraries(linker: Path, program: Path) -> Iterator[Path]:
    """Yield the libraries of a program, as its own dynamic linker finds them."""
    for line in lines_of(run([linker, "--list", program], accept=(0, 1, 127)).text):
        name, arrow, rest = line.strip().partition(" => ")
        path = rest.rpartition(" (")[0] if arrow else name.rpartition(" (")[0]
        if path == "" and arrow:
            raise TerraError(f"{program}: needs {name}, which this machine does not have")
        if path.startswith("/") and path != str(linker):
            yield Path(path)


def _content(path: Path) -> bytes:
    if path.stat().st_size > _LIMIT:
        raise TerraError(f"{path}: has more than {_LIMIT} bytes, too many for an initial RAM disk")
    return path.read_bytes()
