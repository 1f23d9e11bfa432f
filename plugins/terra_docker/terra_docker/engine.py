"""The Docker Engine that ``[docker]`` or the environment name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from docker import APIClient

from terra_core.system.engine import connect
from terra_docker.settings import Docker

_SILENCE_SECONDS = 1800
"""How long the engine may say nothing: a registry can take its time over the last layer of a push."""


@contextmanager
def connected(settings: Docker) -> Iterator[APIClient]:
    """A client of the engine, closed at the end.

    :raises TerraError: when no engine answers there, when it may not be asked, or when it is too old.
    """
    client = connect(settings.engine, setting='[docker] engine = "unix:///..."')
    try:
        client.timeout = _SILENCE_SECONDS
        yield client
    finally:
        client.close()


def goes_without_tls(client: APIClient, registry: str) -> bool:
    """Whether the engine goes to a registry by plain HTTP, or without a check of its certificate: its own list says so.

    :param registry: ``host`` or ``host:port``.
    """
    configured = client.info().get("RegistryConfig") or {}
    listed = (configured.get("IndexConfigs") or {}).get(registry)
    if listed is not None:
        return not listed.get("Secure", True)
    host = urlsplit(f"//{registry}").hostname or ""
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return False
    return any(address in ip_network(network) for network in configured.get("InsecureRegistryCIDRs") or ())
