"""The role ``store``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import Factory, frozen

from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.hookspecs.markers import Role, hook, optional
from terra_core.system.room import measured


@frozen(kw_only=True)
class VolumeRequest:
    """A disk of a machine.

    :param number: its number among the machine's disks, from 0.
    :param size: its size in MB of 1024 * 1024 bytes.
    :param full: whether the store gives it all of its room at once; as the store's own table says when ``None``.
    """

    hostname: Hostname
    number: int
    size: int
    full: bool | None = None


@frozen(kw_only=True)
class Volume:
    """A volume as the controller keeps it.

    :param name: the store's name for it, such as the path of its file.
    :param size: its size in MB.
    :param full: whether it has all of its room from the beginning, shared with no other, so that no write fails for want of it.
    """

    name: str
    size: int
    full: bool = False


@frozen(kw_only=True)
class Room:
    """The room of a store in bytes: all of it, what is free, and how much of that is kept for the volumes that there are."""

    size: int
    free: int
    reserve: int = 0


@frozen(kw_only=True)
class Backing:
    """How a transport reaches a volume.

    :param kind: ``file``, or another kind that a store and a transport agree on, such as ``rbd``.
    :param address: where it is, in the form of its kind: the absolute path of a file.
    :param options: what else a transport needs in order to open it.
    """

    kind: str
    address: str
    options: Mapping[str, str] = Factory(dict)


class Store(Role, role="store", default="file"):
    """Volumes. The hooks are called from several threads at once, each for volumes of its own."""

    @hook
    def plan_volume(self, request: VolumeRequest, session: Session) -> Volume:
        """Return the volume to make; change nothing. Core stores the answer first, to undo what follows after any fault.

        :raises ConflictError: when it exists already.
        :raises TerraError: when it is asked for in full, and the store makes none that is.
        """

    @hook
    def make_volume(self, volume: Volume, session: Session) -> AbstractContextManager[None]:
        """Offer to make a planned volume, empty. Leaving with an exception removes it.

        :raises TerraError: when something of that name exists, which stays as it is.
        """

    @hook
    def clone_volume(self, origin: Volume, volume: Volume, session: Session) -> AbstractContextManager[None]:
        """Offer to make a planned volume with the content of another one, which nobody writes to meanwhile.

        Later writes to one do not change the other. Otherwise as :meth:`make_volume`.
        """

    @hook
    def open_volume(self, volume: Volume, session: Session) -> AbstractContextManager[Path]:
        """Offer a volume as a local block device or image file, to be formatted and written to.

        Called while no transport has it open. Leaving writes all of it to the store.
        """

    @hook
    def reach_volume(self, volume: Volume, session: Session) -> Backing:
        """Return how a transport reaches a volume. Called for each volume whenever its target is restored.

        :raises TerraError: when it is missing or was replaced; never make it anew.
        """

    @hook
    def remove_volume(self, volume: Volume, session: Session) -> bool:
        """Remove a volume; return whether there was one. Idempotent."""

    @optional
    def stamp_volume(self, volume: Volume, session: Session) -> str:
        """Return what will be another text once the volume has been written to, or replaced; core compares it before it clones.

        Called while nobody has the volume open. Cloning and reading it must not change the text, nor may a restart.

        :returns: the text; empty when the store cannot tell, which is the answer without this hook.
        :raises TerraError: when it is missing or not what it was.
        """
        return ""

    @optional
    def remove_volumes(self, hostname: Hostname, session: Session) -> bool:
        """Remove every volume of a machine whose record no longer names them; return whether there was any."""
        return False

    @optional
    def volume_directory(self, session: Session) -> Path | None:
        """Return the directory of the volumes on this machine, if any; core marks it as belonging to its database.

        It need not exist yet.
        """
        return None

    @optional
    def measure_store(self, session: Session) -> Room | None:
        """Return the room of the store; core makes no machine while less is free than the reserve. Called every few seconds.

        :returns: the room; without this hook that of the file system of the directory, ``None`` when there is no telling.
        """
        place = self.volume_directory(session)
        return None if place is None else Room(**measured(place))
