"""The Container Network Interface, version 1.0.0: plugins are programs that read JSON and do one thing to one namespace.

https://www.cni.dev/docs/spec/
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from terra_core.errors import CommandError, TerraError
from terra_core.system.process import run
from terra_core.system.reading import lines_of

VERSION = "1.0.0"
_DIRECTORIES = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))
_SECONDS = 90


class NetworkError(TerraError):
    """A plugin refused, or failed; the message is its own.

    :param code: the plugin's error code; the specification has those below 100.
    """

    def __init__(self, message: str, *, hint: str = "", code: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.code = code


@frozen(kw_only=True)
class Call:
    """The interface of a container that a plugin is called for.

    :param container: the container's id, the same for its whole life.
    :param interface: the name of the interface in it.
    :param namespace: the file of its network namespace; none once that is gone, which DEL alone can do without.
    """

    container: str
    interface: str
    namespace: str = ""


def add(conf: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """Connect a container; return the plugin's result.

    :param conf: the network, see :mod:`terra_orbit.agent.conf`.
    :raises NetworkError: when the plugin failed; call :func:`delete` then.
    """
    return _invoke(str(conf["type"]), "ADD", conf, call)


def delete(conf: Mapping[str, Any], call: Call) -> None:
    """Disconnect a container; what is not there any more is no error."""
    _invoke(str(conf["type"]), "DEL", conf, call)


def renew(conf: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """Ask for the addresses of a connection that is there, by its ``ipam`` alone."""
    return _invoke(str(conf["ipam"]["type"]), "ADD", conf, call)


def addresses_of(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the addresses of a result, each with its prefix length."""
    return tuple(str(one["address"]) for one in result.get("ips") or ())


def program(kind: str) -> Path:
    """Return the path of a plugin.

    :raises TerraError: when it is not installed.
    """
    for directory in _DIRECTORIES:
        if (directory / kind).is_file():
            return directory / kind
    raise TerraError(
        f"the CNI plugin {kind} is in none of {', '.join(map(str, _DIRECTORIES))}",
        hint="install the plugins: apt-get install containernetworking-plugins",
    )


def _invoke(kind: str, command: str, conf: Mapping[str, Any], call: Call) -> dict[str, Any]:
    path = program(kind)
    env = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": call.container,
        "CNI_NETNS": call.namespace,
        "CNI_IFNAME": call.interface,
        "CNI_PATH": ":".join(map(str, _DIRECTORIES)),
    }
    try:
        done = run([path], stdin=json.dumps(conf).encode(), env=env, timeout=_SECONDS, accept=range(256))
    except CommandError as error:
        raise _error(conf, call, command, {"msg": error.message}, "") from error
    answer = _parse(done.stdout)
    if done.code or "code" in answer:
        raise _error(conf, call, command, answer, done.stderr.decode(errors="replace"))
    return answer


def _parse(text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text) if text.strip() else {}
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _error(conf: Mapping[str, Any], call: Call, command: str, answer: Mapping[str, Any], stderr: str) -> NetworkError:
    said = ": ".join(str(answer[key]).strip() for key in ("msg", "details") if answer.get(key)) or _last(stderr)
    code = answer.get("code")
    doing = {"ADD": "connected to", "DEL": "disconnected from"}.get(command, "checked on")
    message = f"{call.interface} cannot be {doing} the network {conf['name']} ({conf['type']}): {said}"
    return NetworkError(message, hint=_hint(said), code=code if isinstance(code, int) else 0)


def _last(lines: str) -> str:
    return (lines_of(lines.strip()) or ["the plugin gave no reason"])[-1]


_HINTS: Sequence[tuple[str, str]] = (
    ("no IP addresses available", "delete a container of this network, or give it a larger range"),
    ("no more tries", "no DHCP server answered on this network: is there one, and is master the right interface?"),
    ("still running after", "no DHCP server answered on this network: is there one, and is master the right interface?"),
    ("create ipvlan: operation not supported", "the kernel has no ipvlan: load the module, or use macvlan"),
    ("create macvlan: operation not supported", "the kernel has no macvlan: load the module, or use a bridge"),
    ("timed out", "no DHCP server answered on this network: is there one, and is master the right interface?"),
    ("already has an IP address different", "the bridge has another address: choose another name for this network"),
)


def _hint(said: str) -> str:
    return next((hint for part, hint in _HINTS if part in said), "")
