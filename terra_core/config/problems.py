"""The error for a document with problems."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from terra_core.config.structure import Problem
from terra_core.errors import ConfigError

_MOST_PROBLEMS = 100


class DocumentError(ConfigError):
    """A document is not what it has to be.

    :param source: the name of the document.
    :param found: everything that is wrong with it; ``problems`` has a line for each, as many as a person reads.
    """

    def __init__(self, source: str, found: Collection[Problem]) -> None:
        lines = [f"{source}: {problem}" for problem in islice(found, _MOST_PROBLEMS)]
        more = len(found) - len(lines)
        super().__init__([*lines, *([f"{source}: and {more} more"] if more else [])])
        self.source = source
        self.found = tuple(found)
