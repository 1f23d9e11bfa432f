"""Layer over layer: replacing, whiteouts and opaque directories, as the OCI image specification's ``layer.md`` says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from terra_core.image import apply_layers
from terra_core.oci import Layout
from tests.integration.image.trees import apply, look
from tests.unit.oci.making import MTIME, Item, LayoutMaker, file, folder, hardlink, symlink, tar, whiteout

LATER = MTIME + 1000
LOW = [
    folder(b"d/", mode=0o700),
    file(b"d/a", b"low a"),
    file(b"d/b", b"low b"),
    folder(b"d/sub/"),
    file(b"d/sub/c", b"low c"),
    file(b"f", b"low f"),
    symlink(b"s", b"d"),
]
OPAQUE = whiteout(b"d/.wh..wh..opq")


def names(root: Path) -> set[bytes]:
    return set(look(root)) - {b""}


UNCHANGED = {b"d", b"d/a", b"d/b", b"d/sub", b"d/sub/c", b"f", b"s"}


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        ([whiteout(b".wh.f")], UNCHANGED - {b"f"}),
        ([whiteout(b"d/.wh.a")], UNCHANGED - {b"d/a"}),
        ([whiteout(b".wh.d")], {b"f", b"s"}),
        ([whiteout(b".wh.s")], UNCHANGED - {b"s"}),
        ([whiteout(b".wh.nothing"), whiteout(b"no/where/.wh.x")], UNCHANGED),
        ([whiteout(b".wh.f"), file(b"f", b"new")], UNCHANGED),
        ([file(b"f", b"new"), whiteout(b".wh.f")], UNCHANGED),
        ([OPAQUE, file(b"d/new")], {b"d", b"d/new", b"f", b"s"}),
        ([file(b"d/new"), OPAQUE], {b"d", b"d/new", b"f", b"s"}),
        ([file(b"d/sub/new"), OPAQUE], {b"d", b"d/sub", b"d/sub/new", b"f", b"s"}),
        ([folder(b"d/sub/"), OPAQUE], {b"d", b"d/sub", b"f", b"s"}),
        ([file(b"s/new"), OPAQUE], {b"d", b"d/new", b"f", b"s"}),
        ([hardlink(b"d/f", b"f"), OPAQUE], {b"d", b"d/f", b"f", b"s"}),
        ([hardlink(b"g", b"f"), whiteout(b".wh.f")], UNCHANGED - {b"f"} | {b"g"}),
        ([OPAQUE, file(b"d/new"), OPAQUE], {b"d", b"d/new", b"f", b"s"}),
        ([file(b"d/sub/new"), whiteout(b".wh.d")], {b"d", b"d/sub", b"d/sub/new", b"f", b"s"}),
        ([folder(b"d/"), whiteout(b".wh.d"), file(b"d/new")], {b"d", b"d/new", b"f", b"s"}),
        ([whiteout(b".wh..wh..opq"), file(b"x")], {b"x"}),
        ([whiteout(b".wh..wh.plnk"), whiteout(b"d/.wh..wh.aufs")], UNCHANGED),
        ([folder(b".wh.d")], {b"f", b"s"}),
    ],
)
def test_whiteouts_hide_lower_layers_only(upper: list[Item], left: set[bytes], tmp_path: Path) -> None:
    root, _ = apply(tmp_path, [tar(*LOW), tar(*upper)])
    assert names(root) == left


def test_whiteouts_in_the_lowest_layer_hide_nothing(tmp_path: Path) -> None:
    root, _ = apply(tmp_path, [tar(*LOW, OPAQUE, whiteout(b".wh.f"))])
    assert names(root) == UNCHANGED


def test_a_whiteout_lasts_for_the_layers_above(tmp_path: Path) -> None:
    root, _ = apply(tmp_path, [tar(*LOW), tar(whiteout(b".wh.d")), tar(folder(b"d"), file(b"d/new", b"new"))])
    assert names(root) == {b"d", b"d/new", b"f", b"s"}


MAKE = {
    "file": [file(b"x", b"file", mode=0o600)],
    "symlink": [symlink(b"x", b"anywhere")],
    "folder": [folder(b"x", mode=0o711), file(b"x/below", b"below")],
    "fifo": [Item(name=b"x", type=b"6", mode=0o600)],
    "device": [Item(name=b"x", type=b"3", device=(1, 3), mode=0o600)],
    "hardlink": [file(b"other", b"other"), hardlink(b"x", b"other")],
}
KINDS = {
    "file": stat.S_IFREG,
    "symlink": stat.S_IFLNK,
    "folder": stat.S_IFDIR,
    "fifo": stat.S_IFIFO,
    "device": stat.S_IFCHR,
    "hardlink": stat.S_IFREG,
}


@pytest.mark.parametrize("together", [False, True], ids=["two-layers", "one-layer"])
@pytest.mark.parametrize("over", MAKE)
@pytest.mark.parametrize("under", MAKE)
def test_anything_replaces_anything(under: str, over: str, together: bool, tmp_path: Path) -> None:
    layers = [tar(*MAKE[under], *MAKE[over])] if together else [tar(*MAKE[under]), tar(*MAKE[over])]
    root, _ = apply(tmp_path, layers)
    tree = look(root)
    assert tree[b"x"].kind == KINDS[over]
    assert (b"x/below" in tree) == (over == "folder")
    if over == "file":
        assert tree[b"x"].content == b"file"
        assert tree[b"x"].links == (b"x",)


def test_a_directory_over_a_directory_keeps_its_content_and_takes_the_new_metadata(tmp_path: Path) -> None:
    lower = [folder(b"d", mode=0o700, pax={b"SCHILY.xattr.user.old": b"1"}), file(b"d/a", b"a")]
    upper = [folder(b"d", mode=0o1777, uid=5, gid=6, mtime=LATER, pax={b"SCHILY.xattr.user.new": b"2"})]
    tree = look(apply(tmp_path, [tar(*lower), tar(*upper)])[0])
    assert (tree[b"d"].mode, tree[b"d"].owner, tree[b"d"].mtime) == (0o1777, (5, 6), LATER * 10**9)
    assert tree[b"d"].xattrs == (("user.new", b"2"),)
    assert tree[b"d/a"].content == b"a"


def test_directory_times_are_right_in_the_end(tmp_path: Path) -> None:
    lower = [folder(b".", mtime=MTIME), folder(b"d", mtime=MTIME + 1), folder(b"d/e", mtime=MTIME + 2), file(b"d/e/f")]
    upper = [file(b"d/e/g"), whiteout(b"d/e/.wh.f"), file(b"new/h"), folder(b"d", mtime=LATER), file(b"d/i")]
    tree = look(apply(tmp_path, [tar(*lower), tar(*upper)])[0])
    found = [tree[name].mtime // 10**9 for name in (b"", b"d", b"d/e")]
    assert found == [MTIME, LATER, MTIME + 2]


def test_directory_times_survive_more_directories_than_are_kept_open(tmp_path: Path) -> None:
    folders = [folder(b"d%d" % number, mtime=MTIME + number) for number in range(400)]
    files = [file(b"d%d/f" % number) for number in range(400)]
    tree = look(apply(tmp_path, [tar(*folders, *files)])[0])
    assert [tree[b"d%d" % number].mtime for number in range(400)] == [(MTIME + n) * 10**9 for n in range(400)]


def test_directory_times_through_a_link_are_those_of_the_directory(tmp_path: Path) -> None:
    items = [folder(b"usr/lib"), symlink(b"lib", b"usr/lib"), file(b"lib/a"), folder(b"usr/lib", mtime=LATER), file(b"lib/b")]
    tree = look(apply(tmp_path, [tar(*items)])[0])
    assert tree[b"usr/lib"].mtime == LATER * 10**9


def test_a_file_that_is_written_anew_leaves_its_other_links_alone(tmp_path: Path) -> None:
    lower = [file(b"a", b"old"), hardlink(b"b", b"a")]
    tree = look(apply(tmp_path, [tar(*lower), tar(file(b"a", b"new"))])[0])
    assert (tree[b"a"].content, tree[b"b"].content) == (b"new", b"old")


def test_absolute_links_are_created_word_for_word(tmp_path: Path) -> None:
    target = os.fsencode(tmp_path) + b"/outside"
    root, _ = apply(tmp_path, [tar(symlink(b"l", target), symlink(b"e", b"/etc/mtab"))])
    assert os.fsencode((root / "l").readlink()) == target
    assert str((root / "e").readlink()) == "/etc/mtab"


def test_what_stood_in_the_root_before_is_no_layer(tmp_path: Path) -> None:
    """Mount points of subvolumes are there before the image: a whiteout in its lowest layer does not take them away."""
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([tar(whiteout(b".wh..wh..opq"), folder(b"home", mode=0o711))])
    root = tmp_path / "root"
    (root / "home").mkdir(parents=True)
    (root / "home" / "kept").touch()
    layout = Layout(maker.path)
    apply_layers(layout.image(), root)
    assert (root / "home" / "kept").exists()
    assert (root / "home").stat().st_mode & 0o7777 == 0o711
