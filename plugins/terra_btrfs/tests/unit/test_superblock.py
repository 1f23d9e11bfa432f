"""The superblock of a copy: another UUID, and everything else as it was."""

from __future__ import annotations

from uuid import UUID

import pytest

from terra_btrfs.superblock import crc32c, parse_superblock, renewed

FORMER, NEW, NEWER = UUID(int=1), UUID(int=2), UUID(int=3)


def superblock(*, magic: bytes = b"_BHRfS_M", flags: int = 0x341, kind: int = 0) -> bytes:
    block = bytearray(range(256)) * 16
    block[0x20:0x30] = FORMER.bytes
    block[0x40:0x48] = magic
    block[0x88:0x90] = (2).to_bytes(8, "little")
    block[0xBC:0xC4] = flags.to_bytes(8, "little")
    block[0xC4:0xC6] = kind.to_bytes(2, "little")
    block[:4] = crc32c(bytes(block[32:])).to_bytes(4, "little")
    return bytes(block)


def test_the_checksum_is_that_of_rfc_3720() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_a_copy_is_found_by_another_uuid_and_its_trees_by_the_former() -> None:
    block = renewed(superblock(), NEW)
    identity = parse_superblock(block)
    assert identity is not None
    assert (identity.fsid, identity.disks) == (NEW, 2)
    assert block[0x23B:0x24B] == FORMER.bytes
    assert int.from_bytes(block[0xBC:0xC4], "little") == 0x341 | 1 << 10
    assert block[:4] == crc32c(block[32:]).to_bytes(4, "little")
    changed = [at for at, (before, after) in enumerate(zip(superblock(), block, strict=True)) if before != after]
    assert all(at < 4 or 0x20 <= at < 0x30 or 0xBC <= at < 0xC4 or 0x23B <= at < 0x24B for at in changed)


def test_a_copy_of_a_copy_keeps_the_uuid_of_the_trees() -> None:
    block = renewed(renewed(superblock(), NEW), NEWER)
    identity = parse_superblock(block)
    assert identity is not None
    assert (identity.fsid, block[0x23B:0x24B]) == (NEWER, FORMER.bytes)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (bytes(4096), "holds no btrfs file system"),
        (superblock(magic=b"_BHRfS_X"), "holds no btrfs file system"),
        (superblock(kind=1), "other checksums than crc32c"),
        (bytes(4) + superblock()[4:], "is damaged"),
        (superblock(flags=1 << 35), "had begun to change the UUID"),
        (superblock(flags=1 << 36), "had begun to change the UUID"),
    ],
)
def test_what_cannot_be_changed_is_refused(block: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        renewed(block, NEW)
