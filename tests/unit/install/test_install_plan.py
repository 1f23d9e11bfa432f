"""What an installation will do, and why it may not."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from terra_core.config.node import Firmware
from terra_core.install.facts import BIOS_BOOT, Missing, Slice
from terra_core.install.former import Former
from terra_core.install.layout import MB
from terra_core.install.plan import Plan, RefusedError, make_plan
from terra_core.system.disks import Signature
from terra_core.versions.record import Record
from tests.unit.install.making import disk, found, group, node, part

SIMPLE = node(group("os", "/dev/sda", mbr=True))


def refusal(*args: object, **more: object) -> str:
    with pytest.raises(RefusedError) as caught:
        make_plan(*args, **more)  # type: ignore[arg-type]  # passed on
    assert "nothing was written" in caught.value.message
    return str(caught.value)


def test_a_whole_disk_gets_what_bios_and_uefi_need() -> None:
    plan = make_plan(SIMPLE, found(disk("/dev/sda", 4096)), 100)
    (target,) = plan.targets
    assert plan.firmware is Firmware.BOTH
    assert [(part.name, part.start, part.size) for part in target.partitions] == [
        ("terra-bios", 1, 1), ("terra-esp", 2, 256), ("terra-os", 258, 4096 - 259)
    ]  # fmt: skip
    assert target.capacity == (4096 - 259) * MB
    boot = plan.boot_loader()
    assert boot is not None
    (entry,) = boot.disks
    assert (entry.core_sector, entry.core_sectors, entry.esp_number) == (2048, 2048, 2)


@pytest.mark.parametrize(
    ("boot", "names"),
    [
        ("bios", ["terra-bios", "terra-esp", "terra-os"]),
        ("uefi", ["terra-esp", "terra-os"]),
        ("both", ["terra-bios", "terra-esp", "terra-os"]),
    ],
)
def test_boot_chooses_the_partitions(boot: str, names: list[str]) -> None:
    plan = make_plan(node(group("os", "/dev/sda", boot=boot)), found(disk("/dev/sda")), 0)
    assert [part.name for part in plan.targets[0].partitions] == names


def test_every_disk_of_the_system_can_start_it_and_other_groups_are_used_whole() -> None:
    wanted = node(group("os", "/dev/sda", "/dev/sdb", kind="raid1"), group("storage", "/dev/sdc"))
    plan = make_plan(wanted, found(disk("/dev/sda"), disk("/dev/sdb"), disk("/dev/sdc")), 0)
    boot = plan.boot_loader()
    assert boot is not None
    assert [str(one.device) for one in boot.disks] == ["/dev/sda", "/dev/sdb"]
    assert plan.of_group("storage")[0].partitions == ()
    assert plan.measured({"os": 7, "storage": 8}).as_json()["groups"][0]["capacity"] == 7


def test_every_reason_is_said_at_once() -> None:
    wanted = node(group("os", "/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd"))
    there = {
        **found(
            disk("/dev/sda", use="is in use, mounted at /home"),
            disk("/dev/sdb", read_only=True),
            disk("/dev/sdc", holds=["ext4", "gpt", "gpt"]),
        ),
        "/dev/sdd": Missing("/dev/sdd", "there is no such device"),
    }
    said = refusal(wanted, there, 0)
    assert "/dev/sda: is in use, mounted at /home" in said
    assert "/dev/sdb: can only be read" in said
    assert "/dev/sdc: is not blank: it holds ext4, gpt\n" in said
    assert "/dev/sdd: there is no such device" in said
    assert "--wipe" not in said, "it would not help with a disk in use"


def test_wipe_lets_signatures_go_and_nothing_else() -> None:
    foreign = disk("/dev/sda", holds=["linux_raid_member"])
    assert "--wipe" in refusal(SIMPLE, found(foreign), 0)
    assert make_plan(SIMPLE, found(foreign), 0, wipe=True).targets[0].removed == foreign.signatures
    assert "in use" in refusal(SIMPLE, found(evolve(foreign, use="is in use, held by dm-0")), 0, wipe=True)


def test_an_installation_that_came_to_no_end_may_go_on() -> None:
    mine = (Signature("btrfs", "os", 65600, 8), Signature("gpt", "", 512, 8), Signature("ext4", "old", 1080, 2))
    device = evolve(disk("/dev/sda"), signatures=mine)
    begun = {device.number: (Signature("ext4", "old", 1080, 2),)}
    assert make_plan(SIMPLE, found(device), 0, begun=begun).targets[0].removed == mine
    other = evolve(device, signatures=(*mine, Signature("xfs", "photos", 0, 4)))
    assert 'xfs "photos"' in refusal(SIMPLE, found(other), 0, begun=begun)
    assert "btrfs" in refusal(SIMPLE, found(device), 0), "what nobody has begun is foreign"


def test_one_disk_under_two_names() -> None:
    wanted = node(group("os", "/dev/sda", "/dev/disk/by-id/ata-1"))
    there = found(disk("/dev/sda", number="8:0"), disk("/dev/disk/by-id/ata-1", number="8:0"))
    assert "/dev/disk/by-id/ata-1: is the same disk as /dev/sda" in refusal(wanted, there, 0)


def test_a_disk_and_its_partition() -> None:
    wanted = node(group("os", "/dev/sda"), group("storage", "/dev/sda1"))
    assert "is a partition of /dev/sda" in refusal(wanted, found(disk("/dev/sda"), part("/dev/sda1", "/dev/sda")), 0)


def test_partitions_and_whole_disks_do_not_mix_in_the_system() -> None:
    wanted = node(group("os", "/dev/sda", "/dev/sdb1", mbr=True))
    there = found(disk("/dev/sda"), part("/dev/sdb1", "/dev/sdb", slices=[Slice(34, 2000, BIOS_BOOT)]))
    assert "both whole disks and partitions" in refusal(wanted, there, 0)


def test_too_small_for_the_image() -> None:
    with pytest.raises(RefusedError) as caught:
        make_plan(SIMPLE, found(disk("/dev/sda", 1024)), 900 * MB).measured({"os": 765 * MB})
    assert "room for 765 MB" in caught.value.message
    assert "900 MB before it is unpacked" in caught.value.message
    assert "nothing was written" in caught.value.message
    assert "would be left for data" in refusal(SIMPLE, found(disk("/dev/sda", 300)), 0)


def test_an_image_that_may_not_fit_unpacked() -> None:
    plan = make_plan(SIMPLE, found(disk("/dev/sda", 1024)), 300 * MB)
    assert [note for note in plan.measured({"os": 765 * MB}, ["slow"]).notes if "may not fit" in note]
    assert plan.measured({"os": 4000 * MB}, ["slow"]).notes == (*plan.notes, "slow")


def test_sectors_that_no_bios_knows() -> None:
    assert make_plan(node(group("os", "/dev/sda")), found(disk("/dev/sda", sector_size=4096)), 0).firmware is Firmware.UEFI
    refused = refusal(SIMPLE, found(disk("/dev/sda", sector_size=4096)), 0)
    assert 'no BIOS starts from: say boot = "uefi" in place of mbr = true' in refused


def given(table: str = "gpt", *slices: Slice, mbr: bool = True, boot: str = "", **more: bool) -> Plan:
    """Return the plan for the seed's complex node: the system on an existing partition."""
    extra = {"boot": boot} if boot else {}
    wanted = node(group("os", "/dev/nvme0n1p1", mbr=mbr, **extra))
    return make_plan(wanted, found(part("/dev/nvme0n1p1", "/dev/nvme0n1", table=table, slices=slices, **more)), 0)


def test_a_given_partition_with_a_gap_before_it() -> None:
    boot = given("dos", Slice(2048, 100_000, "83")).boot_loader()
    assert boot is not None
    (entry,) = boot.disks
    assert (str(entry.device), entry.core_sector, entry.core_sectors) == ("/dev/nvme0n1", 1, 2047)


def test_a_given_partition_beside_a_bios_boot_partition() -> None:
    boot = given("gpt", Slice(34, 2014, BIOS_BOOT), Slice(2048, 100_000, "L")).boot_loader()
    assert boot is not None
    assert (boot.disks[0].core_sector, boot.disks[0].core_sectors) == (34, 2014)


def test_a_given_partition_without_a_place_for_a_boot_loader() -> None:
    with pytest.raises(RefusedError, match="BIOS boot partition"):
        given("gpt", Slice(2048, 100_000, "L"))


def test_a_given_partition_that_nobody_starts() -> None:
    plan = given("gpt", mbr=False)
    assert plan.boot_loader() is None
    assert "no boot loader is written" in plan.notes[0]


def test_a_given_partition_leaves_efi_system_partitions_alone() -> None:
    with pytest.raises(RefusedError, match="no EFI system partition that it has not made"):
        given("gpt", Slice(34, 2014, BIOS_BOOT), mbr=False, boot="uefi")


def test_the_boot_loader_of_somebody_else_stays_without_wipe() -> None:
    with pytest.raises(RefusedError, match="holds a boot loader, which Terra's would replace"):
        given("dos", Slice(2048, 100_000, "83"), boot_code=True)


def test_other_kinds_of_devices_hold_no_system() -> None:
    assert "of the kind 'lvm'" in refusal(SIMPLE, found(disk("/dev/sda", kind="lvm")), 0)
    wanted = node(group("os", "/dev/sda"), group("data", "/dev/dm-0"))
    plan = make_plan(wanted, found(disk("/dev/sda"), disk("/dev/dm-0", kind="lvm")), 0)
    assert plan.of_group("data")[0].device.kind == "lvm"


def test_a_machine_that_is_on_the_disks_is_named_and_what_an_upgrade_would_keep() -> None:
    told: dict[str, Any] = {
        "hostname": "old-01",
        "upgrade": {"keep": ["/etc/app", 7]},
        "groups": [{"subvolumes": [{"name": "home"}, "?"]}, {"subvolumes": 7}, 7],
    }
    record = Record(
        version="os",
        image="10.0.10.3:5000/a:1",
        digest=f"sha256:{'a' * 64}",
        layers=(),
        laid="2026-11-26T10:00:00+00:00",
        filesystem="btrfs",
        bootloader="grub",
        node=told,
    )
    former = Former(device="/dev/sda", record=record, versions=2, upgrades=True)
    said = refusal(SIMPLE, found(disk("/dev/sda", 4096, holds=["gpt"])), 0, former=[former])
    assert "/dev/sda: is of the machine old-01: 10.0.10.3:5000/a:1 (sha256:aaaaaaaaaaaa), laid down by Terra at 2026" in said
    assert "and 1 more" in said
    assert "keeps its machine-id and host keys, /etc/app, subvolume home" in said
    plan = make_plan(SIMPLE, found(disk("/dev/sda", 4096, holds=["gpt"])), 0, wipe=True, former=[former])
    assert plan.as_json()["former"][0]["keep"] == ["/etc/app"]
    assert len(evolve(former, upgrades=False).lines()) == 1
