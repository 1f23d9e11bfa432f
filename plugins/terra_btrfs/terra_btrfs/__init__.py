"""The filesystem role: disk groups as btrfs (btrfs(5)), with RAID profiles and subvolumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.hookspecs import CONTRACT, BootStep, CheckedGroup, PreparedGroup, Roots, hookimpl

if TYPE_CHECKING:
    from terra_btrfs.settings import Settings

__all__ = ["plugin"]


class BtrfsPlugin:
    """What core calls; the work is done in the modules beside this one."""

    contract = CONTRACT
    programs: ClassVar[Mapping[str, str]] = {"btrfs": "btrfs-progs", "btrfstune": "btrfs-progs", "mkfs.btrfs": "btrfs-progs"}

    @property
    def settings(self) -> type[Settings]:
        """Return the model of ``[btrfs]``."""
        from terra_btrfs.settings import Settings

        return Settings

    @hookimpl
    def check_disks(self, group: DiskGroup, sizes: Sequence[int], session: Session) -> CheckedGroup:
        """Check what can be known before ``group`` is formatted; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_btrfs.groups import check

        return check(group, sizes)

    @hookimpl
    def mount_root(self, group: DiskGroup, session: Session) -> BootStep:
        """Return the step that mounts a subvolume of the group; see :class:`terra_core.hookspecs.Filesystem`."""
        script = resources.files(__package__).joinpath("mount").read_text()
        return BootStep(script=script, modules=("btrfs",), needs=("btrfs", "blkid"))

    @hookimpl
    def prepare_disks(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup]:
        """Offer to format ``devices`` as ``group`` says; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_btrfs.groups import prepare
        from terra_btrfs.settings import Settings

        return prepare(group, devices, work, session.settings("btrfs", Settings), session.report)

    @hookimpl
    def renew_identity(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup]:
        """Offer copies of a group as another file system; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_btrfs.groups import renew
        from terra_btrfs.settings import Settings

        return renew(group, devices, session.settings("btrfs", Settings))

    @hookimpl
    def open_roots(self, root: Path, work: Path, session: Session) -> AbstractContextManager[Roots]:
        """Offer the subvolumes beside a root; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_btrfs.roots import open_roots

        return open_roots(root, work)

    @hookimpl
    def copy_root(self, source: Path | None, target: Path, left_out: str, session: Session) -> bool:
        """Make a subvolume, a snapshot or an empty one; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_btrfs.roots import copy_root

        return copy_root(source, target)

    @hookimpl
    def remove_root(self, target: Path, session: Session) -> bool:
        """Remove a subvolume; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_btrfs.roots import remove_root

        return remove_root(target)

    @hookimpl
    def plan_reading(self, device: Path, session: Session) -> Sequence[str]:
        """Name the other disks of a group, any of which may be away; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_btrfs.groups import reading_options

        return reading_options(device)

    @hookimpl
    def verify_disks(self, group: DiskGroup, place: Path, session: Session) -> bool:
        """Make sure that no disk of a mounted group had an error; see :class:`terra_core.hookspecs.Filesystem`."""
        from terra_btrfs.statistics import verify

        return verify(group, place)


plugin = BtrfsPlugin()
