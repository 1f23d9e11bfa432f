"""What the user that a service runs as may reach."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Collection, Iterable
from pathlib import Path

from attrs import frozen

from terra_core.errors import TerraError


@frozen
class User:
    """A user of this machine.

    :param name: its name.
    :param uid: its number.
    :param gid: its primary group's number.
    :param group: that group's name, if it has one.
    """

    name: str
    uid: int
    gid: int
    group: str | None


def find_user(name: str, program: str, hint: str) -> User:
    """Look up the user that a program is to run as.

    :param hint: what to do where there is none.
    :raises TerraError: when there is none of that name.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise TerraError(
            f"there is no user {name} for {program} to run as", hint=hint
        ) from None
    try:
        group = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        group = None
    return User(name, entry.pw_uid, entry.pw_gid, group)


def check_reachable(directories: Iterable[Path], user: User, program: str) -> None:
    """Make sure that ``user`` can enter and read ``directories``.

    :raises TerraError: naming the directory that it can't pass.
    """
    for directory in directories:
        for step in (*reversed(directory.parents), directory):
            status = step.stat()
            if not may_enter(status, user.uid, (user.gid,)):
                raise TerraError(
                    f"{program} runs as {user.name} and cannot reach {directory}: {step} has mode {status.st_mode & 0o777:04o}",
                    hint=f"let everybody pass it: chmod o+x {step}",
                )


def may_enter(status: os.stat_result, uid: int, gids: Collection[int]) -> bool:
    """Return whether a user may pass a directory, by its permission bits alone (path_resolution(7))."""
    if uid == 0:
        return True
    if status.st_uid == uid:
        return bool(status.st_mode & 0o100)
    return bool(status.st_mode & (0o010 if status.st_gid in gids else 0o001))
