"""How disks are divided, and what fits on them; over any size and any group."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terra_core.config.node import Firmware, Profile
from terra_core.install.facts import parse_table
from terra_core.install.layout import MB, divide, render_script
from terra_core.install.plan import make_plan
from terra_core.system.disks import ESP
from tests.unit.install.making import disk, found, group, node


@given(size=st.integers(min_value=0, max_value=2**50), firmware=st.sampled_from(Firmware), label=st.text("abc", min_size=1))
def test_partitions_lie_in_the_disk_and_never_overlap(size: int, firmware: Firmware, label: str) -> None:
    parts = divide(size, firmware, label)
    end = 1
    for number, part in enumerate(parts, 1):
        assert part.number == number
        assert part.start == end, "each begins where the one before ends, the first after the table"
        end = part.start + part.size
    data = parts[-1]
    assert data.size == 0 or end * MB <= size - MB, "the copy of the table keeps its place at the end"
    assert all(len(part.name) <= 36 for part in parts)


@settings(max_examples=500)
@given(data=st.data())
def test_a_plan_names_the_disks_of_its_file_and_no_others(data: st.DataObject) -> None:
    names = [f"/dev/sd{letter}" for letter in "abcdefghij"]
    kinds = st.sampled_from(Profile)
    system, storage = data.draw(kinds), data.draw(st.none() | kinds)
    wanted = [("os", system), *([("storage", storage)] if storage else [])]
    free = data.draw(st.permutations(names))
    groups, used = [], []
    for label, profile in wanted:
        count = data.draw(st.integers(profile.least_disks, profile.least_disks + 1))
        mine, free = free[:count], free[count:]
        used += mine
        boot = data.draw(st.sampled_from([{}, {"boot": "bios"}, {"boot": "uefi"}, {"boot": "both"}])) if label == "os" else {}
        groups.append(group(label, *mine, kind=profile.value, **boot))
    sizes = {name: data.draw(st.integers(400, 4096)) for name in used}
    there = found(*(disk(name, sizes[name], number=f"8:{at}") for at, name in enumerate(used)))
    plan = make_plan(node(*groups), there, 0)
    assert [target.device.name for target in plan.targets] == used
    boot_loader = plan.boot_loader()
    assert boot_loader is not None
    assert {str(one.device) for one in boot_loader.disks} == set(used[: len(plan.of_group("os"))])
    for target in plan.targets:
        assert bool(target.partitions) == (target.group == "os")
        assert 0 < target.capacity <= target.device.size
    json = plan.as_json()
    assert [one["device"] for one in json["disks"]] == used


def test_what_sfdisk_reads() -> None:
    script = render_script(divide(1024 * MB, Firmware.BIOS, "os"), 512)
    assert script.splitlines() == [
        "label: gpt",
        "unit: sectors",
        "",
        '1 : start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name="terra-bios"',
        '2 : start=4096, size=81920, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="terra-esp"',
        '3 : start=86016, size=2009088, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="terra-os"',
    ]
    assert "start=256, size=256" in render_script(divide(1024 * MB, Firmware.BIOS, "os"), 4096)


@pytest.mark.parametrize(("text", "kind"), [("", ""), ('{"partitiontable": {"label": "dos"}}', "dos")])
def test_tables_without_partitions(text: str, kind: str) -> None:
    assert parse_table(text) == (kind, ())


def test_the_efi_system_partition_of_large_sectors_has_the_clusters_that_fat32_has() -> None:
    (esp,) = (part for part in divide(1024 * MB, Firmware.UEFI, "os", 4096) if part.type == ESP)
    tables = 2 * 65525 * 4
    assert esp.size * MB >= 65525 * 4096 + tables + 32 * 4096
    (esp,) = (part for part in divide(1024 * MB, Firmware.UEFI, "os", 512) if part.type == ESP)
    assert esp.size == 256
