"""The images of an engine: pulling, storing and pushing them, and looking at their programs and paths."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from docker.errors import ImageNotFound, NotFound

from terra_core.config.values import ImageReference
from terra_core.errors import NotFoundError, TerraError
from terra_core.system.progress import Event, Report, silent
from terra_core.system.undo import Undo
from terra_docker.push import push_as_it_is
from terra_orbit.agent.engine import PROBE, Engine, explained
from terra_orbit.agent.rendering import (
    LABEL_AGENT,
    LABEL_PASSING,
    LABEL_REVISION,
    LABEL_UID,
    LABEL_VHOST,
    Facts,
    Kind,
    label_of,
)
from terra_orbit.capabilities import grantable, is_whole
from terra_orbit.vhost import Vhost

_INITS = ("init", "systemd")
_DIRECTORY = 1 << 31
"""Bits of the modes that the engine gives, which are Go's."""
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
        """Return an image, pulled from its registry if the engine does not have it.

        :raises TerraError: when it cannot be had.
        """
        found = self.find(str(reference))
        if found is None:
            self._pull(reference, report)
            found = self.find(str(reference))
        if found is None:
            raise NotFoundError(f"the engine has no image {reference}, though it was pulled")
        return found

    def facts(self, vhost: Vhost, image: dict[str, Any]) -> Facts:
        """Return the facts that the rendering of a container needs."""
        masked = self._kinds(str(image["Id"]), vhost.masked_paths)
        return Facts(
            systemd=self.starts_systemd(vhost, image),
            masked={path: masked[path][0] for path in vhost.masked_paths},
            capabilities=grantable(),
            privileged_mode=is_whole(),
            unified=_UNIFIED.exists(),
            podman=self._engine.is_podman,
        )

    def starts_systemd(self, vhost: Vhost, image: dict[str, Any]) -> bool:
        """Return whether the program that a container starts is systemd."""
        program = _program(vhost, image)
        if Path(program).name not in _INITS or not program.startswith("/"):
            return False
        return Path(self._kinds(str(image["Id"]), [program])[program][1]).name == "systemd"

    def find(self, reference: str) -> dict[str, Any] | None:
        """Return an image of the engine; ``None`` when it has no such image."""
        with explained(f"looking for the image {reference}"):
            try:
                found: dict[str, Any] = self._engine.client.inspect_image(reference)  # type: ignore[no-untyped-call]  # the stubs forgot its types
            except ImageNotFound:
                return None
            return found

    def push(self, reference: ImageReference, report: Report) -> None:
        """Push an image to its registry.

        :raises TerraError: as the registry or the engine says it.
        """
        report(Event("push", f"pushing {reference}"))
        with self._engine.streaming() as client:
            push_as_it_is(client, reference, report)

    @contextmanager
    def archive(self, image: str, path: str) -> Iterator[Iterator[bytes]]:
        """Yield the tar of a path of an image, in pieces.

        :raises NotFoundError: when the image has no such path.
        """
        with self._opened(image) as probe:
            pieces, _ = self._engine.client.get_archive(probe, path)
            yield iter(pieces)

    def load(self, archive: Path) -> None:
        """Make the images of an archive known to the engine, as ``docker load`` does."""
        with explained("storing an image"), archive.open("rb") as content:
            for record in self._engine.client.load_image(content):  # type: ignore[no-untyped-call]  # see find
                _take(record, "store", "storing an image", silent)

    def commit(self, engine_id: str, reference: ImageReference | None, vhost: Mapping[str, Any]) -> str:
        """Make an image of a container's file system, with its configuration as a label; return the image's id.

        :param reference: its name; it has none when left out, and is removed by :meth:`sweep` when nobody did so before.
        """
        # The image must not have this agent's labels: containers that are made from it would inherit them.
        labels = {LABEL_VHOST: json.dumps(vhost), LABEL_AGENT: "", LABEL_UID: "", LABEL_REVISION: "0", LABEL_PASSING: ""}
        place: dict[str, Any] = {"repository": None, "tag": None}
        if reference is None:
            labels[LABEL_PASSING] = self._engine.agent
        else:
            place = {"repository": f"{reference.registry}/{reference.path}", "tag": reference.tag}
        with explained(f"storing the container as {reference}" if reference else "storing its file system"):
            image = str(self._engine.client.commit(engine_id, **place, conf={"Labels": labels})["Id"])
            if label_of(self.find(image) or {}, LABEL_VHOST):
                return image
            # Podman reads labels from the query only, whose quoting does not keep JSON intact.
            labels[LABEL_VHOST] = base64.urlsafe_b64encode(labels[LABEL_VHOST].encode()).decode()
            changes = [f'LABEL {name}="{value}"' for name, value in labels.items()]
            labelled = str(self._engine.client.commit(engine_id, **place, changes=changes)["Id"])
        with suppress(TerraError):
            self.remove(image)
        return labelled

    def remove(self, image: str) -> None:
        """Remove an image that has no name; what others share of it stays."""
        with explained("removing an image"), suppress(NotFound):
            self._engine.client.remove_image(image, noprune=True)

    def sweep(self, kept: Collection[str]) -> None:
        """Remove the images without a name that were to become others, or that containers were made of which are gone.

        :param kept: the ids of those that are still needed.
        """
        with explained("looking for images"):
            filters = {"dangling": True, "label": [f"{LABEL_PASSING}={self._engine.agent}"]}
            left = [str(one["Id"]) for one in self._engine.client.images(filters=filters)]
        for image in left:
            if image not in kept:
                with suppress(TerraError):  # a container is made of it
                    self.remove(image)

    def _kinds(self, image: str, paths: Sequence[str]) -> dict[str, tuple[Kind, str]]:
        with self._lock:
            unknown = [path for path in paths if (image, path) not in self._known]
        if unknown:
            found = self._look(image, unknown)
            with self._lock:
                self._known.update({(image, path): kind for path, kind in found.items()})
        with self._lock:
            return {path: self._known[image, path] for path in paths}

    def _pull(self, reference: ImageReference, report: Report) -> None:
        """Get an image from its registry.

        :raises TerraError: as the engine says it.
        """
        doing = f"pulling {reference}"
        report(Event("pull", doing))
        name = f"{reference.registry}/{reference.path}"
        with explained(doing):
            tag = reference.digest or reference.tag
            for record in self._engine.client.pull(name, tag=tag, stream=True, decode=True):
                _take(record, "pull", doing, report)

    def _look(self, image: str, paths: Sequence[str]) -> dict[str, tuple[Kind, str]]:
        """Return the kinds of paths in an image, and where those that are symbolic links lead."""
        with self._opened(image) as probe:
            return {path: self._kind(probe, path) for path in paths}

    @contextmanager
    def _opened(self, image: str) -> Iterator[str]:
        """Yield a container that only gives access to what is in an image, and never runs."""
        with explained("looking into the image"):
            labels = {LABEL_AGENT: self._engine.agent, LABEL_UID: PROBE}
            made = self._engine.client.create_container_from_config(  # type: ignore[no-untyped-call]  # see find
                {"Image": image, "Cmd": ["probe"], "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
            )
            with Undo() as undo:
                undo.callback(self._engine.client.remove_container, made["Id"], force=True)
                yield str(made["Id"])

    def _kind(self, engine_id: str, path: str, depth: int = 8) -> tuple[Kind, str]:
        target = path
        while depth:
            try:
                stream, stat = self._engine.client.get_archive(engine_id, target)
            except NotFound:
                return Kind.MISSING, target
            stream.close()
            link = str(stat.get("linkTarget") or "")
            if not link or link == target:
                return (Kind.DIRECTORY if int(stat["mode"]) & _DIRECTORY else Kind.FILE), target
            target = link if link.startswith("/") else str(Path(target).parent / link)
            depth -= 1
        return Kind.MISSING, target


def _take(record: Mapping[str, Any], step: str, doing: str, report: Report) -> None:
    if "error" in record or "errorDetail" in record:
        said = str((record.get("errorDetail") or {}).get("message") or record.get("error"))
        raise TerraError(f"{doing}: {said}")
    detail = record.get("progressDetail") or {}
    if "current" in detail:
        report(Event(step, doing, int(detail["current"]), None))


def _program(vhost: Vhost, image: dict[str, Any]) -> str:
    config = image.get("Config") or {}
    words = vhost.args or (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))
    return str(words[0]) if words else ""
