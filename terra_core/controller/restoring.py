"""What ``terra restore`` does: a controller as it was when it was backed up, on a machine where there is none."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from attrs import evolve

from terra_core.config.controller import Paths
from terra_core.controller.archive import PLACES, Entry, Manifest, read_archive
from terra_core.controller.copying import bring_to_server
from terra_core.controller.database import (
    SCHEMA,
    file_of,
    forget_controllers,
    forget_report_tokens,
    forget_unfinished,
    mark_upgrades,
    raise_generations,
    raise_happenings,
)
from terra_core.errors import TerraError, words_of
from terra_core.service.database import shown_url
from terra_core.service.migration import Migrations
from terra_core.service.private import make_private
from terra_core.service.running import only_one
from terra_core.system.openat import directory_below
from terra_core.system.progress import Event, Report
from terra_core.system.reading import read_regular
from terra_core.system.undo import Undo
from terra_core.system.workspace import workspace

_STEP = "restore"
_PREFIX = "restore-"
_CONFIG = "etc/terra/controller.toml"
_LINKED = 1024 * 1024
"""Files of so many bytes that have the same content are one file with several names, as the boot tree has kernels."""


def restore_backup(source: BinaryIO, paths: Paths, report: Report) -> Manifest:
    """Put back what an archive of :func:`terra_core.controller.backup.write_backup` holds; all of it, or nothing.

    Where the controller.toml in it names a database server, the state goes there.

    :param source: need not be seekable.
    :param paths: where to; there must be nothing of a controller's yet.
    :returns: what the archive says of itself; what it leaves out has the machines that are unknown from now on, too.
    :raises TerraError: when there is something, a controller runs there, or the archive is none, damaged, or of a later Terra.
    """
    with only_one(paths, "controller"), Undo() as undo:
        _require_nothing(paths)
        make_private(paths.state)
        paths.work.mkdir(mode=0o700, exist_ok=True)
        stage = undo.enter_context(workspace(_PREFIX, place=paths.work))
        report(Event(_STEP, "read and verify the backup"))
        manifest = read_archive(source, stage)
        file, url = None, _server_of(manifest, stage)
        if manifest.database:
            manifest, file = _prepared(manifest, stage)
        with Undo() as made:
            put = _Put(stage, paths, made)
            entries = [entry for entry in manifest.entries if url is None or entry.path != manifest.database]
            for at, entry in enumerate(entries, 1):
                report(Event(_STEP, "put files back", at, len(entries), "files"))
                put.entry(entry)
            os.sync()
            if file is not None and url is not None:
                report(Event(_STEP, f"bring the state to {shown_url(url)}"))
                bring_to_server(file, url)
            made.pop_all()
    return manifest


def restore_state(source: BinaryIO, paths: Paths, url: str, report: Report) -> Manifest:
    """Bring the state alone of an archive to an empty database in a server, such as one that comes after SQLite.

    :param source: need not be seekable.
    :param paths: of the controller, which does not run; nothing of its files is changed.
    :param url: the database of its controller.toml.
    :returns: what the archive says of itself; what it leaves out has the machines that are unknown from now on, too.
    :raises TerraError: when a controller runs there, the database is not empty, or the archive is none, damaged, or of a later
        Terra.
    """
    if file_of(url) is not None:
        hint = "name one in controller.toml first: database = \"postgresql+psycopg://USER@HOST/NAME\""
        raise TerraError(f"{shown_url(url)}: is no database in a server", hint=hint)
    with only_one(paths, "controller"), Undo() as undo:
        make_private(paths.state)
        paths.work.mkdir(mode=0o700, exist_ok=True)
        stage = undo.enter_context(workspace(_PREFIX, place=paths.work))
        report(Event(_STEP, "read and verify the backup"))
        manifest = read_archive(source, stage)
        if not manifest.database:
            raise TerraError("the backup was made without the database", hint="take one: terra backup FILE")
        manifest, file = _prepared(manifest, stage)
        report(Event(_STEP, f"bring the state to {shown_url(url)}"))
        bring_to_server(file, url)
    return manifest


def _server_of(manifest: Manifest, stage: Path) -> str | None:
    """Return the URL of the database server that the controller.toml of an archive names, if it names one."""
    entry = next((one for one in manifest.entries if one.path == _CONFIG and one.digest), None)
    if entry is None:
        return None
    try:
        url = tomllib.loads(read_regular(stage / entry.digest, _LINKED).decode()).get("database")
    except (OSError, ValueError) as error:
        message = f"the backup has a {_CONFIG} that cannot be read: {words_of(error)}"
        raise TerraError(message, hint="take another backup") from error
    return url if isinstance(url, str) and file_of(url) is None else None


def _require_nothing(paths: Paths) -> None:
    for place in PLACES:
        where = paths.root / place
        found = where if where.is_symlink() or where.is_file() else next(_files_in(where), None)
        if found is not None:
            hint = f"restore to another --root, or end what runs here (terra controller --stop) and move {where} away"
            raise TerraError(f"{found}: is there already, and nothing is replaced", hint=hint)


def _files_in(place: Path) -> Iterator[Path]:
    for top, directories, names in os.walk(place):
        yield from (Path(top, name) for name in names)
        yield from (Path(top, name) for name in directories if Path(top, name).is_symlink())


def _explained(hostname: str) -> str:
    return (
        f"the machine {hostname}: it was being provisioned or deleted, and is unknown now; nothing of its disks is touched, "
        "and a new machine of this name is refused while they are there"
    )


def _prepared(manifest: Manifest, stage: Path) -> tuple[Manifest, Path]:
    """Refuse a database that this Terra cannot take; keep names that were given since the backup from being given again.

    :returns: the manifest with the machines that it had half, which are not in it any more, and the database's file.
    """
    known = Migrations(SCHEMA.migrations)
    if manifest.schema not in known.schemas:
        raise TerraError(
            f"the backup is of Terra {manifest.terra}, whose database has schema {manifest.schema or 'unknown'}; "
            f"this version knows schemas up to {known.head}",
            hint="restore it with the version of Terra that made it, or a later one",
        )
    entry = next((one for one in manifest.entries if one.path == manifest.database and one.digest), None)
    if entry is None:
        raise TerraError("the backup names a database that it does not hold", hint="take another backup")
    with closing(sqlite3.connect(stage / entry.digest)) as database:
        try:
            (said,) = database.execute("pragma quick_check").fetchone()
            if said != "ok":
                raise sqlite3.DatabaseError(said)
            raise_generations(database)
            raise_happenings(database)
            forget_report_tokens(database)
            forget_controllers(database)
            mark_upgrades(database)
            unknown = forget_unfinished(database)
        except sqlite3.Error as error:
            raise TerraError(f"the database in the backup is damaged: {error}", hint="take another backup") from error
    return evolve(manifest, left_out=(*manifest.left_out, *map(_explained, unknown))), stage / entry.digest


class _Put:
    """Puts files and directories where they belong.

    :param stage: the directory of the contents.
    :param paths: where to.
    :param made: takes back what was put.
    """

    def __init__(self, stage: Path, paths: Paths, made: Undo) -> None:
        self._stage = stage
        self._root = paths.root
        self._made = made
        self._large: dict[Entry, Path] = {}

    def entry(self, entry: Entry) -> None:
        """Put one there, with its mode and its owner."""
        path = self._root / entry.path
        above, _, name = entry.path.rpartition("/")
        try:
            with directory_below(self._root, above, make=0o755) as directory:
                if entry.digest:
                    self._file(entry, path, name, directory)
                else:
                    self._directory(path, name, directory)
                os.chown(name, *_owner(entry), dir_fd=directory, follow_symlinks=False)
                os.chmod(name, entry.mode, dir_fd=directory)
        except OSError as error:
            raise TerraError(f"{path}: cannot be written: {error.strerror}", hint="nothing was restored") from error

    def _directory(self, path: Path, name: str, directory: int) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:
            return
        self._made.callback(_remove_directory, path)

    def _file(self, entry: Entry, path: Path, name: str, directory: int) -> None:
        alike = evolve(entry, path="")  # mode and owner are those of the file, and not of its name
        if alike in self._large:
            with suppress(OSError):  # another file system
                os.link(self._large[alike], name, dst_dir_fd=directory, follow_symlinks=False)
                self._made.callback(path.unlink, missing_ok=True)
                return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=directory)
        self._made.callback(path.unlink, missing_ok=True)
        with (self._stage / entry.digest).open("rb") as content, os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(content, file)
        if entry.size >= _LINKED:
            self._large[alike] = path


def _remove_directory(path: Path) -> None:
    with suppress(OSError):  # another one may have put something there meanwhile
        path.rmdir()


def _owner(entry: Entry) -> tuple[int, int]:
    """Return the ids of the owner and the group of a file; root's where this machine does not know their names."""
    user = group = 0
    with suppress(KeyError, ValueError):  # a ValueError for what is no name at all
        user = pwd.getpwnam(entry.owner).pw_uid
    with suppress(KeyError, ValueError):
        group = grp.getgrnam(entry.group).gr_gid
    return user, group
