"""Single files out of an image's layers, and a layer more on top of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.image.lookup import read_files
from terra_core.oci import ImageError, Layout
from terra_core.oci.amend import AmendedImage, File, write_layer
from tests.unit.oci.making import Item, LayoutMaker, file, folder, hardlink, symlink, tar


def found(tmp_path: Path, *layers: bytes) -> dict[str, bytes]:
    """Return what is found of the files below ``a``."""
    LayoutMaker(tmp_path).image(layers)
    return read_files(Layout(tmp_path).image(), lambda path: path.startswith("a/"))


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ([file(b"other")], {"a/one": b"1", "a/two": b"2"}),
        ([file(b"./a/one", b"new")], {"a/one": b"new", "a/two": b"2"}),
        ([file(b"a/.wh.one")], {"a/two": b"2"}),
        ([file(b".wh.a")], {}),
        ([file(b".wh.a"), folder(b"a"), file(b"a/three", b"3")], {"a/three": b"3"}),
        ([file(b"a/three", b"3"), file(b"a/.wh..wh..opq")], {"a/three": b"3"}),
        ([file(b".wh..wh..opq")], {}),
        ([file(b"a/.wh..wh.plnk")], {"a/one": b"1", "a/two": b"2"}),
        ([file(b"a")], {}),
        ([symlink(b"a", b"/elsewhere")], {}),
        ([symlink(b"a/one", b"two")], {"a/two": b"2"}),
        ([hardlink(b"a/three", b"a/two")], {"a/one": b"1", "a/two": b"2", "a/three": b"2"}),
        ([folder(b"a", 0o700)], {"a/one": b"1", "a/two": b"2"}),
        ([file(b"a/one/", b"", type=b"5")], {"a/two": b"2"}),
        ([file(b"../a/one", b"climbed")], {"a/one": b"climbed", "a/two": b"2"}),
    ],
)
def test_files_are_as_if_the_layers_were_applied(tmp_path: Path, upper: list[Item], expected: dict[str, bytes]) -> None:
    assert found(tmp_path, tar(folder(b"a"), file(b"a/one", b"1"), file(b"a/two", b"2")), tar(*upper)) == expected


@pytest.mark.parametrize("name", [b"a/.wh.", b"a/.wh..", b"a/.wh..."])
def test_a_whiteout_that_names_no_file_is_refused(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(ImageError, match="names no file"):
        found(tmp_path, tar(folder(b"a"), file(b"a/one", b"1")), tar(file(name)))


def test_a_file_that_is_absurdly_large_is_refused(tmp_path: Path) -> None:
    LayoutMaker(tmp_path).image([tar(file(b"a/one", b"12345"))])
    with pytest.raises(ImageError, match="5 bytes"):
        read_files(Layout(tmp_path).image(), lambda path: True, file_bytes=4)


def test_a_layer_more_leaves_the_image_as_it_was(tmp_path: Path) -> None:
    LayoutMaker(tmp_path).image([tar(folder(b"a"), file(b"a/one", b"1"))])
    below = Layout(tmp_path).image()
    image = AmendedImage(below, write_layer({"a/two": File(b"2", 0o600), "a/link": File(b"two", link=True)}))
    assert len(image.config.diff_ids) == len(image.manifest.layers) == 2
    assert read_files(image, lambda path: True) == {"a/one": b"1", "a/two": b"2"}
    assert read_files(below, lambda path: True) == {"a/one": b"1"}
