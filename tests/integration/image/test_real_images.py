"""Whole systems, made from packages, unpacked by Terra, by umoci and by GNU tar: the same trees."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from attrs import evolve

from lab.images import build_base_images
from terra_core.image import apply_layers
from terra_core.oci import Layout
from terra_core.system.process import run
from tests.integration.image.trees import Seen, look
from tests.unit.oci.making import Blob, LayoutMaker, file, layer, tar, whiteout

TAR = ("tar", "-x", "-z", "--numeric-owner", "-p", "--xattrs", "--xattrs-include=*", "-C")
GONE = {"terraos": b"usr/bin/vdir", "pxe": b"pxelinux.0"}


@pytest.mark.parametrize("name", [pytest.param("terraos", marks=pytest.mark.long), "pxe"])
def test_the_trees_are_the_same(name: str, tmp_path: Path) -> None:
    root, gone = build_base_images()[name].tar, GONE[name]
    packed = run(["gzip", "-1", "-c", root], timeout=600).stdout
    with root.open("rb") as stream:
        diff_id = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    parent, slash, base = gone.rpartition(b"/")
    upper = layer(tar(whiteout(parent + slash + b".wh." + base), file(b"added", b"added")))
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([Blob(content=packed, media_type="application/vnd.oci.image.layer.v1.tar+gzip", diff_id=diff_id), upper])
    image = Layout(maker.path).image()

    (tmp_path / "terra").mkdir()
    apply_layers(image, tmp_path / "terra")
    ours = look(tmp_path / "terra", hashed=True)
    assert ours[b"added"].content == hashlib.sha256(b"added").digest()
    run(["umoci", "raw", "unpack", "--image", f"{maker.path}:latest", tmp_path / "umoci"], timeout=600)
    assert differences(ours, look(tmp_path / "umoci", hashed=True)) == {}
    run(["rm", "-rf", "--one-file-system", tmp_path / "umoci"])
    (tmp_path / "tar").mkdir()
    run([*TAR, tmp_path / "tar", "-f", maker.place(str(image.manifest.layers[0].digest))], timeout=600)
    found = look(tmp_path / "tar", hashed=True)
    assert found.pop(gone).kind == stat.S_IFREG
    assert differences({path: seen for path, seen in ours.items() if path != b"added"}, found) == {}


def differences(ours: dict[bytes, Seen], theirs: dict[bytes, Seen]) -> dict[bytes, str]:
    """Return in words what differs, except times of directories, which umoci does not keep when a later entry writes there."""
    found = dict.fromkeys(ours.keys() ^ theirs.keys(), "only one has it")
    for path in ours.keys() & theirs.keys() - {b""}:
        mine, other = ours[path], theirs[path]
        if stat.S_ISDIR(mine.kind):
            other = evolve(other, mtime=mine.mtime)
        if mine != other:
            found[path] = f"{mine} and {other}"
    return found
