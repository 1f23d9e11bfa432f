"""The storage role: disks that machines reach over NBD (the Network Block Device) with TLS, served by nbdkit(1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname
from terra_core.hookspecs import CONTRACT, BootStep, Connected, Export, Finding, Target, TargetRequest, hookimpl
from terra_core.system.undo import lasting

if TYPE_CHECKING:
    from terra_nbd.settings import Settings

__all__ = ["plugin"]


class NbdPlugin:
    """What core calls; the work is done in the modules beside this one. See :class:`terra_core.hookspecs.Storage`."""

    contract = CONTRACT
    programs: ClassVar[Mapping[str, str]] = {"nbdkit": "nbdkit", "qemu-nbd": "qemu-utils", "nbd-client": "nbd-client"}

    @property
    def settings(self) -> type[Settings]:
        """Return the model of ``[nbd]``."""
        from terra_nbd.settings import Settings

        return Settings

    @hookimpl
    def plan_target(self, request: TargetRequest, session: Session) -> Target:
        """Return what the target of a group will be."""
        from terra_nbd.planning import plan

        return plan(request, session)

    @hookimpl
    def connect_root(self, targets: Sequence[Target], session: Session) -> BootStep:
        """Return the step that connects a machine to its targets."""
        from terra_nbd.machine import connect

        return connect(targets)

    @hookimpl
    def provision_target(self, export: Export, session: Session) -> AbstractContextManager[None]:
        """Offer to start the server of a planned target."""
        from terra_nbd.targets import release, restore

        return lasting(partial(restore, export, session), partial(release, export.target, session))

    @hookimpl
    def restore_target(self, export: Export, session: Session) -> bool:
        """Start the server of a target, unless it runs as it should."""
        from terra_nbd.targets import restore

        return restore(export, session)

    @hookimpl
    def restore_targets(self, exports: Sequence[Export], session: Session) -> Sequence[str]:
        """Start the servers of many targets with one look at those that run."""
        from terra_nbd.targets import restore_many

        return restore_many(exports, session)

    @hookimpl
    def release_target(self, target: Target, session: Session) -> bool:
        """End the server of a target."""
        from terra_nbd.targets import release

        return release(target, session)

    @hookimpl
    def release_host(self, hostname: Hostname, session: Session) -> bool:
        """End every server of a machine."""
        from terra_nbd.targets import release_host

        return release_host(hostname, session)

    @hookimpl
    def find_connected(self, session: Session) -> Mapping[int, Sequence[Connected]]:
        """Return who has read from targets, and is connected still."""
        from terra_nbd.connections import find_connected

        return find_connected(session)

    @hookimpl
    def examine_targets(self, targets: Mapping[str, Sequence[Target]], session: Session) -> Sequence[Finding]:
        """Find targets that are not as they were planned, and strange ones."""
        from terra_nbd.examining import examine

        return examine(targets, session)

    @hookimpl
    def start_storage(self, portal: Address, session: Session) -> bool:
        """Look whether a server is gone; core restores all targets then."""
        from terra_nbd.service import start

        return start(portal, session)

    @hookimpl
    def stop_storage(self, session: Session) -> bool:
        """End every server of this controller."""
        from terra_nbd.service import stop

        return stop(session)


plugin = NbdPlugin()
