"""Writing to disks: what a plan says, to the very disks that it was made for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from terra_core.errors import TerraError
from terra_core.install.facts import Device
from terra_core.install.journal import Journal
from terra_core.install.layout import render_script
from terra_core.install.plan import Plan, RefusedError, Target
from terra_core.install.probe import sequence_of
from terra_core.system.disks import ESP, held, read_attribute, signatures_of
from terra_core.system.process import run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

_ROUNDS = 16
_TABLE_SECONDS = 120
_NODE_SECONDS = 30
_UDEV = Path("/run/udev/control")


@frozen
class Made:
    """A target that is ready for its file system.

    :param target: the target.
    :param data: the block device for the group's file system.
    :param esp: the block device of its EFI system partition, if it has one.
    """

    target: Target
    data: Path
    esp: Path | None


def clear(plan: Plan, journal: Journal) -> None:
    """Remove every signature from every disk of the plan, after looking at all of them again.

    All disks are held open from the second look to the last write, so that they stay the same disks, and nobody begins to use
    one meanwhile.

    :raises RefusedError: when one is in use now, or is not what it was; nothing was written then.
    """
    with Undo() as stack:
        opened = [(target, stack.enter_context(held(target.device.path, writing=True))) for target in plan.targets]
        for target, descriptor in opened:
            _expect_same(target.device, descriptor)
        for target, descriptor in opened:
            journal.begin(target.device, plan.node.hostname)
            _remove_signatures(target.device, descriptor)


def partition(target: Target) -> Made:
    """Divide a disk as the plan says, and give the devices of its partitions; a disk without partitions is used as it is.

    :raises TerraError: naming the disk, with what sfdisk(8) said.
    """
    device = target.device
    if device.parent is None:  # the kernel may still have partitions of the former table
        run(["partx", "--delete", device.path], accept=range(256))
    if not target.partitions:
        return Made(target, device.path, None)
    script = render_script(target.partitions, device.sector_size).encode()
    # As long as a process has the disk open, the kernel caches what it read from it, which writes to its partitions have
    # not changed: sfdisk would not see what it has to remove from the new ones.
    run(["blockdev", "--flushbufs", device.path])
    options = ["--quiet", "--wipe", "always", "--wipe-partitions", "always"]
    run(["sfdisk", *options, device.path], stdin=script, timeout=_TABLE_SECONDS)
    nodes = {part.number: part_device(device.path, part.number) for part in target.partitions}
    data = next(nodes[part.number] for part in target.partitions if part is target.data)
    return Made(target, data, next((nodes[part.number] for part in target.partitions if part.type == ESP), None))


def part_device(disk: Path, number: int) -> Path:
    """Return the block device of a partition, once the kernel and udev have made it.

    :raises TerraError: when they do not.
    """
    run(["partx", "--update", disk], accept=range(256))  # it fails when the kernel has read the table already
    if _UDEV.exists():
        run(["udevadm", "settle", f"--timeout={_NODE_SECONDS}"], timeout=_NODE_SECONDS + 5, accept=range(256))

    def node() -> Path | None:
        for entry in (Path("/sys/class/block") / disk.name).glob("*/partition"):
            if read_attribute(f"{disk.name}/{entry.parent.name}", "partition") == str(number):
                path = Path("/dev") / entry.parent.name
                return path if path.is_block_device() else None
        return None

    return wait_until(node, seconds=_NODE_SECONDS, what=f"the kernel to know partition {number} of {disk}")


def flush(devices: Sequence[Path]) -> None:
    """Flush everything that was written to these block devices."""
    for device in devices:
        run(["sync", device], timeout=_TABLE_SECONDS)


def _expect_same(device: Device, descriptor: int) -> None:
    status = os.fstat(descriptor)
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    size = os.lseek(descriptor, 0, os.SEEK_END)
    same = (number, size, sequence_of(device.path)) == (device.number, device.size, device.sequence)
    if not same or signatures_of(device.path) != device.signatures:
        raise RefusedError(
            f"{device.name}: is not what it was when the plan was made; nothing was written to any disk",
            hint="look at it, and start again",
        )


def _remove_signatures(device: Device, descriptor: int) -> None:
    """Again and again, because one signature can hide another."""
    for _ in range(_ROUNDS):
        found = signatures_of(device.path)
        if not found:
            return
        for signature in found:
            os.pwrite(descriptor, bytes(max(signature.length, 1)), signature.offset)
        os.fsync(descriptor)
    raise TerraError(f"{device.name}: its signatures cannot be removed: it may be write-protected, or broken")
