"""Importing what is slow to import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from terra_core.system.undo import Undo


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Let imports within a block find no module of a name: a library that can do without it imports it where it is there.

    :param name: of a top-level module; one that is imported already stays.
    """
    with Undo() as undo:
        if name not in sys.modules:
            sys.modules[name] = None  # type: ignore[assignment]  # what "import" takes for a module that is not there
            undo.callback(sys.modules.pop, name)
        yield
