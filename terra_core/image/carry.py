"""Taking over files of a root into another one, whatever links either has."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.image.contained import ContainedRoot
from terra_core.image.removal import remove
from terra_core.system.openat import directory_below
from terra_core.system.process import run
from terra_core.system.reading import lines_of, salvaged

_COPY_SECONDS = 3600
_LEFT_OUT = tuple(f": {os.strerror(code)}" for code in (errno.ENAMETOOLONG, errno.ELOOP))
_LONGEST = 400
"""What is told of an error, in characters: every user of a machine can make names without end."""


def carry(
    paths: Iterable[str], former: ContainedRoot, new: ContainedRoot, *, say: Callable[[str], object], bare: Path | None = None
) -> None:
    """Put files and directories of a root in the place of those of another, with all that they are.

    What the former root does not have, the new one has not either then. Directories above them that the new root lacks are made
    with the owners, modes and attributes that they have in the former one.

    :param paths: without a leading slash.
    :param say: takes what a person should know of what is left out, a line each.
    :param bare: where the former root is mounted so that no symbolic link leads anywhere. It is needed where others write to it
        meanwhile: cp(1) looks at a directory before it reads it, and a user may put a link in its place in between.
    :raises TerraError: naming what cannot be copied.
    """
    for path in paths:
        directory, _, name = path.rpartition("/")
        found = former.look(path, follow=False) is not None
        if not found and new.look(path, follow=False) is None:
            continue
        if found:
            _make_parents(directory, former, new)
        with new.opened(directory, make=True) as to:
            if not remove(to, os.fsencode(name)):
                raise TerraError(f"/{path} of the new version cannot be replaced: something is mounted there")
            if found:
                with former.opened(directory) as known, _in_bare(former, known, bare) as source:
                    copy(source, to, name, path, seconds=_COPY_SECONDS, say=say)


def copy(source: int, target: int, name: str, path: str, *, seconds: float, say: Callable[[str], object]) -> None:
    """Copy a file, or a directory with all that is in it (cp(1)), with all that they are.

    What is deeper than any path may be long, or becomes a link meanwhile, is left out: every user of a machine can make that,
    and may hold up no upgrade.

    :param source: the descriptor of the directory that it is in: no name above the last one is looked up again, and no link is
        followed below.
    :param target: that of the directory that gets it.
    :param name: its name; ``.`` for all that the directory has.
    :param path: what a machine calls it, without a leading slash, for errors.
    :param seconds: how long it may take.
    :param say: as for :func:`carry`.
    :raises TerraError: naming a file that cannot be copied.
    """
    places = [f"/proc/{os.getpid()}/fd/{descriptor}/{name}" for descriptor in (source, target)]
    done = run(["cp", "--archive", "--reflink=auto", "--no-target-directory", *places], timeout=seconds, accept=range(256))
    told = lines_of(salvaged(done.stderr))
    wrong = [line for line in told if not line.endswith(_LEFT_OUT)]
    if done.code == 0 or (told and not wrong):
        if told:
            say(f"warning: not all of /{path} is taken over: {len(told)} names are deeper than a path may be long")
        return
    said = wrong[-1] if wrong else f"cp: exit code {done.code}"
    for place in places:
        said = said.replace(place, f"/{path}")
    if len(said) > _LONGEST:
        said = f"{said[: _LONGEST // 2]} ... {said[-_LONGEST // 2 :]}"
    raise TerraError(f"/{path} cannot be taken over: {said}")


def _make_parents(path: str, former: ContainedRoot, new: ContainedRoot) -> None:
    """Make the directories of a path that a root lacks, as they are in the former one: what is in them may be nobody else's."""
    names = path.split("/")
    for above in ("/".join(names[: at + 1]) for at in range(len(names))):
        if new.look(above) is None:
            with former.opened(above) as known, new.opened(above, make=True) as made:
                status = os.fstat(known)
                os.fchown(made, status.st_uid, status.st_gid)
                os.fchmod(made, stat.S_IMODE(status.st_mode))
                for name in os.listxattr(known):
                    with suppress(OSError):  # another file system may not take it
                        os.setxattr(made, name, os.getxattr(known, name))


@contextmanager
def _in_bare(former: ContainedRoot, known: int, bare: Path | None) -> Iterator[int]:
    """Yield the descriptor of the same directory where no link leads anywhere."""
    if bare is None:
        yield known
        return
    path = former.path_of(known)
    try:
        with directory_below(bare, path) as directory:
            yield directory
    except OSError as error:
        raise TerraError(f"/{path} cannot be taken over: {error.strerror}") from error
