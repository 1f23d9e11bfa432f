"""node.toml: one machine, its image and its disks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

from attrs import Factory, evolve, field, frozen

from terra_core.config.kernel_line import KernelArgument
from terra_core.config.structure import MISSING, Problem, has, known, too_many
from terra_core.config.trust import SentTrust, Trust
from terra_core.config.values import (
    Compression,
    DevicePath,
    Duration,
    Hostname,
    ImageReference,
    Label,
    Mac,
    MountOption,
    MountPath,
    PluginName,
    Size,
    shown,
)

OS_LABEL = Label("os")
"""The label of the group that holds the operating system, and the name of the subvolume that is its root."""
OWN = ".terra"
"""The directory beside the roots of that group that is Terra's own; no boot menu lists what is in it."""

_NEEDED_FIRST = frozenset({"bin", "boot", "etc", "lib", "lib32", "lib64", "libexec", "libx32", "sbin"})
_KERNELS = frozenset({"dev", "proc", "run", "sys"})
_OF_IMAGES = frozenset({"usr", "usr/include", "usr/share", "lib/modules", "usr/lib/modules", "usr/lib/systemd"}) | {
    f"{above}{name}" for name in _NEEDED_FIRST - {"etc"} for above in ("", "usr/")
}
"""Directories that are no machine's own as a whole."""
_TERRAS = "usr/lib/terra"

_LEAST_DISKS = {"single": 1, "raid0": 2, "raid1": 2, "raid1c3": 3, "raid1c4": 4, "raid5": 3, "raid6": 4, "raid10": 4}


_MOST_KEPT, _MOST_WORDS, _LONGEST_WORD = 256, 64, 4096
_TRIAL = range(30, 86401)
"""How long a version may be on trial, in seconds."""
_VERSIONS = range(2, 65)
_MOST_GROUPS, _MOST_DISKS, _MOST_SUBVOLUMES, _MOST_OPTIONS, _MOST_ARGUMENTS = 64, 64, 256, 32, 64
"""Limits above those of any machine, and low enough to keep every check fast."""


class Profile(Enum):
    """How a group's data lies on its disks: RAID levels, and how many copies there are."""

    SINGLE = "single"
    RAID0 = "raid0"
    RAID1 = "raid1"
    RAID1C3 = "raid1c3"
    RAID1C4 = "raid1c4"
    RAID5 = "raid5"
    RAID6 = "raid6"
    RAID10 = "raid10"

    @property
    def least_disks(self) -> int:
        """The number of disks below which the profile gives nothing over a lesser one."""
        return _LEAST_DISKS[self.value]


class Stage(Enum):
    """When a group is mounted: before the system's own init, or by it."""

    STAGE0 = "stage0"
    STAGE1 = "stage1"

    @property
    def number(self) -> int:
        """The stage as the controller's JSON gives it."""
        return int(self.value[-1])


class Allocation(Enum):
    """When a disk that Terra makes takes its room from the store: as it is written to, or all of it at once."""

    THIN = "thin"
    FULL = "full"


class Firmware(Enum):
    """What starts the boot loader of an installed machine."""

    BIOS = "bios"
    UEFI = "uefi"
    BOTH = "both"

    @property
    def bios(self) -> bool:
        """Whether a BIOS can start it."""
        return self is not Firmware.UEFI

    @property
    def uefi(self) -> bool:
        """Whether UEFI firmware can start it."""
        return self is not Firmware.BIOS


@frozen(kw_only=True)
class Disk:
    """``[[groups.disk]]``.

    :param device: the disk in the machine.
    :param size: its size in MB of 1024 * 1024 bytes, or such as "128GiB"; needed where Terra makes the disk itself.
    :param allocation: when a disk that Terra makes takes its room; as the table of the store plugin says when left out.
    """

    device: DevicePath
    size: Size | None = None
    allocation: Allocation | None = None


@frozen(kw_only=True)
class Subvolume:
    """``[[groups.subvolumes]]``.

    :param name: its name at the top of the file system.
    :param path: where it is mounted in the machine.
    """

    name: Label
    path: MountPath


@frozen(kw_only=True)
class DiskGroup:
    """``[[groups]]``: one file system over one or more disks.

    :param label: its file system label; ``os`` is the one with the operating system.
    :param type: how data lies on the disks.
    :param stage: when it is mounted.
    :param mbr: whether the disks get a boot loader for BIOS machines, also where the group is on partitions that were there.
    :param boot: the firmware that an installed machine starts by; both on whole disks when left out.
    :param filesystem: the filesystem plugin of this group, where it is not the one of the file.
    :param compression: how its files are compressed; as the filesystem plugin's own table says when left out.
    :param options: further mount options of all that it mounts.
    :param disk: its disks, in order.
    :param subvolumes: its subvolumes besides the root.
    """

    label: Label
    type: Profile = Profile.SINGLE
    stage: Stage = Stage.STAGE1
    mbr: bool = False
    boot: Firmware | None = None
    filesystem: PluginName | None = None
    compression: Compression | None = None
    options: tuple[MountOption, ...] = ()
    disk: tuple[Disk, ...]
    subvolumes: tuple[Subvolume, ...] = ()

    @property
    def may_grow(self) -> bool:
        """Whether Terra makes its disks, which may be larger one day."""
        return any(disk.size is not None for disk in self.disk)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        for name, most in (("options", _MOST_OPTIONS), ("disk", _MOST_DISKS), ("subvolumes", _MOST_SUBVOLUMES)):
            yield from too_many(name, getattr(self, name, ()), most)
        if has(self, "disk", "type") and len(self.disk) < self.type.least_disks:
            yield Problem("disk", f"{self.type.value} needs at least {self.type.least_disks} disks, got {len(self.disk)}")
        if has(self, "label", "subvolumes") and self.label == OS_LABEL:
            for at in (at for at, name in known(self.subvolumes, "name") if name == OS_LABEL):
                text = f'"{OS_LABEL}" is the subvolume of the system itself; choose another name'
                yield Problem(f"subvolumes[{at}].name", text)
        for at, path in known(self.subvolumes if has(self, "subvolumes") else (), "path"):
            if is_needed_first(path):
                yield Problem(f"subvolumes[{at}].path", f"{path} has to be there before the machine mounts a subvolume")
        if has(self, "mbr", "boot") and self.mbr and self.boot is Firmware.UEFI:
            yield Problem("boot", 'is "uefi", and mbr = true asks for a boot loader for a BIOS: leave one out, or say "both"')
        if has(self, "label", "boot") and self.boot is not None and self.label != OS_LABEL:
            yield Problem("boot", f'only the group "{OS_LABEL}" is booted from')


@frozen(kw_only=True)
class Upgrades:
    """``[upgrade]``.

    :param keep: files and directories outside of subvolumes that the next version takes over as they are on the machine.
    :param check: a program of the machine with its arguments, which says of a version on trial whether it works: by its exit
        code, 0 for yes. No shell reads it.
    :param timeout: how long after its start a version on trial may take to be healthy, the check included.
    :param versions: how many versions that upgrades made the disks hold, the one that was installed among them.
    """

    keep: tuple[MountPath, ...] = ()
    check: tuple[str, ...] = ()
    timeout: Duration = Duration(600)
    versions: int = 2

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        yield from too_many("keep", getattr(self, "keep", ()), _MOST_KEPT)
        check: tuple[str, ...] = getattr(self, "check", ())
        yield from too_many("check", check, _MOST_WORDS)
        if check and not check[0].startswith("/"):
            yield Problem("check[0]", f'expected the path of a program, such as "/usr/local/bin/check", got {shown(check[0])}')
        for at, word in enumerate(check[:_MOST_WORDS]):
            if "\0" in word or len(word) > _LONGEST_WORD:
                text = f"expected at most {_LONGEST_WORD} characters, none of them NUL, got {shown(word)}"
                yield Problem(f"check[{at}]", text)
        if has(self, "timeout") and self.timeout not in _TRIAL:
            yield Problem("timeout", f'expected "{_TRIAL[0]}s" to "1d", got {self.timeout} seconds')
        if has(self, "versions") and self.versions not in _VERSIONS:
            expected = f"a number from {_VERSIONS[0]} to {_VERSIONS[-1]}: the version that runs, and the next one"
            yield Problem("versions", f"expected {expected}, got {shown(self.versions)}")

    @property
    def kept(self) -> tuple[MountPath, ...]:
        """What the next version takes over: all of :attr:`keep` but what can be no machine's own."""
        return tuple(path for path in self.keep if not why_not_kept(path))

    def refused(self) -> Iterator[Problem]:
        """Yield what :attr:`keep` names and can be no machine's own; a file that an earlier Terra took may have it."""
        for at, path in enumerate(self.keep):
            if why := why_not_kept(path):
                yield Problem(f"upgrade.keep[{at}]", f"{path} {why}")


@frozen(kw_only=True)
class Node:
    """node.toml.

    :param hostname: the machine's name.
    :param image: the image that it runs, such as ``terra create --push`` made.
    :param mac: the address of the interface it boots from, in any usual spelling; needed for provisioning.
    :param host: the host that is to have its disks, where a controller has several with stores of their own; one is chosen when
        left out.
    :param groups: its file systems, one of them labelled ``os``: the system.
    :param kernel_arguments: further words of its kernel line, beside those of every machine.
    :param trust: whose images it runs; anybody's when left out.
    :param upgrade: what ``terra upgrade`` takes over.
    :param plugins: the plugin of each role, where it is not the default.
    """

    hostname: Hostname
    image: ImageReference
    mac: Mac | None = None
    host: Hostname | None = None
    groups: tuple[DiskGroup, ...]
    kernel_arguments: tuple[KernelArgument, ...] = ()
    trust: Trust | None = None
    upgrade: Upgrades = Upgrades()
    plugins: Mapping[str, PluginName] = Factory(dict)

    @property
    def os_group(self) -> DiskGroup:
        """The group that holds the operating system."""
        return next(group for group in self.groups if group.label == OS_LABEL)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        yield from too_many("groups", self.groups, _MOST_GROUPS)
        yield from too_many("kernel_arguments", getattr(self, "kernel_arguments", ()), _MOST_ARGUMENTS)
        labels = {f"groups[{at}].label": label for at, label in known(self.groups, "label")}
        if OS_LABEL not in labels.values() and len(labels) == len(self.groups):
            yield Problem("groups", f'one group must be labelled "{OS_LABEL}", for the operating system')
        yield from _twice(labels)
        yield from _twice(self._within_groups("disk", "device"))
        for at, group in enumerate(self.groups):
            yield from _twice(_within(group, f"groups[{at}].", "subvolumes", "name"))
        yield from _twice(self._within_groups("subvolumes", "path"))

    def _within_groups(self, items: str, name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for at, group in enumerate(self.groups):
            found |= _within(group, f"groups[{at}].", items, name)
        return found


@frozen(kw_only=True)
class NetworkDisk(Disk):
    """``[[groups.disk]]`` of a machine whose disks Terra makes."""

    size: Size = field(metadata={MISSING: "is required for provisioning: the size of the disk in MB"})


@frozen(kw_only=True)
class NetworkGroup(DiskGroup):
    """``[[groups]]`` of a machine whose disks Terra makes."""

    disk: tuple[NetworkDisk, ...]


@frozen(kw_only=True)
class NetworkNode(Node):
    """node.toml of a machine that a controller gives its disks to."""

    mac: Mac = field(
        metadata={
            MISSING: 'is required for provisioning: the MAC address that the machine boots from, as "54:b2:03:07:f1:d1"'
        }
    )
    groups: tuple[NetworkGroup, ...]

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        yield from super().problems()
        if has(self, "upgrade") and evolve(self.upgrade, keep=(), check=()) != Upgrades():
            only = "only keep and check count for a machine that has its disks from a controller"
            text = f"{only}: leave timeout and versions out; controller.toml has a timeout in its own [upgrade]"
            yield Problem("upgrade", text)


@frozen(kw_only=True)
class SentNode(NetworkNode):
    """node.toml as a client sends it: nothing in it is read as a path of the server's."""

    trust: SentTrust | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields, and what no new file may say."""
        yield from super().problems()
        if has(self, "upgrade"):
            yield from self.upgrade.refused()


def _within(group: object, path: str, items: str, name: str) -> dict[str, str]:
    return {f"{path}{items}[{number}].{name}": value for number, value in known(getattr(group, items, ()), name)}


def is_needed_first(path: str) -> bool:
    """Return whether a path has to exist before a machine mounts its subvolumes.

    The firmware's boot loader reads /boot, the initial RAM disk and init itself read programs, libraries, units and fstab: a
    subvolume that is mounted there later hides what the machine starts by, and shows it when nobody needs it any more.
    """
    first, *rest = path.strip("/").split("/")
    if first == "usr":
        return not rest or rest[0] in _NEEDED_FIRST
    return first in _NEEDED_FIRST | _KERNELS


def why_not_kept(path: str) -> str:
    """Return why a version cannot take a path over from the former one, in words; empty when it can.

    :param path: an absolute path.
    """
    place = path.strip("/")
    if place.split("/")[0] in _KERNELS:
        return "is made anew at each start, so that nothing of it can be kept"
    if f"{place}/".startswith(f"{_TERRAS}/"):
        return "is Terra's own, and made for each version"
    if place in _OF_IMAGES:
        return "is what an image is made of: a version that keeps it would be the former one; name what is yours in it"
    return ""


def _twice(places: Mapping[str, str]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for path, value in places.items():
        if first.setdefault(value, path) != path:
            yield Problem(path, f"{shown(value)} stands at {first[value]} already")
