"""What has to be right between the files of ``[networkd]``: names, what is made of what, addresses, default routes."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from terra_core.config.structure import Problem, has, known
from terra_core.config.values import shown
from terra_networkd.checks import is_plain_server
from terra_networkd.files import File
from terra_networkd.link import Link
from terra_networkd.netdev import Netdev
from terra_networkd.network import MASTERS, STACKS, Network

_LOOPBACK = "lo"
_NAME_SERVERS = 3
"""MAXNS of resolv.conf(5): a further one is never asked."""


def problems_between(
    links: Sequence[Link], netdevs: Sequence[Netdev], networks: Sequence[Network], resolved: bool
) -> Iterator[Problem]:
    """Find everything that is wrong between files."""
    made = [(at, device) for at, device in known(netdevs, "netdev") if has(device, "name", "kind")]
    kinds = {device.name: device.kind for _, device in reversed(made)}
    used = [(at, one) for at, one in enumerate(networks) if has(one, "match", "network")]
    for kind, files in (("links", links), ("netdevs", netdevs), ("networks", networks)):
        yield from _ambiguous_files(kind, files)
    yield from _ambiguous_links(links)
    yield from _ambiguous_devices([(f"netdevs[{at}].netdev", device.name) for at, device in made])
    yield from _unknown_devices(used, kinds)
    yield from _devices_without_carrier(netdevs, used)
    yield from _ambiguous_vlans(netdevs, used)
    yield from _loops(used)
    yield from _never_read(networks)
    yield from _ambiguous_addresses(networks)
    yield from _default_routes(networks)
    if not resolved:
        yield from _beyond_resolv_conf(used)


def _ambiguous_files(kind: str, files: Sequence[File]) -> Iterator[Problem]:
    taken: dict[str, int] = {}
    for at, name in known(files, "file"):
        holder = taken.setdefault(name, at)
        if holder != at:
            yield Problem(f"{kind}[{at}].file", f"{shown(name)} is the file of {kind}[{holder}] already")


def _ambiguous_links(links: Sequence[Link]) -> Iterator[Problem]:
    taken: dict[str, int] = {}
    for at, link in known(links, "link"):
        name = getattr(link, "name", None)
        if name is None:
            continue
        if name == _LOOPBACK:
            yield Problem(f"links[{at}].link.name", f"{shown(name)} is the name of every machine's loopback interface")
        holder = taken.setdefault(name, at)
        both = [getattr(links[one], "match", None) for one in (holder, at)]
        if holder != at and not _told_apart(*both):
            yield Problem(f"links[{at}].link.name", f"{shown(name)} is the name that links[{holder}] gives already")


def _ambiguous_devices(named: Sequence[tuple[str, str]]) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for path, name in named:
        if name == _LOOPBACK:
            yield Problem(f"{path}.name", f"{shown(name)} is the name of every machine's loopback interface")
        holder = taken.setdefault(name, path)
        if holder != path:
            yield Problem(f"{path}.name", f"{shown(name)} is the name of {holder.partition('.')[0]} already")


def _named(network: Network) -> Iterator[tuple[str, str, str]]:
    """Find the devices that a network names: the path of the key, the kind that they have to be of, and their names."""
    for name in MASTERS:
        if (master := getattr(network.network, name, None)) is not None:
            yield f"network.{name}", name, master
    for name in STACKS:
        for at, device in enumerate(getattr(network.network, name, ())):
            if isinstance(device, str):
                yield f"network.{name}[{at}]", name, device


def _unknown_devices(used: Sequence[tuple[int, Network]], kinds: Mapping[str, str]) -> Iterator[Problem]:
    for at, network in used:
        for path, kind, name in _named(network):
            if name not in kinds:
                there = ", ".join(device for device, own in kinds.items() if own == kind) or "none"
                yield Problem(f"networks[{at}].{path}", f"no netdev of kind {kind} is named {shown(name)} (there are: {there})")
            elif kinds[name] != kind:
                yield Problem(f"networks[{at}].{path}", f"{shown(name)} is a netdev of kind {kinds[name]}, not {kind}")


def _devices_without_carrier(netdevs: Sequence[Netdev], used: Sequence[tuple[int, Network]]) -> Iterator[Problem]:
    carried = {name for _, network in used for _, _, name in _named(network)}
    for at, netdev in enumerate(netdevs):
        if has(netdev, "netdev", "vxlan") and has(netdev.netdev, "name", "kind") and netdev.needs_a_carrier:
            name, kind = netdev.netdev.name, netdev.netdev.kind
            if name not in carried:
                text = f"no network names {shown(name)} in network.{kind}, so nothing would ever make it"
                yield Problem(f"netdevs[{at}].netdev.name", text)


def _ambiguous_vlans(netdevs: Sequence[Netdev], used: Sequence[tuple[int, Network]]) -> Iterator[Problem]:
    numbers = {
        netdev.netdev.name: netdev.vlan.id
        for netdev in reversed(netdevs)
        if has(netdev, "netdev") and getattr(netdev, "vlan", None) is not None and has(netdev.netdev, "name")
        if netdev.vlan is not None and has(netdev.vlan, "id")
    }
    for at, network in used:
        taken: dict[int, str] = {}
        for place, name in enumerate(getattr(network.network, "vlan", ())):
            holder = taken.setdefault(numbers[name], name) if name in numbers else name
            if holder != name:
                text = f"{shown(name)} has the number {numbers[name]} on this interface, which {shown(holder)} has already"
                yield Problem(f"networks[{at}].network.vlan[{place}]", text)


def _loops(used: Sequence[tuple[int, Network]]) -> Iterator[Problem]:
    """Find devices that contain each other, as far as networks name their interface."""
    below: dict[str, set[str]] = defaultdict(set)
    places: dict[str, int] = {}
    for at, network in used:
        own = network.match.only_name
        if own is None:
            continue
        places.setdefault(own, at)
        for _, _, name in _named(network):
            below[name].add(own)
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        way = [str(name) for name in error.args[1]]
        first = next(name for name in way if name in places)
        yield Problem(f"networks[{places[first]}].network", f"goes round in a circle: {' carries '.join(way)}")


def _never_read(networks: Sequence[Network]) -> Iterator[Problem]:
    """Find files whose interfaces an earlier one takes: the first that matches counts."""
    ordered = sorted(
        ((one.file, at, one) for at, one in enumerate(networks) if has(one, "file", "match")), key=lambda entry: entry[:2]
    )
    for place, (name, at, network) in enumerate(ordered):
        for earlier, _, other in ordered[:place]:
            if other.match == network.match and earlier != name:
                text = f"{shown(earlier)} matches the same interfaces and is read first, so this file would have no effect"
                yield Problem(f"networks[{at}].match", text)
                break


def _told_apart(one: object, other: object) -> bool:
    """Return whether two matches are of different hardware: a machine may have either, and it is the same interface then."""
    first, second = getattr(one, "hardware", ()), getattr(other, "hardware", ())
    return any(first) and any(second) and first != second


def _ambiguous_addresses(networks: Sequence[Network]) -> Iterator[Problem]:
    taken: dict[object, list[int]] = defaultdict(list)
    for at, network in enumerate(networks):
        if not has(network, "network", "address", "match"):
            continue
        vrf = getattr(network.network, "vrf", None)
        for raw in network.addresses:
            address = ipaddress.ip_interface(raw).ip
            if address.is_link_local:
                continue  # told apart by the link that it is on
            holders = taken[vrf, address]
            holder = next((one for one in holders if one == at or not _told_apart(networks[one].match, network.match)), None)
            if holder is not None:
                where = "this network" if holder == at else f"networks[{holder}]"
                yield Problem(f"networks[{at}].network.address", f"{shown(str(address))} is an address of {where} already")
            holders.append(at)


def _default_routes(networks: Sequence[Network]) -> Iterator[Problem]:
    taken: dict[object, list[tuple[int, str]]] = defaultdict(list)
    for at, network in enumerate(networks):
        if not has(network, "network", "match"):
            continue
        vrf = getattr(network.network, "vrf", None)
        for path, *which in _defaults_of(network):
            holders = taken[vrf, tuple(which)]
            clash = next(
                (place for one, place in holders if one == at or not _told_apart(networks[one].match, network.match)), None
            )
            if clash is not None:
                text = f"{clash} is a default route like it; one of them needs a metric, in [[networkd.networks.route]]"
                yield Problem(f"networks[{at}].{path}", text)
            holders.append((at, f"networks[{at}].{path}"))


def _defaults_of(network: Network) -> Iterator[tuple[str, int, int | None, int | None]]:
    """Find the default routes of a network: path, family, metric and table."""
    for at, gateway in enumerate(getattr(network.network, "gateway", ())):
        if isinstance(gateway, str):
            yield f"network.gateway[{at}]", 6 if ":" in gateway or gateway == "_ipv6ra" else 4, None, None
    for at, route in enumerate(getattr(network, "route", ())):
        if has(route, "destination", "gateway", "metric", "table", "type", "source") and route.is_default and not route.source:
            yield f"route[{at}]", route.family, route.metric, route.table


def _beyond_resolv_conf(used: Sequence[tuple[int, Network]]) -> Iterator[Problem]:
    hint = "only systemd-resolved: set networkd.resolved = true for an image that has it"
    servers: list[str] = []
    for at, network in used:
        for place, server in enumerate(getattr(network.network, "dns", ())):
            path = f"networks[{at}].network.dns[{place}]"
            if isinstance(server, str) and not is_plain_server(server):
                yield Problem(path, f"a port or a name after the address is known to {hint}")
            elif server not in servers:
                servers.append(server)
                if len(servers) == _NAME_SERVERS + 1:
                    yield Problem(path, f"more than {_NAME_SERVERS} name servers are asked by {hint}")
        for place, domain in enumerate(getattr(network.network, "domains", ())):
            if isinstance(domain, str) and domain.startswith("~"):
                yield Problem(f"networks[{at}].network.domains[{place}]", f'a domain with "~" is known to {hint}')
        for name in ("dns_default_route", "dns_over_tls", "dnssec", "llmnr", "multicast_dns"):
            if getattr(network.network, name, None) is not None:
                yield Problem(f"networks[{at}].network.{name}", f"is known to {hint}")
