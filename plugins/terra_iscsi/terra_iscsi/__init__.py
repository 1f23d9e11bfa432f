"""The storage role: disks that machines reach over iSCSI (RFC 7143), served by tgtd(8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname
from terra_core.hookspecs import CONTRACT, BootStep, Connected, Export, Finding, Served, Target, TargetRequest, hookimpl
from terra_core.system.undo import lasting

if TYPE_CHECKING:
    from terra_iscsi.settings import Settings

__all__ = ["plugin"]


class IscsiPlugin:
    """What core calls; the work is done in the modules beside this one. See :class:`terra_core.hookspecs.Storage`."""

    contract = CONTRACT
    programs: ClassVar[Mapping[str, str]] = {"tgtadm": "tgt", "tgtd": "tgt"}

    @property
    def settings(self) -> type[Settings]:
        """Return the model of ``[iscsi]``."""
        from terra_iscsi.settings import Settings

        return Settings

    @hookimpl
    def plan_target(self, request: TargetRequest, session: Session) -> Target:
        """Plan the target of a group."""
        from terra_iscsi.planning import plan

        return plan(request, session)

    @hookimpl
    def connect_root(self, targets: Sequence[Target], session: Session) -> BootStep:
        """Return the step that logs in to the targets of a machine."""
        from terra_iscsi.machine import connect

        return connect(targets)

    @hookimpl
    def provision_target(self, export: Export, session: Session) -> AbstractContextManager[None]:
        """Offer to export a planned target."""
        from terra_iscsi.targets import release, restore

        return lasting(partial(restore, export, session), partial(release, export.target, session))

    @hookimpl
    def restore_target(self, export: Export, session: Session) -> bool:
        """Export a target to its initiator and to nobody else."""
        from terra_iscsi.targets import restore

        return restore(export, session)

    @hookimpl
    def restore_targets(self, exports: Sequence[Export], session: Session) -> Sequence[str]:
        """Export many targets with one look at what is exported."""
        from terra_iscsi.targets import restore_many

        return restore_many(exports, session)

    @hookimpl
    def release_target(self, target: Target, session: Session) -> bool:
        """Take a target away."""
        from terra_iscsi.targets import release

        return release(target, session)

    @hookimpl
    def release_host(self, hostname: Hostname, session: Session) -> bool:
        """Take every target of a machine away."""
        from terra_iscsi.targets import release_host

        return release_host(hostname, session)

    @hookimpl
    def count_served(self, session: Session) -> Mapping[int, Served]:
        """Return what tgtd counts of each target."""
        from terra_iscsi.targets import count_served

        return count_served(session)

    @hookimpl
    def find_connected(self, session: Session) -> Mapping[int, Sequence[Connected]]:
        """Return who is logged in to targets."""
        from terra_iscsi.targets import find_connected

        return find_connected(session)

    @hookimpl
    def examine_targets(self, targets: Mapping[str, Sequence[Target]], session: Session) -> Sequence[Finding]:
        """Find targets that are not as they were planned, and strange ones."""
        from terra_iscsi.examining import examine

        return examine(targets, session)

    @hookimpl
    def start_storage(self, portal: Address, session: Session) -> bool:
        """Start tgtd, or find it."""
        from terra_iscsi.service import start

        return start(portal, session)

    @hookimpl
    def stop_storage(self, session: Session) -> bool:
        """End the tgtd that was started here."""
        from terra_iscsi.service import stop

        return stop(session)


plugin = IscsiPlugin()
