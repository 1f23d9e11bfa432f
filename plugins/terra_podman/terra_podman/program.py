"""Running podman(1), and saying what is wrong where it can't be."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from terra_core.errors import CommandError, TerraError
from terra_core.oci import ImageError
from terra_core.oci.structure import read_document
from terra_core.system.packages import name_packages
from terra_core.system.process import Argument, Completed, converse, run
from terra_core.system.reading import lines_of
from terra_podman.settings import Podman

name_packages({"podman": "podman"})

_PASSED_ON = (
    "CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF",
    "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "BUILDAH_ISOLATION", "STORAGE_DRIVER", "STORAGE_OPTS", "XDG_CONFIG_HOME",
    "XDG_DATA_HOME", "XDG_CACHE_HOME", "DBUS_SESSION_BUS_ADDRESS",
)  # fmt: skip
_OLDEST = (4, 0)
_HERE_DOCUMENTS = (5, 0)
_SECONDS = 300
_UNKNOWN = re.compile(rb"image not known|no such image|does not resolve to", re.IGNORECASE)
_VERSION = re.compile(r"(\d+)\.(\d+)")


@frozen
class Program:
    """Podman as this user has it.

    :param settings: the ``[podman]`` table.
    :param version: its major and minor version.
    :param storage: the directory with its images and containers.
    """

    settings: Podman
    version: tuple[int, int]
    storage: Path = field(repr=False)

    @property
    def here_documents(self) -> bool:
        """Return whether its builder knows here-documents."""
        return self.version >= _HERE_DOCUMENTS

    def run(self, *words: Argument, accept: Collection[int] = (0,), timeout: float = _SECONDS) -> Completed:
        """Run a command of it to its end.

        :raises CommandError: as :func:`terra_core.system.process.run` does.
        """
        return run(["podman", *words], accept=accept, timeout=timeout, env=_environment())

    def lines(self, *words: Argument, timeout: float, more: Mapping[str, str] | None = None) -> Generator[str, None, None]:
        """Run a command of it, and give its lines as they come: see :func:`terra_core.system.process.converse`.

        :param more: further environment variables.
        """
        return converse(["podman", *words], timeout=timeout, env={**(more or {}), **_environment()})

    def json(self, *words: Argument) -> list[dict[str, Any]]:
        """Return the list of objects that a command prints.

        :raises TerraError: when it prints something else.
        """
        return _objects(self.run(*words, "--format=json").stdout, f"podman {words[0]}")

    def image(self, name: str) -> dict[str, Any] | None:
        """Return what podman-image-inspect(1) says of an image; nothing when the storage does not have it."""
        done = self.run("image", "inspect", "--format=json", name, accept=(0, 125))
        if not done.code:
            return _objects(done.stdout, "podman image inspect")[0]
        if _UNKNOWN.search(done.stderr):
            return None
        raise TerraError(f"podman image inspect {name}: {done.stderr.decode(errors='replace').strip()}")

    @property
    def authentication(self) -> Sequence[str]:
        """Return the options for what asks a registry."""
        return (f"--authfile={self.settings.auth_file}",) if self.settings.auth_file else ()


def found(settings: Podman) -> Program:
    """Ask Podman who it is.

    :raises TerraError: when it is not installed, can't be used by this user, or is too old.
    """
    try:
        done = run(["podman", "info", "--format", "json"], timeout=_SECONDS, env=_environment())
    except CommandError as error:
        if "not found on this machine" in error.message:
            raise TerraError(f"the builder is podman, and {error.message}", hint=error.hint) from error
        raise TerraError(
            f"podman cannot be used here: {last_words(error)}",
            hint="find out with: podman info. It reads /etc/containers/containers.conf and storage.conf, "
            "or what CONTAINERS_CONF and CONTAINERS_STORAGE_CONF name",
        ) from error
    try:
        info = read_document(done.stdout, "podman info", unique=False)
        version, storage = _VERSION.match(info["version"]["Version"].text()), info["store"]["graphRoot"].text()
    except ImageError as error:
        raise TerraError(error.message, hint="is the program podman on PATH another one?") from error
    number = (int(version[1]), int(version[2])) if version else (0, 0)
    if number < _OLDEST:
        said = info["version"]["Version"].text()
        raise TerraError(f"podman {said} is older than 4.0, which Terra needs", hint="upgrade it: apt-get install podman")
    return Program(settings, number, Path(storage))


def _objects(content: bytes, where: str) -> list[dict[str, Any]]:
    try:
        node = read_document(content.strip() or b"[]", where, top=list, unique=False)
    except ImageError as error:
        raise TerraError(error.message) from error
    return [item.value for item in node.items() if isinstance(item.value, dict)]


def last_words(error: CommandError) -> str:
    """Return the line that says why podman ended with an error."""
    lines = [line for line in lines_of(error.message.strip()) if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("Error: ")), lines[-1])
    return said.removeprefix("Error: ").strip()


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1", **passed_on}  # every command of podman 5 begins with it
