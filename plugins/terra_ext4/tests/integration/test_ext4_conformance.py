"""What the contract promises of a filesystem plugin."""

from collections.abc import Mapping

from terra_core.testing import FilesystemConformance
from terra_ext4 import plugin as ext4
from terra_ext4 import xfs

_REFUSED: Mapping[str, tuple[Mapping[str, object], int]] = {
    "an option": ({"options": ["no-such-option"]}, 1),
    "two disks": ({}, 2),
    "raid1": ({"type": "raid1"}, 2),
    "compression": ({"compression": "zstd"}, 1),
}


class TestExt4(FilesystemConformance):
    """The plugin ext4."""

    plugin = ext4
    name = "ext4"
    refused = _REFUSED


class TestXfs(FilesystemConformance):
    """The plugin xfs."""

    plugin = xfs
    name = "xfs"
    disk_size = 320
    refused = _REFUSED
