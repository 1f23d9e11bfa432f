"""The engine that runs the containers: a Docker Engine, or a Podman socket that speaks as one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
from attrs import frozen
from docker import APIClient
from docker.errors import APIError, DockerException, NotFound

from terra_core.errors import NotFoundError, TerraError
from terra_core.system.reasons import reason_of
from terra_docker.engine import USUAL_PLACE, connect
from terra_orbit.agent.rendering import LABEL_AGENT, LABEL_REVISION, LABEL_UID

_SETTING = 'engine = "unix:///..." in orbit.toml'
_SECONDS = 120
PROBE = "probe"
"""The uid of a container that only shows what is in an image."""
_FRESH = ("created", "initialized", "configured")
"""The states of a container that never ran: Docker's, and Podman's for one that was prepared for its start."""


@frozen(kw_only=True)
class Found:
    """A container of this agent in the engine.

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
    """The state of a container's program.

    :param pid: its process id on the host; 0 when it does not run.
    :param code: its last exit code.
    :param health: what its image's own check says: ``healthy``, ``unhealthy``, ``starting``, or nothing.
    :param killed: whether the kernel ended it because memory ran out.
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
        """Yield a connection of its own, without a time limit for answers."""
        client = connect(self._where, setting=_SETTING)
        client.timeout = None  # type: ignore[assignment]  # requests' own word for no limit
        try:
            yield client
        finally:
            client.close()

    @property
    def agent(self) -> str:
        """The agent's name."""
        return self._agent

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
        """Prepare a further program in a container; return the engine's id of it."""
        with explained("preparing the program"):
            client = self.client
            answer = client._post_json(client._url("/containers/{0}/exec", engine_id), data=dict(body))  # type: ignore[attr-defined]  # the SDK would split the words of a string, and the stubs show none of its own ways
            return str(client._result(answer, json=True)["Id"])  # type: ignore[attr-defined]  # see above

    def exec_state(self, identity: str) -> dict[str, Any]:
        """Return the state of a further program."""
        with explained("looking at the program"):
            found: dict[str, Any] = self.client.exec_inspect(identity)
            return found

    def exec_resize(self, identity: str, rows: int, columns: int) -> None:
        """Set the size of a further program's terminal."""
        with explained("resizing the terminal"):
            self.client.exec_resize(identity, height=rows, width=columns)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container; return the engine's id."""
        with explained(f"making the container {name}"):
            made = self.client.create_container_from_config(dict(body), name=name)  # type: ignore[no-untyped-call]  # the stubs forgot its types
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
        """Return the engine's information about itself."""
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
        """Return the state of a container's program.

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
        """Return the host's file that a container sees as /etc/resolv.conf, if it has one of its own."""
        with explained("looking at the container"):
            path = self.client.inspect_container(engine_id).get("ResolvConfPath")
        return Path(path) if path else None

    def size(self, engine_id: str) -> int:
        """Return how many bytes a container has written to its own file system."""
        with explained("measuring the container"):
            filters = {"id": [engine_id]}
            found = self.client.containers(all=True, size=True, filters=filters)
            return int(found[0].get("SizeRw") or 0) if found else 0

    def last_words(self, engine_id: str, lines: int = 5) -> str:
        """Return the end of what a container printed."""
        with suppress(TerraError), explained("reading the log"):
            text: bytes = self.client.logs(engine_id, tail=lines)
            return text.decode(errors="replace").strip()
        return ""

    def all(self) -> list[Found]:
        """Return every container of this agent."""
        return self._listed()

    def of(self, uid: str) -> list[Found]:
        """Return the containers of one record, by revision."""
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
def explained(doing: str) -> Iterator[None]:
    """Let what the engine says be an error that a user can act upon."""
    try:
        yield
    except NotFound as error:
        raise NotFoundError(f"{doing}: {error.explanation or error}") from error
    except APIError as error:
        raise TerraError(f"{doing}: {error.explanation or error}") from error
    except (DockerException, requests.RequestException) as error:
        said = f"{doing}: the engine does not answer: {reason_of(error)}"
        raise TerraError(said, hint="start it: systemctl start docker") from error
