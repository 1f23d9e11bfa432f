"""From the intended state of a container to the actual one, in steps that can be repeated from wherever they stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from terra_core.errors import NotFoundError, TerraError, words_of
from terra_core.system.processes import read_stat
from terra_orbit.agent.checkpoints import Checkpoints
from terra_orbit.agent.configs import check_sources, remove_configs, write_configs
from terra_orbit.agent.connections import Connections
from terra_orbit.agent.engine import Engine, Found, Process
from terra_orbit.agent.images import Images
from terra_orbit.agent.paths import OrbitPaths
from terra_orbit.agent.records import Record, State
from terra_orbit.agent.rendering import LABEL_AGENT, LABEL_REVISION, LABEL_UID, render
from terra_orbit.agent.store import Store

_log = structlog.get_logger(__name__)
_RESOLVER = "/etc/resolv.conf"
_TURN_SECONDS = 2.0
"""How long a program is looked at that works without waiting for anything: one that ends at once is one of these."""
_SYSTEMD_SECONDS = 2.0
_WAITING = "SI"
_SYSTEMD_HINT = "its program is systemd, which needs rights that it does not have: say privileged = true in its vhost.toml"
STOP_SECONDS = 10
"""How long a container has to end by itself, unless its user says otherwise."""


class Convergence:
    """Brings containers to the state that their records give.

    :param engine: what runs them.
    :param store: the records.
    :param connections: their networks.
    :param images: what their images are.
    :param checkpoints: their memory.
    :param paths: where their files are.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        connections: Connections,
        images: Images,
        checkpoints: Checkpoints,
        paths: OrbitPaths,
    ) -> None:
        self._engine = engine
        self._store = store
        self._connections = connections
        self._images = images
        self._checkpoints = checkpoints
        self._paths = paths

    def bring(
        self,
        record: Record,
        *,
        patient: bool = False,
        faithful: bool = False,
        stop_seconds: int = STOP_SECONDS,
        starting: Callable[[Record], Record] = lambda record: record,
    ) -> None:
        """Make a container what its record says.

        :param patient: whether somebody waits for it: a program that ends at once is an error then, with its last output.
        :param faithful: whether a container that cannot go on from its memory is an error, instead of being started anew.
        :param stop_seconds: how long what has to end may take.
        :param starting: called before a container is started again, to note that in the record.
        :raises TerraError: when a step fails; every step may be taken again.
        """
        found = self._engine.of(record.uid)
        if record.state is State.RUNNING:
            engine_id = self._run(record, found, starting, faithful=faithful, stop_seconds=stop_seconds)
            if patient:
                self._watch(record, engine_id)
        else:
            self._halt(record, found, stop_seconds)
        if record.state is State.DELETING:
            self._forget(record)
        else:
            self._store.change(record, problem="")

    def end_of(self, record: Record, found: Sequence[Found]) -> str:
        """Return how the program of a container ended; an empty string when it runs, or never did."""
        own = next((one for one in found if one.revision == record.revision and not one.running and not one.fresh), None)
        return str(self._ended(record, own.engine_id, self._engine.process(own.engine_id))) if own is not None else ""

    def tidy(self, record: Record) -> None:
        """Remove the containers and files of revisions that are not kept."""
        kept = {one.number for one in record.revisions}
        for found in self._engine.of(record.uid):
            if found.revision not in kept:
                self._engine.remove(found.engine_id)
        directory = self._paths.configs / record.uid
        for entry in directory.iterdir() if directory.exists() else ():
            if entry.name not in {str(number) for number in kept}:
                remove_configs(entry)

    def config_paths(self, record: Record) -> dict[str, Path]:
        """Return the paths of the files of the current revision."""
        directory = self._config_directory(record)
        return {name: directory / name for name in record.current.vhost.configs}

    def _run(
        self,
        record: Record,
        found: Sequence[Found],
        starting: Callable[[Record], Record],
        *,
        faithful: bool,
        stop_seconds: int,
    ) -> str:
        own = next((one for one in found if one.revision == record.revision), None)
        others = [one for one in found if one.revision != record.revision]
        running = own.engine_id if own is not None and own.running else ""
        if running and self._connections.attached(record, self._store.attachments(record)):
            self._stop(others, stop_seconds)
            self.tidy(record)
            return running
        # The connections of a former process are removed with it, except its addresses.
        with self._connections.held(record):
            self._stop(others, stop_seconds)
            self._connections.detach(record)
        engine_id = running or self._begin(record, own, starting, faithful=faithful)
        self._connect(record, engine_id)
        if others:
            self.tidy(record)
        return engine_id

    def _begin(self, record: Record, own: Found | None, starting: Callable[[Record], Record], *, faithful: bool) -> str:
        """Start a container that does not run; return the engine's id of it."""
        if own is not None and not own.fresh:
            self._start(starting(record), own.engine_id, faithful=faithful)
            return own.engine_id
        if own is not None:  # an agent may have been killed while it prepared this one
            self._engine.remove(own.engine_id)
        engine_id = self._make(record)
        self._start(record, engine_id, faithful=True)
        return engine_id

    def _connect(self, record: Record, engine_id: str) -> None:
        pid = self._process(record, engine_id)
        try:
            self._connections.attach(record, pid)
        except TerraError:
            self._process(record, engine_id)  # raises when it has ended meanwhile, which is the better error
            raise
        self._name(record, engine_id)

    def _name(self, record: Record, engine_id: str) -> None:
        """Let a container look names up where its network's DHCP server says, unless its file gives it a resolv.conf."""
        vhost = record.current.vhost
        given = {*(mount.destination for mount in vhost.mounts), *(config.path for config in vhost.configs.values())}
        names = None if _RESOLVER in given else self._connections.names(record)
        path = self._engine.resolver(engine_id) if names is not None else None
        if names is None or path is None:
            return
        try:
            path.write_text(names.as_file())  # in place: another file would not be seen through the mount
        except OSError as error:
            _log.warning("the name servers cannot be written down", container=record.id, reason=words_of(error))

    def _process(self, record: Record, engine_id: str) -> int:
        """Return the id of a container's first process.

        :raises TerraError: when it has ended.
        """
        process = self._engine.process(engine_id)
        if not process.pid:
            raise self._ended(record, engine_id, process)
        return process.pid

    def _watch(self, record: Record, engine_id: str) -> None:
        """Make sure that a container runs once its program waits for something.

        On a busy machine, the turn of a program that ends at once comes late. A systemd without all rights is looked at for
        longer than it takes to give up.

        :raises TerraError: when it has ended.
        """
        pid, pause = self._process(record, engine_id), threading.Event()
        deadline = time.monotonic() + _TURN_SECONDS
        while not _waits(pid) and time.monotonic() < deadline:
            pause.wait(_TURN_SECONDS / 100)
            pid = self._process(record, engine_id)
        if self._lacks_rights(record):
            deadline = time.monotonic() + _SYSTEMD_SECONDS
            while time.monotonic() < deadline:
                pause.wait(_SYSTEMD_SECONDS / 20)
                self._process(record, engine_id)

    def _lacks_rights(self, record: Record) -> bool:
        """Return whether a container's program is systemd and lacks the rights to mount and to have its own control groups."""
        revision = record.current
        image = None if revision.vhost.privileged else self._images.find(revision.image)
        return image is not None and self._images.starts_systemd(revision.vhost, image)

    def _stop(self, running: Sequence[Found], seconds: int) -> None:
        for one in running:
            if one.running:
                self._engine.stop(one.engine_id, seconds)

    def _halt(self, record: Record, found: Sequence[Found], stop_seconds: int) -> None:
        with self._connections.held(record):
            self._stop(found, stop_seconds)
            self._connections.detach(record)
        self._connections.stop_idle()

    def _forget(self, record: Record) -> None:
        for one in self._engine.of(record.uid):
            self._engine.remove(one.engine_id)
        remove_configs(self._paths.configs / record.uid)
        self._store.forget(record)

    def _make(self, record: Record) -> str:
        revision = record.current
        check_sources(revision.vhost)
        image = self._images.find(revision.image)
        if image is None:
            raise NotFoundError(
                f"{record.id}: its image {revision.vhost.image} is not in the engine any more",
                hint=f"pull it, and run: ob create --update with its vhost.toml, or delete it: ob delete {record.id}",
            )
        labels = {LABEL_UID: record.uid, LABEL_REVISION: str(revision.number), LABEL_AGENT: self._store.agent}
        base = self._checkpoints.base(image)
        body = render(
            revision.vhost,
            image=base,
            facts=self._images.facts(revision.vhost, image),
            configs=write_configs(revision.vhost, self._config_directory(record)),
            labels=labels,
        )
        engine_id = self._engine.create(f"{record.id}.{revision.number}.{record.uid}", body)
        if base != image["Id"]:
            self._checkpoints.put(revision.image, engine_id)
        return engine_id

    def _start(self, record: Record, engine_id: str, *, faithful: bool) -> None:
        check_sources(record.current.vhost)
        try:
            if not self._checkpoints.pending(engine_id):
                self._engine.start(engine_id)
            else:
                self._go_on(record, engine_id, faithful=faithful)
        except TerraError as error:
            raise TerraError(f"{record.id}: {error.message}", hint=error.hint) from error

    def _go_on(self, record: Record, engine_id: str, *, faithful: bool) -> None:
        try:
            self._checkpoints.start(engine_id)
        except TerraError as error:
            if faithful:
                raise
            _log.warning("starts anew, because it cannot go on from its memory", container=record.id, reason=str(error))
            self._checkpoints.forget(engine_id)
            self._engine.start(engine_id)

    def _ended(self, record: Record, engine_id: str, process: Process) -> TerraError:
        how = "for want of memory" if process.killed else f"with exit code {process.code}"
        said = self._engine.last_words(engine_id)
        hint = _SYSTEMD_HINT if process.code and self._lacks_rights(record) else ""
        return TerraError(f"{record.id} ended at once, {how}" + (f"; it said:\n{said}" if said else ""), hint=hint)

    def _config_directory(self, record: Record) -> Path:
        return self._paths.configs / record.uid / str(record.revision)


def _waits(pid: int) -> bool:
    """Return whether the program of a container waits for something; what still starts it is called runc."""
    stat = read_stat(pid)
    return stat is not None and stat.state in _WAITING and not stat.name.startswith("runc")
