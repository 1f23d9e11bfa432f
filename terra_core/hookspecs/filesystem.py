"""The role ``filesystem``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import frozen

from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.hookspecs.machine import BootStep
from terra_core.hookspecs.markers import Role, hook


@frozen(kw_only=True)
class CheckedGroup:
    """What a filesystem plugin makes of a group, before anything is written.

    :param capacity: how many bytes of files fit, before the file system takes its share.
    :param type: the type of the file system, as mount(8) has it, for a boot loader that has to read it; empty when unknown.
    :param notes: what a user should know.
    """

    capacity: int
    type: str = ""
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class Mount:
    """A part of a group, and where it belongs in the machine.

    :param path: where the machine mounts it, ``/`` for its root.
    :param device: the device to mount here and now.
    :param filesystem: the type, for mount(8).
    :param options: mount options, for both here and the machine.
    :param source: what the machine's fstab(5) names as its source.
    :param bound: the path in the machine of a directory that is mounted at ``path`` in place of a device, with its options
        (``mount --bind``); it is made where it is not there. Empty for a mount of the device.
    """

    path: str
    device: Path
    filesystem: str
    options: tuple[str, ...] = ()
    source: str
    bound: str = ""


@frozen(kw_only=True)
class PreparedGroup:
    """A formatted group.

    :param mounts: all of its mounts; core makes them, parents before children, and a directory's before it is bound.
    :param kernel_arguments: what the kernel line needs in order to find the root, for the group of the operating system.
    :param directories: paths of the machine's root that have to be directories when the image has been laid down, such as of
        subvolumes where these are nothing else.
    :param root: the path of the machine's root within its file system, for a boot loader, without a leading slash.
    """

    mounts: tuple[Mount, ...]
    kernel_arguments: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    root: str = ""


class Filesystem(Role):
    """Role ``filesystem``: disk groups. Hooks are called from several threads at once, each for a group of its own."""

    role = "filesystem"
    default = "btrfs"

    @hook
    def check_disks(self, group: DiskGroup, sizes: Sequence[int], session: Session) -> CheckedGroup:
        """Check that :meth:`prepare_disks` can do what ``group`` says, before anything is written to any disk.

        :param group: the validated ``[[groups]]`` entry.
        :param sizes: the disks' sizes in bytes, in the order of ``group.disk``.
        :raises TerraError: when a disk is too small, a program is missing on this machine, or the plugin cannot do what the
            group asks for, such as a RAID profile.
        """

    @hook
    def mount_root(self, group: DiskGroup, session: Session) -> BootStep:
        """Return what a machine needs in order to mount its root. Called before anything is written; change nothing.

        What the kernel line has to say, such as the UUID of a file system, is for :meth:`prepare_disks`.

        :param group: the group of the operating system.
        """

    @hook
    def prepare_disks(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup]:
        """Offer to format ``devices`` as ``group`` says.

        Called once a group, after every check and before the image is applied. Touch no device here: the work starts when core
        enters the context, and leaving it must leave nothing mounted and no loop device attached.

        :param devices: block devices or image files, in the order of ``group.disk``.
        :param work: an empty directory for mounts of the plugin's own; it is gone when the context has been left.
        :raises TerraError: naming the device, with the tool's own message.
        """

    @hook
    def verify_disks(self, group: DiskGroup, place: Path, session: Session) -> bool:
        """Make sure that every disk of a prepared group has taken what was written to it.

        Called while the group is mounted, when all of it has been synchronised (syncfs(2)), which says nothing of a disk that
        failed as long as the others of its group can stand in for it.

        :param place: where one of the group's mounts is.
        :returns: ``True``.
        :raises TerraError: naming the disk.
        """
