"""What the controller keeps of a machine, and what is left of that when it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from attrs import Factory, evolve, frozen

from terra_core.config.node import OS_LABEL, DiskGroup, NetworkNode
from terra_core.config.structure import Problem, has
from terra_core.config.values import Mac, PluginName, parse_image_reference
from terra_core.hookspecs import CONTRACT, NodeBoot, Target, Volume
from terra_core.mounting import FURTHER

SET_ASIDE = "set-aside"
"""The state of a machine whose record cannot be read."""
RESTORED = "restored"
"""What is shown in place of the phase of an upgrade that is of a backup."""


class State(Enum):
    """The state of a machine."""

    PROVISIONING = "provisioning"
    READY = "ready"
    DELETING = "deleting"


@frozen(kw_only=True)
class KeptTarget:
    """A target in the database, and who made it: these plugins are asked about it, whatever controller.toml selects by now.

    :param storage: the plugin that gives it to the machine.
    :param store: the plugin that has its volumes.
    :param contract: the number of the contract that the plugins had.
    :param target: what the storage plugin planned.
    :param made: whether it is there with its volumes; not yet where a further group of a machine is being made.
    """

    storage: PluginName
    store: PluginName
    contract: int
    target: Target
    made: bool = True

    def problems(self) -> Iterator[Problem]:
        """Yield what plugins of this contract cannot be asked about."""
        if has(self, "contract") and self.contract != CONTRACT:
            yield Problem("contract", f"it was made for contract {self.contract}, and this Terra has contract {CONTRACT}")


@frozen(kw_only=True)
class KeptVolume:
    """A volume in the database that no machine reaches, and who has it.

    :param store: the plugin that has it.
    :param volume: the volume.
    """

    store: PluginName
    volume: Volume


class Phase(Enum):
    """Where the upgrade of a machine stands; see docs/decisions/0092."""

    PREPARING = "preparing"
    """The next version is being made."""
    WAITING = "waiting"
    """It is made; what is the machine's own is taken over when it is off."""
    TRIAL = "trial"
    """The machine has the next version, and goes back unless it reports that it is well."""
    KEPT = "kept"
    """It was well; the former version is kept for a while."""
    RETURNING = "returning"
    """It has its former version again; the other one is removed when the machine has let go of it."""
    LEFT = "left"
    """The other version is gone; the reason is kept."""


UNDER_WAY = frozenset({Phase.PREPARING, Phase.WAITING, Phase.TRIAL, Phase.RETURNING})
"""The phases in which nothing else of a machine is changed."""
_BOTH = frozenset({Phase.TRIAL, Phase.RETURNING})
"""The phases in which a machine may come to either version, so that both are exported."""
TRIAL = "terra.trial"
"""The word of the kernel line by which a boot is one on trial."""
_TRIAL_WORDS = (TRIAL, "panic=10", "softlockup_panic=1")
"""What the kernel line of a trial begins with: a kernel that panics is started again, which is the former version then."""


@frozen(kw_only=True)
class Version:
    """A version of a machine's system: what it would have in place of what it has.

    :param image: its image.
    :param digest: the manifest of that.
    :param layout: the key of what its disks are clones of.
    :param targets: the target of its system.
    :param words: what its kernel line needs to find the root.
    """

    image: str
    digest: str
    layout: str
    targets: tuple[KeptTarget, ...]
    words: tuple[str, ...] = ()


@frozen(kw_only=True)
class BootLine:
    """What boot files say.

    :param digest: the manifest that the kernel is of.
    :param kernel_arguments: the kernel line.
    """

    digest: str
    kernel_arguments: tuple[str, ...]


@frozen(kw_only=True)
class Upgrade:
    """The upgrade of a machine that was asked for last.

    :param phase: where it stands.
    :param image: the image that it is to.
    :param digest: the manifest of that.
    :param since: since when it is in its phase, in seconds since 1970.
    :param reason: why the machine left that version, or will; empty otherwise.
    :param other: the version that the machine does not have, if any: the next one before the trial, the former one after.
    :param scratch: volumes that are copies of the former system while what is the machine's own is taken over.
    :param places: where mounts of the next version go, by their paths in the file.
    :param seen: the id of the boot that the machine had reported last when the trial began.
    :param back: what the boot files say since the trial was begun by the machine: the former version.
    :param restored: whether it is of a backup that was restored, so that nobody knows what the machine has done since.
    """

    phase: Phase
    image: str
    digest: str
    since: float
    reason: str = ""
    other: Version | None = None
    scratch: tuple[KeptVolume, ...] = ()
    places: Mapping[str, str] = Factory(dict)
    seen: str = ""
    back: BootLine | None = None
    restored: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "phase": RESTORED if self.restored and self.other is not None else self.phase.value,
            "image": self.image,
            "digest": self.digest,
            "since": self.since,
            "reason": self.reason,
            "other": self.other.image if self.other is not None else "",
        }


@frozen(kw_only=True)
class Record:
    """A machine that the controller knows.

    :param node: its node.toml.
    :param document: the same as parsed.
    :param tables: the plugins' tables of it, as parsed.
    :param state: its state.
    :param generation: how often its host name has been provisioned.
    :param targets: its targets, those of the operating system first.
    :param digest: the manifest of its image; empty until that was pulled.
    :param kernel_arguments: its kernel line.
    :param problem: why it cannot boot right now, or why it could not be taken away, if so.
    :param layout: the key of its image and layout of disks; empty where it is no clone.
    :param upgrade: the upgrade that was asked for last, if any.
    :param host: the host that has its volumes, where hosts have stores of their own; empty otherwise.
    """

    node: NetworkNode
    document: Mapping[str, Any]
    tables: Mapping[str, Any]
    state: State
    generation: int
    targets: tuple[KeptTarget, ...] = ()
    digest: str = ""
    kernel_arguments: tuple[str, ...] = ()
    problem: str = ""
    layout: str = ""
    upgrade: Upgrade | None = None
    host: str = ""

    @property
    def hostname(self) -> str:
        """The machine's name."""
        return self.node.hostname

    @property
    def mac(self) -> Mac:
        """The address that the machine boots from."""
        return self.node.mac

    @property
    def own_arguments(self) -> tuple[str, ...]:
        """The words of its kernel line that are not those of its file."""
        further = len(self.node.kernel_arguments)
        return self.kernel_arguments[: len(self.kernel_arguments) - further]

    @property
    def images(self) -> frozenset[str]:
        """The image that it has, and the other one of its upgrade."""
        other = {self.upgrade.image, *([self.upgrade.other.image] if self.upgrade.other else [])} if self.upgrade else set()
        return frozenset({str(self.node.image), *other})

    @property
    def unmade(self) -> bool:
        """Whether its file says more than is there: a further group, or a larger disk."""
        sizes = {kept.target.label: [volume.size for volume in kept.target.volumes] for kept in self.targets if kept.made}
        return any([disk.size for disk in group.disk] != sizes.get(group.label) for group in self.node.groups)

    @property
    def boot(self) -> NodeBoot:
        """What the machine boots next, from what was published when it was provisioned or upgraded."""
        back = None if self.upgrade is None else self.upgrade.back
        tries = self.upgrade is not None and self.upgrade.phase is Phase.TRIAL
        own = (*_TRIAL_WORDS, *self.kernel_arguments) if tries else self.kernel_arguments
        line = back or BootLine(digest=self.digest, kernel_arguments=own)
        return NodeBoot(
            hostname=self.node.hostname, mac=self.mac, image=line.digest, kernel_arguments=line.kernel_arguments
        )

    @property
    def under_way(self) -> Upgrade | None:
        """Its upgrade, while nothing else of the machine is changed."""
        upgrade = self.upgrade
        return upgrade if upgrade is not None and (upgrade.restored or upgrade.phase in UNDER_WAY) else None

    @property
    def every_target(self) -> tuple[KeptTarget, ...]:
        """Its targets, those of its other version last."""
        other = None if self.upgrade is None else self.upgrade.other
        return (*self.targets, *(other.targets if other is not None else ()))

    @property
    def exported(self) -> tuple[KeptTarget, ...]:
        """The targets that it may reach now."""
        both = self.upgrade is not None and (self.upgrade.restored or self.upgrade.phase in _BOTH)
        return tuple(kept for kept in (self.every_target if both else self.targets) if kept.made)

    @property
    def system(self) -> tuple[KeptTarget, ...]:
        """The target of its system."""
        return tuple(kept for kept in self.targets if kept.target.label == OS_LABEL)

    def line_with(self, words: Sequence[str], system: Sequence[KeptTarget]) -> tuple[str, ...]:
        """Return its kernel line with another system.

        :param words: what finds the root of that.
        :param system: the target of that.
        """
        further = [kept for kept in self.targets if kept.target.label != OS_LABEL]
        own = [word for kept in (*system, *further) for word in kept.target.kernel_arguments]
        mounts = [word for word in self.own_arguments if word.startswith(FURTHER)]
        return (*words, *own, *mounts, *self.node.kernel_arguments)

    def swapped(self) -> Record:
        """Return the machine with its other version in place of the one that it has, which is the other one then."""
        upgrade = self.upgrade
        if upgrade is None or upgrade.other is None:
            raise ValueError(f"{self.hostname} has no other version")
        other = upgrade.other
        known = {word for kept in self.targets for word in kept.target.kernel_arguments}
        words = tuple(word for word in self.own_arguments if word not in known and not word.startswith(FURTHER))
        this = Version(
            image=str(self.node.image), digest=self.digest, layout=self.layout, targets=self.system, words=words
        )
        further = [kept for kept in self.targets if kept.target.label != OS_LABEL]
        return evolve(
            self,
            node=evolve(self.node, image=parse_image_reference(other.image)),
            document={**self.document, "image": other.image},
            digest=other.digest,
            layout=other.layout,
            targets=(*other.targets, *further),
            kernel_arguments=self.line_with(other.words, other.targets),
            upgrade=evolve(upgrade, other=this, back=None),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the machine as the API and ``terra provision`` show it."""
        by_label = {kept.target.label: kept.target for kept in self.targets if kept.made}
        return {
            "hostname": self.node.hostname,
            "mac": self.mac,
            "image": str(self.node.image),
            "disk_groups": [_group_json(group, by_label[group.label]) for group in self.node.groups if group.label in by_label],
            "initiator_iqn": self.targets[0].target.client if self.targets else "",
            **_of_host(self.host),
        }

    def as_row(self) -> dict[str, Any]:
        """Return the machine as ``terra list`` shows it."""
        upgrade = {} if self.upgrade is None else {"upgrade": self.upgrade.as_json()}
        return {**self.as_json(), "state": self.state.value, "problem": self.problem, **upgrade}


@frozen(kw_only=True)
class SetAside:
    """A machine whose record cannot be read: it is named, its disks are left as they are, and it can be deleted.

    :param hostname: its name, as the row has it.
    :param mac: the address it boots from, as the row has it.
    :param generation: how often its host name has been provisioned, as the row has it.
    :param state: its state, as the row has it.
    :param image: its image, where that can be told; empty otherwise.
    :param targets: those of its targets that can be read.
    :param boot: what it boots, where that can be read.
    :param whole: whether ``targets`` are all that it has.
    :param reason: what is wrong with the record.
    :param problem: why it could not be taken away, if so.
    :param host: as for a :class:`Record`.
    """

    hostname: str
    mac: str
    generation: Any  # whatever the row holds: it names the row
    state: str
    image: str
    targets: tuple[KeptTarget, ...]
    boot: NodeBoot | None
    whole: bool
    reason: str
    problem: str
    host: str = ""

    @property
    def every_target(self) -> tuple[KeptTarget, ...]:
        """Those of its targets that can be read."""
        return self.targets

    @property
    def exported(self) -> tuple[KeptTarget, ...]:
        """The targets that it may reach now."""
        return tuple(kept for kept in self.targets if kept.made)

    @property
    def said(self) -> str:
        """The reasons why the machine is set aside, and why it could not be taken away."""
        unreadable = f"its record cannot be read: {self.reason}"
        return f"{unreadable}; {self.problem}" if self.problem else unreadable

    def as_json(self) -> dict[str, Any]:
        """Return what is known of the machine, with the keys of :meth:`Record.as_json`."""
        return {
            "hostname": self.hostname,
            "mac": self.mac,
            "image": self.image,
            "disk_groups": [],
            "initiator_iqn": self.targets[0].target.client if self.targets else "",
            **_of_host(self.host),
        }

    def as_row(self) -> dict[str, Any]:
        """Return the machine as ``terra list`` shows it."""
        return {**self.as_json(), "state": SET_ASIDE, "problem": self.said}


def _of_host(host: str) -> dict[str, str]:
    """Return what is said of the host of a machine; nothing where all hosts have one store."""
    return {"host": host} if host else {}


def _group_json(group: DiskGroup, target: Target) -> dict[str, Any]:
    return {
        "label": group.label,
        "stage": group.stage.number,
        "disks": [{"id": at, "device": one.name, "fs_size": one.size} for at, one in enumerate(target.volumes, 1)],
        "subvolumes": [{"name": subvolume.name, "path": subvolume.path} for subvolume in group.subvolumes],
        "target": {"iqn": target.name, "id": target.id},
    }
