"""What ``terra backup`` keeps of a controller, while it runs or not: its state, its configuration and its secrets."""

from __future__ import annotations

import errno
import grp
import io
import os
import pwd
import sqlite3
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl

from attrs import frozen

from terra_core.config.controller import Controller, Paths
from terra_core.controller.archive import PLACES, Entry, Manifest, Writer
from terra_core.controller.copying import copy_of_server
from terra_core.controller.database import default_url, file_of
from terra_core.errors import TerraError
from terra_core.service.database import shown_url
from terra_core.system.progress import Event, Report
from terra_core.system.reading import NotRegularError, open_regular

_STEP = "backup"
_TRANSIENT = ("work", "images", "golden")
"""Directories of the state that the controller fills again when it needs them."""
_BUSY_SECONDS = 30.0


@frozen
class Found:
    """A file or directory of the controller.

    :param path: relative to its root.
    :param place: where it is.
    :param directory: whether it is a directory.
    """

    path: str
    place: Path
    directory: bool


def write_backup(
    config: Controller,
    paths: Paths,
    output: BinaryIO,
    report: Report,
    *,
    database: bool = True,
    named: Iterable[str] = (),
) -> Manifest:
    """Write all that a controller knows to an archive; it may run meanwhile. The volumes of its machines are not in it.

    :param config: its controller.toml.
    :param output: need not be seekable.
    :param database: whether the state belongs to it; one of a server is there as the same SQLite database.
    :param named: further files of its configuration, from :func:`files_named`; those in other places are told.
    :raises TerraError: when something cannot be read, or the database is none that Terra can copy.
    """
    writer = Writer(output)
    entries: list[Entry] = []
    left_out = list(_elsewhere(config, named, paths))
    schema, url = "", config.database or default_url(paths.state)
    if not database:
        left_out.append(f"{shown_url(url)}: the database, as you asked")
    else:
        report(Event(_STEP, f"copy {file_of(url) or shown_url(url)}"))
        # First: of what comes later, the files may be there already, and never too few.
        path, content, schema = _state(url, paths)
        digest, size = writer.add(io.BytesIO(content))
        entries.append(Entry(path=path, mode=0o600, digest=digest, size=size))
    for found in _files(paths, _databases(config, paths), left_out):
        try:
            entries.append(_kept(found, writer))
        except FileNotFoundError:
            if found.place.is_symlink():
                left_out.append(f"{found.place}: is a link, and there is nothing at its end")
            continue  # otherwise the machine was deleted just now
        except NotRegularError as error:
            left_out.append(f"{found.place}: {error}")
        except OSError as error:
            raise TerraError(f"{found.place}: cannot be read: {error.strerror}", hint="run this as root") from error
        if len(entries) % 100 == 0:
            report(Event(_STEP, "read files", len(entries), unit="files"))
    manifest = Manifest(
        terra=version("terra-core"),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        host=os.uname().nodename,
        database=entries[0].path if database else "",
        schema=schema,
        left_out=tuple(left_out),
        entries=tuple(entries),
    )
    writer.finish(manifest)
    return manifest


def _state(url: str, paths: Paths) -> tuple[str, bytes, str]:
    """Return a path, the state as a SQLite database, and its schema."""
    file = file_of(url)
    if file is None:
        return _below(paths.state / "terra.db", paths), *copy_of_server(url)
    if not file.exists():
        hint = "name the controller's root by --root, and its file by --config"
        raise TerraError(f"{file}: there is no database, so no controller has run here", hint=hint)
    if not _below(file, paths).startswith(tuple(f"{place}/" for place in PLACES)):
        hint = f"keep it by: sqlite3 {file} '.backup FILE'; and have the rest from terra backup --no-database"
        raise TerraError(f"{file}: the database is outside of {paths.state}", hint=hint)
    return _below(file, paths), *_copied(file)


def _copied(file: Path) -> tuple[bytes, str]:
    """Return a SQLite database as it was last committed, and its schema."""
    try:
        with (
            closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS)) as original,
            closing(sqlite3.connect(":memory:")) as copy,
        ):
            original.backup(copy)
            (schema,) = copy.execute("select value from about where key = 'schema'").fetchone() or ("",)
            return copy.serialize(), str(schema)
    except sqlite3.Error as error:
        raise TerraError(f"{file}: the database cannot be copied: {error}", hint="is it the controller's database?") from error


def _databases(config: Controller, paths: Paths) -> frozenset[Path]:
    """Return the files that are databases, one that was left when the state went to a server among them."""
    urls = (config.database or default_url(paths.state), default_url(paths.state))
    return frozenset(file for url in urls if (file := file_of(url)) is not None)


def _files(paths: Paths, databases: Collection[Path], left_out: list[str]) -> Iterator[Found]:
    """Yield what is below Terra's directories except databases, each directory before its content; no link is followed."""

    def refuse(error: OSError) -> None:
        if error.errno != errno.ENOENT:
            raise TerraError(f"{error.filename}: cannot be read: {error.strerror}", hint="run this as root") from error

    for place in (paths.etc, paths.state, paths.tftp):
        for top, directories, names in os.walk(place, onerror=refuse):
            here = Path(top)
            yield Found(_below(here, paths), here, True)
            if here == paths.state:
                directories[:] = [name for name in directories if name not in _TRANSIENT]
            for name in directories:
                if (here / name).is_symlink():
                    left_out.append(f"{here / name}: is a link to a directory")
            for name in sorted(names):
                path = here / name
                beside = any(here == one.parent and name.startswith(one.name) for one in databases)  # its log, its copies
                unfinished = name.startswith(".") and name.endswith(".new")
                if not beside and not unfinished:
                    yield Found(_below(path, paths), path, False)


def _kept(found: Found, writer: Writer) -> Entry:
    if found.directory:
        return _entry(found)
    with open_regular(found.place) as content:  # at the end of any link: its content is what the controller reads
        digest, size = writer.add(content)
    return _entry(found, digest, size)


def _entry(found: Found, digest: str = "", size: int = 0) -> Entry:
    status = found.place.stat()
    return Entry(
        path=found.path,
        mode=stat.S_IMODE(status.st_mode) & 0o777,
        owner=_name(lambda: pwd.getpwuid(status.st_uid).pw_name),
        group=_name(lambda: grp.getgrgid(status.st_gid).gr_name),
        digest=digest,
        size=size,
    )


def _below(path: Path, paths: Paths) -> str:
    """Return a path relative to the controller's root; an absolute one for what is outside of it."""
    try:
        return str(path.absolute().relative_to(paths.root.absolute()))
    except ValueError:
        return str(path)


def files_named(source: Path | None, raw: Mapping[str, object]) -> Sequence[str]:
    """Return controller.toml itself and the files that it names, such as keys, those in tables of plugins and URLs included.

    :param source: controller.toml, where it is not in the usual place.
    :param raw: what it says.
    """
    named = [str(source.absolute())] if source is not None else []
    for text in _texts(raw):
        named += [text, *(value for _, value in parse_qsl(text.partition("?")[2]))]
    return [one for one in dict.fromkeys(named) if one.startswith("/") and _is_file(one)]


def _elsewhere(config: Controller, named: Iterable[str], paths: Paths) -> Iterator[str]:
    """Yield the files that belong to the configuration and are outside of Terra's directories."""
    own = [] if config.tls is None else [config.tls.certificate, config.tls.key]
    if config.trust is not None and config.trust.key.startswith("/"):
        own.append(config.trust.key)
    for name in dict.fromkeys((*own, *named)):
        if not any(Path(name).absolute().is_relative_to(paths.root.absolute() / place) for place in PLACES):
            yield f"{name}: belongs to the configuration, and is outside of {paths.etc}"


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _texts(one)


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a text that is no name of a file
        return False


def _name(look_up: Callable[[], str]) -> str:
    """Return the name of a user or a group; root's for one that this machine does not know."""
    try:
        return look_up()
    except KeyError:
        return "root"
