"""What an upgrade plans: names, and what is kept and lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from terra_core.image.contained import ContainedRoot
from terra_core.upgrade.fstab import fstab_for
from terra_core.upgrade.plan import next_name, room_of, sorted_out, surplus
from terra_core.upgrade.use import _of_digest
from terra_core.versions.difference import Change, What
from terra_core.versions.manifest import Entry
from terra_core.versions.record import Record
from tests.unit.versions.test_record import RECORD


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["os"], "os.1"),
        (["os", "os.1", "os.9", "os.10", "before"], "os.11"),
        (["os.3"], "os.4"),
        (["os.x", "os.1.2", "xos.7"], "os.1"),
    ],
)
def test_a_version_gets_a_name_that_none_had(names: list[str], expected: str) -> None:
    assert next_name(names) == expected


def test_the_number_of_a_version_that_is_gone_is_given_to_no_other() -> None:
    assert next_name(["os", "os.1"], 4) == "os.5", "a disk that is away may still name os.2"
    assert next_name(["os", "os.7"], 4) == "os.8"
    assert next_name([], 0) == "os.1"


def test_what_is_there_already_is_the_newest_version_and_nobodys_snapshot() -> None:
    def of(version: str, digest: str) -> Record:
        return evolve(RECORD, version=version, digest=digest)

    records = {"before": of("os", "a"), "home": of("os.9", "c"), "os": of("os", "a")}
    records |= {"os.2": of("os.2", "b"), "os.10": of("os.10", "b"), "os.11": of("os.2", "b")}
    assert [_of_digest(digest, records) for digest in "abc"] == ["os", "os.10", ""]


def test_what_is_kept_is_not_lost_and_all_else_is() -> None:
    def change(path: str, what: What = What.CHANGED, kind: str = "file") -> Change:
        return Change(path=path, what=what, kind=kind)

    changes = [
        change("/etc/machine-id"), change("/etc/app", What.ADDED, "directory"), change("/etc/app/keys/one", What.ADDED),
        change("/etc/app/keysmith"), change("/etc/app-2", What.ADDED), change("/srv", What.CHANGED, "directory"),
        change("/srv/a", What.REMOVED),
    ]  # fmt: skip
    kept, lost = sorted_out(changes, ["etc/machine-id"], ["/etc/app/keys", "/srv/b"])
    assert kept == ["/etc/app/keys", "/etc/machine-id", "/srv/b"]
    assert [one.path for one in lost] == ["/etc/app/keysmith", "/etc/app-2", "/srv", "/srv/a"]


def test_the_next_versions_fstab_names_its_own_root_and_is_the_machines_otherwise(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    lines = [
        "# / of os", "UUID=1 / btrfs subvol=/os,compress=zstd:3,noatime 0 0", "UUID=1 /home btrfs subvol=/os-home 0 0",
        "\tnas:/os  /mnt/os nfs subvol=/os", "broken", "",
    ]  # fmt: skip
    (tmp_path / "etc/fstab").write_text("\n".join(lines))
    with ContainedRoot(tmp_path) as inside:
        made = fstab_for(inside, "os", "os.1").decode().split("\n")
    lines[1] = "UUID=1 / btrfs subvol=/os.1,compress=zstd:3,noatime 0 0"
    assert made == lines


def test_what_nobody_goes_back_to_makes_room_before_what_somebody_may() -> None:
    there = ["os.1", "os.3", "os", "before", "os.2"]
    assert surplus(there, {"os.1"}, {"os.2", "os.3"}, 4) == ("os.2",)
    assert surplus(there, {"os.1"}, {"os.2", "os.3"}, 2) == ("os.2", "os.3", "os")
    assert surplus(there, {"os.1"}, (), 4) == ("os",)
    assert surplus(there, {"os", "os.1"}, {"os"}, 5) == ()
    assert surplus(["os.10", "os.9", "os.11"], {"os.11"}, (), 3) == ("os.9",), "they are counted, not spelt"


def test_the_room_of_a_version_is_counted_in_blocks() -> None:
    sizes = {"": ("directory", 0), "etc": ("directory", 0), "etc/one": ("file", 1), "etc/two": ("file", 4097), "l": ("link", 0)}
    manifest = {path: Entry(kind=kind, mode=0o755, uid=0, gid=0, size=size) for path, (kind, size) in sizes.items()}
    assert room_of(manifest) == (1 + 1 + 1 + 2 + 1) * 4096
