"""Reading controller.toml."""

from __future__ import annotations

from pathlib import Path

from terra_core.config.controller import Controller, Paths
from terra_core.config.loader import Document
from terra_core.documents import load, make
from terra_core.plugins import Plugins


def load_config(source: Path | None, paths: Paths, plugins: Plugins) -> Document[Controller]:
    """Read controller.toml; return its defaults where the file of ``paths`` does not exist.

    :param source: the file that was asked for; it has to be there.
    """
    standard = paths.etc / "controller.toml"
    if source is None and not standard.exists():
        return make({}, Controller, source=str(standard), plugins=plugins)
    return load(source or standard, Controller, plugins=plugins)
