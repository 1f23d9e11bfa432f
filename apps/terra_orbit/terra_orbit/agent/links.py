"""Links, addresses and routes of the host, as the kernel has them (rtnetlink(7))."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2 import IPRoute, NetNS  # type: ignore[import-untyped]  # it has no annotations

from terra_core.errors import NotFoundError


def default_interface() -> str | None:
    """Return the interface of the default route; ``None`` where there is no such route."""
    with _host() as route:
        for family in (2, 10):
            routes = [one for one in route.get_default_routes(family=family) if one.get_attr("RTA_OIF")]
            routes.sort(key=lambda one: one.get_attr("RTA_PRIORITY") or 0)
            if routes:
                (link,) = route.get_links(routes[0].get_attr("RTA_OIF"))
                return str(link.get_attr("IFLA_IFNAME"))
    return None


def network_of(pid: int) -> str:
    """Return the file of the network namespace of a process."""
    return f"/proc/{pid}/ns/net"


def require_interface(name: str) -> None:
    """Make sure that the host has an interface.

    :raises NotFoundError: when it has not; names those that it has.
    """
    if not exists(name):
        names = sorted(found for _, found in socket.if_nameindex())
        raise NotFoundError(f"the host has no network interface {name}", hint=f"it has {', '.join(names)}")


def remove_idle_bridge(name: str) -> bool:
    """Remove a bridge to which nothing is connected any more; return whether there was one."""
    with _host() as route:
        found = route.link_lookup(ifname=name)
        if not found:
            return False
        (link,) = route.get_links(found[0])
        info = link.get_attr("IFLA_LINKINFO")
        if info is None or info.get_attr("IFLA_INFO_KIND") != "bridge" or route.link_lookup(master=found[0]):
            return False
        route.link("del", index=found[0])
        return True


def exists(name: str) -> bool:
    """Return whether the host has an interface of this name."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def addresses(namespace: str, interface: str) -> tuple[str, ...]:
    """Return the addresses of an interface in a network namespace, except link-local ones."""
    with NetNS(namespace, flags=0) as route:
        found = route.link_lookup(ifname=interface)
        if not found:
            return ()
        listed = route.get_addr(index=found[0])
        return tuple(f"{one.get_attr('IFA_ADDRESS')}/{one['prefixlen']}" for one in listed if one["scope"] == 0)


@contextmanager
def _host() -> Iterator[IPRoute]:
    with IPRoute() as route:
        yield route
