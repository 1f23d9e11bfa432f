"""``[file]``: the plugin's own table."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from terra_core.config.session import Session
from terra_core.config.values import MountPath

NAME = "file"


@frozen(kw_only=True)
class Settings:
    """``[file]``.

    :param directory: where the files are, below the controller's root.
    """

    directory: MountPath = MountPath("/iscsi")


def directory_of(session: Session) -> Path:
    """Return the directory of the volumes of a controller.

    :raises ConfigError: when the table is wrong.
    """
    return session.paths.root.absolute() / session.settings(NAME, Settings).directory.lstrip("/")
