"""Layers that mean harm: nothing outside of the root changes, and what is refused names the layer and the entry."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from attrs import field, frozen

from terra_core.errors import TerraError
from terra_core.oci import Limits
from tests.integration.image.trees import apply, look
from tests.unit.oci.making import END, Item, evolve, extension, file, folder, hardlink, symlink, tar, whiteout

Layers = Callable[[bytes], Sequence[Sequence[Item | bytes]]]
SMALL = Limits(
    entries=50, total_bytes=1 << 20, file_bytes=1 << 18, header_bytes=1 << 17, sparse_segments=10, ratio_from=1 << 18
)


@frozen
class Case:
    """Layers, and what has to become of them.

    :param name: of the test.
    :param layers: made from the absolute path of a directory outside.
    :param refused: a part of the message, or nothing where the image is applied.
    :param inside: paths in the root and their content, ``None`` for what must not be there.
    :param either: whether it may be refused or applied, as long as nothing outside changes.
    """

    name: str
    layers: Layers
    refused: str = ""
    inside: Mapping[str, bytes | None] = field(factory=dict)
    either: bool = False


def name_of(outside: bytes) -> bytes:
    """Return the last component of a path."""
    return outside.rpartition(b"/")[2]


def up(outside: bytes) -> bytes:
    """Return a relative path from the root to the outside."""
    return b"../" + name_of(outside)


def _crossed(trap: str, trigger: str, together: bool, outside: bytes) -> list[list[Item | bytes]]:
    first, second = TRAPS[trap](outside), TRIGGERS[trigger]
    return [[*first, *second]] if together else [[*first], [*second]]


TREE = [folder(b"etc/"), file(b"etc/passwd", b"inside"), folder(b"dir/"), file(b"dir/low", b"low")]
SECRET = b"/secret"

CASES = [
    # 1: paths that lead upwards, or are absolute
    Case("dotdot", lambda o: [[file(b"../x", b"1")]], inside={"x": b"1"}),
    Case("dotdot-after-dot", lambda o: [[folder(b"./"), folder(b"./../"), file(b"./../ext/jar", b"1")]],
         inside={"ext/jar": b"1"}),
    Case("dotdot-later", lambda o: [[file(b"a/../../x", b"1")]], inside={"x": b"1", "a": None}),
    Case("dotdot-inside", lambda o: [[folder(b"a"), file(b"a/../x", b"1"), file(b"usr/lib/../bin/foo", b"2")]],
         inside={"x": b"1", "usr/bin/foo": b"2", "usr/lib": None}),
    Case("dotdot-through-link", lambda o: [[*TREE, symlink(b"l", b"/etc/deep"), file(b"l/../x", b"1")]],
         inside={"x": b"1", "etc/x": None}),
    Case("dotdot-through-link-outside", lambda o: [[symlink(b"l", o), file(b"l/../secret", b"1")]], inside={"secret": b"1"}),
    Case("dotdot-last", lambda o: [[folder(b"a/b/..", mode=0o700), folder(b"a/..", mode=0o711)]], inside={"a/b": None}),
    Case("dotdot-as-file", lambda o: [[file(b"a/..")]], "root itself"),
    Case("dotdot-alone", lambda o: [[folder(b".."), symlink(b"../..", o)]], "root itself"),
    Case("dotdot-absolute", lambda o: [[file(b"/../" + name_of(o) + b"/x", b"1")]], inside={"outside/x": b"1"}),
    Case("dotdot-to-outside", lambda o: [[file(up(o) + SECRET, b"changed")]], inside={"outside/secret": b"changed"}),
    Case("dotdot-pax", lambda o: [[file(b"ok", pax={b"path": up(o) + SECRET})]], inside={"ok": None}),
    Case("dotdot-gnu-long-name", lambda o: [[extension(b"L", up(o) + SECRET + b"\0"), file(b"ok")]], inside={"ok": None}),
    Case("dotdot-prefix", lambda o: [[file(b"x", b"1", prefix=b"..")]], inside={"x": b"1"}),
    Case("dotdot-symlink", lambda o: [[symlink(b"../link", b"x")]], inside={}),
    Case("dotdot-second-layer", lambda o: [TREE, [file(b"dir/../../x", b"1")]], inside={"x": b"1"}),
    Case("absolute", lambda o: [[file(o[1:].join((b"/", b"/new")))]], inside={}),
    Case("absolute-strips", lambda o: [[file(b"/x", b"1"), file(b"./y", b"2"), file(b"//.//z", b"3")]],
         inside={"x": b"1", "y": b"2", "z": b"3"}),
    Case("empty-name", lambda o: [[file(b"")]], "empty path"),
    Case("nul-in-pax-path", lambda o: [[file(b"ok", pax={b"path": b"a\0b"})]], "NUL"),
    # 2: links, then entries below them
    Case("absolute-link-then-file", lambda o: [[symlink(b"l", o), file(b"l/new")]], "leads nowhere"),
    Case("absolute-link-then-secret", lambda o: [[symlink(b"l", o), file(b"l/secret", b"changed")]], "leads nowhere"),
    Case("relative-link-then-file", lambda o: [[symlink(b"l", up(o)), file(b"l/new")]], "leads nowhere"),
    Case("two-layer-link", lambda o: [[symlink(b"l", o)], [file(b"l/secret", b"changed")]], "leads nowhere"),
    Case("link-chain", lambda o: [[symlink(b"a", b"b"), symlink(b"b", o), file(b"a/secret")]], "leads nowhere"),
    Case("link-to-file", lambda o: [[symlink(b"l", o + SECRET), file(b"l", b"mine")]], inside={"l": b"mine"}),
    Case("link-to-file-two-layers", lambda o: [[symlink(b"l", o + SECRET)], [file(b"l", b"mine")]], inside={"l": b"mine"}),
    Case("link-stays-inside", lambda o: [TREE, [symlink(b"l", b"/etc"), file(b"l/new", b"1")]], inside={"etc/new": b"1"}),
    Case("link-up-stays-inside", lambda o: [TREE, [symlink(b"l", b"../../../etc"), file(b"l/new", b"1")]],
         inside={"etc/new": b"1"}),
    Case("link-loop", lambda o: [[symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x")]], "loop"),
    Case("link-to-itself", lambda o: [[symlink(b"a", b"a"), file(b"a/x")]], "loop"),
    Case("link-replaces-open-directory", lambda o: [[folder(b"d"), file(b"d/a"), symlink(b"d", o), file(b"d/secret")]],
         "leads nowhere"),
    Case("link-replaces-parent-of-open-directory",
         lambda o: [[folder(b"d/e/"), file(b"d/e/a"), symlink(b"d", b".."), folder(b"e"), file(b"d/e/b", b"1")]],
         inside={"e/b": b"1", "e/a": None}),
    Case("directory-over-link", lambda o: [[symlink(b"l", o), folder(b"l", mode=0o700), file(b"l/x", b"1")]],
         inside={"l/x": b"1"}),
    Case("directory-over-link-two-layers", lambda o: [[symlink(b"l", o)], [folder(b"l", mode=0o700)]], inside={}),
    Case("proc-magic-link", lambda o: [[symlink(b"l", b"/proc/self/root"), file(b"l/x")]], "leads nowhere"),
    Case("fifo-as-directory", lambda o: [[Item(name=b"f", type=b"6"), file(b"f/x")]], "file stands"),
    Case("file-as-directory", lambda o: [[file(b"f"), file(b"f/x")]], "file stands"),
    # 3: the root itself
    Case("root-as-link", lambda o: [[symlink(b"./", o)]], "root itself"),
    Case("root-as-link-then-file", lambda o: [[symlink(b"/", o), file(b"secret")]], "root itself"),
    Case("root-as-file", lambda o: [[file(b".")]], "root itself"),
    Case("root-as-hard-link", lambda o: [TREE, [hardlink(b".", b"etc/passwd")]], "root itself"),
    Case("root-as-fifo", lambda o: [[Item(name=b"./.", type=b"6")]], "root itself"),
    Case("root-as-device", lambda o: [[Item(name=b"/", type=b"4", device=(8, 0))]], "root itself"),
    Case("root-as-whiteout", lambda o: [TREE, [whiteout(b".wh..")]], "names no file"),
    # 4: hard links
    Case("hard-link-absolute", lambda o: [[hardlink(b"h", o + SECRET)]], "not there"),
    Case("hard-link-dotdot", lambda o: [[hardlink(b"h", up(o) + SECRET)]], "not there"),
    Case("hard-link-dotdot-inside", lambda o: [TREE, [hardlink(b"h", b"./../dir/../etc/passwd")]], inside={"h": b"inside"}),
    Case("hard-link-through-link", lambda o: [[symlink(b"l", o), hardlink(b"h", b"l/secret")]], "not there"),
    Case("hard-link-through-link-two-layers", lambda o: [[symlink(b"l", up(o))], [hardlink(b"h", b"l/secret")]], "not there"),
    Case("hard-link-to-link-then-file", lambda o: [[symlink(b"l", o + SECRET), hardlink(b"h", b"l"), file(b"h", b"mine")]],
         inside={"h": b"mine"}),
    Case("hard-link-missing", lambda o: [[hardlink(b"h", b"nothing")]], "not there"),
    Case("hard-link-to-directory", lambda o: [TREE, [hardlink(b"h", b"dir")]], "hard link to 'dir'"),
    Case("hard-link-to-root", lambda o: [[hardlink(b"h", b"/")]], "not there"),
    Case("hard-link-empty", lambda o: [[hardlink(b"h", b"")]], "empty path"),
    Case("hard-link-to-itself", lambda o: [[file(b"a", b"1"), hardlink(b"a", b"a")]], inside={"a": b"1"}),
    Case("hard-link-to-what-it-replaces", lambda o: [TREE, [hardlink(b"dir", b"dir/low")]], "not there"),
    Case("hard-link-pax", lambda o: [[hardlink(b"h", b"x", pax={b"linkpath": up(o) + SECRET})]], "not there"),
    # 5: whiteouts
    Case("whiteout-empty", lambda o: [TREE, [whiteout(b"dir/.wh.")]], "names no file"),
    Case("whiteout-dot", lambda o: [TREE, [whiteout(b"dir/.wh..")]], "names no file"),
    Case("whiteout-dotdot", lambda o: [TREE, [whiteout(b"dir/.wh...")]], "names no file"),
    Case("whiteout-dotdot-lowest", lambda o: [[whiteout(b".wh...")]], "names no file"),
    Case("whiteout-below-link", lambda o: [[symlink(b"l", o)], [whiteout(b"l/.wh.secret")]], inside={}),
    Case("whiteout-below-relative-link", lambda o: [[symlink(b"l", up(o))], [whiteout(b"l/.wh.secret")]], inside={}),
    Case("opaque-below-link", lambda o: [[symlink(b"l", o)], [whiteout(b"l/.wh..wh..opq")]], inside={}),
    Case("whiteout-through-inner-link", lambda o: [[*TREE, symlink(b"l", b"/etc")], [whiteout(b"l/.wh.passwd")]],
         inside={"etc/passwd": None}),
    Case("whiteout-of-link", lambda o: [[symlink(b"l", o)], [whiteout(b".wh.l")]], inside={"l": None}),
    Case("whiteout-of-directory-with-link", lambda o: [[folder(b"d"), symlink(b"d/l", o)], [whiteout(b".wh.d")]],
         inside={"d": None}),
    Case("opaque-over-link", lambda o: [[folder(b"d"), symlink(b"d/l", o)], [whiteout(b"d/.wh..wh..opq")]],
         inside={"d/l": None}),
    Case("opaque-at-root", lambda o: [TREE, [whiteout(b".wh..wh..opq"), file(b"x", b"1")]], inside={"etc": None, "x": b"1"}),
    Case("whiteout-dotdot-in-path", lambda o: [TREE, [whiteout(up(o) + b"/.wh.secret")]], inside={}),
    Case("whiteout-dotdot-in-path-inside", lambda o: [TREE, [whiteout(b"dir/../etc/.wh.passwd")]], inside={"etc/passwd": None}),
    Case("opaque-dotdot", lambda o: [TREE, [whiteout(up(o) + b"/.wh..wh..opq")]], inside={"dir/low": b"low"}),
    Case("whiteout-then-entry-below", lambda o: [TREE, [file(b"dir/a"), whiteout(b".wh.dir"), file(b"dir/b", b"1")]],
         inside={"dir/low": None, "dir/b": b"1"}),
    # 8: too much of something
    Case("huge-file", lambda o: [[Item(name=b"f", size=1 << 40)]], "bytes"),
    Case("negative-size", lambda o: [[Item(name=b"f", size=-1)]], "-1 bytes"),
    Case("octal-minus", lambda o: [[Item(name=b"f", raw_size=b"-0000000001\0")]], "no number"),
    Case("underscore-size", lambda o: [[Item(name=b"f", raw_size=b"00000000_10\0")]], "no number"),
    Case("negative-pax-size", lambda o: [[file(b"f", pax={b"size": b"-5"})]], "no number"),
    Case("absurd-pax-size", lambda o: [[file(b"f", pax={b"size": b"9" * 5000})]], "no number"),
    Case("huge-pax-header", lambda o: [[Item(name=b"p", type=b"x", size=1 << 30)]], "extended header"),
    Case("huge-long-name", lambda o: [[Item(name=b"p", type=b"L", size=1 << 30)]], "extended header"),
    Case("negative-pax-header", lambda o: [[Item(name=b"p", type=b"x", size=-512)]], "extended header"),
    Case("huge-global-header", lambda o: [[Item(name=b"p", type=b"g", size=1 << 30)]], "extended header"),
    Case("pax-record-too-long", lambda o: [[extension(b"x", b"99 path=x\n"), file(b"f")]], "broken record"),
    Case("pax-record-zero", lambda o: [[extension(b"x", b"0 path=x\n"), file(b"f")]], "broken record"),
    Case("pax-record-no-equals", lambda o: [[extension(b"x", b"7 path\n"), file(b"f")]], "broken record"),
    Case("many-entries", lambda o: [[file(b"f%d" % number, b"") for number in range(60)]], "more than 50 entries"),
    Case("many-extensions", lambda o: [[extension(b"L", b"x")] * 9], "more than 8 extended headers"),
    Case("deep-path", lambda o: [[file(b"d/" * 60 + b"f")]], "more than 50 entries"),
    Case("many-bytes", lambda o: [[file(b"f%d" % number, bytes(1 << 18)) for number in range(4)]], "bytes"),
    Case("bomb", lambda o: [[file(b"f", b"x"), bytes(1024), bytes(1 << 19)]], "compression bomb"),
    Case("long-path", lambda o: [[file(b"d/" * 2100 + b"f")]], "refused"),
    Case("long-component", lambda o: [[file(b"n" * 256)]], "name too long"),
    Case("long-parent", lambda o: [[file(b"n" * 256 + b"/f")]], "255 bytes"),
    Case("long-link", lambda o: [[symlink(b"l", b"t" * 5000)]], "5000 bytes"),
    Case("empty-link", lambda o: [[symlink(b"l", b"")]], "0 bytes"),
    Case("huge-xattr", lambda o: [[file(b"f", pax={b"SCHILY.xattr.user.big": bytes(65537).replace(b"\0", b"x")})]],
         "65537"),
    Case("sparse-size-absurd",
         lambda o: [[file(b"f", b"", pax={b"GNU.sparse.map": b"", b"GNU.sparse.size": b"9000000000000000000"})]],
         "more than"),
    Case("sparse-overlap",
         lambda o: [[file(b"f", bytes(8), pax={b"GNU.sparse.map": b"0,4,2,4", b"GNU.sparse.size": b"100"})]], "overlap"),
    Case("sparse-beyond-end",
         lambda o: [[file(b"f", bytes(4), pax={b"GNU.sparse.map": b"98,4", b"GNU.sparse.size": b"100"})]], "does not fit"),
    Case("sparse-wrong-sum",
         lambda o: [[file(b"f", bytes(4), pax={b"GNU.sparse.map": b"0,3", b"GNU.sparse.size": b"100"})]], "does not fit"),
    Case("sparse-odd",
         lambda o: [[file(b"f", bytes(4), pax={b"GNU.sparse.map": b"0,4,5", b"GNU.sparse.size": b"100"})]], "does not fit"),
    Case("sparse-many",
         lambda o: [[file(b"f", b"", pax={b"GNU.sparse.map": b",".join([b"0"] * 40), b"GNU.sparse.size": b"1"})]],
         "segments"),
    Case("sparse-map-endless",
         lambda o: [[file(b"f", b"1" * 2048, pax={b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"})]], "broken"),
    Case("sparse-map-cut",
         lambda o: [[file(b"f", b"9\n1\n".ljust(512, b"1"), pax={b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"})]],
         "broken"),
    Case("sparse-unknown", lambda o: [[file(b"f", pax={b"GNU.sparse.major": b"7"})]], "not known"),
    # 10 and others: streams that are broken
    Case("unknown-type", lambda o: [[Item(name=b"f", type=b"Z")]], "unknown type"),
    Case("multi-volume", lambda o: [[Item(name=b"f", type=b"M")]], "unknown type"),
    Case("bad-checksum", lambda o: [[b"x" * 512]], "is no number"),
    Case("wrong-checksum", lambda o: [[file(b"xf").blocks().replace(b"xf", b"yf")]], "checksum"),
    Case("cut-header", lambda o: [[file(b"f").header()[:200]]], "checksum"),
    Case("lone-zero-block", lambda o: [[bytes(512), file(b"f")]], "lone zero block"),
    Case("something-after-the-end", lambda o: [[file(b"f"), END, file(b"g")]], "follows the end"),
    Case("extension-at-the-end", lambda o: [[extension(b"x", b"")]], "ends after an extended header"),
    Case("owner-too-high", lambda o: [[file(b"f", uid=1 << 32)]], "owner"),
    Case("owner-that-wraps-to-root", lambda o: [[file(b"f", gid=-(1 << 32))]], "owner"),
    Case("owner-no-number", lambda o: [[file(b"f", pax={b"uid": b"--2"})]], "no number"),
    Case("time-absurd", lambda o: [[file(b"f", pax={b"mtime": b"9" * 18})]], "a time of"),
    Case("time-no-number", lambda o: [[file(b"f", pax={b"mtime": b"1e9"})]], "is no time"),
    Case("device-absurd", lambda o: [[Item(name=b"f", type=b"3", device=(1 << 12, 0))]], "device number"),
    Case("xattr-no-name", lambda o: [[file(b"f", pax={b"SCHILY.xattr.": b"x"})]], "names no xattr"),
    Case("xattr-no-capability", lambda o: [[file(b"f", pax={b"SCHILY.xattr.security.capability": b"x"})]], "capability"),
]  # fmt: skip


TRAPS: dict[str, Callable[[bytes], list[Item]]] = {
    "absolute-link": lambda o: [symlink(b"t", o)],
    "relative-link": lambda o: [symlink(b"t", up(o))],
    "climbing-link": lambda o: [symlink(b"t", b"../" * 40 + o.lstrip(b"/"))],
    "two-links": lambda o: [symlink(b"u", o), symlink(b"t", b"u")],
    "link-below": lambda o: [folder(b"d"), symlink(b"d/u", b"../" + up(o)), symlink(b"t", b"d/u")],
    "magic-link": lambda o: [symlink(b"t", b"/proc/self/root" + o)],
    "own-cwd": lambda o: [symlink(b"t", b"/proc/self/cwd/" + up(o))],
    "hard-linked-link": lambda o: [symlink(b"u", o), hardlink(b"t", b"u")],
}
TRIGGERS: dict[str, list[Item]] = {
    "file": [file(b"t/new", b"bad")],
    "file-over": [file(b"t/secret", b"bad")],
    "folder": [folder(b"t/new/deep")],
    "folder-over": [folder(b"t/dir", mode=0o777, uid=7)],
    "folder-onto": [folder(b"t", mode=0o777, uid=7), file(b"t/secret", b"bad")],
    "link": [symlink(b"t/new", b"x")],
    "hard-link-in": [file(b"f", b"mine"), hardlink(b"t/new", b"f")],
    "hard-link-out": [hardlink(b"stolen", b"t/secret"), file(b"stolen", b"bad")],
    "device": [Item(name=b"t/new", type=b"3", device=(1, 3))],
    "fifo": [Item(name=b"t/secret", type=b"6")],
    "whiteout": [whiteout(b"t/.wh.secret")],
    "whiteout-of-a-tree": [whiteout(b"t/.wh.dir")],
    "opaque": [whiteout(b"t/.wh..wh..opq")],
    "xattr": [folder(b"t/", pax={b"SCHILY.xattr.user.bad": b"1"})],
    "metadata": [symlink(b"t/secret", b"x", uid=9, mtime=7)],
}
CROSSED = [
    Case(f"{trap}-{trigger}-{'one' if together else 'two'}", partial(_crossed, trap, trigger, together), either=True)
    for trap in TRAPS
    for trigger in TRIGGERS
    for together in (True, False)
]
"""Every way out with every use of it, in one layer and across two."""


@pytest.mark.parametrize("case", [*CASES, *CROSSED], ids=[case.name for case in [*CASES, *CROSSED]])
def test_nothing_outside_changes(case: Case, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "dir").mkdir(parents=True)
    (outside / "secret").write_bytes(b"secret")
    (outside / "dir" / "low").write_bytes(b"low")
    os.setxattr(outside / "secret", "user.kept", b"yes")
    image = tmp_path / "image"
    image.mkdir()
    (tmp_path / "image" / "outside").symlink_to(outside)
    for path in (outside / "secret", outside / "dir", outside):
        os.utime(path, ns=(1, 1_000_000_001))
    before = look(outside)
    layers = [tar(*items) for items in case.layers(os.fsencode(outside))]

    message = ""
    try:
        apply(image, layers, SMALL)
    except TerraError as error:
        message = error.message

    assert look(outside) == before
    assert sorted(entry.name for entry in image.iterdir()) == ["layout", "outside", "root"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["image", "outside"]
    if case.refused:
        assert case.refused.lower() in message.lower()
        assert "layer sha256:" in message
    elif not case.either:
        assert message == ""
    for name, content in case.inside.items():
        path = image / "root" / name
        assert (path.read_bytes() if path.exists() else None) == content


def test_old_sparse_maps_cannot_grow_without_bound(tmp_path: Path) -> None:
    tail = bytearray(126)
    tail[96] = 1  # more blocks follow
    more = bytearray(512)
    more[0:24] = b"%011o\0%011o\0" % (0, 0)
    for position in range(0, 504, 24):
        more[position : position + 24] = b"%011o\0%011o\0" % (0, 0)
    more[504] = 1
    item = Item(name=b"f", type=b"S", magic=b"ustar  \0", tail=bytes(tail), size=0)
    with pytest.raises(TerraError, match="segments"):
        apply(tmp_path, [tar(item, bytes(more) * 50)], SMALL)


def test_a_deep_tree_built_through_links_is_removed(tmp_path: Path) -> None:
    """Deeper than any path may be long, and than the interpreter may recurse: each step alone is harmless."""
    half = b"/".join([b"d"] * 1500)
    lowest = [folder(half), symlink(b"l", half), folder(b"l/" + half), symlink(b"m", b"l/" + half), folder(b"m/" + half)]
    root, _ = apply(tmp_path, [tar(*lowest), tar(whiteout(b".wh.d"), file(b"x"))])
    assert sorted(entry.name for entry in root.iterdir()) == ["l", "m", "x"]


def test_the_root_must_not_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    image = tmp_path / "image"
    image.mkdir()
    (image / "root").symlink_to(tmp_path / "elsewhere")
    with pytest.raises((TerraError, FileExistsError)):
        apply(image, [tar(file(b"x"))])
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_device_of_the_host_is_not_opened(tmp_path: Path) -> None:
    root, _ = apply(tmp_path, [tar(Item(name=b"disk", type=b"4", device=(8, 0))), tar(file(b"disk", b"mine"))])
    assert (root / "disk").read_bytes() == b"mine"
    assert stat.S_ISREG((root / "disk").lstat().st_mode)


def test_case_names_are_unique() -> None:
    cases = [*CASES, *CROSSED]
    assert len({case.name for case in cases}) == len(cases)
    assert len(CASES) >= 115
    assert len(CROSSED) == 240
    assert struct.calcsize("512x") == len(evolve(file(b"x")).header())
