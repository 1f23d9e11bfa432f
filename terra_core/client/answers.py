"""What the controller's API answers, as models: its description is made of them, and a client reads the answers by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import msgspec
from attrs import frozen

from terra_core.config.structure import Problem, StructureError
from terra_core.service.answers import OperationShown

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
    :param host: the host that has its disks, where hosts have stores of their own; left out otherwise.
    """

    hostname: str
    mac: str
    image: str
    disk_groups: tuple[GroupShown, ...]
    initiator_iqn: str
    host: str = ""


@frozen(kw_only=True)
class UpgradeShown:
    """The upgrade of a machine that was asked for last.

    :param phase: ``preparing``; ``waiting`` until the machine is off; ``trial`` until it reports that it is well; ``kept`` when
        it was; ``returning`` until its next start; ``left`` when it has its former version; ``restored`` until it is seen which
        version a machine has whose record is of a backup.
    :param image: the image that it is to.
    :param digest: the manifest of that.
    :param since: since when it is in its phase, in seconds since 1970.
    :param reason: why the machine leaves that version, or has left it; empty otherwise.
    :param other: the image of the version that the machine does not have and that is kept; empty where there is none.
    """

    phase: str
    image: str
    digest: str
    since: float
    reason: str
    other: str


@frozen(kw_only=True)
class UpgradePlanShown:
    """What an upgrade of a machine will do.

    :param hostname: the machine.
    :param action: ``upgrade``; ``unchanged`` where it has the image already, ``under way`` where it is on its way to it.
    :param former: the image that it has.
    :param former_digest: the manifest of that.
    :param image: the next image.
    :param digest: the manifest of that.
    :param kept: what the next version takes over.
    :param notes: what a person should know.
    """

    hostname: str
    action: str
    former: str
    former_digest: str
    image: str
    digest: str
    kept: tuple[str, ...]
    notes: tuple[str, ...]


@frozen(kw_only=True)
class NodeShown(NodeProvisioned):
    """A machine and its state.

    :param state: provisioning, ready, booting, booted, failed or deleting.
    :param problem: why it failed or cannot boot right now; empty otherwise.
    :param since: since when it is in its state, in UTC as RFC 3339 has it; empty where that is not known.
    :param digest: the manifest of its image; empty until that was pulled.
    :param addresses: what it reported as its addresses when it booted last.
    :param upgrade: the upgrade that was asked for last; none where none was.
    """

    state: str
    problem: str
    since: str
    digest: str
    addresses: tuple[str, ...]
    upgrade: UpgradeShown | None = None


@frozen(kw_only=True)
class HappeningShown:
    """Something that happened to a machine.

    :param number: its place in the order of all that happened.
    :param generation: which machine of this name: each that is provisioned is another one.
    :param time: when, in UTC as RFC 3339 has it.
    :param kind: operation, dhcp, file, login, report or problem.
    :param text: what happened; the machine's name goes before it.
    :param data: the same for programs; what is in it depends on the kind.
    """

    number: int
    generation: int
    time: str
    kind: str
    text: str
    data: Mapping[str, Any]


@frozen(kw_only=True)
class ClientShown:
    """Somebody who is connected to a disk of a machine.

    :param name: by what name, such as that of an initiator; empty where the transport has none.
    :param address: from where; empty where that is not known.
    """

    name: str
    address: str


@frozen(kw_only=True)
class StatusShown(NodeShown):
    """How a machine is.

    :param report: what it said of itself when it had booted last; empty when it never did.
    :param connected: who is connected to its disks now.
    :param trouble: what keeps all machines from booting now, or is not known of them; empty when all is well.
    :param operation: the last operation on it since the controller was started; null when there was none.
    :param happenings: what happened to it last, in order.
    """

    report: Mapping[str, Any]
    connected: tuple[ClientShown, ...]
    trouble: str
    operation: OperationShown | None
    happenings: tuple[HappeningShown, ...]


@frozen(kw_only=True)
class ChangeShown:
    """A difference between a machine and its file.

    :param path: where, such as groups[os].disk[0].size.
    :param former: what there is; empty for nothing.
    :param wanted: what the file says; empty for nothing.
    :param possible: whether it can be changed in a machine that is there.
    :param note: when it counts, or what to do.
    """

    path: str
    former: str
    wanted: str
    possible: bool
    note: str


@frozen(kw_only=True)
class PlanShown:
    """What applying a file does to a machine.

    :param hostname: the machine.
    :param action: create, change, unchanged, or refused where anything of it cannot be changed.
    :param version: the machine that this was planned for, as it was; given back when the plan is carried out.
    :param changes: every difference.
    :param notes: what else a person should know.
    """

    hostname: str
    action: str
    version: str
    changes: tuple[ChangeShown, ...]
    notes: tuple[str, ...]


@frozen(kw_only=True)
class InfoShown:
    """The controller: its addresses, plugins, and numbers of machines.

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
class HostShown:
    """A host whose controller has this database. Times are of UTC as RFC 3339 has them.

    :param name: its name.
    :param state: working, waiting, stopped, silent when it says nothing any more, or fenced when another one took its place;
        of one that is drained, draining while it finishes what it has begun, and drained when it waits and takes no lead.
    :param leads: whether it has the lead.
    :param url: where its API answers.
    :param portal: where its storage service answers.
    :param store: the plugin that has its volumes.
    :param version: the version of Terra.
    :param started: since when it runs.
    :param seen: when it was heard of last.
    :param drained: whether it takes no lead, and no new machines.
    :param local_store: whether its store is its own, and no other host reaches the volumes there.
    :param machines: how many machines it has the disks of then.
    :param trouble: what keeps all of those from booting now; empty when nothing does.
    """

    name: str
    state: str
    leads: bool
    url: str
    portal: str
    store: str
    version: str
    started: str
    seen: str
    drained: bool = False
    local_store: bool = False
    machines: int = 0
    trouble: str = ""


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


@frozen(kw_only=True)
class Mended:
    """What the controller did when it was asked to mend.

    :param mended: what it changed.
    :param left: what it cannot mend, as far as it knows.
    """

    mended: tuple[str, ...]
    left: tuple[str, ...]


@frozen(kw_only=True)
class TokenShown:
    """A token, without its secret. Times are of UTC as RFC 3339 has them.

    :param name: its name.
    :param role: what it may do: read, provision or admin.
    :param created: when it was made.
    :param last_used: when it was used last, to the minute; empty when it never was.
    :param expires: until when it is valid; empty when it has no end.
    :param revoked: when it was revoked; empty when it was not.
    """

    name: str
    role: str
    created: str
    last_used: str
    expires: str
    revoked: str


@frozen(kw_only=True)
class TokenCreated(TokenShown):
    """A token that was made just now.

    :param token: its secret, which is told once.
    """

    token: str


@frozen(kw_only=True)
class AuditShown:
    """A change that somebody asked for, or requests that were refused.

    :param number: its number; later ones are greater.
    :param time: when it was asked for, in UTC as RFC 3339 has it.
    :param who: the name of the token; local is that of the controller's host, and empty stands for none that is known.
    :param role: the role of the token.
    :param address: where the request came from.
    :param method: the method of the request.
    :param path: its path.
    :param action: what it does.
    :param subject: what it does it to, such as the name of a machine.
    :param detail: what else is worth knowing.
    :param result: begun, done, or what went wrong; begun also where the controller ended before the work did.
    :param refused: whether nothing was changed because the request was refused.
    """

    number: int
    time: str
    who: str
    role: str
    address: str
    method: str
    path: str
    action: str
    subject: str
    detail: str
    result: str
    refused: bool


@frozen(kw_only=True)
class ImageShown:
    """An image that is laid down for a layout of disks, for machines to be clones of.

    :param image: the reference by which it was pulled.
    :param digest: its manifest's digest.
    :param layout: the layout of disks, in words.
    :param size: the size of its volumes in MB; what they take of the disk is less.
    :param machines: how many machines there are of this image and layout.
    :param state: making, or ready.
    :param pinned: whether it is kept when no machine is of it.
    :param used: when a machine was made from it or went last, as ISO 8601 has it.
    :param problem: what is wrong with it; empty otherwise.
    :param host: the host that has it, where hosts have stores of their own; left out otherwise.
    """

    image: str
    digest: str
    layout: str
    size: int
    machines: int
    state: str
    pinned: bool
    used: str
    problem: str
    host: str = ""


def read_answer(raw: object, kind: type[T]) -> T:
    """Make a model, or a tuple of models, from an answer in JSON; what a later version of a daemon says beside is left out.

    By msgspec, as ten thousand machines are an answer: :func:`terra_core.config.structure.structure`, which tells all that is
    wrong in what a person wrote, takes twenty times as long for them, and refuses so many.

    :raises StructureError: with the first thing that is not as the model says.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at ")
        raise StructureError([Problem(path.strip("`").removeprefix("$").removeprefix("."), said)]) from None


def as_json(answer: attrs.AttrsInstance) -> dict[str, Any]:
    """Return an answer as the API gives it: with the keys in their order, and without those that say nothing."""
    return attrs.asdict(answer, filter=lambda field, value: field.default is attrs.NOTHING or value != field.default)
