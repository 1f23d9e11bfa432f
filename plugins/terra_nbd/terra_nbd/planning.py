"""What a target will be: its name, its port and its key."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from collections.abc import Collection

from attrs import frozen

from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.errors import TerraError
from terra_core.hookspecs import Target, TargetRequest
from terra_nbd.servers import Servers
from terra_nbd.settings import NAME, Settings

_KEY_BYTES = 32


@frozen(kw_only=True)
class Access:
    """How a machine reaches a target, as :attr:`terra_core.hookspecs.Target.data` stores it.

    :param port: the TCP port of its server.
    :param key: the pre-shared key (RFC 4279) in hexadecimal digits, never given to another target.
    """

    port: int
    key: str

    @classmethod
    def of(cls, target: Target) -> Access:
        """Return how a planned target is reached.

        :raises TerraError: when its record does not say.
        """
        port, key = target.data.get("port", ""), target.data.get("key", "")
        if not port.isdecimal() or not key:
            raise TerraError(f"{target.name}: its record has no port or no key, so it cannot be served")
        return cls(port=int(port), key=key)


def plan(request: TargetRequest, session: Session) -> Target:
    """Return what a group's target will be; nothing is touched.

    :raises TerraError: when no port is free.
    """
    settings = session.settings(NAME, Settings)
    identity = f"{request.hostname}.{request.number}"
    port = _free_port(request, settings, Servers.look(session).ports)
    return Target(
        label=request.label,
        name=f"nbds://{identity}@{written(request.portal, port)}",
        id=request.number,
        client=identity,
        portal=request.portal,
        volumes=request.volumes,
        kernel_arguments=tuple(
            f"terra.nbd={request.portal},{port},{identity},{at}" for at in range(len(request.volumes))
        ),
        data={"port": str(port), "key": secrets.token_hex(_KEY_BYTES)},
    )


def written(portal: Address, port: int) -> str:
    """Return an address and a port as a URI has them (RFC 3986 section 3.2)."""
    return f"[{portal}]:{port}" if ":" in portal else f"{portal}:{port}"


def require_address(portal: Address) -> None:
    """Check that servers can listen on an address.

    :raises TerraError: when it is not an address of this machine.
    """
    try:
        _bind(portal, 0)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise TerraError(f"{portal}: is not an address of this machine", hint="see --iscsi and storage_address") from None
        raise TerraError(f"{portal}: cannot be listened on: {error.strerror}") from error


def _free_port(request: TargetRequest, settings: Settings, used: Collection[int]) -> int:
    """Return a port for a target: targets that are planned at the same time get different ones, by their numbers."""
    count = settings.last_port - settings.first_port + 1
    for at in range(count):
        port = settings.first_port + (request.number + at) % count
        if port not in used and _is_free(request.portal, port):
            return port
    raise TerraError(
        f"{request.portal}: none of the {count} ports from {settings.first_port} to {settings.last_port} is free for the group "
        f'"{request.label}" of {request.hostname}',
        hint="give first_port and last_port of [nbd] a wider range",
    )


def _is_free(portal: Address, port: int) -> bool:
    try:
        _bind(portal, port)
    except OSError as error:
        return error.errno not in (errno.EADDRINUSE, errno.EACCES)  # any other error is reported when the server starts
    return True


def _bind(portal: Address, port: int) -> None:
    family = socket.AF_INET if ipaddress.ip_address(portal).version == 4 else socket.AF_INET6
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((portal, port))
        trial.listen()
