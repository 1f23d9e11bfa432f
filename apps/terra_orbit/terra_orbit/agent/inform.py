"""Asking a DHCP server for more than an address, which the CNI plugin does not: a DHCPINFORM (RFC 2131, section 4.4.3)."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from terra_core.system.namespaces import in_network

_HEADER = 236
_COOKIE = b"\x63\x82\x53\x63"
_REQUEST, _REPLY, _ETHERNET = 1, 2, 1
_PAD, _NAME_SERVERS, _DOMAIN, _TYPE, _WANTED, _END = 0, 6, 15, 53, 55, 255
_ACK, _INFORM = 5, 8
_LABELS = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?")
_TRIES = 3
_SECONDS = 1.0
_LARGEST = 1500
_MOST_SERVERS = 3
"""As many as resolv.conf(5) takes."""


@frozen(kw_only=True)
class Names:
    """The name servers and the domain of a network.

    :param servers: the addresses of its name servers.
    :param domain: the domain that its machines are in; empty when there is none.
    """

    servers: tuple[str, ...]
    domain: str = ""

    def as_file(self) -> str:
        """Return the text of resolv.conf(5)."""
        search = f"search {self.domain}\n" if self.domain else ""
        return search + "".join(f"nameserver {server}\n" for server in self.servers)


def ask_names(namespace: Path, interface: str, address: str, mac: str) -> Names | None:
    """Ask the DHCP server of an interface's network for its name servers.

    :param namespace: the file of the interface's network namespace.
    :param address: what the interface has of that server.
    :param mac: its hardware address.
    :returns: nothing when no server answers, or it knows of none.
    """
    identity = secrets.token_bytes(4)
    message = render_inform(identity, address, mac)
    with in_network(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        wire.bind((address, 68))
        for _ in range(_TRIES):
            wire.sendto(message, ("255.255.255.255", 67))
            if (answer := _answer(wire, identity)) is not None:
                return answer if answer.servers else None
    return None


def render_inform(identity: bytes, address: str, mac: str) -> bytes:
    """Return the DHCPINFORM message.

    :param identity: four bytes that the answer has to repeat.
    """
    hardware = bytes.fromhex(mac.replace(":", ""))
    header = bytes([_REQUEST, _ETHERNET, len(hardware), 0]) + identity + bytes(4)
    header += ipaddress.IPv4Address(address).packed + bytes(12) + hardware.ljust(16, b"\0")
    options = bytes([_TYPE, 1, _INFORM, _WANTED, 2, _NAME_SERVERS, _DOMAIN, _END])
    return (header.ljust(_HEADER, b"\0") + _COOKIE + options).ljust(300, b"\0")


def parse_answer(message: bytes, identity: bytes) -> Names | None:
    """Parse an answer; ``None`` when it is damaged, or answers another message."""
    if len(message) < _HEADER + 4 or message[0] != _REPLY or message[4:8] != identity:
        return None
    if message[_HEADER : _HEADER + 4] != _COOKIE:
        return None
    found: dict[int, bytes] = {}
    for code, value in _options(message[_HEADER + 4 :]):
        found[code] = found.get(code, b"") + value
    if found.get(_TYPE) != bytes([_ACK]):
        return None
    raw = found.get(_NAME_SERVERS, b"")
    servers = [str(ipaddress.IPv4Address(raw[at : at + 4])) for at in range(0, len(raw) - 3, 4)]
    domain = found.get(_DOMAIN, b"").rstrip(b"\0").decode("ascii", errors="replace")
    return Names(servers=tuple(servers[:_MOST_SERVERS]), domain=domain if _is_domain(domain) else "")


def _answer(wire: socket.socket, identity: bytes) -> Names | None:
    end = time.monotonic() + _SECONDS
    while (left := end - time.monotonic()) > 0:
        wire.settimeout(left)
        try:
            message = wire.recv(_LARGEST)
        except TimeoutError:
            return None
        if (answer := parse_answer(message, identity)) is not None:
            return answer
    return None


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        if at + 1 >= len(data) or at + 2 + data[at + 1] > len(data):
            return
        yield data[at], data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]


def _is_domain(text: str) -> bool:
    return len(text) <= 253 and bool(_LABELS.fullmatch(text))
