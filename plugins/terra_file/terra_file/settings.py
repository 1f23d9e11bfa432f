"""``[file]``: the plugin's own table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from terra_core.config.node import Allocation
from terra_core.config.session import Session
from terra_core.config.structure import Problem, has
from terra_core.config.values import MountPath, parse_share

NAME = "file"


@frozen(kw_only=True)
class Settings:
    """``[file]``.

    :param directory: where the files are, below the controller's root.
    :param allocation: when a disk takes its room, where node.toml does not say: as it is written to, or all of it at once.
    :param reserve: how much of the file system is kept free for machines that there are, such as "5%" or "50GiB".
    """

    directory: MountPath = MountPath("/iscsi")
    allocation: Allocation = Allocation.THIN
    reserve: str = "5%"

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        if has(self, "reserve"):
            try:
                self.reserved(0)
            except ValueError as error:
                yield Problem("reserve", str(error))

    def reserved(self, size: int) -> int:
        """Return how much of a file system is kept free.

        :param size: that of the file system, in bytes.
        """
        return parse_share(self.reserve, size)


def directory_of(session: Session) -> Path:
    """Return the directory of the volumes of a controller.

    :raises ConfigError: when the table is wrong.
    """
    return session.paths.root.absolute() / session.settings(NAME, Settings).directory.lstrip("/")
