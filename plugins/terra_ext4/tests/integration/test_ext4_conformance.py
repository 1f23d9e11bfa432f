"""What the contract promises of a filesystem plugin."""

from terra_core.testing import FilesystemConformance
from terra_ext4 import plugin as ext4


class TestExt4(FilesystemConformance):
    """As ext4, the default."""

    plugin = ext4
    name = "ext4"
    refused = {  # noqa: RUF012
        "an option": ({"options": ["no-such-option"]}, 1),
        "two disks": ({}, 2),
        "raid1": ({"type": "raid1"}, 2),
        "compression": ({"compression": "zstd"}, 1),
    }
