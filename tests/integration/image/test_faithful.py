"""One rich layer, and what is on disk afterwards: everything that the layer says, to the byte and the nanosecond."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from terra_core.image import apply_layers
from terra_core.oci import Layout
from terra_core.system.progress import Event
from tests.integration.image.trees import apply, look
from tests.unit.oci.making import MTIME, Item, LayoutMaker, extension, file, folder, hardlink, layer, record, symlink, tar

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service, effective and permitted, as ``security.capability`` holds it."""

LATIN = b"caf\xe9"
LONGEST = b"n" * 255
NEWLINE = b"two\nlines"

RICH: list[Item | bytes] = [
    folder(b"./", mode=0o755, mtime=MTIME + 1),
    folder(b"bin/", mode=0o755, mtime=MTIME + 2),
    file(b"bin/su", b"su", mode=0o4755, uid=0, gid=42),
    file(b"bin/ping", b"ping", mode=0o755, pax={b"SCHILY.xattr.security.capability": CAPABILITY}),
    file(b"bin/both", b"both", mode=0o6755, uid=7, gid=8, pax={b"SCHILY.xattr.security.capability": CAPABILITY}),
    hardlink(b"bin/ping6", b"bin/ping"),
    hardlink(b"ping", b"/bin/ping"),
    folder(b"tmp/", mode=0o1777, mtime=MTIME + 3),
    folder(b"shared/", mode=0o2775, uid=1000, gid=1001),
    file(b"shared/mine", b"", uid=1000, gid=5),
    symlink(b"sh", b"/bin/bash", uid=3, gid=4),
    symlink(b"dangling", b"../../nowhere"),
    hardlink(b"sh2", b"sh"),
    file(LATIN, b"latin"),
    file(LONGEST, b"longest"),
    file(NEWLINE, b"newline"),
    file(b"a/" + LONGEST + b"/" + LONGEST + b"/f", b"deep"),
    symlink(b"to-latin", LATIN + b"\xff"),
    file(b"nano", b"nano", pax={b"mtime": b"1600000000.123456789", b"atime": b"1500000000.5"}),
    file(b"before-1970", b"", pax={b"mtime": b"-1.5"}),
    file(b"xattrs", b"x", pax={b"SCHILY.xattr.user.bytes": b"\x00\xff\n=", b"SCHILY.xattr.user.empty": b""}),
    folder(b"marked", pax={b"SCHILY.xattr.trusted.mark": b"1"}),
    symlink(b"marked-link", b"x", pax={b"SCHILY.xattr.trusted.mark": b"2"}),
    Item(name=b"null", type=b"3", mode=0o666, device=(1, 3)),
    Item(name=b"disk", type=b"4", mode=0o640, gid=6, device=(259, 70000)),
    Item(name=b"pipe", type=b"6", mode=0o4600),
    file(b"big-ids", b"", pax={b"uid": b"4294967294", b"gid": b"2097152"}),
    file(b"contiguous", b"7", type=b"7"),
    file(b"old", b"v7", type=b"\0", magic=bytes(8)),
    Item(name=b"old-folder/", type=b"\0", magic=bytes(8), mode=0o700),
    Item(name=b"name", prefix=b"prefix", data=b"p"),
    extension(b"g", record(b"path", b"everywhere")),
    extension(b"L", b"long/" * 30 + b"name\0"),
    file(b"short", b"gnu"),
    extension(b"K", b"t" * 150 + b"\0"),
    symlink(b"long-link", b"short"),
]  # fmt: skip


def test_everything_a_layer_says_is_on_disk(tmp_path: Path) -> None:
    root, applied = apply(tmp_path, [tar(*RICH)])
    tree = look(root)

    assert tree[b"bin/su"].mode == 0o4755
    assert tree[b"bin/su"].owner == (0, 42)
    assert tree[b"bin/both"].mode == 0o6755
    assert tree[b"bin/both"].owner == (7, 8)
    for name in (b"bin/ping", b"bin/both"):
        assert tree[name].xattrs == (("security.capability", CAPABILITY),)
    assert tree[b"bin/ping"].links == (b"ping", b"bin/ping", b"bin/ping6")
    assert tree[b"tmp"].mode == 0o1777
    assert tree[b"shared"].mode == 0o2775
    assert tree[b"shared/mine"].owner == (1000, 5)
    assert (tree[b"sh"].content, tree[b"sh"].owner) == (b"/bin/bash", (3, 4))
    assert tree[b"sh"].links == (b"sh", b"sh2")
    assert tree[b"dangling"].content == b"../../nowhere"
    assert tree[LATIN].content == b"latin"
    assert tree[LONGEST].content == b"longest"
    assert tree[NEWLINE].content == b"newline"
    assert tree[b"a/" + LONGEST + b"/" + LONGEST + b"/f"].content == b"deep"
    assert (tree[b"a"].mode, tree[b"a"].owner) == (0o755, (0, 0))
    assert tree[b"to-latin"].content == LATIN + b"\xff"
    assert tree[b"nano"].mtime == 1600000000_123456789
    assert tree[b"before-1970"].mtime == -1_500_000_000
    assert tree[b"xattrs"].xattrs == (("user.bytes", b"\x00\xff\n="), ("user.empty", b""))
    assert tree[b"marked"].xattrs == (("trusted.mark", b"1"),)
    assert tree[b"marked-link"].xattrs == (("trusted.mark", b"2"),)
    assert (tree[b"null"].kind, tree[b"null"].mode, tree[b"null"].device) == (stat.S_IFCHR, 0o666, os.makedev(1, 3))
    assert (tree[b"disk"].kind, tree[b"disk"].owner) == (stat.S_IFBLK, (0, 6))
    assert tree[b"disk"].device == os.makedev(259, 70000)
    assert (tree[b"pipe"].kind, tree[b"pipe"].mode) == (stat.S_IFIFO, 0o4600)
    assert tree[b"big-ids"].owner == (4294967294, 2097152)
    assert tree[b"contiguous"].content == b"7"
    assert tree[b"old"].content == b"v7"
    assert (tree[b"old-folder"].kind, tree[b"old-folder"].mode) == (stat.S_IFDIR, 0o700)
    assert tree[b"prefix/name"].content == b"p"
    assert b"everywhere" not in tree
    assert tree[b"long/" * 30 + b"name"].content == b"gnu"
    assert tree[b"long-link"].content == b"t" * 150
    assert [tree[name].mtime for name in (b"", b"bin", b"tmp")] == [(MTIME + n) * 10**9 for n in (1, 2, 3)]
    assert tree[b"sh"].mtime == tree[b"null"].mtime == MTIME * 10**9
    assert applied.layers == 1
    assert applied.bytes == sum(seen.size for seen in tree.values() if seen.kind == stat.S_IFREG) - 2 * len(b"ping")


def test_an_access_time_is_kept(tmp_path: Path) -> None:
    root, _ = apply(tmp_path, [tar(file(b"f", pax={b"mtime": b"1600000000.5", b"atime": b"1500000000.25"}))])
    assert (root / "f").stat().st_atime_ns == 1500000000_250000000


def test_the_umask_does_not_matter(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        root, _ = apply(tmp_path, [tar(file(b"implied/f", mode=0o666), Item(name=b"p", type=b"6", mode=0o622))])
    finally:
        os.umask(before)
    tree = look(root)
    assert [tree[name].mode for name in (b"implied", b"implied/f", b"p")] == [0o755, 0o666, 0o622]


MEBIBYTE = 1 << 20
HEAD, MIDDLE = b"head" * 128, b"middle!!" * 64


def old_sparse() -> Item:
    tail = b"".join((
        b"%011o\0%011o\0" % (0, 512), b"%011o\0%011o\0" % (MEBIBYTE, 512), b"%011o\0%011o\0" % (4 * MEBIBYTE, 0), bytes(24),
        b"\0", b"%011o\0" % (4 * MEBIBYTE),
    )).ljust(126, b"\0")  # fmt: skip
    return Item(name=b"f", type=b"S", magic=b"ustar  \0", tail=tail, data=HEAD + MIDDLE)


SPARSE = {
    "old": old_sparse(),
    "0.0": file(b"f", HEAD + MIDDLE, pax=[
        (b"GNU.sparse.size", b"4194304"), (b"GNU.sparse.numblocks", b"2"),
        (b"GNU.sparse.offset", b"0"), (b"GNU.sparse.numbytes", b"512"),
        (b"GNU.sparse.offset", b"1048576"), (b"GNU.sparse.numbytes", b"512"),
    ]),
    "0.1": file(b"GNUSparseFile.0/f", HEAD + MIDDLE, pax={
        b"GNU.sparse.size": b"4194304", b"GNU.sparse.numblocks": b"2", b"GNU.sparse.name": b"f",
        b"GNU.sparse.map": b"0,512,1048576,512",
    }),
    "1.0": file(b"GNUSparseFile.0/f", b"3\n0\n512\n1048576\n512\n4194304\n0\n".ljust(512, b"\0") + HEAD + MIDDLE, pax={
        b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": b"f", b"GNU.sparse.realsize": b"4194304",
    }),
}  # fmt: skip


@pytest.mark.parametrize("form", SPARSE)
def test_sparse_files_have_their_holes_back(form: str, tmp_path: Path) -> None:
    root, _ = apply(tmp_path, [tar(SPARSE[form], file(b"after", b"after"))])
    content = bytearray(4 * MEBIBYTE)
    content[: len(HEAD)] = HEAD
    content[MEBIBYTE : MEBIBYTE + len(MIDDLE)] = MIDDLE
    assert (root / "f").read_bytes() == content
    assert (root / "f").stat().st_blocks * 512 < MEBIBYTE
    assert (root / "after").read_bytes() == b"after"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
def test_every_compression_gives_the_same_tree(kind: str, tmp_path: Path) -> None:
    content = os.urandom(3 * MEBIBYTE + 17)
    root, applied = apply(tmp_path, [layer(tar(file(b"big", content), file(b"small", b"s")), kind)])
    assert (root / "big").read_bytes() == content
    assert applied.bytes == len(content) + 1


LEFT_OUT = {
    b"com.apple.provenance": "Linux has no attributes of that class",
    b"com.apple.FinderInfo": "Linux has no attributes of that class",
    b"btrfs.compression": "Linux has no attributes of that class",
    b"system.nfs4_acl": "Linux has no attributes of that class",
    b"user." + b"n" * 300: "Linux has no names of that length",
    b"security.selinux": "it belongs to the policy",
    b"security.SMACK64EXEC": "it belongs to the policy",
    b"trusted.overlay.opaque": "an overlay file system would take it",
    b"user.overlay.redirect": "an overlay file system would take it",
}


@pytest.mark.parametrize("name", LEFT_OUT, ids=lambda name: name.decode()[:30])
def test_attributes_that_have_no_place_here_are_left_out_and_said(name: bytes, tmp_path: Path) -> None:
    more = {b"SCHILY.xattr." + name: b"\1\2", b"SCHILY.xattr.user.kept": b"1"}
    root, applied = apply(tmp_path, [tar(folder(b"./", pax=more), file(b"app", b"x", pax=more), folder(b"d", pax=more))])
    for path, seen in look(root).items():
        assert [key for key, _ in seen.xattrs] == ["user.kept"], path
    (said,) = applied.left_out
    assert "and 2 others: " + LEFT_OUT[name] in said
    assert said.startswith("the extended attribute ")


def test_attributes_that_links_and_devices_cannot_have(tmp_path: Path) -> None:
    more = {b"SCHILY.xattr.user.no": b"1", b"SCHILY.xattr.trusted.yes": b"2"}
    root, applied = apply(tmp_path, [tar(symlink(b"link", b"x", pax=more), Item(name=b"fifo", type=b"6", pax=more))])
    for name in (b"link", b"fifo"):
        assert look(root)[name].xattrs == (("trusted.yes", b"2"),)
    assert applied.left_out == (
        "the extended attribute user.no of link: Linux keeps none of that class on a symbolic link",
        "the extended attribute user.no of fifo: Linux keeps none of that class on a fifo",
    )


def test_what_is_left_out_is_told_once_and_bounded(tmp_path: Path) -> None:
    events: list[Event] = []
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([tar(*(file(b"f%d" % at, pax={b"SCHILY.xattr.com.apple.%d" % at: b"1"}) for at in range(200)))])
    (tmp_path / "root").mkdir()
    applied = apply_layers(Layout(maker.path).image(), tmp_path / "root", report=events.append)
    assert 5 < len(applied.left_out) < 30
    assert [event.text for event in events if event.step.startswith("left out")] == list(applied.left_out)
    assert sum("others" in line for line in applied.left_out) == 1


@pytest.mark.parametrize("by_pax", [False, True])
@pytest.mark.parametrize(("number", "held"), [(-2, (1 << 32) - 2), ((1 << 32) - 2, (1 << 32) - 2), (-(1 << 31), 1 << 31)])
def test_owners_of_the_upper_half_are_written_below_zero_by_some(tmp_path: Path, number: int, held: int, by_pax: bool) -> None:
    owners = {"pax": {b"uid": b"%d" % number, b"gid": b"%d" % number}} if by_pax else {"uid": number, "gid": number}
    root, applied = apply(tmp_path, [tar(file(b"f", mode=0o6755, **owners), symlink(b"l", b"f", **owners))])
    for name in (b"f", b"l"):
        assert look(root)[name].owner == (held, held)
    assert look(root)[b"f"].mode == 0o6755
    assert applied.left_out == ()


@pytest.mark.parametrize("number", [-1, (1 << 32) - 1])
def test_an_owner_that_nobody_can_be_is_root_without_privileges(tmp_path: Path, number: int) -> None:
    root, applied = apply(tmp_path, [tar(file(b"f", mode=0o6755, uid=number, gid=7), folder(b"d", mode=0o2750, gid=number))])
    assert (look(root)[b"f"].owner, look(root)[b"f"].mode) == ((0, 7), 0o2755)
    assert (look(root)[b"d"].owner, look(root)[b"d"].mode) == ((0, 0), 0o750)
    assert applied.left_out == (
        "the owner 4294967295 of f: Linux has no such user, so it is root's",
        "the group 4294967295 of d: Linux has no such group, so it is root's",
    )


def test_a_name_that_leads_above_the_root_is_said(tmp_path: Path) -> None:
    _, applied = apply(tmp_path, [tar(file(b"a/../ok"), file(b"./../x"), file(b"b/../../y"))])
    assert applied.left_out == ("what leads above the root of ./../x and 1 other: it is taken as a path below it",)


def test_what_gnu_tar_writes_for_dumps_and_volumes(tmp_path: Path) -> None:
    listing = Item(name=b"d/", type=b"D", mode=0o750, data=b"Yf\0\0", magic=b"ustar  \0")
    root, _ = apply(tmp_path, [tar(Item(name=b"label", type=b"V"), listing, file(b"d/f", b"1"))])
    assert (root / "d" / "f").read_bytes() == b"1"
    assert look(root)[b"d"].mode == 0o750
    assert not (root / "label").exists()


def test_suns_extended_headers(tmp_path: Path) -> None:
    root, _ = apply(tmp_path, [tar(extension(b"X", record(b"path", b"long")), file(b"short", b"1"))])
    assert [path.name for path in root.iterdir()] == ["long"]


def test_a_tar_stream_may_end_without_zero_blocks(tmp_path: Path) -> None:
    root, _ = apply(tmp_path, [tar(file(b"f", b"1"), end=b"")])
    assert (root / "f").read_bytes() == b"1"
