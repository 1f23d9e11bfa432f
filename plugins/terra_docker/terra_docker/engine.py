"""Reaching a Docker Engine, or a Podman socket that speaks as one, and saying what is wrong when that fails.

Terra's applications and its lab import this too: :func:`connect` is the one way to an engine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from docker import APIClient
from docker.errors import DockerException, InvalidVersion
from docker.utils import kwargs_from_env, version_lt

from terra_core.building.failures import Remedies
from terra_core.errors import TerraError
from terra_core.system.reasons import reason_of
from terra_docker.settings import Docker

USUAL_PLACE = "unix:///var/run/docker.sock"
"""Where an engine listens unless it is told otherwise."""

REMEDIES = Remedies(
    login="docker login",
    certificates="/etc/docker/certs.d",
    without_tls='add it to "insecure-registries" in /etc/docker/daemon.json and restart the engine',
)
"""What a user of Docker does where a registry refuses: the engine goes to registries by itself, whatever ``[docker]`` says."""

_OLDEST_API = "1.32"
_OLDEST_RELEASE = "17.09"
"""The first version of the API with COPY --chown."""
_ANSWER_SECONDS = 30
_SILENCE_SECONDS = 1800
"""Seconds that the engine may send nothing: a registry may take long for the last layer of a push."""


def connect(engine: str | None, *, setting: str) -> APIClient:
    """Return a client of an engine; the caller closes it.

    :param engine: where it is, as DOCKER_HOST has it; that of the environment, or the usual place, when left out.
    :param setting: how a file names another one, for the hint.
    :raises TerraError: when no engine answers there, when it may not be asked, or when it is too old.
    """
    where = engine or os.environ.get("DOCKER_HOST") or USUAL_PLACE
    _check(where)
    try:
        options = kwargs_from_env()
        if engine:
            options["base_url"] = engine
        client = APIClient(version="auto", timeout=_ANSWER_SECONDS, **options)
    except InvalidVersion as error:
        raise _too_old(where) from error
    except DockerException as error:
        raise _unreachable(where, setting, error) from error
    except ValueError as error:  # its port, or an IPv6 address
        raise TerraError(f"the Docker Engine at {where} cannot be used: {error}", hint="is its address right?") from error
    if version_lt(client.api_version, _OLDEST_API):
        client.close()
        raise _too_old(where)
    return client


@contextmanager
def connected(settings: Docker) -> Iterator[APIClient]:
    """Connect to the engine as long as the block lasts.

    :raises TerraError: when no engine answers there, when it may not be asked, or when it is too old.
    """
    client = connect(settings.engine, setting='[docker] engine = "unix:///..."')
    try:
        client.timeout = _SILENCE_SECONDS
        yield client
    finally:
        client.close()


def goes_without_tls(client: APIClient, registry: str) -> bool:
    """Return whether the engine's own list lets it reach a registry by plain HTTP, or without a check of its certificate.

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


def _check(where: str) -> None:
    """Refuse what the SDK would answer with a word of its own source, or with the address as it stands."""
    scheme, _, rest = where.partition("://")
    if scheme != "ssh" and "@" in rest.partition("/")[0]:
        raise TerraError(
            "the address of the Docker Engine has a user name or a password in it, which no engine asks for",
            hint="leave it out; an engine that is reached over a network knows its users by their certificates",
        )
    if scheme == "ssh" and find_spec("paramiko") is None:
        raise TerraError(
            f"the Docker Engine at {where} is reached by ssh, for which Python's package paramiko is missing",
            hint="install it beside Terra, or forward the socket: ssh -nNT -L /run/engine.sock:/var/run/docker.sock HOST, "
            "and DOCKER_HOST=unix:///run/engine.sock",
        )


def _too_old(where: str) -> TerraError:
    return TerraError(
        f"the Docker Engine at {where} is older than {_OLDEST_RELEASE}, which Terra needs",
        hint="upgrade it, on Debian and Ubuntu: apt-get install docker.io",
    )


def _unreachable(where: str, setting: str, error: DockerException) -> TerraError:
    reason = _system_error(error)
    if isinstance(reason, PermissionError):
        return TerraError(
            f"the Docker Engine at {where} may not be used by this user: permission denied",
            hint="run the command as root, or let the user in: adduser USER docker, and log in again",
        )
    if isinstance(reason, FileNotFoundError | ConnectionRefusedError):
        return TerraError(
            f"no Docker Engine answers at {where}: {reason.strerror}",
            hint="start it: systemctl start docker (install it: apt-get install docker.io); "
            f"or name another one, by DOCKER_HOST or by {setting}",
        )
    return TerraError(f"the Docker Engine at {where} cannot be used: {reason_of(error)}")


def _system_error(error: BaseException) -> OSError | None:
    """Return the operating system's own error, which requests and urllib3 wrap several times over."""
    seen: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        candidate = pending.pop(0)
        if not isinstance(candidate, BaseException) or candidate in seen:
            continue
        if isinstance(candidate, OSError) and candidate.errno is not None:
            return candidate
        seen.append(candidate)
        pending += [candidate.__cause__, candidate.__context__, *candidate.args]
    return None
