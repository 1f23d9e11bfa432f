"""The store role: volumes as images of RBD, the block device of Ceph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname
from terra_core.hookspecs import CONTRACT, Backing, Finding, Room, Volume, VolumeRequest, hookimpl

if TYPE_CHECKING:
    from terra_ceph.settings import Settings

__all__ = ["plugin"]


class CephPlugin:
    """What core calls; the work is done in the modules beside this one. See :class:`terra_core.hookspecs.Store`."""

    contract = CONTRACT
    programs: ClassVar[Mapping[str, str]] = {
        "ceph": "ceph-common",
        "qemu-storage-daemon": "qemu-system-common with qemu-block-extra",
        "rbd": "ceph-common",
    }

    @property
    def settings(self) -> type[Settings]:
        """Return the model of ``[ceph]``."""
        from terra_ceph.settings import Settings

        return Settings

    @hookimpl
    def plan_volume(self, request: VolumeRequest, session: Session) -> Volume:
        """Plan the name of a volume's image."""
        from terra_ceph.images import Images

        return Images.of(session).plan(request)

    @hookimpl
    def make_volume(self, volume: Volume, session: Session) -> AbstractContextManager[None]:
        """Offer to make the image of a volume."""
        from terra_ceph.images import Images

        return Images.of(session).made(volume)

    @hookimpl
    def clone_volume(self, origin: Volume, volume: Volume, session: Session) -> AbstractContextManager[None]:
        """Offer to make the image of a volume as a clone of another's."""
        from terra_ceph.images import Images

        return Images.of(session).made(volume, origin)

    @hookimpl
    def grow_volume(self, volume: Volume, size: int, session: Session) -> AbstractContextManager[None]:
        """Offer to make the image of a volume larger."""
        from terra_ceph.images import Images

        return Images.of(session).grown(volume, size)

    @hookimpl
    def open_volume(self, volume: Volume, session: Session) -> AbstractContextManager[Path]:
        """Offer the image of a volume as a block device of this machine."""
        from terra_ceph.opening import opened

        return opened(volume, session)

    @hookimpl
    def reach_volume(self, volume: Volume, session: Session) -> Backing:
        """Return the image of a volume, if it is what was made, and by what file and user it is opened."""
        from terra_ceph.images import Images

        return Images.of(session).reach(volume)

    @hookimpl
    def reach_volumes(self, volumes: Sequence[Volume], session: Session) -> Sequence[Backing | str]:
        """Return the image of each volume as above, or what is wrong with it, by one program where that is less work."""
        from terra_ceph.images import Images

        return Images.of(session).reach_all(volumes)

    @hookimpl
    def stamp_volume(self, volume: Volume, session: Session) -> str:
        """Return which image a volume is, and the snapshot since which nobody has written to it."""
        from terra_ceph.images import Images

        return Images.of(session).stamp(volume)

    @hookimpl
    def remove_volume(self, volume: Volume, session: Session) -> bool:
        """Remove the image of a volume."""
        from terra_ceph.images import Images
        from terra_ceph.opening import forget

        forget(volume, session)
        return Images.of(session).remove(volume)

    @hookimpl
    def remove_volumes(self, hostname: Hostname, session: Session) -> bool:
        """Remove every image of a machine."""
        from terra_ceph.images import Images

        return Images.of(session).remove_all(hostname)

    @hookimpl
    def examine_volumes(self, volumes: Mapping[str, Sequence[Volume]], session: Session) -> Sequence[Finding]:
        """Find images that are not as they were made, and strange ones."""
        from terra_ceph.examining import examine

        return examine(volumes, session)

    @hookimpl
    def fence_host(self, address: Address, refused: bool, session: Session) -> None:
        """Have the cluster refuse a host by its address, or let it in again."""
        from terra_ceph.fencing import fence, unfence

        if refused:
            fence(address, session)
        else:
            unfence(address, session)

    @hookimpl
    def measure_store(self, session: Session) -> Room:
        """Return the room of the pool."""
        from terra_ceph.room import room_of

        return room_of(session)


plugin = CephPlugin()
