"""What btrfs has counted of the errors of disks."""

from __future__ import annotations

import json

from terra_btrfs.statistics import parse_errors

_NONE = {
    "write_io_errs": "0", "read_io_errs": "0", "flush_io_errs": "0", "corruption_errs": "0", "generation_errs": "0",
}  # fmt: skip


def answer(*rows: dict[str, str]) -> bytes:
    return json.dumps({"__header": {"version": "1"}, "device-stats": rows}).encode()


def test_disks_without_an_error_are_none() -> None:
    rows = ({"device": "/dev/sda", "devid": "1", **_NONE}, {"device": "/dev/sdb", "devid": "2", **_NONE})
    assert not parse_errors(answer(*rows))


def test_a_disk_with_errors_is_named_with_them() -> None:
    sound = {"device": "/dev/sda", "devid": "1", **_NONE}
    broken = {"device": "/dev/sdb", "devid": "2", **_NONE, "write_io_errs": "12", "flush_io_errs": "1"}
    (found,) = parse_errors(answer(sound, broken))
    assert str(found) == "/dev/sdb: 12 writes that failed, 1 flushes that failed"


def test_a_counter_of_a_later_btrfs_is_said_by_its_name() -> None:
    (found,) = parse_errors(answer({"device": "/dev/sdb", "devid": "2", "read_retries": "3"}))
    assert str(found) == "/dev/sdb: 3 read_retries"
