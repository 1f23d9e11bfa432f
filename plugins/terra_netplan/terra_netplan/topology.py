"""What has to be right between the devices of ``[netplan]``: names, members, loops, default routes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import shown
from terra_netplan.devices import Device
from terra_netplan.routes import MAIN

_MAY_HOLD = {
    "bonds": {"interfaces"},
    "bridges": {"interfaces", "vlans", "bonds", "tunnels"},
    "vrfs": {"interfaces", "vlans", "bonds", "bridges", "tunnels"},
}
_ETHERNET_TUNNELS = frozenset({"gretap", "ip6gretap", "vxlan"})
"""The tunnels that carry Ethernet, which alone a bridge takes (``br_add_if`` in the kernel)."""
_LOOPBACK = "lo"
_RENDERER = "renderer"
"""A key that netplan reads in every list of devices, in place of a device of that name."""
_WHOLES = ("bonds", "bridges")
"""The devices that replace their parts; those of a VRF keep their addresses."""
_OWN_WAYS = ("dhcp4", "dhcp6", "accept_ra", "addresses", "gateway", "routes", "routing_policy", "nameservers", "search")


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
    """Return the names of the devices that are a part of a bond or a bridge: their addresses are those of the whole."""
    return {name for device in (*bonds, *bridges) for name in device.below}


def problems_between(kinds: Mapping[str, Sequence[Device]]) -> Iterator[Problem]:
    """Everything that is wrong between devices.

    :param kinds: the devices by the list that they are in.
    """
    placed = [
        _Placed(kind, at, device) for kind, devices in kinds.items() for at, device in enumerate(devices) if has(device, "name")
    ]
    named = {item.device.name: item for item in reversed(placed)}
    yield from _words_of_netplan(placed)
    yield from _further_loopbacks(placed)
    yield from _ambiguous_names(placed)
    yield from _ambiguous_addresses(placed)
    yield from _unknown_parts(placed, named)
    yield from _shared_members(placed, named)
    yield from _ambiguous_vlans(placed, named)
    yield from _loops(placed)
    yield from _default_routes(placed)


def _are_alternatives(one: _Placed, other: _Placed) -> bool:
    """Return whether two interfaces match different hardware: a machine has one of them, which others may refer to alike."""
    first, second = getattr(one.device, "match", None), getattr(other.device, "match", None)
    return first is not None and second is not None and first != second


def _words_of_netplan(placed: Sequence[_Placed]) -> Iterator[Problem]:
    for item in placed:
        if item.device.name == _RENDERER:
            yield Problem(f"{item.path}.name", f"{shown(_RENDERER)} is a word of netplan's among the names of devices")


def _further_loopbacks(placed: Sequence[_Placed]) -> Iterator[Problem]:
    for item in placed:
        if item.device.name == _LOOPBACK and item.kind != "interfaces":
            yield Problem(f"{item.path}.name", f"{shown(_LOOPBACK)} is the name of every machine's loopback interface")


def _ambiguous_names(placed: Sequence[_Placed]) -> Iterator[Problem]:
    """Yield each name that stands for two devices, or is given to two interfaces of one machine."""
    taken: dict[str, _Placed] = {}
    for item in placed:
        holder = taken.setdefault(item.device.name, item)
        if holder is not item:
            yield Problem(f"{item.path}.name", f"{shown(item.device.name)} is the name of {holder.path} already")
    in_the_machine: dict[str, list[_Placed]] = {}
    for item in placed:
        given = getattr(item.device, "set_name", None)
        if given is None and getattr(item.device, "match", None) is None:
            given = item.device.name  # an interface with another match may have another name in the machine
        if given is not None:
            in_the_machine.setdefault(given, []).append(item)
    for name, items in in_the_machine.items():
        for at, item in enumerate(items):
            holder_of_it = next((other for other in items[:at] if not _are_alternatives(item, other)), None)
            if holder_of_it is None:
                holder_of_it = _later_holder(item, items[at + 1 :])
            if holder_of_it is not None and getattr(item.device, "set_name", None) is not None:
                yield Problem(f"{item.path}.set_name", f"{shown(name)} is the name of {holder_of_it.path} already")


def _later_holder(item: _Placed, later: Sequence[_Placed]) -> _Placed | None:
    """Return a later device that has the name by itself; ``None`` where there is none."""
    return next((other for other in later if getattr(other.device, "set_name", None) is None), None)


def _ambiguous_addresses(placed: Sequence[_Placed]) -> Iterator[Problem]:
    matches: dict[tuple[object, ...], str] = {}
    addresses: dict[object, list[tuple[_Placed, str]]] = {}
    tables = _tables_of_vrfs(placed)
    for item in placed:
        match = getattr(item.device, "match", None)
        if match is not None:
            given = {key: value for key in ("macaddress", "name", "driver") if (value := getattr(match, key, None)) is not None}
            holder = matches.setdefault(tuple(given.items()), item.path)
            if given and holder != item.path:
                key, value = next(iter(given.items()))
                yield Problem(f"{item.path}.match.{key}", f"{shown(value)} is that of {holder} already")
        for at, raw in enumerate(getattr(item.device, "addresses", ())):
            path = f"{item.path}.addresses[{at}]"
            try:
                interface = ipaddress.ip_interface(raw)
            except (TypeError, ValueError):
                continue  # reported where it is given
            address = interface.ip
            # A link-local address is unique on its link only (RFC 4291 section 2.5.6, RFC 3927), one in a VRF within the VRF.
            # One without a network is lent to links that have none of their own.
            is_of_device = address.is_link_local or interface.network.num_addresses == 1
            held = addresses.setdefault((item.path if is_of_device else tables.get(item.device.name), address), [])
            taken = next((place for other, place in held if other is item or not _are_alternatives(item, other)), None)
            if taken is not None:
                yield Problem(path, f"{address} is {taken} already")
            held.append((item, path))


def _tables_of_vrfs(placed: Sequence[_Placed]) -> Mapping[str, int]:
    """Return the table of routes of every device that is in a VRF."""
    return {
        name: item.device.table
        for item in placed
        if item.kind == "vrfs" and has(item.device, "table", "interfaces")
        for name in item.device.interfaces
        if isinstance(name, str)
    }


def _unknown_parts(placed: Sequence[_Placed], named: Mapping[str, _Placed]) -> Iterator[Problem]:
    known = ", ".join(named)
    for item in placed:
        if getattr(item.device, "link", None) is not None and item.device.link not in named:
            yield Problem(f"{item.path}.link", f"there is no device {shown(item.device.link)} (there are: {known})")
        elif item.kind == "vlans" and has(item.device, "link") and named[item.device.link].kind == "vrfs":
            yield Problem(f"{item.path}.link", f"{shown(item.device.link)} is one of vrfs, which carry no VLAN")
        if item.kind not in _MAY_HOLD:
            continue
        for at, name in enumerate(getattr(item.device, "interfaces", ())):
            path = f"{item.path}.interfaces[{at}]"
            if name not in named:
                yield Problem(path, f"there is no device {shown(name)} (there are: {known})")
            elif named[name].kind not in _MAY_HOLD[item.kind]:
                allowed = ", ".join(sorted(_MAY_HOLD[item.kind]))
                yield Problem(path, f"{shown(name)} is one of {named[name].kind}, and {item.kind} are made of {allowed}")
            elif item.kind == "bridges":
                yield from _no_port(path, named[name])


def _no_port(path: str, part: _Placed) -> Iterator[Problem]:
    mode = getattr(part.device, "mode", None)
    if mode is not None and mode not in _ETHERNET_TUNNELS:
        allowed = ", ".join(sorted(_ETHERNET_TUNNELS))
        text = f"{shown(part.device.name)} is a tunnel of mode {mode}, and bridges take those of Ethernet: {allowed}"
        yield Problem(path, text)


def _shared_members(placed: Sequence[_Placed], named: Mapping[str, _Placed]) -> Iterator[Problem]:
    holders: dict[tuple[bool, str], str] = {}
    for item in placed:
        if item.kind not in _MAY_HOLD:
            continue
        is_whole = item.kind in _WHOLES
        for at, name in enumerate(getattr(item.device, "interfaces", ())):
            path = f"{item.path}.interfaces[{at}]"
            if holders.setdefault((is_whole, name), path) != path:
                yield Problem(path, f"{shown(name)} is {holders[is_whole, name]} already")
            elif is_whole and name in named:
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
        if getattr(item.device, "link", None) is not None or has(item.device, "interfaces"):
            below[item.device.name] = item.device.below
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        way = [str(name) for name in error.args[1]]
        first = next(item for item in placed if item.device.name in way and item.device.name in below)
        key = "link" if first.kind in ("vlans", "tunnels") else "interfaces"
        yield Problem(f"{first.path}.{key}", f"goes round in a circle: {' is in '.join(way)}")


def _default_routes(placed: Sequence[_Placed]) -> Iterator[Problem]:
    taken: dict[tuple[int, int | None, int | None], list[tuple[_Placed, str]]] = {}
    tables = _tables_of_vrfs(placed)
    for item in placed:
        for path, family, metric, table in _defaults_of(item):
            key = (family, metric, tables.get(item.device.name, MAIN) if table is None else table)
            held = taken.setdefault(key, [])
            holder = next((place for other, place in held if other is item or not _are_alternatives(item, other)), None)
            if holder is not None:
                equal = f"with metric {metric}" if metric is not None else "without a metric"
                yield Problem(path, f"{holder} is a default route {equal} already; give one of them a metric of its own")
            held.append((item, path))


def _defaults_of(item: _Placed) -> Iterator[tuple[str, int, int | None, int | None]]:
    """Path, family, metric and table."""
    gateway = getattr(item.device, "gateway", None)
    if gateway:
        yield f"{item.path}.gateway", ipaddress.ip_address(gateway).version, None, None
    of_vrf = getattr(item.device, "table", None)
    for at, route in enumerate(getattr(item.device, "routes", ())):
        if has(route, "to", "via", "metric", "table") and route.is_default:
            yield f"{item.path}.routes[{at}]", route.family, route.metric, route.table if of_vrf is None else of_vrf
