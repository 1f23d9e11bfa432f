"""What has to be right between the devices of ``[netplan]``: names, members, loops, default routes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import shown

if TYPE_CHECKING:
    from terra_netplan.settings import Device

_MAY_HOLD = {"bonds": {"interfaces"}, "bridges": {"interfaces", "vlans", "bonds"}}
_OWN_WAYS = ("dhcp4", "dhcp6", "accept_ra", "addresses", "gateway", "routes", "nameservers", "search")


@frozen
class _Placed:
    """A device, and where it stands.

    :param kind: the list that it is in.
    :param at: its place there.
    :param device: the device, of which attributes may be missing where they are wrong.
    """

    kind: str
    at: int
    device: Any  # a Device; in a document with problems it may lack attributes, of the subclasses too

    @property
    def path(self) -> str:
        """Where it stands."""
        return f"{self.kind}[{self.at}]"


def members(bonds: Sequence[Device], bridges: Sequence[Device]) -> set[str]:
    """The names of the devices that are a part of a bond or a bridge: their addresses are those of the whole."""
    return {name for device in (*bonds, *bridges) for name in device.below}


def problems_between(kinds: Mapping[str, Sequence[Device]]) -> Iterator[Problem]:
    """Everything that is wrong between devices.

    :param kinds: the devices by the list that they are in.
    """
    placed = [
        _Placed(kind, at, device) for kind, devices in kinds.items() for at, device in enumerate(devices) if has(device, "name")
    ]
    named = {item.device.name: item for item in reversed(placed)}
    yield from _ambiguous_names(placed)
    yield from _ambiguous_addresses(placed)
    yield from _unknown_parts(placed, named)
    yield from _shared_members(placed, named)
    yield from _ambiguous_vlans(placed, named)
    yield from _loops(placed)
    yield from _default_routes(placed)


def _ambiguous_names(placed: Sequence[_Placed]) -> Iterator[Problem]:
    """An interface that gets a name of its own has two, and both are taken."""
    taken: dict[str, str] = {}
    for item in placed:
        for key in ("name", "set_name"):
            name = getattr(item.device, key, None)
            if name is None or (key == "set_name" and name == item.device.name):
                continue
            holder = taken.setdefault(name, item.path)
            if holder != item.path:
                yield Problem(f"{item.path}.{key}", f"{shown(name)} is the name of {holder} already")


def _ambiguous_addresses(placed: Sequence[_Placed]) -> Iterator[Problem]:
    hardware: dict[str, str] = {}
    addresses: dict[object, str] = {}
    for item in placed:
        mac = getattr(getattr(item.device, "match", None), "macaddress", None)
        if mac is not None and hardware.setdefault(mac, item.path) != item.path:
            yield Problem(f"{item.path}.match.macaddress", f"{shown(mac)} is that of {hardware[mac]} already")
        for at, raw in enumerate(getattr(item.device, "addresses", ())):
            path = f"{item.path}.addresses[{at}]"
            try:
                address = ipaddress.ip_interface(raw).ip
            except ValueError:
                continue  # which is said where it stands
            if addresses.setdefault(address, path) != path:
                yield Problem(path, f"{address} is {addresses[address]} already")


def _unknown_parts(placed: Sequence[_Placed], named: Mapping[str, _Placed]) -> Iterator[Problem]:
    known = ", ".join(named)
    for item in placed:
        if item.kind == "vlans" and has(item.device, "link") and item.device.link not in named:
            yield Problem(f"{item.path}.link", f"there is no device {shown(item.device.link)} (there are: {known})")
        if item.kind not in _MAY_HOLD:
            continue
        for at, name in enumerate(getattr(item.device, "interfaces", ())):
            path = f"{item.path}.interfaces[{at}]"
            if name not in named:
                yield Problem(path, f"there is no device {shown(name)} (there are: {known})")
            elif named[name].kind not in _MAY_HOLD[item.kind]:
                allowed = ", ".join(sorted(_MAY_HOLD[item.kind]))
                yield Problem(path, f"{shown(name)} is one of {named[name].kind}, and {item.kind} are made of {allowed}")


def _shared_members(placed: Sequence[_Placed], named: Mapping[str, _Placed]) -> Iterator[Problem]:
    holders: dict[str, str] = {}
    for item in placed:
        if item.kind not in _MAY_HOLD:
            continue
        for at, name in enumerate(getattr(item.device, "interfaces", ())):
            path = f"{item.path}.interfaces[{at}]"
            if holders.setdefault(name, path) != path:
                yield Problem(path, f"{shown(name)} is {holders[name]} already")
            elif name in named:
                yield from _own_ways(named[name], item.device.name)


def _own_ways(member: _Placed, whole: str) -> Iterator[Problem]:
    for key in _OWN_WAYS:
        if getattr(member.device, key, None):
            yield Problem(f"{member.path}.{key}", f"it is a part of {shown(whole)}, which has this instead of it")


def _ambiguous_vlans(placed: Sequence[_Placed], named: Mapping[str, _Placed]) -> Iterator[Problem]:
    taken: dict[tuple[str, int], str] = {}
    for item in placed:
        if item.kind != "vlans" or not has(item.device, "link", "id"):
            continue
        holder = taken.setdefault((item.device.link, item.device.id), item.path)
        if holder != item.path:
            yield Problem(f"{item.path}.id", f"{item.device.id} on {shown(item.device.link)} is {holder} already")
        carrier = named.get(item.device.link)
        own, most = getattr(item.device, "mtu", None), getattr(carrier.device, "mtu", None) if carrier else None
        if own and most and own > most:
            yield Problem(f"{item.path}.mtu", f"{own} bytes do not fit into the {most} of {shown(item.device.link)}")


def _loops(placed: Sequence[_Placed]) -> Iterator[Problem]:
    below: dict[str, tuple[str, ...]] = {}
    for item in placed:
        if has(item.device, "link") or has(item.device, "interfaces"):
            below[item.device.name] = item.device.below
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        way = [str(name) for name in error.args[1]]
        first = next(item for item in placed if item.device.name in way and item.device.name in below)
        key = "link" if first.kind == "vlans" else "interfaces"
        yield Problem(f"{first.path}.{key}", f"goes round in a circle: {' is in '.join(way)}")


def _default_routes(placed: Sequence[_Placed]) -> Iterator[Problem]:
    taken: dict[tuple[int, int | None], str] = {}
    for item in placed:
        for path, family, metric in _defaults_of(item):
            holder = taken.setdefault((family, metric), path)
            if holder != path:
                equal = f"with metric {metric}" if metric is not None else "without a metric"
                yield Problem(path, f"{holder} is a default route {equal} already; give one of them a metric of its own")


def _defaults_of(item: _Placed) -> Iterator[tuple[str, int, int | None]]:
    gateway = getattr(item.device, "gateway", None)
    if gateway:
        yield f"{item.path}.gateway", ipaddress.ip_address(gateway).version, None
    for at, route in enumerate(getattr(item.device, "routes", ())):
        if has(route, "to", "via", "metric") and route.to in ("default", "0.0.0.0/0", "::/0"):
            yield f"{item.path}.routes[{at}]", route.family, route.metric
