"""The layers of images as roots that machines never see, so that the next version begins with those that are there.

Each is the root as it was when that many layers of an image had been applied, named by the layers' chain (the image
specification's ``ChainID``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from terra_core.config.node import OWN
from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs import Filesystem, Roots
from terra_core.image.contained import ContainedRoot
from terra_core.image.removal import remove
from terra_core.oci.source import ImageSource
from terra_core.system.openat import DIRECTORY
from terra_core.system.progress import Event
from terra_core.versions.record import read_record

_LAYERS = f"{OWN}/layers"
_MODE = 0o700


def chains(diff_ids: Iterable[str]) -> tuple[str, ...]:
    """Return the hexadecimal digits of each chain: of the lowest layer, of the lowest two, and so on."""
    found: list[str] = []
    for diff_id in diff_ids:
        text = f"sha256:{found[-1]} {diff_id}" if found else diff_id
        found.append(hashlib.sha256(text.encode()).hexdigest() if len(found) else diff_id.partition(":")[2])
    return tuple(found)


@contextmanager
def keeping(
    filesystem: Filesystem, root: Path, image: ImageSource, *, spared: str, work: Path, session: Session
) -> Iterator[Callable[[int], None]]:
    """Yield what keeps the layers of an image while it is applied to a mounted root; nothing where no copy shares its blocks.

    :param spared: a name in the root that is no part of the image.
    :param work: a directory for mounts.
    """
    if not filesystem.brings("copy_root"):
        yield lambda _: None
        return
    place = work / "roots"
    place.mkdir()
    with filesystem.open_roots(root, place, session) as roots:
        yield keeper(filesystem, roots.places[roots.running], roots, image, spared=spared, session=session)


def keeper(
    filesystem: Filesystem, root: Path, roots: Roots, image: ImageSource, *, spared: str, session: Session
) -> Callable[[int], None]:
    """Return what keeps a root as so many layers of an image; it does nothing where no copy shares its blocks.

    :param root: the root, beside the others.
    :param roots: from :meth:`terra_core.hookspecs.Filesystem.open_roots`.
    :param spared: as for :func:`keeping`.
    """
    top, names = roots.top, chains(map(str, image.config.diff_ids))
    if top is None or not roots.shares:
        return lambda _: None

    def keep(count: int) -> None:
        target = _place(top, names[count - 1])
        if target.exists():
            return
        half = target.with_name("half")
        if half.exists():
            filesystem.remove_root(half, session)
        filesystem.copy_root(root, half, spared, session)
        directory = os.open(half, DIRECTORY)
        try:
            remove(directory, os.fsencode(spared))
        finally:
            os.close(directory)
        half.rename(target)

    return keep


def held(top: Path, diff_ids: Sequence[str]) -> tuple[int, Path | None]:
    """Return how many of an image's layers are there, from the lowest on, and the root that is as they are.

    :param top: the directory of all roots.
    """
    for count, name in reversed([*enumerate(chains(diff_ids), 1)]):
        place = top / _LAYERS / name
        if place.is_dir():
            return count, place
    return 0, None


def prune(filesystem: Filesystem, top: Path, session: Session) -> None:
    """Remove the layers that belong to no version, unless there is one whose layers nobody knows.

    :param top: the directory of all roots.
    """
    wanted: set[str] = set()
    for place in sorted(top.iterdir()):
        if place.is_symlink() or not place.is_dir() or place.name == OWN:
            continue
        try:
            with ContainedRoot(place) as inside:
                record = read_record(inside)
        except TerraError as error:
            session.report(Event("layers", f"all layers are kept: {place.name}: {error.message}"))
            return
        wanted.update(chains(record.layers) if record else ())
    directory = top / _LAYERS
    for place in sorted(directory.iterdir()) if directory.is_dir() else ():
        if place.name not in wanted:
            filesystem.remove_root(place, session)


def _place(top: Path, name: str) -> Path:
    directory = top / _LAYERS
    directory.mkdir(parents=True, exist_ok=True, mode=_MODE)
    (top / OWN).chmod(_MODE)
    return directory / name
