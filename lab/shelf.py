"""Directories that are kept between runs; concurrent runs get different ones."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Self

from lab.place import hold
from terra_core.system.undo import Undo


class Shelf:
    """The first of ``base``, ``base/2``, ``base/3`` and so on that nobody else holds.

    Its content is kept and serves the next run: the images of an engine or a registry.

    :param base: a directory; made when it is not there.
    """

    def __init__(self, base: Path) -> None:
        self._base = base.resolve()
        self._path: Path | None = None
        self._resources = Undo()

    @property
    def path(self) -> Path:
        """The directory."""
        if self._path is None:
            raise RuntimeError(f"the shelf {self._base} was not entered")
        return self._path

    def __enter__(self) -> Self:
        for number in itertools.count(1):
            path = self._base / str(number) if number > 1 else self._base
            path.mkdir(parents=True, exist_ok=True)
            if hold(self._resources, path / ".shelf"):
                self._path = path
                break
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)
