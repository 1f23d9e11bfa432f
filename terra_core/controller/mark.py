"""The mark beside the volumes: which database knows the machines that they belong to."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import structlog

from terra_core.errors import TerraError, words_of
from terra_core.system.files import write_file
from terra_core.system.reading import NotRegularError, read_regular, salvaged

_log = structlog.get_logger(__name__)
_ATTRIBUTE = "user.terra.database"
"""The attribute of the volumes' directory that holds the mark (xattr(7)): it moves with the directory and is no file in it."""
_NAME = ".terra-database"
"""The file that holds the mark in a file system without such attributes."""
_LONGEST = 4096
_PURPOSE = "it says which database knows these volumes"


def check_mark(volumes: Path, database: str, identity: str, *, used: bool) -> None:
    """Refuse a database that is not the one of the machines whose volumes are here.

    :param volumes: the directory of the volumes; it need not be there.
    :param database: what the database is called, for errors.
    :param identity: what it says it is; empty for one that is not there yet.
    :param used: whether a machine was ever provisioned with it.
    :raises TerraError: saying how to go on.
    """
    mark = marked(volumes)
    if mark == identity and identity:
        return
    hint = (
        f"put the database back that belongs to them, or name it in controller.toml. If these machines are given up for good: "
        f"end their services with terra controller --stop, move {volumes} away, and start again (where that is a mount: "
        f"move away what is in it, and take its mark: setfattr --remove {_ATTRIBUTE} {volumes}; rm -f {volumes / _NAME})"
    )
    if mark:
        what = "is another one" if used else "is empty"
        raise TerraError(f"{database}: the database {what}, and {volumes} is of machines that it does not know", hint=hint)
    if not used and (found := next(volumes.glob("*/*"), None)):
        unknown = f"{found} is the disk of a machine that it does not know"
        raise TerraError(f"{database}: the database is empty, and {unknown}", hint=hint)


def is_marked(volumes: Path, identity: str) -> bool:
    """Return whether a database that was accepted knew the volumes in a directory before."""
    return marked(volumes) == identity


def require_reached(directories: Mapping[str, Path], identity: str) -> None:
    """Check that the volumes of machines in other stores than the selected one are here, too.

    Asked where several hosts have a database.

    :param directories: those of these stores, by the names of their plugins.
    :param identity: that of the database.
    :raises TerraError: when they are not; says how to go on.
    """
    for store, volumes in directories.items():
        if not is_marked(volumes, identity):
            raise TerraError(
                f"{volumes}: machines of this database have their volumes in the store {store!r} of another host, and not here",
                hint="this host could not take over: mount that directory here, or move those machines on the host that has "
                "them (terra delete, terra apply)",
            )


def set_mark(volumes: Path, identity: str) -> bool:
    """Write beside the volumes which database knows them; log an error when that cannot be written.

    :param identity: that of the database; with the host that has them, where it has them alone.
    :returns: whether that stood there before.
    """
    try:
        if marked(volumes) == identity:
            return True
        volumes.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.setxattr(volumes, _ATTRIBUTE, identity.encode())
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            write_file(volumes / _NAME, f"{identity}\n".encode(), mode=0o600)
    except (OSError, TerraError) as error:
        _log.warning("the volumes cannot be marked as those of this database", path=str(volumes), reason=words_of(error))
    return False


def marked(volumes: Path) -> str:
    """Return what the mark of a directory says; an empty string where there is none."""
    try:
        return os.getxattr(volumes, _ATTRIBUTE).decode(errors="replace").strip() or "nothing"
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOENT, errno.ENOTDIR):
            raise TerraError(f"{volumes}: its mark cannot be read: {error.strerror}", hint=_PURPOSE) from error
    return _read_file(volumes / _NAME)


def _read_file(path: Path) -> str:
    try:
        return salvaged(read_regular(path, _LONGEST, follow=False)).strip() or "nothing"
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except NotRegularError as error:
        raise TerraError(f"{path}: is no regular file", hint=_PURPOSE) from error
    except OSError as error:
        raise TerraError(f"{path}: cannot be read: {error.strerror}", hint=_PURPOSE) from error
