"""What the controller keeps of a machine, and what is left of that when it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from attrs import frozen

from terra_core.config.node import DiskGroup, NetworkNode
from terra_core.config.structure import Problem, has
from terra_core.config.values import Mac, PluginName
from terra_core.hookspecs import CONTRACT, NodeBoot, Target

SET_ASIDE = "set-aside"
"""The state of a machine whose record cannot be read."""


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
    def unmade(self) -> bool:
        """Whether its file says more than is there: a further group, or a larger disk."""
        sizes = {kept.target.label: [volume.size for volume in kept.target.volumes] for kept in self.targets if kept.made}
        return any([disk.size for disk in group.disk] != sizes.get(group.label) for group in self.node.groups)

    @property
    def boot(self) -> NodeBoot:
        """What the machine boots, from what was published when it was provisioned."""
        return NodeBoot(hostname=self.node.hostname, mac=self.mac, image=self.digest, kernel_arguments=self.kernel_arguments)

    def as_json(self) -> dict[str, Any]:
        """Return the machine as the API and ``terra provision`` show it."""
        by_label = {kept.target.label: kept.target for kept in self.targets if kept.made}
        return {
            "hostname": self.node.hostname,
            "mac": self.mac,
            "image": str(self.node.image),
            "disk_groups": [_group_json(group, by_label[group.label]) for group in self.node.groups if group.label in by_label],
            "initiator_iqn": self.targets[0].target.client if self.targets else "",
        }

    def as_row(self) -> dict[str, Any]:
        """Return the machine as ``terra list`` shows it."""
        return {**self.as_json(), "state": self.state.value, "problem": self.problem}


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
        }

    def as_row(self) -> dict[str, Any]:
        """Return the machine as ``terra list`` shows it."""
        return {**self.as_json(), "state": SET_ASIDE, "problem": self.said}


def _group_json(group: DiskGroup, target: Target) -> dict[str, Any]:
    return {
        "label": group.label,
        "stage": group.stage.number,
        "disks": [{"id": at, "device": one.name, "fs_size": one.size} for at, one in enumerate(target.volumes, 1)],
        "subvolumes": [{"name": subvolume.name, "path": subvolume.path} for subvolume in group.subvolumes],
        "target": {"iqn": target.name, "id": target.id},
    }
