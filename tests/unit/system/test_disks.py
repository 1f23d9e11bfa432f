"""What wipefs(8) and the kernel say of disks."""

from __future__ import annotations

from pathlib import Path

from terra_core.system.disks import in_words, parse_signatures, parse_swaps


def test_signatures_in_words() -> None:
    text = """{"signatures": [
        {"offset": "0x438", "length": "2", "type": "ext4", "label": "photos"},
        {"offset": "0x200", "length": "8", "type": "gpt", "label": null},
        {"offset": "0xfffe00", "length": "8", "type": "gpt", "label": null}]}"""
    found = parse_signatures(text)
    assert [(one.offset, one.length, one.table) for one in found] == [(1080, 2, False), (512, 8, True), (0xFFFE00, 8, True)]
    assert in_words(found) == 'ext4 "photos", gpt'
    assert parse_signatures('{"signatures": [\n\n]}') == ()
    assert parse_signatures("") == ()


def test_swaps() -> None:
    text = (
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/dev/sda2                               partition\t999420\t\t0\t\t-2\n"
        "/swap\\040file                           file\t\t999420\t\t0\t\t-3\n"
        "/a\\011b\v\x85c                           file\t\t999420\t\t0\t\t-4\n"
    )
    assert parse_swaps(text) == [Path("/dev/sda2"), Path("/swap file"), Path("/a\tb\v\x85c")]
