"""Nodes and disks as the installer finds them, made by code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from terra_core.config.loader import make_document
from terra_core.config.node import Node
from terra_core.install.facts import Device, Parent, Slice
from terra_core.install.layout import MB
from terra_core.system.disks import Signature


def group(label: str, *devices: str, kind: str = "single", **more: object) -> dict[str, Any]:
    """Return a ``[[groups]]`` entry."""
    return {"label": label, "type": kind, "disk": [{"device": device} for device in devices], **more}


def node(*groups: Mapping[str, Any]) -> Node:
    """Return a node.toml with these groups."""
    raw = {"hostname": "mt-01", "image": "10.0.10.3:5000/stellarproject/example:6", "groups": list(groups)}
    return make_document(raw, Node, source="node.toml").value


def disk(name: str, size: int = 1024, *, number: str = "", holds: Sequence[str] = (), **more: Any) -> Device:
    """Return a whole disk of ``size`` MB, which holds signatures of these kinds."""
    signatures = tuple(Signature(kind, "", 512, 8) for kind in holds)
    number = number or f"8:{16 * sum(map(ord, name))}"
    return Device(name=name, path=Path(name), number=number, size=size * MB, signatures=signatures, **more)


def part(name: str, disk: str, *, table: str = "gpt", slices: Sequence[Slice] = (), size: int = 1024, **more: Any) -> Device:
    """Return a partition of ``size`` MB on ``disk``."""
    boot_code = more.pop("boot_code", False)
    parent = Parent(
        path=Path(disk),
        number=f"8:{16 * sum(map(ord, disk))}",
        size=2 * size * MB,
        sector_size=512,
        sequence="1",
        table=table,
        slices=tuple(slices),
        boot_code=boot_code,
    )
    return Device(name=name, path=Path(name), number="259:1", size=size * MB, kind="part", parent=parent, **more)


def found(*devices: Device) -> dict[str, Device]:
    """Return the devices by their names."""
    return {device.name: device for device in devices}
