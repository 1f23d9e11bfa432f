"""Answers to router solicitations that say: there is no IPv6 here.

iPXE, which is the boot firmware of a BIOS machine of the lab, waits 16 seconds for a router advertisement before it goes on
with the IPv4 configuration that it has long had.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from terra_core.system.undo import Undo

_SOLICITATION = 133
_ALL_NODES = "ff02::1"
_ALL_ROUTERS = "ff02::2"
_HOP_LIMIT = 255
_ADVERTISEMENT = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0)
"""RFC 4861, 4.2: no flags, a router lifetime of 0, no prefix; the kernel fills the checksum in."""


@contextmanager
def advertise(interface: str) -> Iterator[None]:
    """Answer router solicitations on ``interface``, in a thread, in the network namespace that the caller is in now."""
    with Undo() as resources:
        link = resources.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
        index = socket.if_nametoindex(interface)
        group = socket.inet_pton(socket.AF_INET6, _ALL_ROUTERS) + struct.pack("@I", index)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
        stop, stopped = socket.socketpair()
        resources.enter_context(stopped)
        answering = threading.Thread(target=_answer, args=(link, index, stopped), daemon=True)
        answering.start()
        resources.callback(answering.join)
        resources.callback(stop.close)
        yield


def _answer(link: socket.socket, index: int, stopped: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([link, stopped], [], [])
        if stopped in ready:
            return
        if link.recv(1500)[:1] == bytes([_SOLICITATION]):
            link.sendto(_ADVERTISEMENT, (_ALL_NODES, 0, 0, index))
