"""The versions of a system that lie beside each other, as the contract has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Roots:
    """The versions of a machine's system that lie in one file system, each a root of its own.

    :param places: where each root is mounted, or is below a mount, by the version's name.
    :param running: the name of the one that was asked about.
    :param top: the directory that holds all of them, by their names; ``None`` where no other can be made.
    :param shares: whether a copy of one shares its blocks with it. Where it does not, a version is laid down in full: no layers
        of images are kept for the next one.
    """

    places: Mapping[str, Path]
    running: str
    top: Path | None = None
    shares: bool = True
