"""Applying as a whole: verification, progress, interruption, memory, and what is left open afterwards."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import pytest
from attrs import evolve

from lab.held import nothing_held
from terra_core.errors import InterruptedWork, TerraError
from terra_core.image import apply_layers
from terra_core.oci import Layout, Limits
from terra_core.system.progress import Event
from tests.integration.image.trees import apply, look
from tests.unit.oci.making import Blob, LayoutMaker, file, folder, layer, sha256, tar

GOOD = layer(tar(file(b"good", b"good")))
BAD = layer(tar(file(b"bad", b"bad")))
GZIP = BAD.content


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (evolve(BAD, size=len(GZIP) + 1), "where its descriptor says"),
        (evolve(BAD, size=len(GZIP) - 1), "where its descriptor says"),
        (evolve(BAD, digest=sha256(b"something else")), "another digest"),
        (evolve(BAD, content=GZIP[:-9], size=len(GZIP) - 9, digest=sha256(GZIP)), "another digest"),
        (evolve(BAD, content=b"no gzip at all", digest=sha256(GZIP)), "another digest"),
        (evolve(BAD, content=gzip.compress(tar(file(b"../x"))), digest=sha256(GZIP)), "another digest"),
    ],
)
def test_a_blob_that_is_not_what_its_descriptor_says_is_named(wrong: Blob, message: str, tmp_path: Path) -> None:
    with pytest.raises(TerraError, match=message) as caught:
        apply(tmp_path, [GOOD, wrong])
    assert (wrong.digest or sha256(GZIP)) in caught.value.message


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (evolve(BAD, diff_id=sha256(b"something else")), "where the configuration says"),
        (evolve(BAD, content=GZIP[:-4]), "cut off"),
        (evolve(BAD, content=GZIP + b"garbage"), "follows the end"),
        (evolve(BAD, content=GZIP + gzip.compress(b"more")), "follows the end"),
        (evolve(BAD, content=gzip.compress(tar(file(b"bad", b"bad"))[:700])), "cut off"),
        (evolve(BAD, media_type="application/vnd.oci.image.layer.v1.tar"), "media type"),
        (evolve(BAD, media_type="application/vnd.oci.image.layer.v1.tar+zstd"), "media type"),
        (evolve(BAD, content=b""), "media type"),
    ],
)
def test_a_layer_that_lies_about_its_content_is_named(wrong: Blob, message: str, tmp_path: Path) -> None:
    with pytest.raises(TerraError, match=message) as caught:
        apply(tmp_path, [GOOD, wrong])
    assert f"layer {sha256(wrong.content)}" in caught.value.message


def test_several_gzip_members_are_one_layer(tmp_path: Path) -> None:
    stream = tar(file(b"f", b"content"))
    members = gzip.compress(stream[:700]) + gzip.compress(b"") + gzip.compress(stream[700:])
    root, _ = apply(tmp_path, [evolve(layer(stream), content=members)])
    assert (root / "f").read_bytes() == b"content"


def test_an_error_names_layer_and_entry_on_one_line(tmp_path: Path) -> None:
    blob = layer(tar(file(b"fine"), file(b"fine/two\nlines\x1b[31m")))
    with pytest.raises(TerraError) as caught:
        apply(tmp_path, [blob])
    assert caught.value.message.startswith(f"layer {sha256(blob.content)}: fine/two\\nlines\\x1b[31m: ")
    assert "\n" not in caught.value.message


def image(place: Path, size: int) -> Layout:
    maker = LayoutMaker(place / "layout")
    maker.image([tar(*(file(b"f%d" % number, os.urandom(1 << 20)) for number in range(size)))])
    (place / "root").mkdir()
    return Layout(maker.path)


def test_progress_goes_up_to_the_total(tmp_path: Path) -> None:
    stored = image(tmp_path, 20).image()
    events: list[Event] = []
    applied = apply_layers(stored, tmp_path / "root", report=events.append)
    total = sum(part.size for part in stored.manifest.layers)
    done = [event.done or 0 for event in events]
    assert done == sorted(done)
    assert done[-1] == total
    assert {(event.step, event.total) for event in events} == {("apply", total)}
    assert len(events) < 10 + 5 * applied.seconds
    assert (applied.entries, applied.bytes) == (20, 20 << 20)


def test_a_report_can_end_the_work(tmp_path: Path) -> None:
    layout = image(tmp_path, 20)

    def interrupt(event: Event) -> None:
        raise InterruptedWork("asked for")

    with nothing_held(), pytest.raises(InterruptedWork):
        apply_layers(layout.image(), tmp_path / "root", report=interrupt)
    assert not (tmp_path / "root" / "f19").exists()


def test_nothing_stays_open(tmp_path: Path) -> None:
    deep = [folder(b"d%d/e" % number) for number in range(300)]
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    with nothing_held():
        apply(tmp_path / "good", [tar(*deep), tar(*deep)])
        with pytest.raises(TerraError):
            apply(tmp_path / "bad", [tar(*deep, file(b".."))])


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    many = [folder(b"d%d" % number) for number in range(100)]
    many += [file(b"d%d/f%d" % (number % 100, number), b"") for number in range(20_000)]
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([layer(tar(*many, file(b"large", bytes(64 << 20))), "plain"), tar(file(b"x"))])
    (tmp_path / "root").mkdir()
    stored = Layout(maker.path).image()
    tracemalloc.start()
    try:
        apply_layers(stored, tmp_path / "root")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20


def test_five_million_files_are_stopped_early(tmp_path: Path) -> None:
    entry = file(b"f", b"").blocks()
    with pytest.raises(TerraError, match="more than 2000 entries"):
        apply(tmp_path, [entry * 200_000], Limits(entries=2000))


def test_a_name_that_is_spared_outlives_every_whiteout(tmp_path: Path) -> None:
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([tar(file(b"old")), tar(file(b".wh..wh..opq"), file(b"new")), tar(file(b".wh..wh..opq"))])
    root = tmp_path / "root"
    (root / ".spared" / "below").mkdir(parents=True)
    apply_layers(Layout(maker.path).image(), root, spared=".spared")
    assert {str(path.relative_to(root)) for path in root.rglob("*")} == {".spared", ".spared/below"}


def test_an_image_for_another_platform_is_not_opened(tmp_path: Path) -> None:
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([GOOD], architecture="riscv64")
    with pytest.raises(TerraError, match="not built for linux/") as caught:
        Layout(maker.path).image()
    assert caught.value.hint == "it is built for linux/riscv64"


def test_the_same_image_twice_gives_the_same_tree(tmp_path: Path) -> None:
    blobs = [tar(folder(b"d"), file(b"d/a", b"1"), file(b"b", b"2")), tar(file(b"d/a", b"3"))]
    trees = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        tree = look(apply(tmp_path / name, blobs)[0])
        del tree[b""]
        trees.append(tree)
    assert trees[0] == trees[1]


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    stored = image(tmp_path, 1).image()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "root")
    for name in ("nowhere", "file", "link"):
        with pytest.raises(TerraError, match=name):
            apply_layers(stored, tmp_path / name)
