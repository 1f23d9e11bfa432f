"""The difference between a machine as it is and as its file says it shall be, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from shlex import join
from typing import Any

import attrs
from attrs import asdict, frozen

from terra_core.config.node import DiskGroup, NetworkGroup, NetworkNode
from terra_core.config.values import ImageReference
from terra_core.controller.wanted import Wanted
from terra_core.system.reading import lines_of

_ANEW = "cannot be changed in a machine that is there: terra delete and terra apply make it anew, and its data goes"
_UPGRADE = "is changed by terra upgrade HOST --image IMAGE, which keeps the data; terra apply does not"
_NEXT_BOOT = "counts from its next boot on"
_NO_EFFECT = "is kept with the machine, and changes nothing of it"
_FOR_PULLS = "counts for what is pulled from now on"
_NEXT_UPGRADE = "counts from its next upgrade on"
_LAID_DOWN = ("type", "compression", "options")
"""What of a group was decided when its disks were formatted and the machine's fstab was written."""
_ONLY_KEPT = ("stage", "mbr", "boot")
"""What of a group a machine that boots over the network does not use."""


class Action(StrEnum):
    """What applying a file does to a machine."""

    CREATE = "create"
    CHANGE = "change"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@frozen(kw_only=True)
class Change:
    """One difference.

    :param path: where, such as ``groups[os].disk[0].size``.
    :param former: what there is; empty for nothing.
    :param wanted: what the file says; empty for nothing.
    :param possible: whether it can be changed in place.
    :param note: when it counts, or what to do.
    """

    path: str
    former: str
    wanted: str
    possible: bool = True
    note: str = ""

    @property
    def waits_for_boot(self) -> bool:
        """Whether the machine has it from its next boot on only."""
        return self.note not in (_NO_EFFECT, _FOR_PULLS, _NEXT_UPGRADE)


@frozen(kw_only=True)
class Plan:
    """What applying a file does to a machine.

    :param hostname: the machine.
    :param action: what is done.
    :param version: the machine that this was planned for, as it was; another text once anything of it has changed.
    :param changes: every difference.
    :param notes: what else a person should know.
    """

    hostname: str
    action: Action
    version: str
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as the API gives it."""
        return {**asdict(self), "action": self.action.value}


def action_of(changes: Sequence[Change]) -> Action:
    """Return what to do about differences: all of them, or nothing."""
    if not changes:
        return Action.UNCHANGED
    return Action.CHANGE if all(change.possible for change in changes) else Action.REFUSED


def differences(present: Wanted, wanted: Wanted) -> Iterator[Change]:
    """Yield every difference in what two files mean; their spelling, order and what they leave to defaults does not count.

    :param present: the machine as it is.
    :param wanted: the machine as it shall be.
    """
    former, node = present.node, wanted.node
    if _named(former.image) != _named(node.image):
        yield Change(path="image", former=str(former.image), wanted=str(node.image), possible=False, note=_UPGRADE)
    if former.mac != node.mac:
        note = f"{_NEXT_BOOT}; the former address boots it no longer"
        yield Change(path="mac", former=former.mac, wanted=node.mac, note=note)
    words = (" ".join(former.kernel_arguments), " ".join(node.kernel_arguments))
    if words[0] != words[1]:
        yield Change(path="kernel_arguments", former=words[0], wanted=words[1], note=_NEXT_BOOT)
    keys = [one.trust.pem.strip() if one.trust else "" for one in (former, node)]
    if keys[0] != keys[1]:
        said = [_key_in_words(key) for key in keys]
        yield Change(path="trust.key", former=said[0], wanted=said[1], note=_FOR_PULLS)
    kept = [", ".join(sorted(one.upgrade.keep)) for one in (former, node)]
    if kept[0] != kept[1]:
        yield Change(path="upgrade.keep", former=kept[0], wanted=kept[1], note=_NEXT_UPGRADE)
    checks = [join(one.upgrade.check) for one in (former, node)]
    if checks[0] != checks[1]:
        yield Change(path="upgrade.check", former=checks[0], wanted=checks[1], note=_NEXT_UPGRADE)
    yield from _groups(present, wanted)
    yield from _settings(present.settings, wanted.settings)


def further_groups(present: NetworkNode, wanted: NetworkNode) -> list[NetworkGroup]:
    """Return the groups that are wanted and not there."""
    there = {group.label for group in present.groups}
    return [group for group in wanted.groups if group.label not in there]


def grown_groups(present: NetworkNode, wanted: NetworkNode) -> list[NetworkGroup]:
    """Return the groups that are there, with their wanted disks, of which any shall be larger."""
    sizes = {group.label: [disk.size for disk in group.disk] for group in present.groups}
    return [
        group for group in wanted.groups if group.label in sizes and [disk.size for disk in group.disk] != sizes[group.label]
    ]


def _groups(present: Wanted, wanted: Wanted) -> Iterator[Change]:
    formers = {group.label: group for group in present.node.groups}
    for group in wanted.node.groups:
        former = formers.pop(group.label, None)
        path = f"groups[{group.label}]"
        if former is None:
            note = f"its volumes are made now; {_NEXT_BOOT}, and is mounted then"
            yield Change(path=path, former="", wanted=_in_words(group, wanted.filesystem(group.label)), note=note)
            continue
        filesystems = present.filesystem(group.label), wanted.filesystem(group.label)
        if filesystems[0] != filesystems[1]:
            yield _laid_down(f"{path}.filesystem", *filesystems)
        for name in _LAID_DOWN:
            if getattr(former, name) != getattr(group, name):
                yield _laid_down(f"{path}.{name}", _shown(getattr(former, name)), _shown(getattr(group, name)))
        for name in _ONLY_KEPT:
            if getattr(former, name) != getattr(group, name):
                said = _shown(getattr(former, name)), _shown(getattr(group, name))
                yield Change(path=f"{path}.{name}", former=said[0], wanted=said[1], note=_NO_EFFECT)
        subvolumes = _subvolumes(former), _subvolumes(group)
        if subvolumes[0] != subvolumes[1]:
            yield _laid_down(f"{path}.subvolumes", *(", ".join(each) for each in subvolumes))
        yield from _disks(path, former, group)
    for label in formers:
        words = _in_words(formers[label], present.filesystem(label))
        yield Change(path=f"groups[{label}]", former=words, wanted="", possible=False, note=_ANEW)


def _disks(path: str, former: NetworkGroup, group: NetworkGroup) -> Iterator[Change]:
    if len(former.disk) != len(group.disk):
        yield _laid_down(f"{path}.disk", f"{len(former.disk)} disk(s)", f"{len(group.disk)} disk(s)")
        return
    note = "the file system takes it when the machine starts next"
    if len(group.disk) > 1:
        note += "; of several disks only the first by itself, each other one by the file system's own program"
    for at, (before, after) in enumerate(zip(former.disk, group.disk, strict=True)):
        if before.device != after.device:
            place = f"{path}.disk[{at}].device"
            yield Change(path=place, former=before.device, wanted=after.device, note=_NO_EFFECT)
        if after.allocation not in (None, before.allocation):
            yield _laid_down(f"{path}.disk[{at}].allocation", _shown(before.allocation), _shown(after.allocation))
        sizes = f"{before.size} MB", f"{after.size} MB"
        if before.size < after.size:
            yield Change(path=f"{path}.disk[{at}].size", former=sizes[0], wanted=sizes[1], note=note)
        elif before.size > after.size:
            yield _laid_down(f"{path}.disk[{at}].size", *sizes, why="a disk is not made smaller")


def _settings(former: Mapping[str, object], wanted: Mapping[str, object]) -> Iterator[Change]:
    """Yield what differs in the settings of plugins that the machine has used; those of a further group's are new."""
    for name in sorted(former.keys() & wanted.keys()):
        before, after = former[name], wanted[name]
        if before == after:
            continue
        model = type(after)
        if type(before) is not model or not attrs.has(model):
            yield _laid_down(name, _shown(before), _shown(after))
            continue
        for field in attrs.fields(model):
            values = getattr(before, field.name), getattr(after, field.name)
            if values[0] != values[1]:
                yield _laid_down(f"{name}.{field.name}", _shown(values[0]), _shown(values[1]))


def _laid_down(path: str, former: str, wanted: str, why: str = "") -> Change:
    return Change(path=path, former=former, wanted=wanted, possible=False, note=f"{why}: {_ANEW}" if why else _ANEW)


def _named(image: ImageReference) -> tuple[str, ...]:
    return image.registry, image.path, image.tag, image.digest


def _subvolumes(group: DiskGroup) -> list[str]:
    return sorted(f"{subvolume.name} at {subvolume.path}" for subvolume in group.subvolumes)


def _in_words(group: NetworkGroup, filesystem: str) -> str:
    sizes = "+".join(str(disk.size) for disk in group.disk)
    return f"{filesystem} {group.type.value} on {sizes} MB"


def _key_in_words(key: str) -> str:
    lines = lines_of(key)
    return f"...{lines[-2][-12:]}" if len(lines) > 2 else key


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_shown(one) for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(getattr(value, "value", value))
