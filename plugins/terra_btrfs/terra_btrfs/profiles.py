"""How data and metadata lie on the disks of a group; the profiles of mkfs.btrfs(8)."""

from __future__ import annotations

from collections.abc import Sequence

from terra_core.config.node import Profile

_MB = 1024 * 1024

_COPIES = {Profile.RAID1: 2, Profile.RAID1C3: 3, Profile.RAID1C4: 4}
_METADATA = {Profile.RAID0: "raid1", Profile.RAID5: "raid1", Profile.RAID6: "raid1c3"}
"""A lost metadata block loses the whole file system, and raid5 and raid6 can lose one when the power fails."""

WRITE_HOLE = "can lose data when the power fails during a write (the write hole, btrfs(5)); its metadata is kept on {}"


def metadata_profile(profile: Profile, disks: int) -> str:
    """Return the profile of the metadata for data in ``profile`` on that many disks."""
    if profile is Profile.SINGLE:
        return "dup" if disks == 1 else "raid1"
    return _METADATA.get(profile) or str(profile.value)


def warning(profile: Profile) -> str | None:
    """Return what a user should know of a profile; ``None`` when there is nothing to say."""
    if profile in (Profile.RAID5, Profile.RAID6):
        return f"{profile.value} {WRITE_HOLE.format(_METADATA[profile])}"
    return None


def least_bytes(profile: Profile, disks: int) -> int:
    """Return the size in bytes below which mkfs.btrfs refuses each disk; measured with btrfs-progs 6.2, 16 KiB nodes."""
    if profile is Profile.SINGLE:
        return 109 * _MB if disks == 1 else 69 * _MB
    return 125 * _MB


def capacity(profile: Profile, sizes: Sequence[int]) -> int:
    """Return what fits on disks of these sizes, in the unit of the sizes, before the file system takes its share."""
    total, largest, count = sum(sizes), max(sizes), len(sizes)
    if profile is Profile.RAID10:
        return min(total // 2, total - largest)
    if profile in _COPIES:
        copies = _COPIES[profile]
        return min(total // copies, (total - largest) // (copies - 1))
    if profile in (Profile.RAID5, Profile.RAID6):
        parity = 1 if profile is Profile.RAID5 else 2
        return min(sizes) * (count - parity)
    return total if profile is Profile.SINGLE else min(sizes) * count
