"""The role ``storage``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from attrs import frozen

from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname
from terra_core.hookspecs.markers import hookspec


@frozen(kw_only=True)
class TargetRequest:
    """A disk group that a machine shall reach over the network.

    :param hostname: the machine.
    :param number: the target's number, never given twice by one controller.
    :param generation: how often this host name has been provisioned, from 1; it keeps names from being used twice.
    :param group: the disk group.
    :param first_lun: how many LUN files the machine's groups before this one have.
    :param boot: whether the machine boots from it.
    :param portal: the address that the storage service answers on.
    """

    hostname: Hostname
    number: int
    generation: int
    group: DiskGroup
    first_lun: int
    boot: bool
    portal: Address


@frozen(kw_only=True)
class Lun:
    """A logical unit of a target.

    :param id: its number within the target.
    :param path: the file behind it.
    :param size: its size in MB.
    """

    id: int
    path: str
    size: int


@frozen(kw_only=True)
class Target:
    """A target as the controller stores it; enough to make it again after a restart.

    :param label: the label of the disk group.
    :param iqn: its iSCSI qualified name (RFC 7143 section 4.2.7).
    :param id: its number.
    :param initiator: the only initiator that may reach it, by qualified name.
    :param portal: the address it is reached at.
    :param luns: its logical units, in the order of the group's disks.
    :param kernel_arguments: what a machine's kernel line needs to reach it.
    """

    label: str
    iqn: str
    id: int
    initiator: str
    portal: Address
    luns: tuple[Lun, ...]
    kernel_arguments: tuple[str, ...] = ()


class Storage:
    """Role ``storage``: disks that machines reach over the network. The hooks from :meth:`restore_target` on are
    idempotent. :meth:`restore_targets` and :meth:`release_host` may be left away."""

    @hookspec(firstresult=True)
    def plan_target(self, request: TargetRequest, session: Session) -> Target | None:
        """Say what the target of a group will be: its names, its number and its files.

        Touch nothing: core stores the answer first, so that whatever follows can be undone after any fault.
        """

    @hookspec(firstresult=True)
    def provision_target(self, target: Target, session: Session) -> AbstractContextManager[Target] | None:
        """Offer to allocate the disks of a planned target.

        Entering makes the files; nothing is exported before :meth:`restore_target`. Leaving with an exception removes
        whatever entering made, leaving without one keeps it.
        """

    @hookspec(firstresult=True)
    def restore_target(self, target: Target, session: Session) -> bool | None:
        """Export a target to its initiator and to nobody else, if it is not exported so already.

        :returns: whether anything was changed.
        :raises TerraError: when a file behind it is missing or is not what it was: it is never made anew.
        """

    @hookspec(firstresult=True)
    def release_target(self, target: Target, session: Session) -> bool | None:
        """Take a target away, its initiator logged in or not, and remove the files behind it.

        :returns: whether there was anything.
        """

    @hookspec(firstresult=True)
    def restore_targets(self, targets: Sequence[Target], session: Session) -> Sequence[str] | None:
        """Export many targets as :meth:`restore_target` does for one, looking once at what is exported already.

        May be left away: core asks for one after another then. What is wrong with one target keeps no other one down.

        :returns: for each target, in their order, why it cannot be exported; empty where it is.
        :raises TerraError: when none can be exported, such as when the service does not answer.
        """

    @hookspec(firstresult=True)
    def release_host(self, hostname: Hostname, session: Session) -> bool | None:
        """Take away every target and file of a machine whose record does not say any more which these are.

        May be left away: they stay where they are then, and the log says so.

        :returns: whether there was anything.
        """

    @hookspec(firstresult=True)
    def start_storage(self, portal: Address, session: Session) -> bool | None:
        """Start the storage service if it does not answer; it outlives the controller.

        :returns: whether it was started.
        """

    @hookspec(firstresult=True)
    def stop_storage(self, session: Session) -> bool | None:
        """Stop the storage service if it is one that :meth:`start_storage` started.

        :returns: whether it was stopped.
        """
