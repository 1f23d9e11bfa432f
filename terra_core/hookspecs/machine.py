"""What plugins put into a machine: the roles ``network`` and ``filesystem``, and what reaches and mounts its root."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from attrs import frozen

from terra_core.config.node import OS_LABEL, DiskGroup
from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs.markers import Offer, Role, hook, optional
from terra_core.system.rendered import RenderedFile, RenderedLink
from terra_core.system.roots import Roots


@frozen(kw_only=True)
class BootStep:
    """What a plugin brings into the initial RAM disk and the system of a machine.

    ``boot=terra`` sources the script in ``mountroot`` of initramfs-tools(7), with its functions and variables: the storage
    plugin's first, when the network is up, to make the disks appear; then the filesystem plugin's, to mount the root at
    ``$rootmnt``. ``terra_word NAME [DEFAULT]`` prints the value of the last ``NAME=value`` of the kernel line, and
    ``terra_words NAME`` each of them on a line. A step that cannot go on calls ``panic`` with the reason.

    All of it goes into an archive of its own, which is loaded after the image's RAM disk, so that it works with images that
    were built before the plugin was installed.

    :param script: the script, in POSIX sh.
    :param modules: kernel modules by name, loaded before the scripts run; those that the RAM disk lacks are taken from the
        image, with those that they need. A module that is built into the kernel is fine.
    :param needs: programs that the image's own RAM disk must have; core checks that before anything is written.
    :param programs: programs of this machine by name, copied with their libraries; the script calls them by name.
    :param files: further files of the RAM disk.
    :param system: files and links of the machine's root.
    """

    script: str
    modules: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    files: tuple[RenderedFile, ...] = ()
    system: tuple[RenderedFile | RenderedLink, ...] = ()


class Network(Role, role="network", default="netplan"):
    """The network configuration of an image."""

    @hook
    def render_network(self, server: Server, session: Session) -> Sequence[RenderedFile | RenderedLink]:
        """Return the files that configure the machine's network, and the links that enable its units.

        Called once for each build, with the whole server.toml. Write nothing.
        """

    @optional
    def check_network(self, files: Sequence[RenderedFile], session: Session) -> bool:
        """Check the files with the program that will read them, where this machine has it; return whether they were read.

        Called once for each build, after :meth:`render_network` and before anything is built. Change nothing outside a
        temporary directory, and end within a minute.

        :param files: every file that the image gets, also those of the build's context that replace rendered ones.
        :raises TerraError: with the program's message, and the key of server.toml that caused it.
        """
        return False


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
    :param directory: for ``/`` alone: the name of the directory at the top of the device's file system that is mounted there in
        place of the top, by the boot step of the plugin; empty for the top.
    """

    path: str
    device: Path
    filesystem: str
    options: tuple[str, ...] = ()
    source: str
    bound: str = ""
    directory: str = ""


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
    def prepare_disks(self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session) -> Offer[PreparedGroup]:
        """Offer to format ``devices`` as ``group`` says.

        Called once for each group, after every check and before the image is applied. Touch no device before core enters the
        context; leaving it must leave nothing mounted and no loop device attached.
        """

    @optional
    def renew_identity(self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session) -> Offer[PreparedGroup]:
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
    def open_roots(self, root: Path, work: Path, session: Session) -> Offer[Roots]:
        """Offer the roots that lie beside a mounted one in its file system, of a running machine or of one that is at rest.

        Each of them may be a version of the system; core looks whether it is. Without this hook there is one, the mounted one.
        Refuse a root that is on no such file system.
        """
        return nullcontext(Roots(places={OS_LABEL: root}, running=OS_LABEL))

    @optional
    def copy_root(self, source: Path | None, target: Path, left_out: str, session: Session) -> bool:
        """Make a copy of a root, or an empty one, and return ``True``; else leave nothing of it.

        The copy is a root of its own, and shares all blocks with the other one where :attr:`Roots.shares` says so.

        :param source: a root that :meth:`open_roots` offers, or one that was copied; ``None`` for an empty one.
        :param target: what to make, below the ``top`` of :meth:`open_roots`. rename(2) may give it another place there.
        :param left_out: a name in the other root that is no part of it, and that somebody writes to meanwhile, or an empty
            text. Core removes it from the copy, so one made in an instant need not look.
        """
        raise TerraError("the filesystem plugin makes no root beside another")

    @optional
    def remove_root(self, target: Path, session: Session) -> bool:
        """Remove a root below ``top`` with all that it holds; return ``True``. What shares blocks with it stays.

        Killed in the middle, it leaves the whole root, or none that :meth:`open_roots` offers.
        """
        raise TerraError("the filesystem plugin makes no root beside another")

    @optional
    def plan_reading(self, device: Path, session: Session) -> Sequence[str]:
        """Return further options by which such a file system is mounted to be read, where one of its disks alone is known.

        Core asks where a mount without them has failed, such as of a group whose other disks nobody has looked for, or that
        has lost one. Nothing may be written by such a mount.

        :param device: a disk or partition of it.
        """
        return ()

    @hook
    def verify_disks(self, group: DiskGroup, place: Path, session: Session) -> bool:
        """Check that every disk of a prepared group has stored what was written to it; return ``True``.

        Called while the group is mounted, at ``place`` and elsewhere, after syncfs(2), which reports no failed disk that others
        of its group stand in for.
        """
