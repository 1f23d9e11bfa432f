"""Layers over directories that something is mounted at: what they remove is gone, and the mount stays."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_core.image import apply_layers
from terra_core.oci import Layout
from terra_core.system.mounts import mounted
from tests.unit.oci.making import Item, LayoutMaker, file, folder, symlink, tar, whiteout

BELOW = (folder(b"var"), folder(b"var/lib", 0o700, uid=7), folder(b"var/lib/data", 0o711, uid=8), file(b"var/lib/data/x"))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of its own at ``var/lib/data`` of a root."""
    root = tmp_path / "root"
    place = root / "var/lib/data"
    place.mkdir(parents=True)
    with mounted(Path("none"), place, filesystem="tmpfs"):
        yield root


def apply(root: Path, *layers: tuple[Item, ...]) -> None:
    LayoutMaker(root.parent / "layout").image([tar(*layer) for layer in layers])
    apply_layers(Layout(root.parent / "layout").image(), root)


def state(path: Path) -> tuple[int, int]:
    return stat.S_IMODE(path.stat().st_mode), path.stat().st_uid


@pytest.mark.parametrize("hidden", [b"var/lib/.wh.data", b"var/.wh.lib", b".wh.var", b"var/lib/.wh..wh..opq", b".wh..wh..opq"])
def test_a_layer_that_removes_it_leaves_it_empty(root: Path, hidden: bytes) -> None:
    apply(root, BELOW, (whiteout(hidden),))
    assert os.path.ismount(root / "var/lib/data")
    assert list((root / "var/lib/data").iterdir()) == []
    assert state(root / "var/lib/data") == (0o755, 0), "nothing is left of what was removed"
    assert state(root / "var/lib") == ((0o700, 7) if b"lib/" in hidden else (0o755, 0))


def test_what_a_layer_puts_there_after_it_removed_it_is_there(root: Path) -> None:
    again = (whiteout(b"var/.wh.lib"), folder(b"var/lib"), folder(b"var/lib/data", 0o750, uid=9), file(b"var/lib/data/y"))
    apply(root, BELOW, again)
    assert [path.name for path in (root / "var/lib/data").iterdir()] == ["y"]
    assert state(root / "var/lib/data") == (0o750, 9)


@pytest.mark.parametrize("item", [symlink(b"var/lib/data", b"/srv"), file(b"var/lib"), symlink(b"var", b"srv")])
def test_something_else_in_its_place_is_an_error(root: Path, item: Item) -> None:
    with pytest.raises(TerraError, match="what it replaces is a mount point, or holds one"):
        apply(root, BELOW, (item,))
