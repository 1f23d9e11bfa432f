"""Making what TLS and the first token need: ``terra controller init``."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from attrs import frozen

from terra_core.config.controller import Controller, Paths
from terra_core.controller.authority import certify
from terra_core.controller.certificates import Name, names_of_host
from terra_core.controller.stopping import explaining_the_machine
from terra_core.service.tokens import read_or_make_token


@frozen
class Initialised:
    """What :func:`initialise` found or made.

    :param lines: what a person is told.
    :param url: where clients on other machines find the API, as far as this machine knows.
    """

    lines: Sequence[str]
    url: str


def initialise(config: Controller, paths: Paths, names: Sequence[Name]) -> Initialised:
    """Make the controller's authority, certificate and first token where they are missing.

    :param names: what the certificate is for, beside the controller's address and the names of this machine.
    :raises TerraError: when they cannot be made, or may be changed by others.
    """
    address = ip_address(config.address)
    with explaining_the_machine():
        known = [] if address.is_unspecified else [address]
        certified = certify(paths, [*names, *known, *names_of_host()])
        first = not paths.token.exists()
        read_or_make_token(paths.token)
    lines = [f"made: {line}" for line in certified.made]
    if first:
        lines.append(f"made: the first token, of the role admin: {paths.token}")
    elif not lines:
        lines.append("all of it is there, and nothing was changed")
    day = "%Y-%m-%d"
    lines.append(f"certificate: for {', '.join(certified.names)}; until {certified.until:{day}}")
    lines.append(f"authority: {paths.authority}; until {certified.authority_until:{day}}")
    local = address.is_unspecified or address.is_loopback
    host = (names or names_of_host())[0] if local else address
    return Initialised(lines, f"https://{f'[{host}]' if isinstance(host, IPv6Address) else host}:{config.port}")
