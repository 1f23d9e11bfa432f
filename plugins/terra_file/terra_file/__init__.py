"""The store role: volumes as sparse files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import result_or_reason
from terra_core.hookspecs import CONTRACT, Backing, Finding, Room, Volume, VolumeRequest, hookimpl

if TYPE_CHECKING:
    from terra_file.settings import Settings

__all__ = ["plugin"]


class FilePlugin:
    """What core calls; the work is done in the modules beside this one. See :class:`terra_core.hookspecs.Store`."""

    contract = CONTRACT

    @property
    def settings(self) -> type[Settings]:
        """Return the model of ``[file]``."""
        from terra_file.settings import Settings

        return Settings

    @hookimpl
    def plan_volume(self, request: VolumeRequest, session: Session) -> Volume:
        """Plan the place of a volume's file."""
        from terra_file.files import Files

        return Files.of(session).plan(request)

    @hookimpl
    def make_volume(self, volume: Volume, session: Session) -> AbstractContextManager[None]:
        """Offer to make the file of a volume."""
        from terra_file.files import Files

        return Files.of(session).made(volume)

    @hookimpl
    def clone_volume(self, origin: Volume, volume: Volume, session: Session) -> AbstractContextManager[None]:
        """Offer to make the file of a volume with the content of another's."""
        from terra_file.files import Files

        return Files.of(session).made(volume, origin)

    @hookimpl
    def grow_volume(self, volume: Volume, size: int, session: Session) -> AbstractContextManager[None]:
        """Offer to make the file of a volume larger."""
        from terra_file.files import Files

        return Files.of(session).grown(volume, size)

    @hookimpl
    def open_volume(self, volume: Volume, session: Session) -> AbstractContextManager[Path]:
        """Offer the file of a volume to be written to."""
        from terra_file.files import Files

        return Files.of(session).opened(volume)

    @hookimpl
    def reach_volume(self, volume: Volume, session: Session) -> Backing:
        """Return the file of a volume, if it is what was made."""
        from terra_file.files import Files

        Files.of(session).verify(volume)
        return Backing(kind="file", address=volume.name)

    @hookimpl
    def reach_volumes(self, volumes: Sequence[Volume], session: Session) -> Sequence[Backing | str]:
        """Return the file of each volume, or what is wrong with it; a look at one takes less than a thread would."""
        return [result_or_reason(partial(self.reach_volume, volume, session)) for volume in volumes]

    @hookimpl
    def stamp_volume(self, volume: Volume, session: Session) -> str:
        """Return which file a volume is, and when it was written to last."""
        from terra_file.files import Files

        return Files.of(session).stamp(volume)

    @hookimpl
    def remove_volume(self, volume: Volume, session: Session) -> bool:
        """Remove the file of a volume."""
        from terra_file.files import Files

        return Files.of(session).remove(volume)

    @hookimpl
    def remove_volumes(self, hostname: Hostname, session: Session) -> bool:
        """Remove every volume file of a machine."""
        from terra_file.files import Files

        return Files.of(session).remove_all(hostname)

    @hookimpl
    def examine_volumes(self, volumes: Mapping[str, Sequence[Volume]], session: Session) -> Sequence[Finding]:
        """Find volumes that are not as they were made, and strange ones."""
        from terra_file.examining import examine

        return examine(volumes, session)

    @hookimpl
    def volume_directory(self, session: Session) -> Path:
        """Return the directory of the files."""
        from terra_file.settings import directory_of

        return directory_of(session)

    @hookimpl
    def measure_store(self, session: Session) -> Room:
        """Return the room of the file system of the files."""
        from terra_file.files import Files

        return Files.of(session).room()


plugin = FilePlugin()
