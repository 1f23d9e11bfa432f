"""The memory of containers: stored by the engine and CRIU, put into images, and restored from there.

A container with a checkpoint in the engine's own directory goes on from that when it is started, which removes the checkpoint.
So nothing else has to be recorded: an agent that was killed in between finds the files, or none.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from terra_core.errors import CommandError, NotFoundError, TerraError
from terra_core.system.packages import name_packages
from terra_core.system.process import run
from terra_core.system.reading import lines_of
from terra_orbit.agent import memory
from terra_orbit.agent.engine import Engine
from terra_orbit.agent.images import Images

name_packages({"criu": "criu"})

_log = structlog.get_logger(__name__)
_NAME = "orbit"
_ATTEMPT = "attempt"
_KERNEL = Path("/proc/sys/kernel/ns_last_pid")
"""A file that exists only in a kernel with CONFIG_CHECKPOINT_RESTORE."""
_CRIU_SAYS = re.compile(r"^.*Error \([^)]*\):\s*(.+)$", re.MULTILINE)
_CRIU_LOG = re.compile(r"(/\S+\.log)\b")
_MOST_LINES = 5
_CONNECTED = "to keep open connections, write tcp-established into /etc/criu/runc.conf; to drop them, tcp-close"


class Checkpoints:
    """The memory of one engine's containers.

    :param engine: the engine.
    :param images: its images.
    :param work: a directory for temporary files; made when it does not exist.
    """

    def __init__(self, engine: Engine, images: Images, work: Path) -> None:
        self._engine = engine
        self._images = images
        self._work = work
        self._root: Path | None = None

    def clear(self, kept: Collection[str]) -> None:
        """Remove what an agent that was killed was about to store, and what deleted containers were made of.

        No work may use it meanwhile.

        :param kept: the ids of images that containers are to be made of.
        """
        shutil.rmtree(self._work, ignore_errors=True)
        with suppress(TerraError):  # an engine that does not answer is cleaned up at another time
            self._images.sweep(kept)

    def problem(self) -> str:
        """Return why memory can neither be stored nor restored here; an empty string when it can."""
        if not _KERNEL.exists():
            return "its kernel was built without CONFIG_CHECKPOINT_RESTORE"
        try:
            run(["criu", "check"], timeout=30)
        except CommandError as error:
            said = _CRIU_SAYS.search(error.message)
            return f"criu check: {said[1]}" if said else lines_of(error.message)[-1]
        return self._problem_of_engine(self._engine.information())

    def require(self, name: str, hint: str) -> None:
        """Make sure that memory can be stored and brought back.

        :param name: the container, or the checkpoint.
        :param hint: what is possible without it.
        :raises TerraError: with the reason when it cannot.
        """
        if problem := self.problem():
            raise TerraError(f"{name}: its memory cannot be stored or brought back on this machine: {problem}", hint=hint)

    def pending(self, engine_id: str) -> bool:
        """Return whether a container goes on from memory when it is started."""
        return self._place(engine_id).is_dir()

    def take(self, engine_id: str) -> None:
        """End a container, and keep what its programs had in memory, so that it goes on from there.

        It must have no network at that time: CRIU cannot store one that leads out of the container.

        :raises TerraError: when that fails; the container goes on.
        """
        self.forget(engine_id)
        try:
            self._engine.store_memory(engine_id, _NAME)
        except TerraError as error:
            self.forget(engine_id)
            raise _explained(error) from error

    def start(self, engine_id: str) -> None:
        """Start a container where its programs were.

        :raises TerraError: when that fails; its memory is still there.
        """
        try:
            # Docker passes the files to containerd by their digest, and fails when containerd has the same ones already.
            (self._place(engine_id) / _ATTEMPT).write_text(secrets.token_hex())
            self._engine.start(engine_id, _NAME)
        except OSError as error:
            raise TerraError(f"{error.filename}: {error.strerror}") from error
        except TerraError as error:
            raise _explained(error) from error
        self.forget(engine_id)

    def forget(self, engine_id: str) -> None:
        """Let a container start anew."""
        shutil.rmtree(self._place(engine_id), ignore_errors=True)

    def add(self, image: Mapping[str, Any], engine_id: str, name: str) -> str:
        """Make an image that holds a container's memory on top of its file system; return the image's id.

        :param image: the one that holds the file system.
        :param name: that of the new image.
        """
        with self._workplace() as directory:
            layer = directory / "layer.tar"
            configuration = memory.with_memory(image, memory.write_layer(self._place(engine_id), layer))
            memory.write_archive(configuration, directory / "image.tar", layer=layer, name=name)
            layer.unlink()
            self._images.load(directory / "image.tar")
        return memory.identity(configuration)

    def base(self, image: Mapping[str, Any]) -> str:
        """Return the id of the image without its memory; of an image without memory, its own id."""
        if memory.layer_of(image) is None:
            return str(image["Id"])
        configuration = memory.without_memory(image, self._engine.agent)
        base = memory.identity(configuration)
        if self._images.find(base) is None:
            with self._workplace() as directory:
                memory.write_archive(configuration, directory / "image.tar")
                self._images.load(directory / "image.tar")
        return base

    def put(self, image: str, engine_id: str) -> None:
        """Let a container that was never started go on from the memory that an image holds."""
        place = self._place(engine_id)
        arriving = place.with_name(f"{_NAME}.arriving")
        shutil.rmtree(arriving, ignore_errors=True)
        try:
            arriving.parent.mkdir(mode=0o700, exist_ok=True)
            with self._images.archive(image, f"/{memory.PLACE}") as pieces:
                memory.read_files(pieces, arriving)
            arriving.rename(place)
        except OSError as error:
            raise TerraError(f"{error.filename or place}: {error.strerror}") from error
        finally:
            shutil.rmtree(arriving, ignore_errors=True)

    def _problem_of_engine(self, information: Mapping[str, Any]) -> str:
        root = Path(str(information.get("DockerRootDir") or "/nowhere"))
        if self._engine.is_podman:
            return "Podman offers no checkpoints by Docker's API"
        if not information.get("ExperimentalBuild"):
            return 'its engine is not in experimental mode: write {"experimental": true} into /etc/docker/daemon.json'
        if not (root / "containers").is_dir():
            return f"the engine's own files are not at {root}"
        return ""

    def _place(self, engine_id: str) -> Path:
        """Return the directory where the engine looks for a checkpoint; it takes none from anywhere else."""
        if self._root is None:
            self._root = Path(str(self._engine.information().get("DockerRootDir") or "/nowhere"))
        return self._root / "containers" / engine_id / "checkpoints" / _NAME

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        self._work.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self._work, prefix="memory-") as directory:
            yield Path(directory)


def _explained(error: TerraError) -> TerraError:
    """Return the engine's error together with the lines of CRIU's log, of which the engine gives only the path."""
    said = ""
    if found := _CRIU_LOG.search(error.message):
        with suppress(OSError):
            lines = dict.fromkeys(_CRIU_SAYS.findall(Path(found[1]).read_text(errors="replace")))
            said = f": {'; '.join([*lines][-_MOST_LINES:])}" if lines else ""
    hint = _CONNECTED if "tcp" in f"{error.message}{said}".lower() else error.hint
    kind = NotFoundError if isinstance(error, NotFoundError) else TerraError
    return kind(f"{error.message}{said}", hint=hint)
