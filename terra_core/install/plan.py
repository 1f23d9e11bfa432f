"""What an installation will do to each disk, or why it is refused; a pure function of what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import Factory, evolve, frozen

from terra_core.config.node import OS_LABEL, DiskGroup, Firmware, Node
from terra_core.errors import TerraError
from terra_core.hookspecs import BootDisk, LocalBoot
from terra_core.install.facts import Device, Missing, Parent
from terra_core.install.former import Former
from terra_core.install.layout import LINUX, MB, Partition, divide
from terra_core.system.disks import ESP, Signature, in_words

_PARTITIONABLE = frozenset({"disk", "loop"})
_LEAST_MB = 64
_UNPACKED = 4
"""How much room an image takes for each byte in the registry, as a rule: packed while it comes, and unpacked."""


NOTHING_WRITTEN = "nothing was written to any disk"


class RefusedError(TerraError):
    """An installation that is not begun: nothing was written to any disk."""


@frozen(kw_only=True)
class Target:
    """A disk or partition, and what is done to it.

    :param device: as it was found.
    :param group: the label of the group that it is for.
    :param partitions: the partitions it gets; none when it is used as it is.
    :param removed: the signatures that are removed from it.
    :param core_area: where a boot loader for a BIOS goes on its disk, when that has its partitions already.
    """

    device: Device
    group: str
    partitions: tuple[Partition, ...] = ()
    removed: tuple[Signature, ...] = ()
    core_area: tuple[int, int] | None = None

    @property
    def data(self) -> Partition | None:
        """The partition for the group's file system; ``None`` when that has the whole device."""
        return next((part for part in self.partitions if part.type == LINUX), None)

    @property
    def capacity(self) -> int:
        """The size of the group's file system on it, in bytes."""
        return self.data.size * MB if self.data else self.device.size

    @property
    def boot_disk(self) -> BootDisk | None:
        """The way a machine starts from it, as far as that is known before it is partitioned."""
        parent = self.device.parent
        if parent is not None and self.core_area is not None:
            start, length = self.core_area
            return BootDisk(device=parent.path, core_sector=start, core_sectors=length)
        if not self.partitions:
            return None
        each = MB // self.device.sector_size
        bios = next((part for part in self.partitions if part.type not in (LINUX, ESP)), None)
        esp = next((part for part in self.partitions if part.type == ESP), None)
        return BootDisk(
            device=self.device.path,
            core_sector=bios.start * each if bios else None,
            core_sectors=bios.size * each if bios else 0,
            sector_size=self.device.sector_size,
            esp_number=esp.number if esp else 0,
        )


@frozen(kw_only=True)
class Plan:
    """What an installation will do.

    :param node: node.toml.
    :param image_bytes: the size of the image's layers as the registry has them, in bytes.
    :param targets: every disk, in the order of node.toml.
    :param firmware: what starts the machine; ``None`` when the group of the operating system gets no boot loader.
    :param notes: what a user should know.
    :param capacities: what fits in each group, in bytes, by its label; empty before the filesystem plugins were asked.
    :param former: the machines that are on the disks now, and will be lost.
    """

    node: Node
    image_bytes: int
    targets: tuple[Target, ...]
    firmware: Firmware | None
    notes: tuple[str, ...] = ()
    capacities: Mapping[str, int] = Factory(dict)
    former: tuple[Former, ...] = ()

    def of_group(self, label: str) -> tuple[Target, ...]:
        """Return the disks of a group, in its order."""
        return tuple(target for target in self.targets if target.group == label)

    def boot_loader(self) -> LocalBoot | None:
        """Return the request to the boot loader's plugin; ``None`` when no boot loader is wanted."""
        if self.firmware is None:
            return None
        disks = {disk.device: disk for target in self.of_group(OS_LABEL) if (disk := target.boot_disk)}
        return LocalBoot(hostname=self.node.hostname, disks=tuple(disks.values()), firmware=self.firmware)

    def measured(self, capacities: Mapping[str, int], notes: Sequence[str] = ()) -> Plan:
        """Return the plan with what the filesystem plugins make of the groups.

        :param capacities: what fits in each group, in bytes, by its label.
        :param notes: what a user should know besides.
        :raises RefusedError: when the image has no room.
        """
        room = capacities[OS_LABEL]
        if room < self.image_bytes:
            names = ", ".join(target.device.name for target in self.of_group(OS_LABEL))
            problem = (
                f"{names}: the group {OS_LABEL!r} has room for {room / MB:.0f} MB, and the image {self.node.image} has "
                f"{self.image_bytes / MB:.0f} MB before it is unpacked"
            )
            raise RefusedError(f"{problem}\n{NOTHING_WRITTEN}")
        crowded = room < _UNPACKED * self.image_bytes
        warning = [f"the image has {self.image_bytes // MB} MB before it is unpacked: it may not fit"] if crowded else []
        return evolve(self, capacities=capacities, notes=(*self.notes, *notes, *warning))

    def as_json(self) -> dict[str, Any]:
        """Return the plan as ``terra-install --plan --json`` prints it."""
        return {
            "hostname": self.node.hostname,
            "image": str(self.node.image),
            "image_bytes": self.image_bytes,
            "boot": self.firmware.value if self.firmware else None,
            "disks": [_target_json(target) for target in self.targets],
            "groups": [self._group_json(group) for group in self.node.groups],
            "former": [one.as_json() for one in self.former],
            "notes": list(self.notes),
        }

    def _group_json(self, group: DiskGroup) -> dict[str, Any]:
        mounts = [{"subvolume": OS_LABEL, "path": "/"}] if group.label == OS_LABEL else []
        return {
            "label": group.label,
            "type": group.type.value,
            "capacity": self.capacities.get(group.label),
            "compression": group.compression,
            "options": list(group.options),
            "mounts": mounts + [{"subvolume": one.name, "path": one.path} for one in group.subvolumes],
        }


def make_plan(
    node: Node,
    found: Mapping[str, Device | Missing],
    image_bytes: int,
    *,
    wipe: bool = False,
    begun: Mapping[str, Sequence[Signature]] | None = None,
    former: Sequence[Former] = (),
) -> Plan:
    """Plan what is done to every disk.

    :param node: a file without problems.
    :param found: every device of it, by its name there.
    :param image_bytes: the size of the image's layers as the registry has them.
    :param wipe: whether what is on the disks may go.
    :param begun: devices that an unfinished installation has written to, by number, with what was on them.
    :param former: the machines that are on the disks.
    :raises RefusedError: with every reason why nothing may be written.
    """
    problems = [f"{one.name}: {one.problem}" for one in found.values() if isinstance(one, Missing)]
    devices = {name: one for name, one in found.items() if isinstance(one, Device)}
    problems += _twice(devices)
    problems += _mixed(node.os_group, devices)
    firmware = _firmware(node.os_group, devices)
    targets = []
    for group in node.groups:
        for device in [devices[disk.device] for disk in group.disk if disk.device in devices]:
            problems += _unusable(device)
            target = _target(device, group, firmware)
            problems += _unbootable(target, group, firmware)
            targets.append(target)
    foreign = [] if wipe else [text for target in targets for text in _foreign(target, firmware, begun or {})]
    notes = _notes(node, firmware)
    plan = Plan(
        node=node, image_bytes=image_bytes, targets=tuple(targets), firmware=firmware, notes=notes, former=tuple(former)
    )
    if not problems and not foreign:
        problems += _too_small(plan)
    if problems or foreign:
        hint = "if nothing on it is needed, let it go with --wipe" if foreign and not problems else ""
        lost = [line for one in former for line in one.lines()]
        raise RefusedError("\n".join([*problems, *foreign, *lost, NOTHING_WRITTEN]), hint=hint)
    return plan


def _firmware(group: DiskGroup, devices: Mapping[str, Device]) -> Firmware | None:
    found = [devices[disk.device] for disk in group.disk if disk.device in devices]
    if any(device.parent for device in found):
        return group.boot or (Firmware.BIOS if group.mbr else None)
    if group.boot is None and not group.mbr and any(device.sector_size != 512 for device in found):
        return Firmware.UEFI  # a BIOS knows sectors of 512 bytes alone
    return group.boot or Firmware.BOTH


def _target(device: Device, group: DiskGroup, firmware: Firmware | None) -> Target:
    if group.label != OS_LABEL:
        return Target(device=device, group=group.label, removed=device.signatures)
    if device.parent is not None:
        area = device.parent.core_area() if firmware and firmware.bios else None
        return Target(device=device, group=group.label, removed=device.signatures, core_area=area)
    partitions = divide(device.size, firmware or Firmware.BOTH, group.label, device.sector_size)
    return Target(device=device, group=group.label, partitions=partitions, removed=device.signatures)


def _twice(devices: Mapping[str, Device]) -> Iterator[str]:
    first: dict[str, Device] = {}
    for device in devices.values():
        other = first.setdefault(device.number, device)
        if other is not device:
            yield f"{device.name}: is the same disk as {other.name}"
    for device in devices.values():
        if device.parent is not None and device.parent.number in first:
            yield f"{device.name}: is a partition of {first[device.parent.number].name}, which is named too"


def _mixed(group: DiskGroup, devices: Mapping[str, Device]) -> Iterator[str]:
    kinds = {device.parent is None for disk in group.disk if (device := devices.get(disk.device))}
    if len(kinds) > 1:
        yield f"the group {group.label!r} has both whole disks and partitions: name one kind"


def _unusable(device: Device) -> Iterator[str]:
    if device.use:
        yield f"{device.name}: {device.use}"
    if device.read_only:
        yield f"{device.name}: can only be read"


def _unbootable(target: Target, group: DiskGroup, firmware: Firmware | None) -> Iterator[str]:
    device = target.device
    if group.label != OS_LABEL:
        return
    if device.parent is not None:
        yield from _unbootable_partition(device, device.parent, firmware)
    elif device.kind not in _PARTITIONABLE:
        yield f"{device.name}: is of the kind {device.kind!r}, and the operating system needs a disk or a partition"
    elif firmware and firmware.bios and device.sector_size != 512:
        how = 'boot = "uefi" in place of mbr = true' if group.mbr else 'boot = "uefi"'
        yield f"{device.name}: has sectors of {device.sector_size} bytes, which no BIOS starts from: say {how}"


def _unbootable_partition(device: Device, parent: Parent, firmware: Firmware | None) -> Iterator[str]:
    if firmware and firmware.uefi:
        yield (
            f"{device.name}: is a partition, and Terra writes to no EFI system partition that it has not made: "
            f"name the whole disk {parent.path}, or leave boot out"
        )
    elif firmware and parent.core_area() is None:
        yield (
            f"{device.name}: there is no place for a boot loader on {parent.path}: it needs a BIOS boot partition (GPT), or a "
            "gap of 1 MiB before the first partition (DOS)"
        )


def _foreign(target: Target, firmware: Firmware | None, begun: Mapping[str, Sequence[Signature]]) -> Iterator[str]:
    device = target.device
    before = begun.get(device.number)
    strange = [one for one in device.signatures if before is None or not _own(one, target.group, before)]
    if strange:
        yield f"{device.name}: is not blank: it holds {in_words(strange)}"
    if target.core_area and device.parent and device.parent.boot_code and before is None:
        yield f"{device.name}: its disk {device.parent.path} holds a boot loader, which Terra's would replace"


def _own(signature: Signature, group: str, before: Sequence[Signature]) -> bool:
    """Return whether a signature is one that an unfinished installation was about to remove, or has made."""
    known = {(one.kind, one.label) for one in before}
    return signature.table or signature.label == group or (signature.kind, signature.label) in known


def _too_small(plan: Plan) -> Iterator[str]:
    for target in plan.targets:
        if target.capacity < _LEAST_MB * MB:
            yield f"{target.device.name}: has {target.device.size / MB:g} MB, and too little of it would be left for data"
            return


def _notes(node: Node, firmware: Firmware | None) -> tuple[str, ...]:
    notes = []
    if firmware is None:
        notes.append(f"no boot loader is written: the group {OS_LABEL!r} is on partitions, and mbr = true is not given")
    ignored = [group.label for group in node.groups if group.mbr and group.label != OS_LABEL]
    if ignored:
        notes.append(f"mbr = true has no meaning for {', '.join(ignored)}: a machine starts from the group {OS_LABEL!r}")
    return tuple(notes)


def _target_json(target: Target) -> dict[str, Any]:
    device = target.device
    return {
        "device": device.name,
        "path": str(device.path),
        "model": device.model,
        "serial": device.serial,
        "size": device.size,
        "found": list(dict.fromkeys(str(one) for one in device.signatures)),
        "group": target.group,
        "becomes": becomes(target),
        "partitions": [
            {"number": part.number, "name": part.name, "type": part.type, "start": part.start * MB, "size": part.size * MB}
            for part in target.partitions
        ],
        "boot": {"disk": str(device.parent.path), "sector": target.core_area[0], "sectors": target.core_area[1]}
        if target.core_area and device.parent
        else None,
    }


def becomes(target: Target) -> str:
    """Return in a few words what is made of a disk."""
    if target.partitions:
        return "new GPT: " + ", ".join(f"{part.name} {part.size} MB" for part in target.partitions)
    what = "this partition" if target.device.parent else "the whole disk"
    return f"{target.group} on {what}"
