"""The role ``store``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import Factory, frozen

from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.hookspecs.markers import Role, hook, optional


@frozen(kw_only=True)
class VolumeRequest:
    """A disk that a machine shall have.

    :param hostname: the machine.
    :param number: which of the machine's disks it is, from 0.
    :param size: its size in MB of 1024 * 1024 bytes.
    """

    hostname: Hostname
    number: int
    size: int


@frozen(kw_only=True)
class Volume:
    """A volume as the controller keeps it in its database.

    :param name: the store's own name for it, as a user is shown it, such as the path of its file.
    :param size: its size in MB.
    """

    name: str
    size: int


@frozen(kw_only=True)
class Backing:
    """How a transport reaches a volume.

    :param kind: what it is: ``file``, or what else a store and a transport agree on, such as ``rbd``.
    :param address: where it is, as its kind has it: the absolute path of a file.
    :param options: what else a transport has to know in order to open it.
    """

    kind: str
    address: str
    options: Mapping[str, str] = Factory(dict)


class Store(Role):
    """Role ``store``: volumes. The hooks are called from several threads at once, each for volumes of its own."""

    role = "store"
    default = "file"

    @hook
    def plan_volume(self, request: VolumeRequest, session: Session) -> Volume:
        """Return the volume that :meth:`make_volume` would make.

        Change nothing: core stores the answer first, so that whatever follows can be undone after any fault.

        :raises ConflictError: when there is such a volume already.
        """

    @hook
    def make_volume(self, volume: Volume, session: Session) -> AbstractContextManager[None]:
        """Offer to make a planned volume, empty.

        Entering makes it; leaving with an exception removes it, leaving without one keeps it.

        :raises TerraError: when there is something of that name, which is left as it is.
        """

    @hook
    def clone_volume(self, origin: Volume, volume: Volume, session: Session) -> AbstractContextManager[None]:
        """Offer to make a planned volume with the content of another one, which nobody writes to meanwhile.

        Neither changes when the other one is written to. As :meth:`make_volume` otherwise.
        """

    @hook
    def open_volume(self, volume: Volume, session: Session) -> AbstractContextManager[Path]:
        """Offer a volume as a local block device or image file, to be formatted and written to.

        Called while no transport has it open. Leaving writes all of it to the store.
        """

    @hook
    def reach_volume(self, volume: Volume, session: Session) -> Backing:
        """Return how a transport reaches a volume. Called for each volume whenever its target is restored.

        :raises TerraError: when it is missing or not what it was: it is never made anew.
        """

    @hook
    def remove_volume(self, volume: Volume, session: Session) -> bool:
        """Remove a volume. Idempotent.

        :returns: whether there was one.
        """

    @optional
    def remove_volumes(self, hostname: Hostname, session: Session) -> bool:
        """Remove every volume of a machine whose record does not say any more which these are.

        :returns: whether there was any; ``False`` without this hook.
        """
        return False

    @optional
    def volume_directory(self, session: Session) -> Path | None:
        """Return the directory on this machine that the volumes are in; core marks it as belonging to its database.

        :returns: the directory, which need not be there yet; ``None`` when there is none.
        """
        return None
