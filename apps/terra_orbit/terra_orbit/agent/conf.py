"""The configuration that a CNI plugin reads, made from a network of vhost.toml."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from terra_orbit.agent.cni import VERSION
from terra_orbit.networks import Ipam, IpamType, Network, NetworkType


@frozen(kw_only=True)
class Ground:
    """The facts about the machine and the agent that a configuration needs.

    :param pools: the directory that keeps which addresses ``host-local`` has given.
    :param dhcp: the socket of the DHCP daemon.
    :param master: the host's interface for networks that name none; none where there is no default route.
    """

    pools: Path
    dhcp: Path
    master: str | None


def render(
    network: Network, ground: Ground, *, mac: str | None, wanted: Sequence[str] = (), default_route: bool
) -> dict[str, Any]:
    """Return the configuration of one connection.

    :param mac: its hardware address, where the network has one of its own.
    :param wanted: the addresses that it had before, with their prefix lengths; asked for again where that can be done.
    :param default_route: whether the container's default route leads there.
    """
    ipam = network.ipam
    if network.name is None or ipam is None:
        raise ValueError("a network of the host's has no configuration")
    conf: dict[str, Any] = {"cniVersion": VERSION, "name": network.name, "type": network.type.value}
    if network.type is NetworkType.BRIDGE:
        conf |= _bridge(network, ipam, default_route)
    else:
        conf |= {"master": network.master or ground.master}
        conf |= {"mode": network.mode} if network.mode else {}
    if network.mtu:
        conf["mtu"] = network.mtu
    if mac and network.type is not NetworkType.IPVLAN:
        conf["runtimeConfig"] = {"mac": mac}
    conf["ipam"] = _ipam(network, ipam, ground, default_route)
    if wanted and ipam.type is IpamType.HOST_LOCAL:
        conf["args"] = {"cni": {"ips": [address.partition("/")[0] for address in wanted]}}
    return conf


def _bridge(network: Network, ipam: Ipam, default_route: bool) -> dict[str, Any]:
    gateway = ipam.type is IpamType.HOST_LOCAL or (ipam.type is IpamType.STATIC and ipam.gateway is not None)
    return {
        "bridge": network.name,
        "isGateway": gateway,
        "isDefaultGateway": gateway and default_route,
        "ipMasq": network.masquerade,
        "hairpinMode": True,
    }


def _ipam(network: Network, ipam: Ipam, ground: Ground, default_route: bool) -> dict[str, Any]:
    if ipam.type is IpamType.DHCP:
        return {"type": "dhcp", "daemonSocketPath": str(ground.dhcp)}
    # A bridge that is the default gateway adds the route itself, and fails when it exists.
    routed = default_route and ipam.gateway is not None and network.type is not NetworkType.BRIDGE
    routes = [{"dst": _everything(ipam.gateway)}] if routed and ipam.gateway else []
    if ipam.type is IpamType.STATIC:
        gateway = {"gateway": ipam.gateway} if ipam.gateway else {}
        return {"type": "static", "addresses": [{"address": one, **gateway} for one in ipam.addresses], "routes": routes}
    pool = {"subnet": ipam.subnet, "rangeStart": ipam.range_start, "rangeEnd": ipam.range_end, "gateway": ipam.gateway}
    ranges = [[{key: value for key, value in pool.items() if value}]]
    return {"type": "host-local", "dataDir": str(ground.pools), "ranges": ranges, "routes": routes}


def _everything(gateway: str) -> str:
    return "0.0.0.0/0" if ipaddress.ip_address(gateway).version == 4 else "::/0"
