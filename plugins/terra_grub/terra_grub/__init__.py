"""The bootloader role: GRUB on the disks of an installed machine, for BIOS and for UEFI with Secure Boot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from terra_core.config.session import Session
from terra_core.hookspecs import CONTRACT, LocalBoot, RenderedFile, StartChoice, hookimpl

if TYPE_CHECKING:
    from terra_grub.settings import Settings

__all__ = ["plugin"]


class GrubPlugin:
    """What core calls; the work is done in the modules beside this one."""

    contract = CONTRACT

    @property
    def settings(self) -> type[Settings]:
        """Return the model of ``[grub]``."""
        from terra_grub.settings import Settings

        return Settings

    @hookimpl
    def check_bootloader(self, boot: LocalBoot, session: Session) -> Sequence[str]:
        """Check that the boot loader can be installed; return what is done; see :class:`terra_core.hookspecs.Bootloader`."""
        from terra_grub.install import check
        from terra_grub.settings import Settings

        return check(boot, session.settings("grub", Settings))

    @hookimpl
    def install_bootloader(self, boot: LocalBoot, work: Path, session: Session) -> Sequence[RenderedFile]:
        """Write GRUB to every disk, and give the menu; see :class:`terra_core.hookspecs.Bootloader`."""
        from terra_grub.install import install
        from terra_grub.settings import Settings

        return install(boot, work, session.settings("grub", Settings), session.report)

    @hookimpl
    def render_menu(self, boot: LocalBoot, session: Session) -> Sequence[RenderedFile]:
        """Give the menu of a further version; see :class:`terra_core.hookspecs.Bootloader`."""
        from terra_grub.install import render
        from terra_grub.settings import Settings

        return render(boot, session.settings("grub", Settings))

    @hookimpl
    def read_choice(self, partition: Path, session: Session) -> StartChoice:
        """Return what a disk starts, by GRUB's environment block; see :class:`terra_core.hookspecs.Bootloader`."""
        from terra_grub.environment import read

        return read(partition)

    @hookimpl
    def write_choice(self, partition: Path, choice: StartChoice, session: Session) -> bool:
        """Write what a disk starts, in place; see :class:`terra_core.hookspecs.Bootloader`."""
        from terra_grub.environment import write

        write(partition, choice)
        return True


plugin = GrubPlugin()
