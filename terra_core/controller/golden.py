"""A golden volume: an image laid down once for a layout of disks, which machines are clones of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import importlib_metadata as metadata
from attrs import asdict, frozen

from terra_core.config.node import DiskGroup, Node
from terra_core.config.values import Hostname
from terra_core.errors import TerraError
from terra_core.hookspecs import CONTRACT, Filesystem, Volume
from terra_core.plugins import Plugins

_RESERVED = "golden_"
"""How the names begin under which the volumes are planned: no host name has an underscore."""
_OWNER = re.compile(rf"{_RESERVED}([0-9a-f]{{16}})")


class GoldenState(Enum):
    """Where a golden volume stands."""

    MAKING = "making"
    READY = "ready"


@frozen(kw_only=True)
class GoldenVolume:
    """One of the volumes that an image is laid down on.

    :param label: its disk group.
    :param name: the store's name for it.
    :param size: its size in MB.
    :param stamp: what the store says of its content; empty until it is ready, or where the store cannot tell.
    """

    label: str
    name: str
    size: int
    stamp: str = ""

    @property
    def volume(self) -> Volume:
        """The volume as the store knows it."""
        return Volume(name=self.name, size=self.size)


@frozen(kw_only=True)
class Golden:
    """An image that is laid down for machines of one layout.

    :param token: its name, which no other one ever has.
    :param layout: the key of image and layout, from :func:`layout_key`.
    :param image: the reference by which it was pulled.
    :param digest: the manifest of the image.
    :param described: the layout in words.
    :param store: the plugin that has the volumes.
    :param contract: the number of the contract that it had.
    :param volumes: the volumes, in the order of the groups and their disks.
    :param state: where it stands.
    :param used: when a machine was made from it or went last, in seconds since 1970.
    :param pinned: whether it is kept when it is unused.
    :param problem: why its row cannot be read, if so.
    """

    token: str
    layout: str
    image: str
    digest: str
    described: str
    store: str
    contract: int
    volumes: tuple[GoldenVolume, ...]
    state: GoldenState
    used: int
    pinned: bool
    problem: str = ""

    @property
    def owner(self) -> Hostname:
        """The name under which the store has the volumes."""
        return Hostname(f"{_RESERVED}{self.token}")

    @property
    def mark_name(self) -> str:
        """The name of the file that says what the volumes hold; it is removed from every clone."""
        return f".terra-{self.owner}"

    @property
    def mark(self) -> bytes:
        """The content of that file."""
        return json.dumps({"digest": self.digest, "layout": self.layout, "token": self.token}, sort_keys=True).encode()

    def of_group(self, label: str) -> tuple[GoldenVolume, ...]:
        """Return the volumes of a disk group, in the order of its disks."""
        return tuple(volume for volume in self.volumes if volume.label == label)

    def is_for(self, node: Node) -> bool:
        """Return whether the volumes are those that the disks of a machine can be copies of."""
        wanted = [(group.label, disk.size) for group in node.groups for disk in group.disk]
        return [(volume.label, volume.size) for volume in self.volumes] == wanted

    def require_marks(self, found: Sequence[bytes], groups: int, digest: str) -> None:
        """Check that a clone is a copy of these volumes, and of the image that the machine's record names.

        :param found: what the mark of each group says.
        :param groups: how many groups have one.
        :raises TerraError: when it is not.
        """
        if self.digest != digest or len(found) != groups or any(content != self.mark for content in found):
            raise TerraError(
                f"the clone of {self.owner} is not of the image {digest}: the golden volume holds something else",
                hint=f"remove it, and begin again: terra images --remove {self.digest}",
            )

    def as_json(self, machines: int, host: str = "") -> dict[str, Any]:
        """Return it as the API gives it.

        :param machines: how many machines there are of this image and layout.
        :param host: the host that has it, where hosts have stores of their own.
        """
        return {
            "image": self.image,
            "digest": self.digest,
            "layout": self.described,
            "size": sum(volume.size for volume in self.volumes),
            "machines": machines,
            "state": self.state.value,
            "pinned": self.pinned,
            "used": datetime.fromtimestamp(self.used, UTC).isoformat(),
            "problem": self.problem,
            **({"host": host} if host else {}),
        }


def token_of(owner: str) -> str:
    """Return the token of golden volumes in the name under which a store has them; nothing when this is no such name."""
    found = _OWNER.fullmatch(owner)
    return found[1] if found else ""


def layout_key(
    node: Node,
    digest: str,
    tables: Mapping[str, Any],
    filesystems: Mapping[str, str],
    store: str,
    plugins: Plugins,
    *,
    host: str = "",
) -> str:
    """Return a key that two machines share when all that is laid down for them is the same, but for their identity.

    :param tables: the plugins' tables of the machine's file.
    :param filesystems: the filesystem plugin of each group, by its label.
    :param store: the plugin that has the volumes.
    :param host: the host that has them, where hosts have stores of their own: nothing is a clone of what another host has.
    """
    names = sorted(set(filesystems.values()))
    decisive = {
        "digest": digest,
        "groups": [{**_group(group), "filesystem": filesystems[group.label]} for group in node.groups],
        "tables": {name: tables.get(name) for name in names},
        "plugins": {name: str(plugins.installed[name]) for name in names},
        "store": store,
        "contract": CONTRACT,
        "version": metadata.version("terra-core"),
        **({"host": host} if host else {}),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()


def described_layout(node: Node, filesystems: Mapping[str, str]) -> str:
    """Return the layout of a machine's disks in words."""
    return "; ".join(_in_words(group, filesystems[group.label]) for group in node.groups)


def full_reason(node: Node, filesystems: Mapping[str, Filesystem]) -> str:
    """Say why the disks of a machine cannot be clones; nothing when they can."""
    for group in node.groups:
        filesystem = filesystems[group.label]
        if not filesystem.brings("renew_identity"):
            return f"the filesystem plugin {filesystem.plugin!r} gives no copy an identity of its own"
    return ""


def _group(group: DiskGroup) -> dict[str, Any]:
    """Return what of a group decides the bytes: its disks have other names in every machine."""
    table = asdict(group)
    return {**table, "disk": [disk.size for disk in group.disk]}


def _in_words(group: DiskGroup, filesystem: str) -> str:
    sizes = [str(disk.size) for disk in group.disk]
    disks = f"{sizes[0]} MB" if len(sizes) == 1 else f"{'+'.join(sizes)} MB {group.type.value}"
    subvolumes = ",".join(subvolume.path for subvolume in group.subvolumes)
    return f"{group.label} {filesystem} {disks}{f' with {subvolumes}' if subvolumes else ''}"
