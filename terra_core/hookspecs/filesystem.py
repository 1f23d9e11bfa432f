"""The role ``filesystem``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import frozen

from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.hookspecs.markers import hookspec


@frozen(kw_only=True)
class Mount:
    """A part of a group, and where it belongs in the machine.

    :param path: where the machine mounts it, ``/`` for its root.
    :param device: the device to mount here and now.
    :param filesystem: the type, for mount(8).
    :param options: mount options, for both here and the machine.
    :param source: what the machine's fstab(5) names as its source.
    """

    path: str
    device: Path
    filesystem: str
    options: tuple[str, ...]
    source: str


@frozen(kw_only=True)
class PreparedGroup:
    """A formatted group.

    :param mounts: all of its mounts; core makes them, parents before children.
    :param kernel_arguments: what the kernel line needs to find the root, for the group of the operating system.
    """

    mounts: tuple[Mount, ...]
    kernel_arguments: tuple[str, ...] = ()


class Filesystem:
    """Role ``filesystem``: disk groups."""

    @hookspec(firstresult=True)
    def check_disks(self, group: DiskGroup, sizes: Sequence[int], session: Session) -> Sequence[str] | None:
        """Say whether :meth:`prepare_disks` can do what ``group`` says, before anything is written to any disk.

        :param sizes: the disks' sizes in bytes, in the order of ``group.disk``.
        :returns: what a user should know before; nothing is fine.
        :raises TerraError: when a disk is too small, or a program is missing on this machine.
        """

    @hookspec(firstresult=True)
    def prepare_disks(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup] | None:
        """Offer to format ``devices`` as ``group`` says.

        Called once a group, after every check and before the image is applied. Touch no device here: the work starts when core
        enters the context, and leaving it must leave nothing mounted and no loop device attached.

        :param group: the validated ``[[groups]]`` entry.
        :param devices: block devices or image files, in the order of ``group.disk``.
        :param work: an empty directory for mounts of the plugin's own; it is gone when the context has been left.
        :raises TerraError: naming the device, with the tool's own message.
        """

    @hookspec(firstresult=True)
    def verify_disks(self, group: DiskGroup, place: Path, session: Session) -> bool | None:
        """Make sure that every disk of a prepared group has taken what was written to it.

        Called while the group is mounted, when all of it has been synchronised (syncfs(2)), which says nothing of a disk that
        failed as long as the others of its group can stand in for it.

        :param place: where one of the group's mounts is.
        :returns: ``True``.
        :raises TerraError: naming the disk.
        """

    @hookspec(firstresult=True)
    def renew_disk(self, devices: Sequence[Path], session: Session) -> bool | None:
        """Give the file system on copies of another group's disks an identity of its own, so that both can be mounted at once.

        :param devices: image files, in the order of the group's disks; none is mounted.
        :returns: whether anything was changed.
        """
