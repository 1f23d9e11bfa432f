"""The request to the engine for a vhost.toml: the body of ``POST /containers/create`` of its API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from attrs import frozen

from terra_orbit.vhost import Gpus, Mount, Resources, Vhost

LABEL_AGENT = "io.terra.orbit.agent"
LABEL_UID = "io.terra.orbit.uid"
LABEL_REVISION = "io.terra.orbit.revision"
LABEL_VHOST = "io.terra.orbit.vhost"
"""The label of an image with the configuration of the container that it was made from, as JSON."""
LABEL_PASSING = "io.terra.orbit.passing"
"""The label, with the agent's name, of a nameless image that is kept for its memory or for containers made from it."""

SYSTEMD_STOP = "SIGRTMIN+3"
"""The signal that halts systemd(1), which executes itself again at SIGTERM."""

_SYSTEMD_MEMORY = {"/run": "rw,nosuid,nodev,mode=755", "/run/lock": "rw,nosuid,nodev,noexec,mode=1777"}
_MASKED = "ro,nosuid,nodev,noexec,size=4k,mode=755"
_LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
_MB = 1024 * 1024


def label_of(image: Mapping[str, Any], name: str) -> str:
    """Return a label of an image, as the engine describes it; an empty string when it has none of this name."""
    return str(((image.get("Config") or {}).get("Labels") or {}).get(name) or "")


class Kind(Enum):
    """What a path of an image is."""

    MISSING = "missing"
    FILE = "file"
    DIRECTORY = "directory"


@frozen(kw_only=True)
class Facts:
    """What the rendering has to know of the image and the machine.

    :param systemd: whether the program that the container starts is systemd.
    :param masked: what each masked path is in the image.
    :param capabilities: those that this machine can give.
    :param privileged_mode: whether the engine's own privileged mode works here: it wants every capability there is.
    :param unified: whether the machine has the unified hierarchy of control groups only (cgroups(7), version 2).
    :param podman: whether the engine is Podman, which fills fresh memory with what the image has there unless told otherwise.
    """

    systemd: bool
    masked: Mapping[str, Kind]
    capabilities: Sequence[str]
    privileged_mode: bool
    unified: bool
    podman: bool = False


def render(vhost: Vhost, *, image: str, facts: Facts, configs: Mapping[str, Path], labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of the request.

    :param image: the engine's id of the image.
    :param configs: where each of ``vhost.configs`` is on the host.
    """
    body: dict[str, Any] = {
        "Image": image,
        "Hostname": _hostname(vhost),
        "Env": [*(["container=docker"] if facts.systemd else []), *vhost.env],
        "Labels": dict(labels),
        "Tty": vhost.pty,
        "OpenStdin": vhost.pty,
    }
    if vhost.args:
        body |= {"Entrypoint": [vhost.args[0]], "Cmd": list(vhost.args[1:])}
    if vhost.uid is not None or vhost.gid is not None:
        body["User"] = f"{vhost.uid or 0}:{vhost.gid or 0}"
    if facts.systemd:
        body["StopSignal"] = SYSTEMD_STOP
    body["HostConfig"] = _host(vhost, facts, configs)
    if vhost.on_host:
        del body["Hostname"]
    return body


def _hostname(vhost: Vhost) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", vhost.id.lower()).strip("-")[:63]


def _host(vhost: Vhost, facts: Facts, configs: Mapping[str, Path]) -> dict[str, Any]:
    memory = _memory(vhost, facts)
    return {
        "NetworkMode": "host" if vhost.on_host else "none",
        "RestartPolicy": {"Name": "no"},  # the agent restarts it, because it has to connect it again
        "ReadonlyRootfs": vhost.readonly,
        "LogConfig": _LOG,
        "Mounts": [*_mounts(vhost, facts), *(_config(vhost.configs[name].path, path) for name, path in configs.items())],
        "Tmpfs": memory,
        **_resources(vhost.resources),
        **_rights(vhost, facts),
        **({"DeviceRequests": [_gpus(vhost.gpus)]} if vhost.gpus else {}),
    }


def _memory(vhost: Vhost, facts: Facts) -> dict[str, str]:
    masked = {path: _MASKED for path, kind in facts.masked.items() if kind is Kind.DIRECTORY}
    asked = {str(mount.destination): ",".join(mount.options) for mount in vhost.mounts if mount.type == "tmpfs"}
    memory = {**(_SYSTEMD_MEMORY if facts.systemd else {}), **masked, **asked}
    if not facts.podman:
        return memory
    return {path: ",".join([*([options] if options else []), "notmpcopyup"]) for path, options in memory.items()}


def _mounts(vhost: Vhost, facts: Facts) -> list[dict[str, Any]]:
    mounts = [_bind("/dev/null", path, readonly=True) for path, kind in facts.masked.items() if kind is Kind.FILE]
    mounts += [_mount(mount) for mount in vhost.mounts if mount.type == "bind"]
    if facts.systemd and vhost.privileged:
        # systemd keeps its units in control groups below its own; the engine mounts them read-only.
        own = "/sys/fs/cgroup" if facts.unified else "/sys/fs/cgroup/systemd"
        mounts.append(_bind(own, own))
    return mounts


def _mount(mount: Mount) -> dict[str, Any]:
    made = _bind(str(mount.source), mount.destination, readonly=mount.readonly)
    if mount.propagation:
        made["BindOptions"] = {"Propagation": mount.propagation}
    return made


def _config(path: str, source: Path) -> dict[str, Any]:
    return _bind(str(source), path, readonly=True)


def _bind(source: str, target: str, *, readonly: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": readonly}


def _resources(resources: Resources) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if resources.cpu is not None:
        made["NanoCpus"] = int(resources.cpu * 10**9)
    if resources.memory is not None:
        made["Memory"] = resources.memory * _MB
    if resources.score is not None:
        made["OomScoreAdj"] = resources.score
    if resources.no_file is not None:
        made["Ulimits"] = [{"Name": "nofile", "Soft": resources.no_file, "Hard": resources.no_file}]
    return made


def _rights(vhost: Vhost, facts: Facts) -> dict[str, Any]:
    """Return the part of the request that gives the container its rights.

    The engine's privileged mode gives a writable /sys as well, with which an udev in the container would set up the host's
    devices again. So a systemd gets all rights, and a read-only /sys, as systemd wants it
    (https://systemd.io/CONTAINER_INTERFACE).
    """
    if not vhost.privileged:
        return {"CapAdd": list(vhost.capabilities)}
    if facts.privileged_mode and not facts.systemd:
        return {"Privileged": True}
    return {
        "CapAdd": list(facts.capabilities),
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
        "MaskedPaths": [],
        "ReadonlyPaths": [],
        "DeviceCgroupRules": ["a *:* rwm"],
        # Its control groups are mounted as on the host, so that their paths are the same inside.
        **({"CgroupnsMode": "host"} if facts.systemd else {}),
    }


def _gpus(gpus: Gpus) -> dict[str, Any]:
    which = {"DeviceIDs": list(gpus.devices)} if gpus.devices else {"Count": -1}
    return {"Driver": "nvidia", "Capabilities": [list(gpus.capabilities)], **which}
