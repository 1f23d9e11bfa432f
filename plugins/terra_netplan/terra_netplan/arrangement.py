"""The order in which netplan reads devices.

netplan reads a file twice that names a device before it describes it, and reports the second reading of some keys as a
contradiction (the costs of a bridge's interfaces, a bond's primary). So the parts of a device are written before it. A
file has each kind of device once: where no order of the kinds does, there are several files, which netplan reads one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar


class Part(Protocol):
    """A device."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def below(self) -> tuple[str, ...]:
        """The devices that it is made of."""


D = TypeVar("D", bound=Part)


def arranged(kinds: Mapping[str, Sequence[D]]) -> list[Mapping[str, Sequence[D]]]:
    """Return the devices of each file, by kind.

    :param kinds: the devices, of which none contains itself; the kinds are kept in this order where that does.
    """
    left = {kind: list(devices) for kind, devices in kinds.items() if devices}
    placed: set[str] = set()
    files: list[Mapping[str, Sequence[D]]] = []
    order = _order(left)
    while any(left.values()):
        file = {kind: ready for kind in order if (ready := _ready(left[kind], placed))}
        if not file:  # an unknown device or a circle, which others report
            file, left = {kind: devices for kind, devices in left.items() if devices}, {}
        files.append(file)
    return files


def _ready(left: list[D], placed: set[str]) -> list[D]:
    """Take those whose parts are placed, and then those that are made of them."""
    ready: list[D] = []
    while found := [device for device in left if placed.issuperset(device.below)]:
        ready += found
        placed.update(device.name for device in found)
        left[:] = [device for device in left if device.name not in placed]
    return ready


def _order(kinds: Mapping[str, Sequence[Part]]) -> list[str]:
    """Return the kinds, each after those that it needs if that is possible."""
    kind_of = {device.name: kind for kind, devices in kinds.items() for device in devices}
    needs = {kind: {kind_of.get(name, kind) for one in some for name in one.below} - {kind} for kind, some in kinds.items()}
    order: list[str] = []
    while len(order) < len(kinds):
        possible = [kind for kind in kinds if kind not in order and needs[kind] <= set(order)]
        if not possible:
            return list(kinds)
        order.append(possible[0])
    return order
