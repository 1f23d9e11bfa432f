"""The engine that runs the containers: a Docker Engine, or a Podman socket that speaks as one."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
from attrs import frozen
from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from terra_core.config.values import ImageReference
from terra_core.errors import NotFoundError, TerraError
from terra_core.system.engine import USUAL_PLACE, connect
from terra_core.system.progress import Event, Report, silent
from terra_orbit.agent.rendering import LABEL_AGENT, LABEL_REVISION, LABEL_UID, LABEL_VHOST, Kind

_SETTING = 'engine = "unix:///..." in orbit.toml'
_SECONDS = 120
_DIRECTORY = 1 << 31
"""In the modes that the engine gives, which are Go's."""
_PROBE = "probe"
_FRESH = ("created", "initialized", "configured")
"""What Docker, and Podman of a container that was prepared for its start, call one that never ran."""


@frozen(kw_only=True)
class Found:
    """A container that the engine has of this agent's.

    :param engine_id: the engine's own id.
    :param uid: the record that it belongs to.
    :param revision: the revision; 0 for one that only looked into an image.
    :param running: whether its program runs.
    :param fresh: whether it was made and never started.
    """

    engine_id: str
    uid: str
    revision: int
    running: bool
    fresh: bool


@frozen(kw_only=True)
class Process:
    """How the program of a container does.

    :param pid: its process id on the host; 0 when it does not run.
    :param code: how it ended last.
    :param health: what its image's own check says: ``healthy``, ``unhealthy``, ``starting``, or nothing.
    :param killed: whether the kernel ended it for want of memory.
    :param began: when it started, as the engine writes it.
    """

    pid: int
    code: int
    health: str
    killed: bool
    began: str


class Engine:
    """The engine, as far as one agent works with it.

    :param where: its socket; that of the environment when left out.
    :param agent: the agent's name, by which its containers are known among those of others.
    """

    def __init__(self, where: str | None, agent: str) -> None:
        self._where = where
        self._agent = agent
        self._client: APIClient | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> APIClient:
        """The connection, made when it is first needed.

        :raises TerraError: when no engine answers.
        """
        with self._lock:
            if self._client is None:
                self._client = connect(self._where, setting=_SETTING)
                self._client.timeout = _SECONDS
            return self._client

    @contextmanager
    def streaming(self) -> Iterator[APIClient]:
        """A connection of its own, on which an answer may take as long as it likes."""
        client = connect(self._where, setting=_SETTING)
        client.timeout = None  # type: ignore[assignment]  # requests' own word for no limit
        try:
            yield client
        finally:
            client.close()

    @property
    def socket(self) -> Path:
        """The engine's socket.

        :raises TerraError: when the engine is not on this machine, and its containers could not be connected.
        """
        where = self._where or os.environ.get("DOCKER_HOST") or USUAL_PLACE
        if not where.startswith("unix://"):
            raise TerraError(f"{where}: the engine has to be on this machine", hint=f"name its socket, by {_SETTING}")
        return Path(where.removeprefix("unix://"))

    def exec_create(self, engine_id: str, body: Mapping[str, Any]) -> str:
        """Prepare a further program in a container; gives the engine's id of it."""
        with explained("preparing the program"):
            client = self.client
            answer = client._post_json(client._url("/containers/{0}/exec", engine_id), data=dict(body))  # type: ignore[attr-defined]  # the SDK would split the words of a string, and the stubs show none of its own ways
            return str(client._result(answer, json=True)["Id"])  # type: ignore[attr-defined]  # see above

    def exec_state(self, identity: str) -> dict[str, Any]:
        """How a further program does."""
        with explained("looking at the program"):
            found: dict[str, Any] = self.client.exec_inspect(identity)
            return found

    def exec_resize(self, identity: str, rows: int, columns: int) -> None:
        """Tell a further program of its terminal's size."""
        with explained("resizing the terminal"):
            self.client.exec_resize(identity, height=rows, width=columns)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()

    def image(self, reference: str) -> dict[str, Any] | None:
        """An image that the engine has."""
        with explained(f"looking for the image {reference}"):
            try:
                found: dict[str, Any] = self.client.inspect_image(reference)  # type: ignore[no-untyped-call]  # the stubs forgot its types
            except ImageNotFound:
                return None
            return found

    def pull(self, reference: ImageReference, report: Report) -> None:
        """Get an image from its registry.

        :raises TerraError: as the engine says it.
        """
        doing = f"pulling {reference}"
        report(Event("pull", doing))
        name = f"{reference.registry}/{reference.path}"
        with explained(doing):
            tag = reference.digest or reference.tag
            for record in self.client.pull(name, tag=tag, stream=True, decode=True):
                _take(record, "pull", doing, report)

    def push(self, reference: ImageReference, report: Report) -> None:
        """Give an image to its registry.

        :raises TerraError: as the engine says it.
        """
        doing = f"pushing {reference}"
        report(Event("push", doing))
        with explained(doing):
            name = f"{reference.registry}/{reference.path}"
            for record in self.client.push(name, tag=reference.tag, stream=True, decode=True):
                _take(record, "push", doing, report)

    def kinds(self, image: str, paths: Sequence[str]) -> dict[str, tuple[Kind, str]]:
        """What paths of an image are, and where those lead that are symbolic links."""
        with self._opened(image) as probe:
            return {path: self._kind(probe, path) for path in paths}

    @contextmanager
    def archive(self, image: str, path: str) -> Iterator[Iterator[bytes]]:
        """The tar of a path of an image, in pieces.

        :raises NotFoundError: when the image has no such path.
        """
        with self._opened(image) as probe:
            pieces, _ = self.client.get_archive(probe, path)
            yield iter(pieces)

    def load(self, archive: Path) -> None:
        """Make the images of an archive known to the engine, as ``docker load`` does."""
        with explained("storing an image"), archive.open("rb") as content:
            for record in self.client.load_image(content):  # type: ignore[no-untyped-call]  # see image
                _take(record, "store", "storing an image", silent)

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container; gives the engine's id."""
        with explained(f"making the container {name}"):
            made = self.client.create_container_from_config(dict(body), name=name)  # type: ignore[no-untyped-call]  # see image
            return str(made["Id"])

    def start(self, engine_id: str, checkpoint: str = "") -> None:
        """Start a container.

        :param checkpoint: the engine's checkpoint that its programs go on from.
        """
        with explained("starting the container"):
            if not checkpoint:
                self.client.start(engine_id)
                return
        with self.streaming() as client, explained("bringing its programs back"):
            url = client._url("/containers/{0}/start", engine_id)  # type: ignore[attr-defined]  # the SDK knows no checkpoints
            client._raise_for_status(client._post(url, params={"checkpoint": checkpoint}))  # type: ignore[attr-defined]  # see above

    def store_memory(self, engine_id: str, checkpoint: str) -> None:
        """End a container, and let the engine keep what its programs had in memory.

        :raises TerraError: when that fails; the container goes on then.
        """
        with self.streaming() as client, explained("storing what its programs have in memory"):
            url = client._url("/containers/{0}/checkpoints", engine_id)  # type: ignore[attr-defined]  # see start
            client._raise_for_status(client._post_json(url, data={"CheckpointID": checkpoint, "Exit": True}))  # type: ignore[attr-defined]  # see start

    @cached_property
    def is_podman(self) -> bool:
        """Whether it is Podman that answers."""
        return "BuildahVersion" in self.information()

    def information(self) -> dict[str, Any]:
        """What the engine says of itself."""
        with explained("asking the engine what it is"):
            found: dict[str, Any] = self.client.info()
            return found

    def stop(self, engine_id: str, seconds: int) -> None:
        """Ask a container to end, and end it when it has not within ``seconds``."""
        with explained("stopping the container"), suppress(NotFound):
            self.client.stop(engine_id, timeout=seconds)

    def kill(self, engine_id: str, signal: str) -> None:
        """Send a signal to a container's program."""
        with explained(f"sending {signal} to the container"):
            self.client.kill(engine_id, signal)

    def remove(self, engine_id: str) -> None:
        """Remove a container, whatever it does; its own file system goes, and nothing that is mounted there."""
        with explained("removing the container"), suppress(NotFound):
            self.client.remove_container(engine_id, force=True, v=True)

    def process(self, engine_id: str) -> Process:
        """How a container's program does.

        :raises NotFoundError: when there is no such container.
        """
        with explained("looking at the container"):
            state = self.client.inspect_container(engine_id)["State"]
        health = (state.get("Health") or {}).get("Status") or ""
        return Process(
            pid=int(state["Pid"]) if state["Running"] else 0,
            code=int(state["ExitCode"]),
            health="" if health == "none" else health,
            killed=bool(state.get("OOMKilled")),
            began=str(state.get("StartedAt", "")),
        )

    def resolver(self, engine_id: str) -> Path | None:
        """The file of the host's that a container sees as /etc/resolv.conf, if it has one of its own."""
        with explained("looking at the container"):
            path = self.client.inspect_container(engine_id).get("ResolvConfPath")
        return Path(path) if path else None

    def size(self, engine_id: str) -> int:
        """What a container has written to its own file system, in bytes."""
        with explained("measuring the container"):
            filters = {"id": [engine_id]}
            found = self.client.containers(all=True, size=True, filters=filters)
            return int(found[0].get("SizeRw") or 0) if found else 0

    def last_words(self, engine_id: str, lines: int = 5) -> str:
        """The end of what a container printed."""
        with suppress(TerraError), explained("reading the log"):
            text: bytes = self.client.logs(engine_id, tail=lines)
            return text.decode(errors="replace").strip()
        return ""

    def commit(self, engine_id: str, reference: ImageReference | None, vhost: Mapping[str, Any]) -> str:
        """Make an image of a container's file system, with its configuration as a label; gives the image's id.

        :param reference: its name; it has none when left out.
        """
        # The image must not pass for this agent's: whatever an engine makes of it would inherit the labels.
        labels = {LABEL_VHOST: json.dumps(vhost), LABEL_AGENT: "", LABEL_UID: "", LABEL_REVISION: "0"}
        place: dict[str, Any] = {"repository": None, "tag": None}
        if reference is not None:
            place = {"repository": f"{reference.registry}/{reference.path}", "tag": reference.tag}
        with explained(f"storing the container as {reference}" if reference else "storing its file system"):
            image = str(self.client.commit(engine_id, **place, conf={"Labels": labels})["Id"])
            if LABEL_VHOST in ((self.image(image) or {}).get("Config") or {}).get("Labels", {}):
                return image
            # Podman reads labels from the query only, whose quoting is not to be trusted with JSON.
            labels[LABEL_VHOST] = base64.urlsafe_b64encode(labels[LABEL_VHOST].encode()).decode()
            changes = [f'LABEL {name}="{value}"' for name, value in labels.items()]
            return str(self.client.commit(engine_id, **place, changes=changes)["Id"])

    def remove_image(self, image: str) -> None:
        """Remove an image that has no name; what others share of it stays."""
        with explained("removing an image"), suppress(NotFound):
            self.client.remove_image(image, noprune=True)

    def all(self) -> list[Found]:
        """Every container of this agent's."""
        return self._listed()

    def of(self, uid: str) -> list[Found]:
        """The containers of one record, by revision."""
        return sorted(self._listed(f"{LABEL_UID}={uid}"), key=lambda one: one.revision)

    def _listed(self, *labels: str) -> list[Found]:
        with explained("listing the containers"):
            listed = self.client.containers(all=True, filters={"label": [f"{LABEL_AGENT}={self._agent}", *labels]})
        return [
            Found(
                engine_id=one["Id"],
                uid=one["Labels"].get(LABEL_UID, ""),
                revision=int(one["Labels"].get(LABEL_REVISION, "0")),
                running=one["State"] in ("running", "paused"),
                fresh=one["State"] in _FRESH,
            )
            for one in listed
        ]

    @contextmanager
    def _opened(self, image: str) -> Iterator[str]:
        """A container that only shows what is in an image, and never runs."""
        with explained("looking into the image"):
            labels = {LABEL_AGENT: self._agent, LABEL_UID: _PROBE}
            made = self.client.create_container_from_config(  # type: ignore[no-untyped-call]  # see image
                {"Image": image, "Cmd": ["probe"], "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
            )
            try:
                yield str(made["Id"])
            finally:
                self.client.remove_container(made["Id"], force=True)

    def _kind(self, engine_id: str, path: str, depth: int = 8) -> tuple[Kind, str]:
        target = path
        while depth:
            try:
                stream, stat = self.client.get_archive(engine_id, target)
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


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Let what the engine says be an error that a user can act upon."""
    try:
        yield
    except NotFound as error:
        raise NotFoundError(f"{doing}: {error.explanation or error}") from error
    except APIError as error:
        raise TerraError(f"{doing}: {error.explanation or error}") from error
    except (DockerException, requests.RequestException) as error:
        raise TerraError(f"{doing}: the engine does not answer: {error}", hint="start it: systemctl start docker") from error
