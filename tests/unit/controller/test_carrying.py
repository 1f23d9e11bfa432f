"""What the next version of a machine has of the former one's fstab."""

from __future__ import annotations

from terra_core.controller.carrying import merged_fstab


def test_other_mounts_of_the_machine_stay_and_those_of_its_system_are_the_new_ones() -> None:
    own = "# Written by Terra.\nUUID=new / btrfs subvol=/os 0 0\nUUID=new /home btrfs subvol=/home,nofail 0 0\n"
    former = (
        "# Written by Terra.\nUUID=old / btrfs subvol=/os 0 0\nUUID=old /home btrfs subvol=/home,nofail 0 0\n"
        "UUID=data /srv ext4 nofail 0 0\nnas:/x /x nfs ro 0 0\nbroken\n\n# a note\n"
    )
    assert merged_fstab(own, former) == f"{own}UUID=data /srv ext4 nofail 0 0\nnas:/x /x nfs ro 0 0\n"
