"""What each disk starts, one of which may be missing, broken, or without a place for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs import Bootloader, StartChoice
from terra_core.upgrade.starts import DiskStart, members_of, read_starts, write_starts
from terra_core.upgrade.trial import KERNEL_LINE, State, started_with, tried_by, without

SESSION = Session()


class Loader(Bootloader):
    """A boot loader that keeps choices in a dictionary; partitions of ``broken`` cannot be written."""

    def __init__(self, kept: dict[Path, StartChoice], broken: tuple[Path, ...] = ()) -> None:
        self.kept = kept
        self._broken = broken

    def read_choice(self, partition: Path, session: Session) -> StartChoice:
        """Return what is kept."""
        if partition not in self.kept:
            raise TerraError(f"{partition}: nothing is kept there")
        return self.kept[partition]

    def write_choice(self, partition: Path, choice: StartChoice, session: Session) -> bool:
        """Keep a choice."""
        if partition in self._broken:
            raise TerraError(f"{partition}: cannot be written: Input/output error")
        self.kept[partition] = choice
        return True


def disks(*names: str) -> list[DiskStart]:
    return [DiskStart(disk=Path(f"/dev/{name}"), partition=Path(f"/dev/{name}2")) for name in names]


def test_every_disk_is_written_and_the_one_that_cannot_be_is_named() -> None:
    first, second, third = (Path(f"/dev/{name}2") for name in ("sda", "sdb", "sdc"))
    loader = Loader({first: StartChoice(kept="os"), second: StartChoice(), third: StartChoice()}, broken=(second,))
    found = read_starts([*disks("sda", "sdb", "sdc", "sdd"), DiskStart(disk=Path("/dev/sde"))], loader, SESSION)
    assert [disk.choice for disk in found] == [StartChoice(kept="os"), StartChoice(), StartChoice(), None, None]
    written = write_starts(found, lambda choice: evolve(choice, once="os.1"), loader, SESSION)
    assert loader.kept == {first: StartChoice(kept="os", once="os.1"), second: StartChoice(), third: StartChoice(once="os.1")}
    told = State(running="os", disks=written)
    assert told.problems == (
        "/dev/sdb2: cannot be written: Input/output error",
        "/dev/sdd2: nothing is kept there",
        "/dev/sde: has no EFI system partition, where the boot loader keeps it",
    )
    assert (told.kept, told.once, told.tried, told.able) == (("os",), ("os.1",), (), True)


def test_a_machine_none_of_whose_disks_can_be_written() -> None:
    loader = Loader({Path("/dev/sda2"): StartChoice()}, broken=(Path("/dev/sda2"),))
    for given in (read_starts(disks("sda"), loader, SESSION), read_starts(disks("sdx"), loader, SESSION), ()):
        with pytest.raises(TerraError, match="cannot be written: ") as told:
            write_starts(given, lambda choice: evolve(choice, once="os.1"), loader, SESSION)
        assert told.value.hint == "choose a version in the boot menu by hand"


def test_disks_that_say_different_things() -> None:
    says = (StartChoice(kept="os.1"), StartChoice(once="os.1"), StartChoice(tried="os.2"))
    told = State(running="os", disks=tuple(DiskStart(disk=Path("/dev/sda"), choice=choice) for choice in says))
    assert (told.kept, told.once, told.tried) == (("os.1", "os"), ("os.1",), ("os.2",))
    assert without(StartChoice(kept="os", once="os.1", tried="os.2"), "os.1") == StartChoice(kept="os", tried="os.2")
    assert without(StartChoice(kept="os.1", tried="os.1"), "os.1") == StartChoice(kept="os.1")


@pytest.mark.parametrize(
    ("line", "version"),
    [("quiet terra.try=os.1 x\n", "os.1"), ("terra.try=os.12", "os.12"), ("xterra.try=os.1", ""), ("terra.try=", ""), ("", "")],
)
def test_the_word_of_a_try(line: str, version: str) -> None:
    assert tried_by(line) == version


def test_a_container_is_started_with_the_words_of_its_init(tmp_path: Path) -> None:
    container, init_line, other = tmp_path / "container", tmp_path / "cmdline", tmp_path / "line"
    init_line.write_bytes(b"/sbin/init\0version=os.1\0terra.try=os.1\0")
    other.write_text("boot=terra terra.try=os.2\n")
    assert started_with(KERNEL_LINE, container, init_line) == KERNEL_LINE.read_text(), "this is no container of systemd's"
    container.write_text("docker\n")
    assert tried_by(started_with(KERNEL_LINE, container, init_line)) == "os.1"
    assert tried_by(started_with(other, container, init_line)) == "os.2", "a line that is named counts"


def test_all_disks_of_a_file_system(tmp_path: Path) -> None:
    for name in ("sda3", "sdb3"):
        (tmp_path / "btrfs/uuid/devices" / name).mkdir(parents=True)
    assert members_of("uuid", "sda3", tmp_path) == ["sda3", "sdb3"]
    assert members_of("other", "vda3", tmp_path) == ["vda3"]
    assert members_of("", "vda3", tmp_path) == ["vda3"]
