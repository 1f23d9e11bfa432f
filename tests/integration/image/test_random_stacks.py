"""Random images unpacked by Terra and by umoci: the same trees, entry by entry."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from attrs import asdict, evolve

from terra_core.errors import TerraError
from terra_core.image import apply_layers
from terra_core.oci import Layout
from terra_core.system.process import run
from tests.integration.image.stacks import random_stack
from tests.integration.image.trees import Seen, look
from tests.unit.oci.making import LayoutMaker, tar

STACKS = int(os.environ.get("TERRA_STACKS", "2000"))
FIRST = int(os.environ.get("TERRA_FIRST_STACK", "0"))
PARTS = 20
"""How many tests they are spread over."""


@pytest.fixture
def place() -> Iterator[Path]:
    """Make a directory in memory, where that is possible: nothing here is about disks."""
    memory = Path("/dev/shm")  # a directory of a name that nobody knows is made in it
    made = tempfile.mkdtemp(prefix="terra-stacks-", dir=memory if memory.is_dir() else None)
    yield Path(made)
    shutil.rmtree(made)


@pytest.mark.parametrize("part", range(PARTS))
def test_the_tree_is_umocis(part: int, place: Path) -> None:
    wrong = {seed: said for seed in range(FIRST + part, FIRST + STACKS, PARTS) if (said := difference(seed, place))}
    assert wrong == {}, "TERRA_STACKS=1 TERRA_FIRST_STACK=<seed> shows one of them"


def difference(seed: int, place: Path) -> str:
    """Return in words how the two trees of a stack differ; an empty string when they are the same."""
    stack = random_stack(seed)
    here = place / str(seed)
    here.mkdir()
    try:
        maker = LayoutMaker(here / "layout")
        maker.image([tar(*items) for items in stack.layers])
        (here / "terra").mkdir()
        try:
            apply_layers(Layout(maker.path).image(), here / "terra")
        except TerraError as error:
            return f"refused: {error.message}"
        run(["umoci", "raw", "unpack", "--image", f"{maker.path}:latest", here / "umoci"])
        return compare(look(here / "terra"), look(here / "umoci"), stack.times)
    finally:
        shutil.rmtree(here)


def compare(ours: dict[bytes, Seen], theirs: dict[bytes, Seen], times: Mapping[bytes, int]) -> str:
    """Return in words how the trees differ from each other, or from the times of the layers.

    umoci gives a directory its time when its own entry is unpacked, and a link or a whiteout in it changes that again. One that
    is only implied belongs to root with mode 0755 for Terra; umoci leaves it the group of one above that has setgid.
    """
    if ours.keys() != theirs.keys():
        return f"only Terra has {sorted(ours.keys() - theirs.keys())}, only umoci {sorted(theirs.keys() - ours.keys())}"
    for path in sorted(ours):
        mine, other = ours[path], theirs[path]
        if path in times and mine.mtime != times[path]:
            return f"{path!r} of kind {mine.kind:o}: mtime {mine.mtime} where its layer says {times[path]}"
        if stat.S_ISDIR(mine.kind):
            other = evolve(other, mtime=mine.mtime)
            if path not in times and other.mode & stat.S_ISGID and (mine.mode, mine.owner) == (0o755, (0, 0)):
                other = evolve(other, mode=mine.mode, owner=mine.owner)
        if mine != other:
            fields = [name for name in asdict(mine, recurse=False) if getattr(mine, name) != getattr(other, name)]
            told_of = ", ".join(f"{name} {getattr(mine, name)!r} and {getattr(other, name)!r}" for name in fields)
            return f"{path!r} of kind {mine.kind:o}: {told_of}"
    return ""
