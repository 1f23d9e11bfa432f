"""What the controller's API answers, as models: its description is made of them, and a client reads the answers by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

import attrs
from attrs import frozen

from terra_core.config.structure import structure

T = TypeVar("T")


@frozen(kw_only=True)
class LunShown:
    """A disk of a machine.

    :param id: its LUN.
    :param device: the file behind it.
    :param fs_size: its size in MB.
    """

    id: int
    device: str
    fs_size: int


@frozen(kw_only=True)
class SubvolumeShown:
    """A subvolume.

    :param name: its name.
    :param path: where it is mounted in the machine.
    """

    name: str
    path: str


@frozen(kw_only=True)
class TargetShown:
    """A target.

    :param iqn: its name.
    :param id: its number.
    """

    iqn: str
    id: int


@frozen(kw_only=True)
class GroupShown:
    """A disk group of a machine.

    :param label: its label.
    :param stage: 0 when it is mounted before the system's init, 1 when by it.
    :param disks: its disks.
    :param subvolumes: its subvolumes besides the root.
    :param target: the target that gives them to the machine.
    """

    label: str
    stage: int
    disks: tuple[LunShown, ...]
    subvolumes: tuple[SubvolumeShown, ...]
    target: TargetShown


@frozen(kw_only=True)
class NodeProvisioned:
    """A machine that has its disks.

    :param hostname: its name.
    :param mac: the address it boots from.
    :param image: its image.
    :param disk_groups: its disks; empty until they are made.
    :param initiator_iqn: the name by which it logs in; empty until its disks are made.
    """

    hostname: str
    mac: str
    image: str
    disk_groups: tuple[GroupShown, ...]
    initiator_iqn: str


@frozen(kw_only=True)
class NodeShown(NodeProvisioned):
    """A machine, with where it stands.

    :param state: provisioning, ready, deleting, or set-aside.
    :param problem: why it cannot boot right now, or could not be taken away; empty otherwise.
    """

    state: str
    problem: str


@frozen(kw_only=True)
class InfoShown:
    """What the controller is and does.

    :param address: where the API and the network boot service answer.
    :param port: the port of the API.
    :param gateway: the gateway that machines are told of.
    :param portal: where the storage service answers.
    :param root: what everything of the controller's is below.
    :param nodes: how many machines are in each state.
    :param plugins: the plugin of each role.
    :param problems: what the controller needs and does not have now, with the reason; left out when there is nothing.
    """

    address: str
    port: int
    gateway: str | None
    portal: str
    root: str
    nodes: Mapping[str, int]
    plugins: Mapping[str, str]
    problems: Mapping[str, str] = {}


@frozen(kw_only=True)
class BootImageInstalled:
    """The network boot loaders of an image, on the controller.

    :param image: the image.
    :param digest: its manifest's digest.
    :param files: the files that it brought.
    """

    image: str
    digest: str
    files: tuple[str, ...]


def read_answer(raw: object, kind: type[T]) -> T:
    """Make a model, or a tuple of models, from an answer in JSON; what a later version of a daemon says beside is left out.

    :raises StructureError: with all that is not as the model says.
    """
    return structure(_known(raw, kind), kind)


def as_json(answer: attrs.AttrsInstance) -> dict[str, Any]:
    """Return an answer as the API gives it: with the keys in their order, and without those that say nothing."""
    return attrs.asdict(answer, filter=lambda field, value: field.default is attrs.NOTHING or value != field.default)


def _known(raw: object, kind: Any) -> object:  # any type of a model's field
    if isinstance(kind, type) and attrs.has(kind) and isinstance(raw, Mapping):
        fields = attrs.fields(attrs.resolve_types(kind))
        return {field.name: _known(raw[field.name], field.type) for field in fields if field.name in raw}
    if get_origin(kind) in (tuple, Sequence) and isinstance(raw, list):
        return [_known(item, get_args(kind)[0]) for item in raw]
    return raw
