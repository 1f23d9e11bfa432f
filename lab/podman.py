"""Podman with a storage of the lab's own, as a user runs it: no daemon, and no Docker Engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from lab.containers import expect_nothing_left
from lab.network import CONTROLLER, Network
from lab.place import Place
from terra_core.errors import TerraError
from terra_core.system.process import Argument, Completed, run
from terra_core.system.undo import Undo

_SETTINGS = """\
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
exit_command_delay = 1
runtime = "runc"
tmp_dir = "{place}/tmp"

[network]
network_config_dir = "{place}/networks"
"""
"""Podman's own limits are above those of a root that may not raise any; and it watches what exec ran for five minutes more."""
_STORAGE = """\
[storage]
driver = "overlay"
runroot = "{place}/run"
graphroot = "{data}/storage"
"""


class PodmanStorage:
    """What ``podman`` finds when it runs with :attr:`environment`.

    Leaving reports containers, processes and mounts that were left.

    :param data: the directory that keeps its images; must be on a file system that overlay mounts can lie on.
    :param network: where it runs.
    :param registries: its registries.conf; the lab's registry without TLS when left out.
    """

    def __init__(self, data: Path, network: Network, *, registries: str | None = None) -> None:
        self._data = data.resolve()
        self._network = network
        plain = f'[[registry]]\nlocation = "{CONTROLLER}:5000"\ninsecure = true\n'
        self._registries = plain if registries is None else registries
        self._place = Place("podman")
        self._resources = Undo()

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables that lead podman here, and Terra's plugin with it."""
        files = {name: f"{self._place.path}/{file}" for name, file in _FILES.items()}
        return {**files, "HOME": f"{self._place.path}/home", "TMPDIR": str(self._data / "tmp")}

    @property
    def registries(self) -> Path:
        """Return its registries.conf."""
        return self._place.path / "registries.conf"

    def __enter__(self) -> Self:
        (self._data / "tmp").mkdir(parents=True, exist_ok=True)
        with Undo() as resources:
            resources.enter_context(self._place)
            self._place.claim(self._data)
            resources.callback(self._expect_nothing_left)
            (self._place.path / "home").mkdir()
            for file, text in (("containers.conf", _SETTINGS), ("storage.conf", _STORAGE)):
                (self._place.path / file).write_text(text.format(place=self._place.path, data=self._data))
            self.registries.write_text(self._registries)
            resources.callback(self._expect_no_containers)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def __call__(self, *words: Argument, accept: Sequence[int] = (0,)) -> Completed:
        """Run podman where its network is."""
        return self.inside(["podman", *words], accept=accept)

    def inside(self, words: Sequence[Argument], *, accept: Sequence[int] = (0,), timeout: float = 300) -> Completed:
        """Run a command where its network is, with its environment.

        :param timeout: seconds after which it is killed.
        """
        return run(self._network.command(words), env=self.environment, accept=accept, timeout=timeout)

    def import_image(self, tar: Path, reference: str, changes: Sequence[str] = ()) -> None:
        """Make an image of a root file system's tar."""
        self("import", "--quiet", *(f"--change={change}" for change in changes), tar, reference)

    def there(self) -> tuple[set[str], set[str]]:
        """Return the ids of all images, and of all containers, those of builds included."""
        images = self("images", "--all", "--quiet", "--no-trunc").text.split()
        return set(images), set(self("ps", "--all", "--external", "--quiet", "--no-trunc").text.split())

    @contextmanager
    def nothing_left(self) -> Iterator[None]:
        """Expect it to have the same images and containers afterwards."""
        before = self.there()
        yield
        after = self.there()
        if after != before:
            raise TerraError(f"images and containers of podman before: {before}, and after: {after}")

    def _expect_no_containers(self) -> None:
        _, left = self.there()
        for container in left:
            self("rm", "--force", container)
        if left:
            raise TerraError(f"containers were left in podman's storage, and are removed now: {', '.join(left)}")

    def _expect_nothing_left(self) -> None:
        own = str(self._data / "storage/overlay")  # its mount of its own storage stays, by design
        expect_nothing_left([self._place.path, self._data], "podman", stays=lambda point: point == own)


_FILES = {
    "CONTAINERS_CONF": "containers.conf",
    "CONTAINERS_STORAGE_CONF": "storage.conf",
    "CONTAINERS_REGISTRIES_CONF": "registries.conf",
}
