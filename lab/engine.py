"""A Docker Engine of the lab's own."""

from __future__ import annotations

import hashlib
import io
import signal
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from pathlib import Path
from typing import Self

import docker
from docker.errors import ImageNotFound

from iso.daemons import start, wait_ready
from iso.engine import START_SECONDS, STOP_SECONDS, Programs, answers
from lab.containers import expect_no_containers, expect_nothing_left
from lab.mounts import mounts_below, unmount_below
from lab.network import CONTROLLER, Network
from lab.place import Place, hold
from terra_core.errors import ConflictError, TerraError
from terra_core.system.process import Daemon, run
from terra_core.system.undo import Undo

_SOURCE = "terra.lab.source"


class Engine:
    """dockerd with its own containerd, apart from an engine that the host may have; it makes no bridge and no firewall rule.

    Leaving ends it, and reports containers, processes and mounts that were left in it after removing them. Images stay.

    :param data: the directory that keeps images between runs; one engine at a time can use it.
    :param network: where it runs, and with it every build step that uses the host's network; the host's when left out.
    :param insecure: registries that it talks to over plain HTTP.
    :param experimental: whether it does what Docker calls experimental, such as checkpoints.
    """

    def __init__(
        self,
        data: Path,
        network: Network | None = None,
        *,
        insecure: Sequence[str] = (f"{CONTROLLER}:5000",),
        experimental: bool = False,
    ) -> None:
        self._data = data.resolve()
        self._network = network
        self._insecure = tuple(insecure)
        self._experimental = experimental
        self._place = Place("engine")
        self._daemon: Daemon | None = None
        self._crashed = False
        self._resources = Undo()

    @property
    def host(self) -> str:
        """The value of DOCKER_HOST: ``unix:///...``."""
        return self._programs.host

    @property
    def log(self) -> Path:
        """The file of dockerd's output; containerd's log is beside it."""
        return self._programs.dockerd_log

    def __enter__(self) -> Self:
        self._data.mkdir(parents=True, exist_ok=True)
        with Undo() as resources:
            resources.enter_context(self._place)
            if not hold(resources, self._data / ".lock"):
                raise ConflictError(f"another engine uses {self._data}")
            self._place.claim(self._data)
            resources.callback(self._expect_nothing_left)
            programs = self._programs
            containerd = self._start(resources, programs.containerd(), programs.containerd_log)
            wait_ready(containerd, programs.containerd_socket.is_socket, seconds=START_SECONDS, what="containerd to listen")
            resources.callback(self._stop_daemon)
            self._start_daemon()
            resources.callback(lambda: expect_no_containers(self.client(), "the engine"))
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def restart(self) -> None:
        """End dockerd as a crash would, and start it again; it ends the containers that it finds."""
        if self._daemon is not None:
            self._daemon.signal(signal.SIGKILL)
            self._daemon.wait(STOP_SECONDS)
            self._crashed = True
        self._start_daemon()

    def inside(self) -> AbstractContextManager[None]:
        """Put the calling thread where the engine is: what it pushes to is there."""
        return self._network.inside() if self._network else nullcontext()

    def client(self) -> docker.DockerClient:
        """Return a client of the docker SDK; the caller closes it."""
        return docker.DockerClient(base_url=self.host, timeout=600)

    def import_image(self, tar: Path, reference: str, changes: Sequence[str] = (), *, components: Sequence[Path] = ()) -> bool:
        """Make an image of a root file system's tar; return whether there was something to do.

        :param tar: the file, compressed or not.
        :param reference: the image's name and tag; an image of the same files and changes that has it already is kept.
        :param changes: Dockerfile instructions, such as ``CMD ["/sbin/init"]``.
        :param components: further tars, each a layer over it. The image below them keeps a name of its own, so that it is
            imported once for all that is laid over it.
        """
        if components:
            below = f"terra.lab/below:{_digest([tar], changes)[:32]}"
            self.import_image(tar, below, changes)
            return self._lay_over(below, reference, components)
        source = _digest([tar], changes)
        with closing(self.client()) as client:
            if _source(client, reference) == source:
                return False
            repository, _, tag = reference.rpartition(":")
            labelled = [*changes, f"LABEL {_SOURCE}={source}"]
            client.api.import_image_from_file(str(tar), repository=repository, tag=tag, changes=labelled)
            if _source(client, reference) != source:
                raise TerraError(f"the engine made no image {reference} of {tar}; see {self.log}")
        return True

    def _lay_over(self, below: str, reference: str, components: Sequence[Path]) -> bool:
        source = _digest(components, [below])
        with closing(self.client()) as client, tempfile.TemporaryFile(dir=self._place.path) as context:
            if _source(client, reference) == source:
                return False
            adds = [f"ADD {number}.tar /" for number in range(len(components))]
            lines = "\n".join([f"FROM {below}", *adds, f"LABEL {_SOURCE}={source}", ""]).encode()
            with tarfile.open(fileobj=context, mode="w") as archive:
                entry = tarfile.TarInfo("Dockerfile")
                entry.size = len(lines)
                archive.addfile(entry, io.BytesIO(lines))
                for number, component in enumerate(components):
                    archive.add(component, f"{number}.tar")
            context.seek(0)
            client.images.build(fileobj=context, custom_context=True, tag=reference, rm=True, forcerm=True)
        return True

    def _start_daemon(self) -> None:
        words = self._programs.dockerd()
        self._daemon = start(self._network.command(words) if self._network else words, log=self.log)
        wait_ready(self._daemon, lambda: answers(self.host), seconds=START_SECONDS, what=f"dockerd to answer on {self.host}")

    def _stop_daemon(self) -> None:
        if self._daemon is not None:
            self._daemon.stop(STOP_SECONDS)
        root = self._programs.root
        if self._crashed:  # a new dockerd does not unmount what the crashed one mounted
            unmount_below(self._data)
        elif str(root) in mounts_below(root):  # a newer one (26) mounts its own data and leaves that behind
            run(["umount", root], accept=(0, 32))

    def _start(self, resources: ExitStack, args: list[str], log: Path) -> Daemon:
        daemon = start(self._network.command(args) if self._network else args, log=log)
        resources.callback(daemon.stop, STOP_SECONDS)
        return daemon

    @property
    def _programs(self) -> Programs:
        return Programs(data=self._data, place=self._place.path, insecure=self._insecure, experimental=self._experimental)

    def _expect_nothing_left(self) -> None:
        # dockerd never unmounts the file of a namespace that build steps share.
        handles = f"{self._place.path.resolve()}/docker/netns/"
        expect_nothing_left([self._place.path, self._data], "the engine", stays=lambda point: point.startswith(handles))


def _digest(tars: Sequence[Path], changes: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for tar in tars:
        with tar.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    digest.update("\0".join(changes).encode())
    return digest.hexdigest()


def _source(client: docker.DockerClient, reference: str) -> str | None:
    try:
        labels: dict[str, str] = client.images.get(reference).labels
    except ImageNotFound:
        return None
    return labels.get(_SOURCE)
