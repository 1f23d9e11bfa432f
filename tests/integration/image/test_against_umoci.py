"""The same images unpacked by Terra and by umoci: the same trees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import evolve

from terra_core.system.process import run
from tests.integration.image import test_layers
from tests.integration.image.test_faithful import RICH, SPARSE
from tests.integration.image.trees import Seen, apply, look
from tests.unit.oci.making import MTIME, Item, file, folder, hardlink, symlink, tar, whiteout

LOW = test_layers.LOW
UNKNOWN_TO_UMOCI = (b"7", b"g")


def _type(item: Item | bytes) -> bytes:
    return item.type if isinstance(item, Item) else item[156:157]


IMAGES: dict[str, list[Sequence[Item | bytes]]] = {
    "rich": [[item for item in RICH if _type(item) not in UNKNOWN_TO_UMOCI]],
    "sparse-0.0": [[SPARSE["0.0"]]],
    "sparse-0.1": [[SPARSE["0.1"]]],
    "sparse-1.0": [[SPARSE["1.0"]]],
    "replaced": [LOW, [file(b"d", b"now a file"), folder(b"f"), file(b"f/x"), file(b"s", b"no link")]],
    "whiteouts": [LOW, [whiteout(b".wh.f"), whiteout(b"d/.wh.a"), file(b"d/new", b"1")], [whiteout(b"d/sub/.wh.c")]],
    "opaque-first": [LOW, [folder(b"d", mode=0o711), whiteout(b"d/.wh..wh..opq"), file(b"d/new")]],
    "opaque-last": [LOW, [folder(b"d", mode=0o711), file(b"d/new"), whiteout(b"d/.wh..wh..opq")]],
    "directory-metadata": [LOW, [folder(b"d", mode=0o1770, uid=9, gid=8, mtime=MTIME + 5)], [file(b"d/later")]],
    "links-across-layers": [LOW, [hardlink(b"f2", b"f"), hardlink(b"d/f3", b"/f")], [file(b"f", b"anew")]],
    "through-links": [LOW, [file(b"s/through", b"1"), symlink(b"up", b"../../d"), file(b"up/two", b"2")]],
    "implied": [[file(b"a/b/c/d", b"1", mode=0o600, uid=5)], [file(b"a/b/e", b"2")]],
}


@pytest.mark.parametrize("name", IMAGES)
def test_the_tree_is_umocis(name: str, tmp_path: Path) -> None:
    root, _ = apply(tmp_path, [tar(*items) for items in IMAGES[name]])
    run(["umoci", "raw", "unpack", "--image", f"{tmp_path}/layout:latest", tmp_path / "umoci"])
    ours, theirs = look(root), look(tmp_path / "umoci")
    known = {path: theirs[path] for path in _told(IMAGES[name]) if path in theirs}
    assert set(ours) == set(theirs)
    assert {path: _comparable(path, ours[path]) for path in known} == {
        path: _comparable(path, seen) for path, seen in known.items()
    }
    untold = set(ours) - set(known)
    assert {path: evolve(ours[path], mtime=0) for path in untold} == {path: evolve(theirs[path], mtime=0) for path in untold}


def _told(layers: Sequence[Sequence[Item | bytes]]) -> set[bytes]:
    """Return the paths that have an entry of their own, and so a time; without the root, whose time umoci leaves to chance."""
    names = (item.name for items in layers for item in items if isinstance(item, Item))
    return {name.removeprefix(b"./").rstrip(b"/") for name in names} - {b""}


def _comparable(path: bytes, seen: Seen) -> Seen:
    # The Go language's tar reader drops attributes whose value is empty.
    return evolve(seen, xattrs=tuple(pair for pair in seen.xattrs if pair[1]))
