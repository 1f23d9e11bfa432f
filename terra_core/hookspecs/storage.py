"""The roles ``store`` and ``storage``: volumes, and giving them to machines over the network."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from attrs import field, frozen

from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Label
from terra_core.errors import TerraError, reason_of, result_or_reason
from terra_core.hookspecs.machine import BootStep
from terra_core.hookspecs.markers import Offer, Role, hook, optional
from terra_core.system.finding import Finding
from terra_core.system.room import Room, measured
from terra_core.system.threads import side_by_side

_AT_ONCE = 8


@frozen(kw_only=True)
class VolumeRequest:
    """A disk of a machine: a number of up to nine digits that no other one has, and its size in MB of 1024 * 1024 bytes.

    :param full: whether the store gives it all of its room at once; as the store's own table says when ``None``.
    """

    hostname: Hostname
    number: int
    size: int
    full: bool | None = None


@frozen(kw_only=True)
class Volume:
    """A volume as the controller keeps it: the store's name for it, such as the path of its file, and its size in MB.

    :param full: whether it has all of its room from the beginning, shared with no other, so that no write fails for want of it.
    """

    name: str
    size: int
    full: bool = False


@frozen(kw_only=True)
class Backing:
    """How a transport reaches a volume.

    :param kind: ``file``, or another kind that a store and a transport agree on, such as ``rbd``.
    :param address: where it is, in the form of its kind: the absolute path of a file, or ``POOL/IMAGE``.
    :param options: what else a transport needs in order to open it: ``conf`` and ``id``, file and user, for an image of RBD.
    """

    kind: str
    address: str
    options: Mapping[str, str] = field(factory=dict)


class Store(Role, role="store", default="file"):
    """Volumes. The hooks are called from several threads at once, each for volumes of its own."""

    @hook
    def plan_volume(self, request: VolumeRequest, session: Session) -> Volume:
        """Return the volume to make; change nothing. Core stores the answer first, to undo what follows after any fault.

        :raises ConflictError: when it exists already.
        :raises TerraError: when it is asked for in full, and the store makes none that is.
        """

    @hook
    def make_volume(self, volume: Volume, session: Session) -> Offer[None]:
        """Offer to make a planned volume, empty; what exists of that name is refused, and stays. An exception removes it."""

    @hook
    def clone_volume(self, origin: Volume, volume: Volume, session: Session) -> Offer[None]:
        """Offer to make a planned volume with the content of another one, which nobody writes to meanwhile.

        Later writes to one do not change the other. Otherwise as :meth:`make_volume`.
        """

    @hook
    def open_volume(self, volume: Volume, session: Session) -> Offer[Path]:
        """Offer a volume as a local block device or image file, to be formatted and written to.

        Called while no transport has it open. Leaving writes all of it to the store.
        """

    @hook
    def reach_volume(self, volume: Volume, session: Session) -> Backing:
        """Return how a transport reaches a volume, for each restore of its target; refuse a missing or replaced one."""

    @hook
    def remove_volume(self, volume: Volume, session: Session) -> bool:
        """Remove a volume; return whether there was one. Idempotent."""

    @optional
    def reach_volumes(self, volumes: Sequence[Volume], session: Session) -> Sequence[Backing | str]:
        """Reach many volumes after one look; return for each how, or why it cannot be reached, which is never an empty text."""
        return side_by_side(
            lambda volume: result_or_reason(partial(self.reach_volume, volume, session)), volumes, at_once=_AT_ONCE
        )

    @optional
    def grow_volume(self, volume: Volume, size: int, session: Session) -> Offer[None]:
        """Offer to make a volume that nobody has open larger, to ``size`` MB; what is new is empty.

        One that is of that size since a controller was killed is taken, too. Leaving with an exception makes it as it was.
        """
        raise TerraError("the store plugin cannot make a volume larger")

    @optional
    def stamp_volume(self, volume: Volume, session: Session) -> str:
        """Return what will be another text once the volume has been written to, or replaced; core compares it before it clones.

        Called while nobody has the volume open; refuse one that is missing or not what it was. Cloning and reading it must not
        change the text, nor may a restart. It is empty when the store cannot tell.
        """
        return ""

    @optional
    def remove_volumes(self, hostname: Hostname, session: Session) -> bool:
        """Remove every volume of a machine whose record no longer names them; return whether there was any."""
        return False

    @optional
    def volume_directory(self, session: Session) -> Path | None:
        """Return the directory of the volumes on this machine, if any, made or not; core marks it as its database's."""
        return None

    @optional
    def measure_store(self, session: Session) -> Room | None:
        """Return the room of the store, if known; core makes no machine while less is free than the reserve. Called often."""
        place = self.volume_directory(session)
        return None if place is None else Room(**measured(place))

    @optional
    def fence_host(self, address: Address, refused: bool, session: Session) -> None:
        """Refuse all that a host asks of the store from now on, or take it again; what it has written stays. Idempotent."""
        raise TerraError("the store plugin cannot keep a host from writing")

    @optional
    def examine_volumes(self, volumes: Mapping[str, Sequence[Volume]], session: Session) -> Sequence[Finding]:
        """Find volumes, by owner all of the database, that are missing or not what was made, and strange ones."""
        return ()


@frozen(kw_only=True)
class Target:
    """A target as the controller keeps it in its database: enough to make it again after a restart.

    Label, portal and volumes are those of the request.

    :param name: the name that a machine asks for it by.
    :param id: its number.
    :param client: the name of the only machine that may reach it, where the transport has such names.
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
class TargetRequest:
    """A disk group that a machine shall reach over the network.

    :param number: the target's number, which one controller never uses twice.
    :param generation: how often this host name has been provisioned, from 1; it keeps names from being used twice.
    :param label: the label of the disk group.
    :param volumes: its volumes, in the order of the group's disks.
    :param boot: whether the machine boots from it.
    :param portal: the address that the storage service answers on.
    :param planned: the machine's targets that the plugin has planned before, for secrets that are a machine's.
    :param again: whether the machine has, or had, a target of this label, which keeps its name: this one needs another name.
    """

    hostname: Hostname
    number: int
    generation: int
    label: Label
    volumes: tuple[Volume, ...]
    boot: bool
    portal: Address
    planned: tuple[Target, ...] = ()
    again: bool = False


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
    """Giving volumes to machines over the network, by a service that outlives the controller.

    Hooks are called from several threads; those that change targets, one at a time. All but :meth:`provision_target` are
    idempotent. What asks the service raises when it does not answer although it runs.
    """

    @hook
    def plan_target(self, request: TargetRequest, session: Session) -> Target:
        """Return the target to make; change nothing. Core stores the answer first, to undo what follows after any fault."""

    @hook
    def connect_root(self, targets: Sequence[Target], session: Session) -> BootStep:
        """Return what a machine needs in order to reach its targets, that of its root first. Called once; change nothing."""

    @hook
    def provision_target(self, export: Export, session: Session) -> Offer[None]:
        """Offer to export a planned target to its machine and to nobody else, for the first time.

        Entered when the volumes are complete. Leaving with an exception takes the target away. Refuse unknown kinds of backing.
        """

    @hook
    def restore_target(self, export: Export, session: Session) -> bool:
        """Export a target to its machine and to nobody else again, if it is not; return whether anything was changed."""

    @hook
    def release_target(self, target: Target, session: Session) -> bool:
        """Take a target away, even while its machine is connected; return whether there was anything. Its volumes stay."""

    @optional
    def restore_targets(self, exports: Sequence[Export], session: Session) -> Sequence[str]:
        """Restore many targets after one look; return for each why it is not, or an empty text. Changes are events ``mend``."""
        return [reason_of(partial(self.restore_target, export, session)) for export in exports]

    @optional
    def release_host(self, hostname: Hostname, session: Session) -> bool:
        """Take away every target of a machine whose record no longer names them; return whether there was any."""
        return False

    @optional
    def count_served(self, session: Session) -> Mapping[int, Served]:
        """Return what went through targets, by number; also of other controllers. Called for each GET of ``/metrics``."""
        return {}

    @optional
    def find_connected(self, session: Session) -> Mapping[int, Sequence[Connected]]:
        """Return who is connected to targets now, by their numbers; also to those of other controllers. Change nothing."""
        return {}

    @hook
    def start_storage(self, portal: Address, session: Session) -> bool:
        """Start the service if it does not answer; return whether it was started. Called at start and every few seconds."""

    @hook
    def stop_storage(self, session: Session) -> bool:
        """Stop the service if :meth:`start_storage` started it; return whether it was stopped."""

    @optional
    def examine_targets(self, targets: Mapping[str, Sequence[Target]], session: Session) -> Sequence[Finding]:
        """Find targets, by machine all of the database, that their machine alone does not reach, and strange ones."""
        return ()
