"""What a node.toml asks for, settled: defaults filled in, so that two files can be compared by what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from terra_core.config.controller import Controller
from terra_core.config.loader import Document
from terra_core.config.node import Allocation, NetworkDisk, NetworkNode
from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem
from terra_core.config.trust import with_key
from terra_core.config.values import Size
from terra_core.controller.records import Record
from terra_core.controller.services import Services
from terra_core.documents import settle, settled
from terra_core.errors import ConflictError
from terra_core.hookspecs import Filesystem, Volume
from terra_core.plugins import Plugins, filesystem_of
from terra_core.selection import PROVISIONED


@frozen(kw_only=True)
class Wanted:
    """A machine as somebody wants it, or as it is.

    :param node: its node.toml.
    :param document: the same as parsed, to be kept.
    :param tables: the plugins' tables of it, as parsed.
    :param settings: the settings of its filesystem plugins, defaults included.
    """

    node: NetworkNode
    document: Mapping[str, Any]
    tables: Mapping[str, Any]
    settings: Mapping[str, object]

    def filesystem(self, label: str) -> str:
        """Return the filesystem plugin of a group."""
        chosen = next(group.filesystem for group in self.node.groups if group.label == label)
        return chosen or self.node.plugins.get("filesystem") or Filesystem.default


def wanted_of(document: Document[NetworkNode], services: Services, former: Record | None = None) -> Wanted:
    """Return what a file asks for, after the checks that need nothing but the file.

    :param former: the machine as it is known: it keeps its filesystem where the file names none, whatever the default is now.
    :raises ConfigError: with every problem of the file.
    """
    node, raw = _with_default(document, services, former)
    if former is None or not former.host:
        _require_host(node, services.config)
    made = settled(document, PROVISIONED, services.plugins, node.plugins, beside=_chosen(node))
    for group in node.groups:
        filesystem_of(group, node, services.plugins, source=document.source)
    tables = {name: raw[name] for name in document.tables}
    return Wanted(node=node, document=with_key(raw, node.trust), tables=tables, settings=made.tables)


def present_of(record: Record, plugins: Plugins) -> Wanted:
    """Return what there is of a machine: groups and sizes that were wanted and could not be made yet are not there."""
    made, _ = settle(record.tables, PROVISIONED, plugins, record.node.plugins, beside=_chosen(record.node))
    volumes: dict[str, tuple[Volume, ...]] = {kept.target.label: kept.target.volumes for kept in record.targets if kept.made}
    groups = tuple(
        evolve(group, disk=tuple(map(_disk_of, group.disk, volumes[group.label])))
        for group in record.node.groups
        if group.label in volumes
    )
    node = evolve(record.node, groups=groups)
    return Wanted(node=node, document=record.document, tables=record.tables, settings=made)


def _disk_of(disk: NetworkDisk, volume: Volume) -> NetworkDisk:
    return evolve(disk, size=Size(volume.size), allocation=Allocation.FULL if volume.full else Allocation.THIN)


def _chosen(node: NetworkNode) -> list[str]:
    return [group.filesystem for group in node.groups if group.filesystem]


def _require_host(node: NetworkNode, config: Controller) -> None:
    """Refuse a machine whose disks are to be on another host than this one."""
    own = config.own_name
    if node.host in (None, own):
        return
    if config.local_store:
        said = f"{node.hostname} is to have its disks on {node.host}, and {own} was asked for it"
        raise ConflictError(said, hint="apply again")
    text = f"{own} has no hosts beside it that have a store of their own: leave this out, or set local_store in controller.toml"
    raise DocumentError("node.toml", [Problem("host", text)])


def _with_default(
    document: Document[NetworkNode], services: Services, former: Record | None
) -> tuple[NetworkNode, Mapping[str, object]]:
    """Return a machine and its file with the filesystem that it has, or that of controller.toml, unless it names one itself."""
    node = document.value
    default = (services.config if former is None else former.node).plugins.get("filesystem")
    if default is None or "filesystem" in node.plugins:
        return node, document.raw
    chosen = {**node.plugins, "filesystem": default}
    return evolve(node, plugins=chosen), {**document.raw, "plugins": chosen}
