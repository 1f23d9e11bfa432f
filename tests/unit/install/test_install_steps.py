"""What each step took, and what a killed installation has noted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve

from terra_core.config.values import parse_address
from terra_core.image.contained import ContainedRoot
from terra_core.install.finish import write_resolution
from terra_core.install.journal import Journal
from terra_core.install.steps import Stopwatch
from terra_core.system.progress import Event
from tests.unit.install.making import disk
from tests.unit.oci.making import make_special


def test_each_step_lasts_until_another_begins() -> None:
    now = 0.0
    heard: list[Event] = []
    watch = Stopwatch(heard.append, lambda: now)
    now += 0.5
    for step, seconds in (("plan", 1.0), ("apply", 2.0), ("pull", 0.5), ("apply", 3.0)):
        watch(Event(step, "text"))
        now += seconds
    assert watch.seconds() == {"plan": 1.5, "apply": 5.0, "pull": 0.5}, "what was before the first event is its step's"
    assert watch.elapsed == 7.0
    assert len(heard) == 4


def test_the_journal_knows_a_disk_again_and_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "begun")
    device = disk("/dev/sda", holds=["ext4"], sequence="7")
    assert not journal.has_begun(device, "mt-01")
    journal.begin(device, "mt-01")
    blank = evolve(device, signatures=())
    assert journal.begun(blank, "mt-01") == device.signatures
    journal.begin(blank, "mt-01")
    assert journal.begun(blank, "mt-01") == device.signatures, "what was there first is not forgotten"
    assert not journal.has_begun(device, "other"), "another machine's installation is foreign"
    assert not journal.has_begun(evolve(device, sequence="8"), "mt-01"), "another disk in its place is foreign"
    journal.end([device])
    assert not journal.has_begun(device, "mt-01")


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"hostname": 3}'])
def test_a_torn_note_is_none(torn: str, tmp_path: Path) -> None:
    journal, device = Journal(tmp_path), disk("/dev/sda")
    journal.begin(device, "mt-01")
    (note,) = tmp_path.glob("*.json")
    note.write_text(torn)
    assert not journal.has_begun(device, "mt-01")


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (None, "nameserver 10.0.10.1\n"),
        ("", "nameserver 10.0.10.1\n"),
        ("search example.com", "search example.com\nnameserver 10.0.10.1\n"),
        ("# nameserver 1.1.1.1\n", "# nameserver 1.1.1.1\nnameserver 10.0.10.1\n"),
        ("nameserver 8.8.8.8\n", "nameserver 8.8.8.8\n"),
    ],
)
def test_the_gateway_answers_unless_the_image_knows_better(present: str | None, expected: str, tmp_path: Path) -> None:
    place = tmp_path / "etc/resolv.conf"
    place.parent.mkdir()
    if present is not None:
        place.write_text(present)
    with ContainedRoot(tmp_path) as inside:
        write_resolution(inside, parse_address("10.0.10.1"))
    assert place.read_text() == expected


def test_a_link_to_what_a_resolver_writes_is_left(tmp_path: Path) -> None:
    place = tmp_path / "etc/resolv.conf"
    place.parent.mkdir()
    place.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    with ContainedRoot(tmp_path) as inside:
        write_resolution(inside, parse_address("10.0.10.1"))
    assert place.is_symlink()


@pytest.mark.parametrize("kind", ["block", "character", "fifo", "socket", "directory", "enormous"])
def test_what_is_no_such_file_is_left(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "etc/resolv.conf"
    place.parent.mkdir()
    if kind == "directory":
        place.mkdir()
    elif kind == "enormous":
        place.touch()
        os.truncate(place, 1 << 40)
    else:
        make_special(place, kind)
    before = place.lstat()
    with ContainedRoot(tmp_path) as inside:
        write_resolution(inside, parse_address("10.0.10.1"))
    assert (place.lstat().st_mode, place.lstat().st_size) == (before.st_mode, before.st_size)
