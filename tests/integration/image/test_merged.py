"""The tree of an image as a look at its layers says it is, against the tree that applying them makes."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_core.image import apply_layers
from terra_core.image.merged import Folder, Link
from terra_core.image.survey import survey
from terra_core.oci import Layout
from tests.integration.image.stacks import random_stack
from tests.unit.oci.making import LayoutMaker, tar

STACKS = int(os.environ.get("TERRA_STACKS", "200"))


def kinds_of(directory: Path) -> Iterator[tuple[bytes, str]]:
    top = os.fsencode(directory)
    for here, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(here, name)  # noqa: PTH118  # bytes
            mode = os.lstat(path).st_mode
            kind = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}.get(stat.S_IFMT(mode), "special")
            target = os.readlink(path) if kind == "link" else b""  # noqa: PTH115  # bytes
            yield os.path.relpath(path, top), f"{kind} {target!r}"


def kinds_in(folder: Folder, path: bytes = b"") -> Iterator[tuple[bytes, str]]:
    for name, node in folder.items():
        here = path + b"/" + name if path else name
        if isinstance(node, dict):
            yield here, "directory b''"
            yield from kinds_in(node, here)
        elif isinstance(node, Link):
            yield here, f"link {node.target!r}"
        else:
            yield here, f"{'file' if isinstance(node, int) else 'special'} b''"


def tried(work: Callable[[], object]) -> str:
    """Return why something is refused; an empty string when it is not."""
    try:
        work()
    except TerraError as error:
        return error.message
    return ""


@pytest.mark.parametrize("part", range(4))
def test_a_look_finds_what_applying_makes(part: int) -> None:
    for seed in range(part, STACKS, 4):
        here = Path(tempfile.mkdtemp(prefix="terra-merged-"))
        try:
            maker = LayoutMaker(here / "layout")
            maker.image([tar(*items) for items in random_stack(seed).layers])
            (here / "root").mkdir()
            image = Layout(maker.path).image()
            refused = [tried(partial(apply_layers, image, here / "root")), tried(partial(survey, image, {}))]
            assert all(refused) == any(refused), f"stack {seed}: {refused}"
            if any(refused):
                continue
            tree = survey(image, {}).tree
            root = tree.find(b"").node
            assert isinstance(root, dict)
            assert dict(kinds_in(root)) == dict(kinds_of(here / "root")), f"stack {seed}"
        finally:
            shutil.rmtree(here)
