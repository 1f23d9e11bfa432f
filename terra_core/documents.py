"""Loading files that may have the tables of the plugins that are installed."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import attrs

from terra_core.config import loader
from terra_core.config.loader import Document
from terra_core.plugins import Plugins

M = TypeVar("M", bound=attrs.AttrsInstance)


def load(source: str | Path, model: type[M], *, plugins: Plugins | None = None) -> Document[M]:
    """Read a file; the tables of installed plugins may be in it, and are checked by whoever uses them.

    :param source: a path, an ``http://`` or ``https://`` URL, or ``-`` for standard input.
    :param model: :class:`terra_core.config.server.Server`, :class:`terra_core.config.node.Node`,
        :class:`terra_core.config.controller.Controller`, or another frozen attrs class.
    :param plugins: the installed plugins; found when left out.
    :raises ConfigError: with every problem of the file.
    :raises TerraError: when it cannot be read at all.
    """
    return loader.load(source, model, owners=(plugins or Plugins.discover()).names)
