"""The ``[docker]`` table, the same in server.toml, node.toml and controller.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import ClassVar

from attrs import Factory, frozen

from terra_core.config.structure import Problem, has, path_of_key
from terra_core.config.values import shown

NAME = "docker"
"""Of the plugin, and of its table."""

_REGISTRY = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_ENGINE = re.compile(r"(?:unix|tcp|http|https|ssh)://[\x21-\x7e]+")


class BuilderKind(StrEnum):
    """What builds an image.

    ``AUTO`` is the classic builder, and BuildKit for a Dockerfile that needs it.
    """

    AUTO = "auto"
    CLASSIC = "classic"
    BUILDKIT = "buildkit"


@frozen(kw_only=True)
class Docker:
    """``[docker]``.

    :cvar example: what ``terra create --dump`` shows.
    :param insecure: registries, as ``host`` or ``host:port``, that are spoken to by plain HTTP or without checking their
        certificate. The engine, which pulls the bases of builds, has a list of its own.
    :param mirrors: for a registry, others that have what it has, by its name; asked in their order before it is.
    :param builder: which of the engine's builders builds.
    :param engine: where the engine listens, such as ``unix:///run/docker.sock``; DOCKER_HOST or the usual place when left out.
    """

    example: ClassVar[Mapping[str, object]] = {
        "#insecure": ["10.0.10.3:5000"],
        "#mirrors": {"docker.io": ["10.0.10.3:5000"]},
        "#engine": "unix:///var/run/docker.sock",
    }

    insecure: tuple[str, ...] = ()
    mirrors: Mapping[str, tuple[str, ...]] = Factory(dict)
    engine: str | None = None
    builder: BuilderKind = BuilderKind.AUTO

    def problems(self) -> Iterator[Problem]:
        """Return what is wrong with the values."""
        for path, registry in self._registries():
            if isinstance(registry, str) and not _REGISTRY.fullmatch(registry):
                yield Problem(path, f'expected a host and port, such as "10.0.10.3:5000", got {shown(registry)}')
        if has(self, "engine") and self.engine is not None and not _ENGINE.fullmatch(self.engine):
            yield Problem("engine", f'expected an address, such as "unix:///run/docker.sock", got {shown(self.engine)}')

    def _registries(self) -> Iterator[tuple[str, str]]:
        yield from ((f"insecure[{at}]", registry) for at, registry in enumerate(self.insecure if has(self, "insecure") else ()))
        for name, others in (self.mirrors if has(self, "mirrors") else {}).items():
            path = f"mirrors.{path_of_key(name)}"
            yield path, name
            yield from ((f"{path}[{at}]", registry) for at, registry in enumerate(others if isinstance(others, tuple) else ()))
