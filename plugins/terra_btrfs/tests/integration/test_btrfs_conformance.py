"""What the contract promises of a filesystem plugin."""

from terra_btrfs import plugin as btrfs
from terra_core.testing import FilesystemConformance


class TestFilesystem(FilesystemConformance):
    """Of one disk, and of several."""

    plugin = btrfs
    name = "btrfs"
    groups = {"one disk": ({}, 1), "raid1": ({"type": "raid1"}, 2), "raid10": ({"type": "raid10"}, 4)}  # noqa: RUF012
