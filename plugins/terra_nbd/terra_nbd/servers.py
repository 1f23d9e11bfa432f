"""The servers of targets: an nbdkit(1) each, which outlives whoever started it and is found again by its environment."""

from __future__ import annotations

import os
import shutil
import signal
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from terra_core.config.session import Session
from terra_core.errors import ConflictError, TerraError
from terra_core.system.files import write_file
from terra_core.system.locks import locked
from terra_core.system.process import run, uninterrupted
from terra_core.system.processes import Process, find_daemons
from terra_core.system.undo import Undo, undoing

PROGRAM = "nbdkit"
_MARK = "TERRA_NBD"
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_LOCK_SECONDS = 600.0
_KEYS, _DISKS, _PID = "keys.psk", "disks", "pid"


@frozen(kw_only=True)
class Wanted:
    """The configuration of a target's server.

    :param identity: who may reach it, and the name of its directory.
    :param key: the key of that identity.
    :param portal: the address that it listens on.
    :param port: its TCP port.
    :param files: the files that it serves, in the order of its exports ``0``, ``1`` and so on.
    """

    identity: str
    key: str
    portal: str
    port: int
    files: tuple[str, ...]

    @property
    def keys(self) -> bytes:
        """The content of its file of keys, as ``psktool`` writes it."""
        return f"{self.identity}:{self.key}\n".encode()

    @property
    def links(self) -> dict[str, str]:
        """The links in its directory of disks: nbdkit takes their names for those of exports."""
        return {str(at): path for at, path in enumerate(self.files)}

    def arguments(self, place: Path) -> tuple[str, ...]:
        """Return its command line.

        :param place: its directory.
        """
        return (
            PROGRAM, f"--ipaddr={self.portal}", f"--port={self.port}", f"--pidfile={place / _PID}",
            "--tls=require", f"--tls-psk={place / _KEYS}",
            "--filter=exportname", "file", f"dir={place / _DISKS}", "exportname-list=empty",
        )  # fmt: skip


@frozen
class Server:
    """A server that runs.

    :param process: its process.
    :param arguments: its command line.
    """

    process: Process
    arguments: tuple[str, ...]

    @property
    def port(self) -> int:
        """The port that it was told to listen on; 0 when it was told none."""
        found = _value(self.arguments, "--port=")
        return int(found) if found.isdecimal() else 0


class Servers:
    """All servers of a controller, read once and kept up to date while they are started and ended.

    :param base: the directory that has one for each target.
    :param found: the servers by the name of their target's directory.
    """

    def __init__(self, base: Path, found: Mapping[str, list[Server]]) -> None:
        self.base = base
        self._found: defaultdict[str, list[Server]] = defaultdict(list, found)

    @classmethod
    def look(cls, session: Session) -> Servers:
        """Return the servers that run."""
        base = session.paths.run.absolute() / "nbd"
        found: defaultdict[str, list[Server]] = defaultdict(list)
        for process in find_daemons(PROGRAM, _marked(base)):
            arguments = _arguments(process)
            keys = Path(_value(arguments, "--tls-psk="))
            if keys.parent.parent == base:
                found[keys.parent.name].append(Server(process, arguments))
        return cls(base, found)

    @property
    def running(self) -> Mapping[str, Sequence[Server]]:
        """The servers that run, by target."""
        return self._found

    @property
    def ports(self) -> frozenset[int]:
        """The ports that they were told to listen on."""
        return frozenset(server.port for servers in self._found.values() for server in servers)

    @property
    def names(self) -> frozenset[str]:
        """The targets that have a server or a directory."""
        running = {name for name, servers in self._found.items() if servers}
        return frozenset(running | {path.name for path in self._places()})

    @property
    def gone(self) -> frozenset[str]:
        """The targets that have a directory and no server."""
        return frozenset(path.name for path in self._places() if not self._found[path.name])

    def begin(self) -> bool:
        """Make the directory of all targets, which says that they are served; return whether it was not there."""
        if self.base.is_dir():
            return False
        _make_directory(self.base)
        return True

    def finish(self) -> bool:
        """Remove the directory of all targets, when nothing is in it any more; return whether it was there."""
        return _discard(self.base)

    def ensure(self, wanted: Wanted) -> bool:
        """Start a server unless one runs as it should; one that does is not touched.

        :returns: whether it was started.
        :raises ConflictError: when another target has one of its files.
        :raises TerraError: when it does not start.
        """
        self._require_alone(wanted)
        place = self.base / wanted.identity
        running = self._found[wanted.identity]
        if len(running) == 1 and running[0].arguments == wanted.arguments(place) and _is_written(wanted, place):
            return False
        self.end(wanted.identity)
        with Undo() as undo:
            undo.callback(_discard, place)
            _write(wanted, place)
            running.append(_start(wanted, place))
            undo.pop_all()
        return True

    def end(self, *names: str) -> bool:
        """End the servers of targets, whoever is connected, and remove their directories.

        :returns: whether there was anything.
        """
        servers = [server for name in names for server in self._found[name]]
        with uninterrupted():
            for server in servers:
                server.process.signal(signal.SIGTERM)  # to all of them before waiting for the first
            for server in servers:
                server.process.stop(_STOP_SECONDS)
            there = [_discard(self.base / name) for name in names]
        for name in names:
            self._found[name].clear()
        return bool(servers) or any(there)

    def _require_alone(self, wanted: Wanted) -> None:
        for name, servers in self._found.items():
            if name == wanted.identity or not servers:
                continue
            shared = sorted(set(wanted.files) & set(_links(self.base / name).values()))
            if shared:
                raise ConflictError(f"{shared[0]}: is served to {name} as well, and two writers destroy it")

    def _places(self) -> Iterator[Path]:
        with suppress(FileNotFoundError):
            yield from sorted(self.base.iterdir())


@contextmanager
def changing(session: Session) -> Iterator[Servers]:
    """Yield the servers of a controller, and keep others from changing them meanwhile."""
    directory = session.paths.run.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "nbd.lock", seconds=_LOCK_SECONDS, what="another change of NBD targets to end"):
        yield Servers.look(session)


def _write(wanted: Wanted, place: Path) -> None:
    _make_directory(place.parent)
    try:
        place.mkdir(mode=0o700)
        write_file(place / _KEYS, wanted.keys, mode=0o600)
        (place / _DISKS).mkdir()
        for name, target in wanted.links.items():
            (place / _DISKS / name).symlink_to(target)
    except OSError as error:
        raise TerraError(f"{place}: cannot be written: {error.strerror}") from error


def _make_directory(base: Path) -> None:
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise TerraError(f"{base}: cannot be made: {error.strerror}") from error


def _is_written(wanted: Wanted, place: Path) -> bool:
    try:
        return (place / _KEYS).read_bytes() == wanted.keys and _links(place) == wanted.links
    except OSError:
        return False


def _links(place: Path) -> dict[str, str]:
    """Return the exports of a target and what they lead to; a name that is no link leads nowhere."""
    try:
        return {path.name: str(path.readlink()) if path.is_symlink() else "" for path in (place / _DISKS).iterdir()}
    except OSError:
        return {}


def _start(wanted: Wanted, place: Path) -> Server:
    """Run nbdkit, which goes to the background when it listens."""
    # In the foreground it would end with the thread that started it: nbdkit 1.32 does that even without --exit-with-parent.
    arguments = wanted.arguments(place)
    try:
        done = run(["setsid", "--wait", *arguments], env={_MARK: str(place.parent)}, timeout=_START_SECONDS, accept=range(256))
        server = next(_running(place), None)
        if done.code != 0 or server is None:
            said = done.stderr.decode(errors="replace").strip() or "it ended at once"
            raise TerraError(f"nbdkit cannot serve {wanted.identity} on {wanted.portal}, port {wanted.port}: {said}")
    except BaseException as error:
        with undoing(error), uninterrupted():
            for one in _running(place):
                one.process.stop(_STOP_SECONDS)
        raise
    return server


def _running(place: Path) -> Iterator[Server]:
    """Yield the servers of one target."""
    for process in find_daemons(PROGRAM, _marked(place.parent), pid_file=place / _PID):
        arguments = _arguments(process)
        if Path(_value(arguments, "--tls-psk=")).parent == place:
            yield Server(process, arguments)


def _discard(place: Path) -> bool:
    """Remove the directory of a target; what its links lead to stays."""
    try:
        shutil.rmtree(place)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise TerraError(f"{place}: cannot be removed: {error.strerror}") from error
    return True


def _marked(base: Path) -> str:
    return f"{_MARK}={base}"


def _arguments(process: Process) -> tuple[str, ...]:
    """Return the command line of a process; nothing when it has ended."""
    try:
        content = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(os.fsdecode(word) for word in content.removesuffix(b"\0").split(b"\0"))


def _value(arguments: Iterable[str], option: str) -> str:
    return next((word.removeprefix(option) for word in arguments if word.startswith(option)), "")
