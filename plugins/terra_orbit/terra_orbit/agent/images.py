"""What images are: whether the engine has them, what their program is, what their paths are."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from terra_core.config.values import ImageReference
from terra_core.errors import NotFoundError
from terra_core.system.progress import Report
from terra_orbit.agent.engine import Engine
from terra_orbit.agent.rendering import Facts, Kind
from terra_orbit.capabilities import grantable, is_whole
from terra_orbit.vhost import Vhost

_INITS = ("init", "systemd")
_UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")


class Images:
    """The images of an engine, looked into once.

    :param engine: the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[tuple[str, str], tuple[Kind, str]] = {}
        self._lock = threading.Lock()

    def ensure(self, reference: ImageReference, report: Report) -> dict[str, Any]:
        """An image, pulled from its registry if the engine has it not.

        :raises TerraError: when it cannot be had.
        """
        found = self._engine.image(str(reference))
        if found is None:
            self._engine.pull(reference, report)
            found = self._engine.image(str(reference))
        if found is None:
            raise NotFoundError(f"the engine has no image {reference}, though it was pulled")
        return found

    def facts(self, vhost: Vhost, image: dict[str, Any]) -> Facts:
        """What the rendering of a container has to know."""
        program = _program(vhost, image)
        suspect = Path(program).name in _INITS and program.startswith("/")
        paths = [*vhost.masked_paths, *([program] if suspect else [])]
        kinds = self._kinds(str(image["Id"]), paths)
        return Facts(
            systemd=suspect and Path(kinds[program][1]).name == "systemd",
            masked={path: kinds[path][0] for path in vhost.masked_paths},
            capabilities=grantable(),
            privileged_mode=is_whole(),
            unified=_UNIFIED.exists(),
            podman=self._engine.is_podman,
        )

    def _kinds(self, image: str, paths: Sequence[str]) -> dict[str, tuple[Kind, str]]:
        with self._lock:
            unknown = [path for path in paths if (image, path) not in self._known]
        if unknown:
            found = self._engine.kinds(image, unknown)
            with self._lock:
                self._known.update({(image, path): kind for path, kind in found.items()})
        with self._lock:
            return {path: self._known[image, path] for path in paths}


def _program(vhost: Vhost, image: dict[str, Any]) -> str:
    config = image.get("Config") or {}
    words = vhost.args or (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))
    return str(words[0]) if words else ""
