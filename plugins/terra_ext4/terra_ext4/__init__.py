"""The filesystem role: disk groups of one disk as ext4 (ext4(5)) or xfs (xfs(5)), with directories in place of subvolumes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.hookspecs import CONTRACT, BootStep, CheckedGroup, PreparedGroup, Roots, hookimpl

if TYPE_CHECKING:
    from terra_ext4.settings import Settings

__all__ = ["plugin", "xfs"]


PROGRAMS = {
    "ext4": {"e2fsck": "e2fsprogs", "mkfs.ext4": "e2fsprogs", "tune2fs": "e2fsprogs"},
    "xfs": {"mkfs.xfs": "xfsprogs", "xfs_admin": "xfsprogs"},
}
"""The programs of each plugin, with the packages that have them."""


class DiskPlugin:
    """What core calls; the work is done in the modules beside this one.

    :param name: the plugin's name, which is the type of its file systems.
    """

    contract = CONTRACT

    def __init__(self, name: str) -> None:
        self.name = name
        self.programs = PROGRAMS[name]

    @property
    def settings(self) -> type[Settings]:
        """Return the model of ``[ext4]`` or ``[xfs]``."""
        from terra_ext4.settings import Settings

        return Settings

    @hookimpl
    def check_disks(self, group: DiskGroup, sizes: Sequence[int], session: Session) -> CheckedGroup:
        """Check what can be known before ``group`` is formatted; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_ext4.groups import check
        from terra_ext4.kinds import KINDS

        return check(KINDS[self.name], group, sizes, session)

    @hookimpl
    def mount_root(self, group: DiskGroup, session: Session) -> BootStep:
        """Return the step that mounts the file system of the group; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_ext4.kinds import KINDS

        script = f"terra_type={self.name}\n" + resources.files(__package__).joinpath("mount").read_text()
        return BootStep(script=script, modules=(self.name,), needs=("blkid",), programs=KINDS[self.name].programs)

    @hookimpl
    def prepare_disks(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup]:
        """Offer to format the disk as ``group`` says; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_ext4.groups import prepare, refuse
        from terra_ext4.kinds import KINDS

        refuse(KINDS[self.name], group, session)
        return prepare(KINDS[self.name], group, devices, work, session.report)

    @hookimpl
    def renew_identity(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup]:
        """Offer a copy of the group's disk as another file system; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_ext4.groups import renew
        from terra_ext4.kinds import KINDS

        return renew(KINDS[self.name], group, devices, work)

    @hookimpl
    def open_roots(self, root: Path, work: Path, session: Session) -> AbstractContextManager[Roots]:
        """Offer the directories beside a root; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_ext4.kinds import KINDS
        from terra_ext4.roots import open_roots

        return open_roots(KINDS[self.name], root, work)

    @hookimpl
    def copy_root(self, source: Path | None, target: Path, left_out: str, session: Session) -> bool:
        """Make a directory, a copy or an empty one; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_ext4.roots import copy_root

        return copy_root(source, target, left_out)

    @hookimpl
    def remove_root(self, target: Path, session: Session) -> bool:
        """Remove a directory; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_ext4.roots import remove_root

        return remove_root(target)

    @hookimpl
    def verify_disks(self, group: DiskGroup, place: Path, session: Session) -> bool:
        """Make sure that a mounted file system has met no error; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_ext4.faults import verify

        return verify(group, place)


plugin = DiskPlugin("ext4")
xfs = DiskPlugin("xfs")
