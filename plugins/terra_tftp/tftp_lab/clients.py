"""What a machine's firmware does: ask for files by TFTP (RFC 1350), and for an address by DHCP (RFC 2131, RFC 4578)."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

from attrs import frozen

READ, WRITE = 1, 2
DISCOVER, REQUEST = 1, 3
_BOOT_SERVER = 4011
_BLOCK = 512
_COOKIE = b"\x63\x82\x53\x63"
_BROADCAST = "255.255.255.255"
_IPXE = ((77, b"iPXE"), (175, b"\xb1\x05\x01\x1a\xf4\x10\x00"))
"""iPXE's user class, and an option of its own, with the card's identity in it."""
_AGAIN_SECONDS = 5
"""A machine asks again when nobody answers: a server may be busy, and a packet lost."""
_NOWHERE = "0.0.0.0"  # noqa: S104  # what a machine without an address sends from


class TftpError(Exception):
    """The server refused, with its own words."""


def fetch(server: str, path: str, *, seconds: float = 60, source: str = "") -> bytes:
    """Read a file.

    :param source: the own address that is asked from, where there are several.
    :raises TftpError: when the server says no.
    :raises TimeoutError: when it says nothing.
    """
    content = b""
    with _asking(server, READ, path, seconds, source) as client:
        for number in range(1, 65536):
            answer, sender = client.recvfrom(4 + _BLOCK)
            _expect(answer, 3)
            if int.from_bytes(answer[2:4], "big") != number:
                raise TftpError(f"block {number} is missing")
            content += answer[4:]
            client.sendto(struct.pack("!HH", 4, number), sender)
            if len(answer) < 4 + _BLOCK:
                return content
    raise TftpError("the file has too many blocks")


def store(server: str, path: str, *, seconds: float = 60) -> None:
    """Try to write a file."""
    with _asking(server, WRITE, path, seconds) as client:
        answer, sender = client.recvfrom(4 + _BLOCK)
        _expect(answer, 4)
        client.sendto(struct.pack("!HH", 3, 1) + b"evil", sender)


def _asking(server: str, operation: int, path: str, seconds: float, source: str = "") -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind((source, 0))
    client.settimeout(seconds)
    client.sendto(struct.pack("!H", operation) + path.encode() + b"\0octet\0", (server, 69))
    return client


def _expect(answer: bytes, operation: int) -> None:
    if int.from_bytes(answer[:2], "big") != operation:
        raise TftpError(answer[4:].rstrip(b"\0").decode())


@frozen(kw_only=True)
class Offer:
    """A server's answer.

    :param address: what it offers, ``0.0.0.0`` for no address.
    :param next_server: where the boot file is.
    :param boot_file: the boot file, from the packet's own field or from the option.
    :param options: every option, by number.
    """

    address: str
    next_server: str
    boot_file: str
    options: dict[int, bytes]


def discover(interface: str, mac: str, *, architecture: int | None, ipxe: bool = False, seconds: float = 60) -> Offer:
    """Ask for an address on an interface, as a machine that has none does.

    :param architecture: the client's architecture (RFC 4578), or nothing for a client that does not boot by PXE.
    :param ipxe: ask as iPXE does.
    :raises TimeoutError: when no server offers anything.
    """
    return _exchange(interface, mac, _Question(DISCOVER, architecture, chosen=_IPXE if ipxe else ()), seconds)


def ask_boot_server(interface: str, mac: str, server: str, own: str, *, architecture: int | None) -> Offer:
    """Ask a boot server for the boot file, as a machine that has got its address from another server does (PXE 2.1).

    :param server: the boot server.
    :param own: the machine's address.
    """
    return _exchange(interface, mac, _Question(REQUEST, architecture, own, server, _BOOT_SERVER), 60)


def accept(interface: str, mac: str, offer: Offer) -> Offer:
    """Take what a server offered."""
    chosen = ((50, socket.inet_aton(offer.address)), (54, offer.options[54]))
    return _exchange(interface, mac, _Question(REQUEST, None, chosen=chosen), 60)


@frozen
class _Question:
    kind: int
    architecture: int | None
    own: str = _NOWHERE
    server: str = _BROADCAST
    port: int = 67
    chosen: tuple[tuple[int, bytes], ...] = ()


def _exchange(interface: str, mac: str, question: _Question, seconds: float) -> Offer:
    transaction = os.urandom(4)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as wire:
        wire.bind((interface, 0))
        frame = _frame(_address(mac), question, _packet(_address(mac), transaction, question))
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            wire.send(frame)
            found = _heard(wire, transaction, min(left, _AGAIN_SECONDS))
            if found is not None:
                return found
    raise TimeoutError("no server answered")


def _heard(wire: socket.socket, transaction: bytes, seconds: float) -> Offer | None:
    """Return the answer that comes within a time; nothing when none does."""
    deadline = time.monotonic() + seconds
    with suppress(TimeoutError):
        while (left := deadline - time.monotonic()) > 0:
            wire.settimeout(left)
            found = _answer(wire.recv(2048), transaction)
            if found is not None:
                return found
    return None


def _address(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _packet(mac: bytes, transaction: bytes, question: _Question) -> bytes:
    options = [(53, bytes([question.kind])), *question.chosen, (55, bytes([1, 3, 6, 12, 51, 54, 60, 66, 67]))]
    if question.architecture is not None:
        options += [(60, f"PXEClient:Arch:{question.architecture:05}:UNDI:003000".encode())]
        options += [(93, struct.pack("!H", question.architecture)), (94, b"\x01\x03\x00"), (97, b"\0" + mac.rjust(16, b"\0"))]
    if question.kind == REQUEST and question.architecture == 0:
        options += [(43, b"\x47\x04\x80\x00\x00\x00\xff")]  # the first item of the boot menu that was offered
    own = socket.inet_aton(question.own)
    flags = 0x8000 if question.own == _NOWHERE else 0  # who has no address yet can't be sent to
    head = struct.pack("!4B4sHH4s12s16s192x4s", 1, 1, 6, 0, transaction, 0, flags, own, b"", mac, _COOKIE)
    return head + b"".join(bytes([number, len(value)]) + value for number, value in options) + b"\xff"


def _frame(mac: bytes, question: _Question, payload: bytes) -> bytes:
    udp = struct.pack("!4H", 68, question.port, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(question.own) + socket.inet_aton(question.server)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    ip = ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:]
    return b"\xff" * 6 + mac + b"\x08\x00" + ip + udp


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def _answer(frame: bytes, transaction: bytes) -> Offer | None:
    """Return the answer in an Ethernet frame, if it is the one to ``transaction``."""
    packet = frame[14 + 20 + 8 :]
    if frame[12:14] != b"\x08\x00" or frame[23:24] != b"\x11" or packet[:1] != b"\x02" or packet[4:8] != transaction:
        return None
    options = dict(_options(packet[240:]))
    return Offer(
        address=socket.inet_ntoa(packet[16:20]),
        next_server=socket.inet_ntoa(packet[20:24]),
        boot_file=(options.get(67) or packet[108:236]).partition(b"\0")[0].decode(),
        options=options,
    )


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        length = data[at + 1]
        yield data[at], data[at + 2 : at + 2 + length]
        at += 2 + length
