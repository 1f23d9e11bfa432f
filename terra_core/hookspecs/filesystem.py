"""The role ``filesystem``."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from attrs import frozen

from terra_core.config.node import OS_LABEL, DiskGroup
from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs.machine import BootStep
from terra_core.hookspecs.markers import Role, hook, optional


@frozen(kw_only=True)
class CheckedGroup:
    """What is known of a group before anything is written.

    :param capacity: the room for files in bytes, including what the file system itself will take of it.
    :param type: the type of the file system as in mount(8), for a boot loader that has to read it; empty when unknown.
    :param notes: what a user should know.
    """

    capacity: int
    type: str = ""
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class Mount:
    """A part of a group, and where it belongs in the machine.

    :param path: where the machine mounts it, ``/`` for its root.
    :param device: the device to mount on this machine.
    :param filesystem: the type, for mount(8).
    :param options: mount options, here and in the machine.
    :param source: its source in the machine's fstab(5).
    :param bound: the path in the machine of a directory that is mounted at ``path`` instead of a device (``mount --bind``), and
        made if missing; empty for a mount of the device.
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
    :param kernel_arguments: the kernel arguments that find the root, for the group of the operating system.
    :param directories: paths in the machine's root that have to be directories when the image has been laid down.
    :param root: the path of the machine's root within its file system, for a boot loader, without a leading slash.
    """

    mounts: tuple[Mount, ...]
    kernel_arguments: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    root: str = ""


@frozen(kw_only=True)
class Roots:
    """The versions of a machine's system that lie in one file system, each a root of its own.

    :param places: where each root is mounted, or is below a mount, by the version's name.
    :param running: the name of the one that was asked about.
    :param top: the directory that holds all of them, by their names; ``None`` where no other can be made.
    """

    places: Mapping[str, Path]
    running: str
    top: Path | None = None


class Filesystem(Role, role="filesystem", default="btrfs"):
    """Disk groups. Hooks are called from several threads at once, each for a group of its own.

    Sizes in bytes and devices, which are block devices or image files, are in the order of ``group.disk``.
    """

    @hook
    def check_disks(self, group: DiskGroup, sizes: Sequence[int], session: Session) -> CheckedGroup:
        """Check that :meth:`prepare_disks` can do what ``group`` says, before anything is written to any disk.

        :raises TerraError: when a disk is too small, a program is missing here, or a request such as RAID is not supported.
        """

    @hook
    def mount_root(self, group: DiskGroup, session: Session) -> BootStep:
        """Return what a machine needs in order to mount its root, in ``group``, before anything is written; change nothing."""

    @hook
    def prepare_disks(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup]:
        """Offer to format ``devices`` as ``group`` says.

        Called once for each group, after every check and before the image is applied. Touch no device before core enters the
        context; leaving it must leave nothing mounted and no loop device attached.
        """

    @optional
    def renew_identity(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup]:
        """Offer disks that are copies of those of a prepared group, as a file system with an identity of its own.

        Without this hook a machine's disks are never clones: each is formatted, and its image laid down in full. All else is as
        of :meth:`prepare_disks`. What the copies hold stays, and only what names the file system may be written: a clone shares
        every other block with its origin. The origin and other copies of it may be renewed, attached or mounted at the same
        time, so nothing may be looked up by the former UUID. Refuse a device that holds no such file system.

        :param group: as :meth:`prepare_disks` was given it, but for the disks' names.
        :param devices: copies to the last byte, which nobody mounted since.
        :returns: what :meth:`prepare_disks` gave, with the new identity.
        """
        raise TerraError("the filesystem plugin cannot give a copy an identity of its own")

    @optional
    def open_roots(self, root: Path, work: Path, session: Session) -> AbstractContextManager[Roots]:
        """Offer the roots that lie beside a mounted one in its file system, of a running machine or of one that is at rest.

        Each of them may be a version of the system; core looks whether it is. Without this hook there is one, the mounted one.
        Refuse a root that is on no such file system.
        """
        return nullcontext(Roots(places={OS_LABEL: root}, running=OS_LABEL))

    @optional
    def copy_root(self, source: Path | None, target: Path, session: Session) -> bool:
        """Make a root that shares all blocks with another one, or an empty one, and return ``True``; else leave nothing of it.

        :param source: a root that :meth:`open_roots` offers, or one that was copied; ``None`` for an empty one.
        :param target: what to make, below the ``top`` of :meth:`open_roots`. rename(2) may give it another place there.
        """
        raise TerraError("the filesystem plugin makes no root beside another")

    @optional
    def remove_root(self, target: Path, session: Session) -> bool:
        """Remove a root below ``top`` with all that it holds; return ``True``. What shares blocks with it stays."""
        raise TerraError("the filesystem plugin makes no root beside another")

    @hook
    def verify_disks(self, group: DiskGroup, place: Path, session: Session) -> bool:
        """Check that every disk of a prepared group has stored what was written to it; return ``True``.

        Called while the group is mounted, at ``place`` and elsewhere, after syncfs(2), which reports no failed disk that others
        of its group stand in for.
        """
