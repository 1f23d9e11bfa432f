"""What is asked of btrfs, and what its tools say."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from terra_btrfs import plugin
from terra_btrfs.groups import mkfs_arguments, mounts_of
from terra_btrfs.profiles import metadata_profile, warning
from terra_btrfs.settings import Settings
from terra_btrfs.superblock import Identity, parse_superblock
from terra_core.config.node import DiskGroup, Profile
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.errors import ConfigError
from terra_core.hookspecs import Mount

FSID = UUID("82a1032c-a1d4-4ae5-ab07-eb4e9dbb2198")
IDENTITY = Identity(FSID, 1)
DEVICE = Path("/dev/loop0")


def group(label: str = "os", kind: str = "single", disks: int = 1, **subvolumes: str) -> DiskGroup:
    raw = {
        "label": label,
        "type": kind,
        "disk": [{"device": f"/dev/sd{letter}"} for letter in "abcdef"[:disks]],
        "subvolumes": [{"name": name, "path": path} for name, path in subvolumes.items()],
    }
    return structure(raw, DiskGroup)


@pytest.mark.parametrize(
    ("kind", "disks", "metadata"),
    [
        ("single", 1, "dup"),
        ("single", 2, "raid1"),
        ("raid0", 2, "raid1"),
        ("raid1", 2, "raid1"),
        ("raid1c3", 3, "raid1c3"),
        ("raid1c4", 4, "raid1c4"),
        ("raid5", 3, "raid1"),
        ("raid6", 4, "raid1c3"),
        ("raid10", 4, "raid10"),
    ],
)
def test_metadata_survive_at_least_what_the_data_do(kind: str, disks: int, metadata: str) -> None:
    assert metadata_profile(Profile(kind), disks) == metadata


def test_the_profiles_with_a_write_hole_come_with_a_warning() -> None:
    warned = {profile.value for profile in Profile if warning(profile)}
    assert warned == {"raid5", "raid6"}
    assert "raid1c3" in str(warning(Profile.RAID6))


def test_the_command_that_formats() -> None:
    assert mkfs_arguments(group(kind="raid5", disks=3), [Path("/dev/loop0"), Path("/dev/loop1"), Path("/dev/loop2")]) == [
        *("mkfs.btrfs", "--quiet", "--label", "os", "--data", "raid5", "--metadata", "raid1"),
        *("/dev/loop0", "/dev/loop1", "/dev/loop2"),
    ]


def test_the_mounts_of_the_operating_system() -> None:
    made = mounts_of(group(home="/home", log="/var/log"), DEVICE, IDENTITY, structure({"compression": "zstd:3"}, Settings))
    assert made == tuple(
        Mount(path=path, device=DEVICE, filesystem="btrfs", options=(subvolume, "compress=zstd:3"), source=f"UUID={FSID}")
        for path, subvolume in (("/", "subvol=/os"), ("/home", "subvol=/home"), ("/var/log", "subvol=/log"))
    )


def test_the_mounts_of_another_group_leave_the_root_alone() -> None:
    (mount,) = mounts_of(group("storage", "raid1", 2, luns="/iscsi"), DEVICE, IDENTITY, Settings())
    assert (mount.path, mount.options, mount.source) == ("/iscsi", ("subvol=/luns",), f"UUID={FSID}")


def test_a_file_system_on_disks_that_terra_makes_grows_with_them() -> None:
    disks, subvolumes = [{"device": "/dev/sda", "size": 256}], [{"name": "log", "path": "/var/log"}]
    wanted = structure({"label": "os", "disk": disks, "subvolumes": subvolumes}, DiskGroup)
    made = mounts_of(wanted, DEVICE, IDENTITY, Settings())
    assert [mount.options for mount in made] == [("subvol=/os", "x-systemd.growfs"), ("subvol=/log",)]


@pytest.mark.parametrize("compression", ["zstd", "zstd:15", "zlib:9", "lzo"])
def test_compression_that_btrfs_knows(compression: str) -> None:
    settings = structure({"compression": compression}, Settings)
    assert mounts_of(group(), DEVICE, IDENTITY, settings)[0].options == ("subvol=/os", f"compress={compression}")


@pytest.mark.parametrize("compression", ["zstd:16", "zstd:0", "lzo:1", "gzip", "zstd,noatime", "zstd\n", "", 3, True])
def test_other_compression_is_refused(compression: object) -> None:
    with pytest.raises(ConfigError, match=r"^node.toml: btrfs.compression: expected"):
        plugin.prepare_disks(
            group(), [DEVICE], Path("/nowhere"), Session(source="node.toml", tables={"btrfs": {"compression": compression}})
        )


def test_offering_touches_nothing() -> None:
    plugin.prepare_disks(group(), [Path("/dev/there-is-none")], Path("/nowhere"), Session())


def test_a_file_system_is_named_by_what_no_other_one_is() -> None:
    assert IDENTITY.source == "UUID=82a1032c-a1d4-4ae5-ab07-eb4e9dbb2198"
    assert IDENTITY.kernel_arguments == ("terra.uuid=82a1032c-a1d4-4ae5-ab07-eb4e9dbb2198",)


def test_superblocks() -> None:
    block = bytearray(4096)
    block[0x20:0x30] = FSID.bytes
    block[0x40:0x48] = b"_BHRfS_M"
    block[0x88] = 4
    assert parse_superblock(bytes(block)) == Identity(FSID, 4)
    assert parse_superblock(bytes(4096)) is None
    assert parse_superblock(b"") is None
