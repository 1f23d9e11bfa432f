"""The role ``storage``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from attrs import field, frozen

from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Label
from terra_core.errors import TerraError
from terra_core.hookspecs.machine import BootStep
from terra_core.hookspecs.markers import Role, hook, optional
from terra_core.hookspecs.store import Backing, Volume


@frozen(kw_only=True)
class TargetRequest:
    """A disk group that a machine shall reach over the network.

    :param number: the target's number, which one controller never uses twice.
    :param generation: how often this host name has been provisioned, from 1; it keeps names from being used twice.
    :param label: the label of the disk group.
    :param volumes: its volumes, in the order of the group's disks.
    :param boot: whether the machine boots from it.
    :param portal: the address that the storage service answers on.
    :param planned: the machine's targets that the plugin has planned before, for secrets that are a machine's.
    """

    hostname: Hostname
    number: int
    generation: int
    label: Label
    volumes: tuple[Volume, ...]
    boot: bool
    portal: Address
    planned: tuple[Target, ...] = ()


@frozen(kw_only=True)
class Target:
    """A target as the controller keeps it in its database: enough to make it again after a restart.

    :param label: the label of the disk group.
    :param name: the name that a machine asks for it by.
    :param id: its number.
    :param client: the name of the only machine that may reach it, where the transport has such names.
    :param portal: the address that it is reached at.
    :param volumes: its volumes, in the order of the group's disks.
    :param kernel_arguments: the kernel arguments that the machine needs in order to reach it.
    :param data: further data of the plugin, such as a secret; it is shown nowhere.
    """

    label: Label
    name: str
    id: int
    client: str = ""
    portal: Address
    volumes: tuple[Volume, ...]
    kernel_arguments: tuple[str, ...] = ()
    data: Mapping[str, str] = field(factory=dict, repr=False)


@frozen(kw_only=True)
class Export:
    """A target, and how its volumes are reached: a backing for each volume, in their order."""

    target: Target
    backings: tuple[Backing, ...]


@frozen(kw_only=True)
class Served:
    """The bytes that a machine has read from a target and written to it since it logged in."""

    read: int
    written: int


@frozen(kw_only=True)
class Connected:
    """Somebody who is connected to a target: by what name, and from which address; empty where that cannot be told."""

    name: str = ""
    address: str = ""


class Storage(Role, role="storage", default="iscsi"):
    """Giving volumes to machines over the network.

    Hooks are called from several threads; those that change targets, one at a time. All but :meth:`provision_target` are
    idempotent.
    """

    @hook
    def plan_target(self, request: TargetRequest, session: Session) -> Target:
        """Return the target to make; change nothing. Core stores the answer first, to undo what follows after any fault."""

    @hook
    def connect_root(self, targets: Sequence[Target], session: Session) -> BootStep:
        """Return what a machine needs in order to reach its targets. Called once when it is provisioned; change nothing.

        :param targets: all targets of the machine, the one that it boots from first.
        """

    @hook
    def provision_target(self, export: Export, session: Session) -> AbstractContextManager[None]:
        """Offer to export a planned target to its machine and to nobody else, for the first time.

        Entered when the volumes are complete. Leaving with an exception takes the target away.

        :raises TerraError: when it cannot be exported, such as for a kind of backing that the transport does not know.
        """

    @hook
    def restore_target(self, export: Export, session: Session) -> bool:
        """Export a target to its machine and to nobody else again, if it is not; return whether anything was changed."""

    @hook
    def release_target(self, target: Target, session: Session) -> bool:
        """Take a target away, even while its machine is connected; return whether there was anything. Its volumes stay."""

    @optional
    def restore_targets(self, exports: Sequence[Export], session: Session) -> Sequence[str]:
        """Restore many targets after one look at what is exported already; a problem of one does not stop the others.

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
        """Take away every target of a machine whose record no longer names them; return whether there was any."""
        return False

    @optional
    def count_served(self, session: Session) -> Mapping[int, Served]:
        """Return what went through targets, by their numbers; also of other controllers. Called for each GET of ``/metrics``.

        :raises TerraError: when the service does not answer.
        """
        return {}

    @optional
    def find_connected(self, session: Session) -> Mapping[int, Sequence[Connected]]:
        """Return who is connected to targets now, by their numbers; also to those of other controllers. Change nothing.

        :raises TerraError: when the service does not answer although it runs.
        """
        return {}

    @hook
    def start_storage(self, portal: Address, session: Session) -> bool:
        """Start the storage service if it does not answer; return whether it was started.

        It outlives the controller. Called at start and every few seconds.
        """

    @hook
    def stop_storage(self, session: Session) -> bool:
        """Stop the storage service if :meth:`start_storage` started it; return whether it was stopped."""
