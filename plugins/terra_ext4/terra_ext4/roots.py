"""The roots at the top of a file system, each a directory beside the others (see docs/decisions/0093)."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.config.node import OS_LABEL, OWN
from terra_core.errors import TerraError
from terra_core.hookspecs import Roots
from terra_core.system.mounts import mounted
from terra_core.system.process import Argument, run
from terra_core.system.undo import Undo
from terra_ext4.kinds import Kind

_FOUND = "lost+found"
_REMOVED = "removed"
"""The directory of :data:`OWN` for roots that are being removed: what is there has no name any more."""
_SECONDS = 3600
_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_divided(top: Path) -> bool:
    """Return whether the roots of a mounted file system are directories at its top, which may also be a root as a whole.

    What says so is Terra's own directory beside them: the first root goes like any other.
    """
    return (top / OWN).is_dir() and not (top / OWN).is_symlink()


@contextmanager
def open_roots(kind: Kind, root: Path, work: Path) -> Iterator[Roots]:
    """Offer every directory at the top of the file system that a mounted root is a directory of.

    A root that is all of its file system, as an earlier Terra made it, has none beside it.

    :param work: an empty directory to mount in.
    :raises TerraError: when the root is neither.
    """
    columns = "FSTYPE,FS-OPTIONS,SOURCE"
    found = run(["findmnt", "--noheadings", "--nofsroot", "--output", columns, "--target", root], accept=(0, 1))
    name, options, device = [*found.text.split(maxsplit=2), "", "", ""][:3]
    if name != kind.name:
        raise TerraError(f"{root}: is on no {kind.name} file system")
    top = work / "top"
    top.mkdir()
    # A file system is mounted for reading by all of its mounts, or by none.
    as_it_is = ["ro"] if "ro" in options.split(",") else []
    with mounted(Path(device.strip()), top, filesystem=kind.name, options=("noatime", *as_it_is)):
        if os.path.samestat(top.stat(), root.stat()):
            yield Roots(places={OS_LABEL: root}, running=OS_LABEL)
        else:
            places = {place.name: place for place in top.iterdir() if _is_root(place)}
            running = next((name for name, place in places.items() if os.path.samestat(place.stat(), root.stat())), None)
            if running is None:
                raise TerraError(f"{root}: is no directory at the top of its {kind.name} file system")
            yield Roots(places=places, running=running, top=top, shares=kind.shares)
    top.rmdir()


def copy_root(source: Path | None, target: Path, left_out: str) -> bool:
    """Make an empty root, or copy one, with blocks of its own where the file system shares none.

    :raises TerraError: when it cannot be copied, such as for want of room; nothing of it is left then.
    """
    removed = _removed_beside(target)
    removed.parent.parent.chmod(0o700)  # an earlier Terra let all users of the machine reach every version by that way
    _empty(removed)  # what a removal that was killed has left takes room
    with Undo() as undo:
        undo.when_failing(remove_root, target)
        target.mkdir()
        target.chmod(0o755)  # independent of the caller's umask
        if source is not None:
            names = [path for path in source.iterdir() if path.name != left_out]
            if names:  # in one go, so that cp finds hard links between them
                words: list[Argument] = ["--archive", "--reflink=auto", "--target-directory", target, "--"]
                run(["cp", *words, *names], timeout=_SECONDS)
            status = source.stat()
            os.chown(target, status.st_uid, status.st_gid)
            shutil.copystat(source, target)
    return True


def remove_root(target: Path) -> bool:
    """Remove a root, which loses its name first: half of one is none.

    :raises TerraError: when it cannot be removed.
    """
    removed = _removed_beside(target)
    if target.exists():
        try:
            _lose_name(target, removed)
        except OSError as error:
            raise TerraError(f"{target}: cannot be removed: {error.strerror}") from error
    _empty(removed)
    return True


def _lose_name(target: Path, removed: Path) -> None:
    """Move a root to those that are being removed; on a full disk that takes no further directory, and it becomes theirs."""
    try:
        removed.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        target.rename(removed)
    else:
        target.rename(removed / f"{target.name}.{secrets.token_hex(8)}")


def _is_root(place: Path) -> bool:
    return not place.name.startswith(".") and place.name != _FOUND and place.is_dir() and not place.is_symlink()


def _removed_beside(target: Path) -> Path:
    for directory in target.parents:
        if is_divided(directory):
            return directory / OWN / _REMOVED
    raise TerraError(f"{target}: is in no file system that has roots beside each other")


def _empty(removed: Path) -> None:
    """Remove all that lies in a directory, also what was made immutable (chattr(1))."""
    for place in sorted(removed.iterdir()) if removed.is_dir() else ():
        words: list[Argument] = ["rm", "--recursive", "--force", "--one-file-system", "--", place]
        run(words, timeout=_SECONDS, accept=(0, 1))
        if place.exists():
            run(["chattr", "-R", "-f", "-i", "-a", place], timeout=_SECONDS, accept=range(256))
            run(words, timeout=_SECONDS)
