"""The file that ``terra backup`` writes: a tar archive (ustar, POSIX.1-2017) of contents by their digests, and a manifest last.

::

    blobs/0e1f...       a content, by its SHA-256; one that several files have is there once
    manifest.json       which files have which content, with their modes and owners; an archive without it is cut short

What reads it takes regular members of these names only, in a reader of its own: whatever else tar has (links, devices, sparse
files, extended headers) is refused unread. No path of an archive is used before all of it was checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from attrs import Factory, asdict, frozen

from terra_core.config.structure import Problem, StructureError, has, structure
from terra_core.errors import TerraError

FORMAT = 1
_MANIFEST = "manifest.json"
_MOST_MANIFEST = 256 * 1024 * 1024
_PIECE = 1024 * 1024
_BLOCK = tarfile.BLOCKSIZE
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
PLACES = ("etc/terra", "var/lib/terra", "tftp")
"""Where all of it is, below a controller's root: an archive that names a file elsewhere is refused."""


@frozen(kw_only=True)
class Entry:
    """A file or a directory of a controller.

    :param path: relative to the controller's root.
    :param mode: its permission bits.
    :param owner: the name of its owner.
    :param group: the name of its group.
    :param digest: the SHA-256 of a file's content; empty for a directory.
    :param size: a file's size in bytes.
    """

    path: str
    mode: int
    owner: str = "root"
    group: str = "root"
    digest: str = ""
    size: int = 0

    def problems(self) -> Iterator[Problem]:
        """Refuse what would reach out of Terra's places, or is none of a file's."""
        if has(self, "path") and not _is_ours(self.path):
            yield Problem("path", f"{self.path!r} is not below {', '.join(PLACES)}")
        if has(self, "mode") and not 0 <= self.mode <= 0o777:
            yield Problem("mode", f"{self.mode:#o} is more than the permissions of a file")
        if has(self, "digest") and self.digest and not _DIGEST.fullmatch(self.digest):
            yield Problem("digest", "is no SHA-256")


@frozen(kw_only=True)
class Manifest:
    """What an archive says of itself.

    :param terra: the version of Terra that wrote it.
    :param made: when, as ISO 8601 has it.
    :param host: the name of the machine.
    :param database: the path of the SQLite database among the entries; empty where the state is kept elsewhere.
    :param schema: the schema of the database.
    :param left_out: what belongs to the controller and is not in here, with the reason.
    :param entries: everything that is, directories before what they hold.
    """

    terra: str
    made: str
    host: str
    database: str = ""
    schema: str = ""
    left_out: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = Factory(tuple)


class Writer:
    """Writes an archive, once through.

    :param output: where it goes; it need not be seekable.
    """

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._written: set[str] = set()

    def add(self, content: BinaryIO) -> tuple[str, int]:
        """Write a content that is not in the archive yet.

        :param content: a file that is read twice, from its beginning.
        :returns: its digest and its size in bytes.
        :raises TerraError: when it changed meanwhile.
        """
        content.seek(0)
        digest, size = _digest_of(_pieces(content))
        if digest not in self._written:
            content.seek(0)
            if (digest, size) != _digest_of(self._member(f"blobs/{digest}", size, _pieces(content))):
                raise TerraError("a file changed while it was read", hint="try again")
            self._written.add(digest)
        return digest, size

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest: from here on it is an archive."""
        text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1).encode()
        _digest_of(self._member(_MANIFEST, len(text), [text]))
        self._output.write(bytes(2 * _BLOCK))

    def _member(self, name: str, size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Write a member while its pieces are passed on."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        self._output.write(member.tobuf(tarfile.USTAR_FORMAT))
        left = size
        for piece in pieces:
            left -= len(piece)
            if left < 0:
                break
            self._output.write(piece)
            yield piece
        self._output.write(bytes(-size % _BLOCK))


def _pieces(content: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: content.read(_PIECE), b"")


def _digest_of(pieces: Iterable[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def read_archive(source: BinaryIO, stage: Path) -> Manifest:
    """Read an archive; every content is verified, and lies below ``stage`` by its digest then.

    :param source: need not be seekable.
    :param stage: an empty directory that nobody else can enter.
    :raises TerraError: when it is none, is cut short, holds anything that :class:`Writer` does not write, or lacks a content.
    """
    manifest: Manifest | None = None
    sizes: dict[str, int] = {}
    for name, size in _members(source):
        if manifest is not None:
            raise _refused(f"has {name!r} after its manifest")
        if name == _MANIFEST:
            manifest = _parse(_read(source, size, _MOST_MANIFEST))
            continue
        digest = name.removeprefix("blobs/")
        if not _DIGEST.fullmatch(digest) or digest in sizes:
            raise _refused(f"has a member {name!r}")
        _stage(source, size, stage / digest, digest)
        sizes[digest] = size
    if manifest is None:
        raise _refused("ends before its manifest: it was cut short")
    for entry in manifest.entries:
        if entry.digest and sizes.get(entry.digest) != entry.size:
            raise _refused(f"lacks the content of {entry.path}")
    return manifest


def _members(source: BinaryIO) -> Iterator[tuple[str, int]]:
    """Yield name and size of each member; the caller reads the content before the next one."""
    while True:
        block = _exactly(source, _BLOCK)
        if block == bytes(_BLOCK):
            return
        try:
            member = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise _refused("is no tar archive, or damaged") from error
        if member.type not in _PLAIN or member.size < 0:
            raise _refused(f"has {member.name!r}, which is no plain file")
        yield member.name, member.size
        _exactly(source, -member.size % _BLOCK)


def _stage(source: BinaryIO, size: int, path: Path, digest: str) -> None:
    found = hashlib.sha256()
    try:
        with path.open("xb") as file:
            while size:
                piece = _exactly(source, min(size, _PIECE))
                found.update(piece)
                file.write(piece)
                size -= len(piece)
    except OSError as error:  # such as a full disk: all of it is there twice for a while
        raise TerraError(f"{path.parent}: the backup cannot be unpacked there: {error.strerror}") from error
    if found.hexdigest() != digest:
        raise _refused(f"is damaged: a content is not {digest}")


def _read(source: BinaryIO, size: int, most: int) -> bytes:
    if size > most:
        raise _refused(f"has a manifest of {size} bytes")
    return _exactly(source, size)


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size) if size else b""
    if len(data) != size:
        raise _refused("ends too early: it was cut short")
    return data


def _parse(text: bytes) -> Manifest:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused("has a manifest that is no JSON") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("entries"), list):
        raise _refused("has a manifest without entries")
    if raw.pop("format", None) != FORMAT:
        raise _refused("is of another format than this version of Terra knows", "restore it with the version that made it")
    rows = raw.pop("entries")
    try:
        entries = tuple(_entry(row) for row in rows)  # one by one: a list may have 4,096 items, and these are more
        manifest: Manifest = structure({**raw, "entries": []}, Manifest)
    except StructureError as error:
        raise _refused(f"has a manifest that is not right: {error}") from error
    paths = [entry.path for entry in entries]
    if len(set(paths)) != len(paths):
        raise _refused("names a path twice")
    return Manifest(**{**{name: getattr(manifest, name) for name in asdict(manifest)}, "entries": entries})


def _entry(raw: Any) -> Entry:  # JSON
    return structure(raw if isinstance(raw, Mapping) else {}, Entry)


def _is_ours(path: str) -> bool:
    parts = PurePosixPath(path).parts
    plain = "\0" not in path and ".." not in parts and str(PurePosixPath(path)) == path and _is_encodable(path)
    return plain and any(path == place or path.startswith(f"{place}/") for place in PLACES)


def _is_encodable(path: str) -> bool:
    """Return whether a path has bytes; JSON can say surrogates that are no byte of a name (PEP 383)."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def _refused(what: str, hint: str = "take another backup; nothing has been changed") -> TerraError:
    return TerraError(f"the backup {what}", hint=hint)
