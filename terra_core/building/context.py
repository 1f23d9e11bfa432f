"""What a build sees: the user's context and what is laid over it.

An engine gets it as one tar stream (POSIX.1-1988 with GNU names), a program that builds by itself as a directory.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from terra_core.building.ignore import IGNORE, Rule, read_rules, walk
from terra_core.errors import TerraError
from terra_core.hookspecs import BuildRequest
from terra_core.system.progress import Event, Report
from terra_core.system.reading import decoded, lines_of, open_regular, read_regular

_CHUNK = 1024 * 1024
_MOST_DOCKERFILE_BYTES = 16 * 1024 * 1024
_PARSE = re.compile(r"dockerfile parse error(?: on)? line (\d+)", re.IGNORECASE)


@frozen
class _Entry:
    name: str
    path: Path
    status: tarfile.TarInfo = field(repr=False)
    size: int


def stream_context(build: BuildRequest, report: Report, *, ignore_file: bool = True, more: bytes = b"") -> Iterator[bytes]:
    """Yield the tar in pieces, straight from the files: the context is neither copied nor changed.

    Entries are sorted by name, their owner is root, and no time in them is later than the build's epoch.

    Symbolic links are sent as such and never followed, so that nothing outside the two directories is read. Sockets are left
    out, and so are devices. A file of the overlay takes the place of one of the same name in the context.

    :param build: its context, overlay and Dockerfile.
    :param report: is told how many bytes of the files have gone.
    :param ignore_file: whether .dockerignore is sent like any other file; what it names is left out in any case.
    :param more: what is added at the end of the Dockerfile.
    :raises TerraError: when something cannot be read, or changes while it is.
    """
    entries = [entry for entry in _entries(build) if ignore_file or entry.name != IGNORE]
    total = sum(entry.status.size for entry in entries)
    done = 0
    report(_event(done, total))
    for entry in entries:
        added = more if entry.name == build.dockerfile else b""
        entry.status.size += len(added)
        yield entry.status.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        for piece in _content(entry):
            done += len(piece)
            yield piece
            report(_event(done, total))
        yield added
        yield bytes(-entry.status.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
    report(_event(total, total))


def lay_context(build: BuildRequest, directory: Path, report: Report) -> None:
    """Copy what a build sees into an empty directory, with the modes and times that :func:`stream_context` sends.

    What the rules leave out is not there, the Dockerfile included: give it to the builder from elsewhere.

    :param report: is told how many bytes of the files are there.
    :raises TerraError: when something cannot be read or written, or changes while it is read.
    """
    entries = _entries(build, needed=False)
    total, done = sum(entry.size for entry in entries), 0
    directories = {Path()}
    report(_laid(done, total))
    for entry in entries:
        for parent in reversed(Path(entry.name).parents):
            if parent not in directories and os.path.lexists(directory / parent):
                raise TerraError(f"{entry.path}: {parent} is no directory in the files that the build sees")
            (directory / parent).mkdir(exist_ok=True)
            directories.add(parent)
        done += _lay(entry, directory / entry.name)
        if entry.status.isdir():
            directories.add(Path(entry.name))
        report(_laid(done, total))
    for entry in reversed(entries):  # a directory gets its mode and time when nothing is put into it any more
        if entry.status.isdir():
            (directory / entry.name).chmod(entry.status.mode)
        os.utime(directory / entry.name, (entry.status.mtime, entry.status.mtime), follow_symlinks=False)


def _lay(entry: _Entry, target: Path) -> int:
    """Make a file of the context, and return its length in bytes."""
    written = 0
    try:
        if entry.status.isdir():
            target.mkdir()
            return 0
        if entry.status.issym():
            target.symlink_to(entry.status.linkname)
            return 0
        if entry.status.isfifo():
            os.mkfifo(target)
        else:
            with target.open("xb") as file:
                for piece in _content(entry):
                    written += file.write(piece)
        target.chmod(entry.status.mode)
    except OSError as error:
        raise TerraError(f"{target}: cannot be written for the build: {error.strerror}") from error
    return written


def newest_time(build: BuildRequest) -> int:
    """Return the time of the newest file of the user's context that is sent, in seconds since 1970."""
    entries = _entries(evolve(build, overlay=None, epoch=None))
    return max((int(entry.status.mtime) for entry in entries if not entry.status.isdir()), default=0)


def dockerfile_text(build: BuildRequest) -> str | None:
    """Return the Dockerfile of a build; nothing when there is none.

    :raises TerraError: when it can't be read.
    """
    for directory in (build.overlay, build.context):
        path = directory / build.dockerfile if directory else None
        try:
            if path is not None:
                return decoded(read_regular(path, _MOST_DOCKERFILE_BYTES), "replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise TerraError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise TerraError(f"{path}: {error}") from None
    return None


def named_line(build: BuildRequest, said: str) -> str:
    """Return the line of the Dockerfile that a message of the builder's names, with its number; or nothing."""
    place = _PARSE.search(said)
    lines = lines_of(dockerfile_text(build) or "")
    return f"{place[1]}: {lines[int(place[1]) - 1].strip()}" if place and 0 < int(place[1]) <= len(lines) else ""


def _laid(done: int, total: int) -> Event:
    return Event("context", "copying the files of the build", done, total)


def _event(done: int, total: int) -> Event:
    return Event("context", "sending the files of the build to the engine", done, total)


def _entries(build: BuildRequest, *, needed: bool = True) -> list[_Entry]:
    """Return what a build sees, sorted by name.

    :param needed: whether the Dockerfile and the rules are there although the rules leave them out.
    """
    context, overlay = build.context, build.overlay
    try:
        names = set(walk(context, _rules(build)))
    except OSError as error:
        raise TerraError(f"{error.filename or context}: cannot be read for the build: {error.strerror}") from error
    # The engine needs these whatever the rules say, and removes them before COPY and ADD when they say so.
    kept = (build.dockerfile, IGNORE, _own_ignore(build)) if needed else ()
    names |= {name for name in kept if (context / name).is_file()}
    found = {name: context / name for name in names}
    if overlay is not None:
        found |= {str(path.relative_to(overlay)): path for path in overlay.rglob("*")}
        if (overlay / _own_ignore(build)).exists():
            del found[_own_ignore(build)]  # BuildKit would apply it again, and to the overlay too
    entries = []
    for name in sorted(found):
        status = _status(name, found[name])
        if status is not None:
            rendered = overlay is not None and found[name].is_relative_to(overlay)
            if build.epoch is not None:
                status.mtime = build.epoch if rendered else min(int(status.mtime), build.epoch)
            entries.append(_Entry(name, found[name], status, status.size))
    return entries


def _rules(build: BuildRequest) -> Sequence[Rule]:
    """Return what the build leaves out: as the file beside the Dockerfile says it, which goes before that of the context."""
    own = [directory / _own_ignore(build) for directory in (build.overlay, build.context) if directory is not None]
    path = next((path for path in own if path.exists()), build.context / IGNORE)
    try:
        return read_rules(path)
    except OSError as error:
        raise TerraError(f"{path}: cannot be read: {error.strerror}") from error


def _own_ignore(build: BuildRequest) -> str:
    return f"{build.dockerfile}{IGNORE}"


def _status(name: str, path: Path) -> tarfile.TarInfo | None:
    try:
        found = path.lstat()
        link = str(path.readlink()) if stat.S_ISLNK(found.st_mode) else ""
    except OSError as error:
        raise TerraError(f"{path}: cannot be read for the build: {error.strerror}") from error
    kinds = {stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE,
             stat.S_IFIFO: tarfile.FIFOTYPE}  # fmt: skip
    kind = stat.S_IFMT(found.st_mode)
    if kind not in kinds:
        return None
    info = tarfile.TarInfo(name)
    info.type = kinds[kind]
    info.mode = stat.S_IMODE(found.st_mode)
    info.mtime = int(max(found.st_mtime, 0))
    info.linkname = link
    info.size = found.st_size if kind == stat.S_IFREG else 0
    return info


def _content(entry: _Entry) -> Iterator[bytes]:
    """Exactly the bytes that the header announced: a file that changes meanwhile would shift everything after it."""
    left = entry.size
    if not left:
        return
    try:
        with open_regular(entry.path, follow=False) as file:
            while left:
                piece = file.read(min(left, _CHUNK))
                if not piece:
                    raise TerraError(f"{entry.path}: became shorter while it was read for the build")
                left -= len(piece)
                yield piece
    except OSError as error:
        raise TerraError(f"{entry.path}: cannot be read for the build: {error.strerror}") from error
