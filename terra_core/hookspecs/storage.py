"""The role ``storage``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from attrs import Factory, frozen

from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Label
from terra_core.errors import TerraError
from terra_core.hookspecs.machine import BootStep
from terra_core.hookspecs.markers import Role, hook, optional
from terra_core.hookspecs.store import Backing, Volume


@frozen(kw_only=True)
class TargetRequest:
    """A disk group that a machine shall reach over the network.

    :param hostname: the machine.
    :param number: the target's number, never given twice by one controller.
    :param generation: how often this host name has been provisioned, from 1; it keeps names from being used twice.
    :param label: the label of the disk group.
    :param volumes: its volumes, in the order of the group's disks.
    :param boot: whether the machine boots from it.
    :param portal: the address that the storage service answers on.
    """

    hostname: Hostname
    number: int
    generation: int
    label: Label
    volumes: tuple[Volume, ...]
    boot: bool
    portal: Address


@frozen(kw_only=True)
class Target:
    """A target as the controller keeps it in its database: enough to make it again after a restart.

    :param label: the label of the disk group.
    :param name: the name that a machine asks for it by.
    :param id: its number.
    :param client: the name of the only machine that may reach it, where the transport has such names.
    :param portal: the address it is reached at.
    :param volumes: its volumes, in the order of the group's disks.
    :param kernel_arguments: what the machine's kernel line needs in order to reach it.
    :param data: what else the plugin wants to be given back.
    """

    label: Label
    name: str
    id: int
    client: str = ""
    portal: Address
    volumes: tuple[Volume, ...]
    kernel_arguments: tuple[str, ...] = ()
    data: Mapping[str, str] = Factory(dict)


@frozen(kw_only=True)
class Export:
    """A target, and how its volumes are reached.

    :param target: the target.
    :param backings: those of its volumes, in their order.
    """

    target: Target
    backings: tuple[Backing, ...]


@frozen(kw_only=True)
class Served:
    """What went through a target since its machine logged in.

    :param read: bytes that the machine has read.
    :param written: bytes that it has written.
    """

    read: int
    written: int


class Storage(Role):
    """Role ``storage``: gives volumes to machines over the network. Hooks are called from several threads; those that change
    targets, one at a time. All but :meth:`provision_target` are idempotent."""

    role = "storage"
    default = "iscsi"

    @hook
    def plan_target(self, request: TargetRequest, session: Session) -> Target:
        """Return the target that :meth:`provision_target` would make.

        Change nothing: core stores the answer first, so that whatever follows can be undone after any fault.
        """

    @hook
    def connect_root(self, targets: Sequence[Target], session: Session) -> BootStep:
        """Return what a machine needs in order to reach its targets, called once when it is provisioned. Change nothing.

        :param targets: all of the machine, the one that it boots from first.
        """

    @hook
    def provision_target(self, export: Export, session: Session) -> AbstractContextManager[None]:
        """Offer to give a planned target to its machine and to nobody else, for the first time.

        Entering does it, when all is on the volumes. Leaving with an exception takes the target away, leaving without one keeps
        it.

        :raises TerraError: when it cannot be exported, such as for a kind of backing that the transport does not know.
        """

    @hook
    def restore_target(self, export: Export, session: Session) -> bool:
        """Export a target to its machine and to nobody else again, unless it is exported so already.

        :returns: whether anything was changed.
        """

    @hook
    def release_target(self, target: Target, session: Session) -> bool:
        """Take a target away, its machine connected or not. Its volumes stay, and nobody can reach them any more.

        :returns: whether there was anything.
        """

    @optional
    def restore_targets(self, exports: Sequence[Export], session: Session) -> Sequence[str]:
        """Restore many targets, looking once at what is exported already. What is wrong with one keeps no other one down.

        :returns: for each target, in their order, why it cannot be exported; empty where it is.
        :raises TerraError: when none can be exported, such as when the service does not answer.
        """
        reasons = []
        for export in exports:
            try:
                self.restore_target(export, session)
            except TerraError as error:
                reasons.append(str(error) or type(error).__name__)
            else:
                reasons.append("")
        return reasons

    @optional
    def release_host(self, hostname: Hostname, session: Session) -> bool:
        """Take away every target of a machine whose record does not say any more which these are.

        :returns: whether there was any; ``False`` without this hook.
        """
        return False

    @optional
    def count_served(self, session: Session) -> Mapping[int, Served]:
        """Return what went through targets, by their numbers. Called whenever somebody asks for ``/metrics``.

        :returns: targets that are not of this controller may be among them; nothing without this hook.
        :raises TerraError: when the service does not answer.
        """
        return {}

    @hook
    def start_storage(self, portal: Address, session: Session) -> bool:
        """Start the storage service if it does not answer; it outlives the controller. Called at start and every few seconds.

        :returns: whether it was started.
        """

    @hook
    def stop_storage(self, session: Session) -> bool:
        """Stop the storage service if it is one that :meth:`start_storage` started.

        :returns: whether it was stopped.
        """
