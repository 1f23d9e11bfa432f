"""What the next version of a machine has of the former one."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.controller.carrying import beside, merged_fstab
from terra_core.image.contained import ContainedRoot


def test_other_mounts_of_the_machine_stay_and_those_of_its_system_are_the_new_ones() -> None:
    own = "# Written by Terra.\nUUID=new / btrfs subvol=/os 0 0\nUUID=new /home btrfs subvol=/home,nofail 0 0\n"
    former = (
        "# Written by Terra.\nUUID=old / btrfs subvol=/os 0 0\nUUID=old /home btrfs subvol=/home,nofail 0 0\n"
        "UUID=data /srv ext4 nofail 0 0\nnas:/x /x nfs ro 0 0\nbroken\n\n# a note\n"
    )
    assert merged_fstab(own, former) == f"{own}UUID=data /srv ext4 nofail 0 0\nnas:/x /x nfs ro 0 0\n"


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("etc/app", ["etc/app"]),
        ("var", ["var/lib/app", "var/lib/new", "var/tmp"]),
        ("var/lib", ["var/lib/app", "var/lib/new"]),
        ("var/log", []),
        ("var/log/app", []),
        ("varlog", ["varlog"]),
    ],
)
def test_what_is_mounted_below_what_is_kept_is_left_to_itself(path: str, taken: list[str], tmp_path: Path) -> None:
    for name in ("former/var/lib/app", "former/var/lib/containerd", "former/var/log", "former/var/tmp", "new/var/lib/new"):
        (tmp_path / name).mkdir(parents=True)
    with ContainedRoot(tmp_path / "former") as former, ContainedRoot(tmp_path / "new") as new:
        assert list(beside(["var/log", "var/lib/containerd"], path, former, new)) == taken
