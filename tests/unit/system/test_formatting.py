"""Disks that are about to be formatted."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_core.system.formatting import Disk, require_size

MB = 1024 * 1024


def test_a_small_disk_is_refused_with_both_sizes() -> None:
    disk = Disk(Path("/iscsi/cm-01/0.lun"), Path("/iscsi/cm-01/0.lun"), 64 * MB, True)
    with pytest.raises(TerraError, match=r"0\.lun: has 64 MB, and btrfs needs at least 109 MB on each disk here"):
        require_size([disk], 109 * MB, "btrfs")
    require_size([disk], 64 * MB, "ext4")
