"""What a version keeps of how it was laid down: what can be read of it, and what cannot."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from terra_core.errors import TerraError
from terra_core.image.contained import ContainedRoot
from terra_core.versions.manifest import Entry, packed, unpacked
from terra_core.versions.record import PLACE, Record, number_of, place_of, read_manifest, read_record

RECORD = Record(
    version="os",
    image="docker.io/crosbymichael/mt-01:v2",
    digest="sha256:" + "1" * 64,
    layers=("sha256:" + "2" * 64,),
    laid="2026-11-26T07:00:00+00:00",
    filesystem="btrfs",
    bootloader="grub",
    node={"hostname": "mt-01", "groups": [{"label": "os", "options": ["noatime"]}], "grub": {"timeout": 0}},
)
MANIFEST = {
    "": Entry(kind="directory", mode=0o755, uid=0, gid=0, mark=(256, 1, 2)),
    "etc/\udcff\n": Entry(kind="file", mode=0o4755, uid=1, gid=2, size=3, content="ab", mark=(257, 2**62, 3)),
    "bin": Entry(kind="link", mode=0o777, uid=0, gid=0, content="usr/bin", attributes=(("trusted.a", "00ff"), ("user.b", ""))),
}


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[ContainedRoot]:
    with ContainedRoot(tmp_path) as root:
        yield root


def test_a_record_is_read_as_it_was_written(inside: ContainedRoot) -> None:
    inside.write(f"{PLACE}/record.json", json.dumps(attrs.asdict(RECORD)).encode(), mode=0o600)
    assert read_record(inside) == RECORD


def test_a_system_without_a_record_has_none(inside: ContainedRoot) -> None:
    assert read_record(inside) is None


class Swapping(ContainedRoot):
    """A root in which somebody puts a file of theirs in the place of the record as soon as that was looked at."""

    def look(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        found = super().look(path, follow=follow)
        forge(self, path)
        return found


def forge(inside: ContainedRoot, path: str) -> None:
    forged = attrs.evolve(RECORD, image="of/somebody:else")
    inside.write(path, json.dumps(attrs.asdict(forged)).encode(), mode=0o644)
    with inside.opened(path.rpartition("/")[0]) as directory:
        os.chown(path.rpartition("/")[2], 1000, 1000, dir_fd=directory)


def test_what_a_user_has_written_is_no_record(tmp_path: Path) -> None:
    path = f"{PLACE}/record.json"
    with Swapping(tmp_path) as inside:
        inside.write(path, json.dumps(attrs.asdict(RECORD)).encode(), mode=0o600)
        found = read_record(inside)
        assert found is None or found.image == RECORD.image, "whose it is and what it says is asked of one file"
        forge(inside, path)
        assert read_record(inside) is None
        inside.link(f"{PLACE}/own.json", "/outside")
        inside.link(path, "own.json")
        assert read_record(inside) is None
        inside.write(f"{PLACE}/own.json", b"{}", mode=0o600)
        with inside.opened(PLACE) as directory:
            os.chown("own.json", 1000, 1000, dir_fd=directory)
        assert read_record(inside) is None


@pytest.mark.parametrize(
    ("name", "number"), [("os", 0), ("os.1", 1), ("os.12", 12), ("before", None), ("os.x", None), ("os.1.2", None), ("", None)]
)
def test_the_name_of_a_version_says_its_place_in_their_order(name: str, number: int | None) -> None:
    assert number_of(name) == number
    assert place_of(attrs.evolve(RECORD, version=name)) == (number or 0)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"format": 1}', json.dumps(attrs.asdict(RECORD) | {"format": 2}).encode(),
        json.dumps(attrs.asdict(RECORD) | {"layers": "all"}).encode(), json.dumps(attrs.asdict(RECORD) | {"node": 1}).encode(),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_read_is_named(content: bytes, inside: ContainedRoot) -> None:
    inside.write(f"{PLACE}/record.json", content, mode=0o600)
    with pytest.raises(TerraError, match=r"/usr/lib/terra/version/record\.json: cannot be read"):
        read_record(inside)


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert unpacked(packed(MANIFEST)) == MANIFEST


@pytest.mark.parametrize("content", [None, b"", b"no gzip", packed(MANIFEST)[:-9], packed(MANIFEST)[:40]])
def test_a_manifest_that_cannot_be_read_is_named(content: bytes | None, inside: ContainedRoot) -> None:
    if content is not None:
        inside.write(f"{PLACE}/manifest.gz", content, mode=0o600)
    with pytest.raises(TerraError, match=r"/usr/lib/terra/version/manifest\.gz: cannot be read"):
        read_manifest(inside)


def test_a_manifest_of_another_format_or_form_is_named(inside: ContainedRoot) -> None:
    for text in ('{"format": 2}', '{"format": 1}\n["a"]', '{"format": 1}\n{}', '{"format": 1}\n7', "[]"):
        inside.write(f"{PLACE}/manifest.gz", gzip.compress(text.encode()), mode=0o600)
        with pytest.raises(TerraError, match="cannot be read"):
            read_manifest(inside)
