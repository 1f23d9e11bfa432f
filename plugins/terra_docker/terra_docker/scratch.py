"""Room for whole images."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from terra_core.system.workspace import workspace

PREFIX = "terra-image-"
_YOUNG_SECONDS = 60


def scratch() -> AbstractContextManager[Path]:
    """A directory for an image that is gone afterwards; see :func:`terra_core.system.workspace.workspace`."""
    return workspace(PREFIX, grace=_YOUNG_SECONDS)
