"""Whether a TFTP server answers (RFC 1350), and whether one could."""

from __future__ import annotations

import errno
import ipaddress
import socket

from terra_core.config.values import Address

PORT = 69
_READ, _DATA, _ACKNOWLEDGMENT = 1, 3, 4


def is_taken(address: Address) -> bool:
    """Return whether the port is taken already; two dnsmasqs would share it, and get each other's requests."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((address, PORT))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def serves(address: Address, file: str, *, seconds: float) -> bool:
    """Return whether the server at ``address`` sends a file within ``seconds``.

    :param file: one that is less than a block: one acknowledgment ends its transfer.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        try:
            client.sendto(_READ.to_bytes(2, "big") + file.encode() + b"\0octet\0", (address, PORT))
            answer, server = client.recvfrom(1024)
            if int.from_bytes(answer[:2], "big") != _DATA:
                return False
            client.sendto(_ACKNOWLEDGMENT.to_bytes(2, "big") + answer[2:4], server)
        except OSError:
            return False
    return True
