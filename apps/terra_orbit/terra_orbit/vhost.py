"""vhost.toml: a container."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from attrs import Factory, frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import ImageReference, Label, MountPath, Size, shown
from terra_orbit.capabilities import CAPABILITIES
from terra_orbit.networks import Network, NetworkType

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\0]*", re.DOTALL)
_ID_LIMIT = 2**32 - 2
CONFIG_LIMIT = 512 * 1024
"""The largest file of ``[configs]``, in bytes."""
_OPTIONS = {
    "bind": ("bind", "rbind", "ro", "rw", "private", "rprivate", "shared", "rshared", "slave", "rslave"),
    "tmpfs": ("ro", "rw", "nosuid", "nodev", "noexec", "exec", "suid", "dev"),
}
_EXTRA_OPTION = re.compile(r"(?:size=[0-9]{1,12}[kmg]?|mode=[0-7]{3,4})")
_PROPAGATION = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}


@frozen(kw_only=True)
class Mount:
    """``[[mounts]]``: a directory or file of the host's, or fresh memory, in the container.

    :param type: ``bind`` or ``tmpfs``.
    :param source: of ``bind``: what is mounted; it has to be there, and Orbit neither makes nor removes it.
    :param destination: where, in the container.
    :param options: mount options: ``ro``, ``rbind``, a propagation, or of ``tmpfs`` ``size=64m`` and ``mode=755``.
    """

    destination: MountPath
    type: Literal["bind", "tmpfs"] = "bind"
    source: MountPath | None = None
    options: tuple[str, ...] = ()

    @property
    def readonly(self) -> bool:
        """Whether nothing can be written there."""
        return "ro" in self.options

    @property
    def propagation(self) -> str | None:
        """Of ``bind``: see mount_namespaces(7)."""
        return next((option for option in self.options if option in _PROPAGATION), None)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        if not has(self, "type", "source", "options"):
            return
        if self.type == "bind" and self.source is None:
            yield Problem("source", 'is required with type = "bind": what is mounted')
        if self.type == "tmpfs" and self.source is not None:
            yield Problem("source", 'has no meaning with type = "tmpfs"')
        known = _OPTIONS[self.type]
        for at, option in enumerate(self.options):
            if option not in known and not (self.type == "tmpfs" and _EXTRA_OPTION.fullmatch(option)):
                yield Problem(f"options[{at}]", f"{shown(option)} is not one of {', '.join(known)}")
        if {"ro", "rw"} <= set(self.options):
            yield Problem("options", '"ro" and "rw" exclude each other')


@frozen(kw_only=True)
class ConfigFile:
    """``[configs.NAME]``: a file that Orbit puts into the container, read-only.

    :param path: where, in the container.
    :param content: its text.
    :param source: a file where ob runs, sent along when the container is made or updated; in place of ``content``.
    :param mode: its permissions, in octal, such as ``"0640"``.
    :param uid: its owner in the container.
    :param gid: its group in the container.
    """

    path: MountPath
    content: str | None = None
    source: MountPath | None = None
    mode: str = "0644"
    uid: int = 0
    gid: int = 0

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        if has(self, "content", "source") and (self.content is None) == (self.source is None):
            yield Problem("content", "either content or source says what is in the file, and one of them only")
        if getattr(self, "content", None) is not None and len((self.content or "").encode()) > CONFIG_LIMIT:
            yield Problem("content", f"is larger than {CONFIG_LIMIT // 1024} KiB")
        if has(self, "mode") and not re.fullmatch(r"0?[0-7]{3}", self.mode):
            yield Problem("mode", f'expected permissions in octal, such as "0640", got {shown(self.mode)}')
        yield from _problems_of_ids(self)


@frozen(kw_only=True)
class Check:
    """``[services.NAME.check]``: how a service is found to be well.

    :param type: ``tcp``: it accepts a connection; ``http``: it answers a GET with a status below 400.
    :param path: of ``http``: what is asked for.
    :param interval: the pause between two looks, in seconds.
    :param timeout: how long one may take, in seconds.
    """

    type: Literal["tcp", "http"] = "tcp"
    path: str = "/"
    interval: int = 10
    timeout: int = 3

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        for name, most in (("interval", 3600), ("timeout", 60)):
            if has(self, name) and not 0 < getattr(self, name) <= most:
                yield Problem(name, f"expected from 1 to {most} seconds, got {getattr(self, name)}")
        if has(self, "path") and not re.fullmatch(r"/[\x21-\x7e]{0,1000}", self.path):
            yield Problem("path", f'expected the path of a URL, such as "/health", got {shown(self.path)}')


@frozen(kw_only=True)
class Service:
    """``[services.NAME]``: a port on which the container serves; the network's own address leads there.

    :param port: the port.
    :param protocol: ``tcp`` or ``udp``.
    :param labels: words for whoever looks for services.
    :param check: how it is found to be well; not looked after when left out.
    """

    port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    labels: tuple[str, ...] = ()
    check: Check | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        if has(self, "port") and not 0 < self.port < 65536:
            yield Problem("port", f"expected a port from 1 to 65535, got {self.port}")
        if has(self, "protocol", "check") and self.protocol == "udp" and self.check is not None:
            yield Problem("check", "only tcp services can be checked")


@frozen(kw_only=True)
class Resources:
    """``[resources]``: what the container may use at most.

    :param cpu: processors, such as ``1.5``.
    :param memory: memory in MB, or as ``"2GiB"``.
    :param score: how readily the kernel ends it when memory runs out, from -1000 to 1000 (proc_pid_oom_score_adj(5)).
    :param no_file: open files per process.
    """

    cpu: float | None = None
    memory: Size | None = None
    score: int | None = None
    no_file: int | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        if getattr(self, "cpu", None) is not None and not 0.01 <= (self.cpu or 0) <= 4096:
            yield Problem("cpu", f"expected processors from 0.01 to 4096, got {self.cpu}")
        if getattr(self, "memory", None) is not None and (self.memory or 0) < 6:
            yield Problem("memory", f"expected at least 6 MB, got {self.memory}")
        if getattr(self, "score", None) is not None and not -1000 <= (self.score or 0) <= 1000:
            yield Problem("score", f"expected from -1000 to 1000, got {self.score}")
        if getattr(self, "no_file", None) is not None and not 16 <= (self.no_file or 0) <= 2**30:
            yield Problem("no_file", f"expected from 16 to {2**30} files, got {self.no_file}")


@frozen(kw_only=True)
class Gpus:
    """``[gpus]``: graphics processors, by the engine's NVIDIA support.

    :param devices: their numbers or UUIDs; all of them when left out.
    :param capabilities: what of the driver is there, such as ``compute`` and ``utility``.
    """

    devices: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ("gpu",)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        for name, pattern in (("devices", r"[A-Za-z0-9-]{1,64}"), ("capabilities", r"[a-z0-9]{1,32}")):
            for at, value in enumerate(getattr(self, name, ())):
                if not re.fullmatch(pattern, value):
                    yield Problem(f"{name}[{at}]", f"expected letters and digits, got {shown(value)}")


@frozen(kw_only=True)
class Vhost:
    """vhost.toml.

    :param id: the container's name.
    :param image: its image.
    :param uid: the user that it runs as; that of the image when left out.
    :param gid: the group.
    :param args: the program and its arguments; those of the image when left out.
    :param env: environment variables, ``NAME=value`` each.
    :param pty: give it a terminal.
    :param privileged: let it do what root on the host can do.
    :param readonly: let nothing be written to its own file system.
    :param capabilities: what it may do beyond the engine's usual set, such as ``CAP_NET_ADMIN`` (capabilities(7)).
    :param masked_paths: what of the image is not to be seen.
    :param mounts: directories and files of the host's.
    :param configs: files of its own.
    :param services: ports on which it serves.
    :param resources: what it may use at most.
    :param gpus: graphics processors.
    :param networks: what it is connected to; nothing but its own loopback when left out.
    """

    id: Label
    image: ImageReference
    uid: int | None = None
    gid: int | None = None
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    pty: bool = False
    privileged: bool = False
    readonly: bool = False
    capabilities: tuple[str, ...] = ()
    masked_paths: tuple[MountPath, ...] = ()
    mounts: tuple[Mount, ...] = ()
    configs: Mapping[str, ConfigFile] = Factory(dict)
    services: Mapping[str, Service] = Factory(dict)
    resources: Resources = Resources()
    gpus: Gpus | None = None
    networks: tuple[Network, ...] = ()

    @property
    def on_host(self) -> bool:
        """Whether it shares the host's network."""
        return any(network.type is NetworkType.HOST for network in self.networks)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        yield from _problems_of_ids(self)
        yield from self._problems_of_process()
        yield from self._problems_of_networks()
        yield from self._problems_of_names()
        yield from self._problems_of_places()

    def _problems_of_process(self) -> Iterator[Problem]:
        for at, word in enumerate(getattr(self, "args", ())):
            if "\0" in word or (at == 0 and not word):
                yield Problem(f"args[{at}]", f"expected text without NUL, got {shown(word)}")
        for at, variable in enumerate(getattr(self, "env", ())):
            if not _VARIABLE.fullmatch(variable):
                yield Problem(f"env[{at}]", f'expected a variable, such as "NAME=value", got {shown(variable)}')
        for at, name in enumerate(getattr(self, "capabilities", ())):
            if name not in CAPABILITIES:
                yield Problem(f"capabilities[{at}]", f'expected a capability, such as "CAP_NET_ADMIN", got {shown(name)}')
        if has(self, "privileged", "capabilities") and self.privileged and self.capabilities:
            yield Problem("capabilities", "a privileged container has all of them")

    def _problems_of_networks(self) -> Iterator[Problem]:
        if not has(self, "networks"):
            return
        kinds = [getattr(network, "type", None) for network in self.networks]
        if NetworkType.HOST in kinds and len(kinds) > 1:
            yield Problem("networks", 'type = "host" is the whole network of the host, and goes with no other')

    def _problems_of_names(self) -> Iterator[Problem]:
        for table in ("configs", "services"):
            for name in getattr(self, table, {}):
                if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
                    yield Problem(f"{table}.{shown(name)}", "expected a name of letters, digits, dots, hyphens and underscores")

    def _problems_of_places(self) -> Iterator[Problem]:
        places = [(f"masked_paths[{at}]", path) for at, path in enumerate(getattr(self, "masked_paths", ()))]
        mounts = enumerate(getattr(self, "mounts", ()))
        places += [(f"mounts[{at}].destination", getattr(mount, "destination", "")) for at, mount in mounts]
        places += [(f"configs.{name}.path", getattr(one, "path", "")) for name, one in getattr(self, "configs", {}).items()]
        taken: dict[str, str] = {}
        for where, path in places:
            if isinstance(path, str) and path and taken.setdefault(path, where) != where:
                yield Problem(where, f"{shown(path)} is the place of {taken[path]} already")


def _problems_of_ids(model: object) -> Iterator[Problem]:
    for name in ("uid", "gid"):
        value = getattr(model, name, None)
        if value is not None and not 0 <= value <= _ID_LIMIT:
            yield Problem(name, f"expected a number from 0 to {_ID_LIMIT}, got {value}")
