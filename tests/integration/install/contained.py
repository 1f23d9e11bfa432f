"""Versions of a machine's system that run as containers: Docker starts init, the root is the version, the disks are devices.

Everything of a start but the kernel and the boot loader is the machine's own. Its init gets the words of the kernel line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from docker import APIClient
from docker.errors import NotFound

from lab.engine import Engine
from lab.network import Network
from lab.registry import Registry
from terra_core.errors import TerraError
from terra_core.system.undo import Undo
from terra_core.system.waiting import WaitedInVain, wait_until
from terra_core.testing.tiny import write_tiny_root
from tests.vm.tried import Images

_OUTER = "terra.test/outer:1"
_SYSTEM = "/system"
_CGROUPS = "/sys/fs/cgroup"
_START = f"""\
set -e
for name in dev proc sys; do mount --rbind /$name {_SYSTEM}/$name; done
[ ! -e {_SYSTEM}{_CGROUPS}/cgroup.procs ] || mount -o remount,rw {_SYSTEM}{_CGROUPS}
mount -t tmpfs -o mode=755 tmpfs {_SYSTEM}/run
mkdir {_SYSTEM}/run/lock
mount -t tmpfs tmpfs {_SYSTEM}/run/lock
cd {_SYSTEM}
mount --move {_SYSTEM} /
exec unshare --root . /sbin/init "$@"
"""
"""What switch_root(8) does at the end of a RAM disk."""
_WIRE = "w-contained"
_IMAGES = 3
_SECONDS = 600.0
_END_SECONDS = 120.0
_CONTROL = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][AB0]|\x1bc|[\x00-\x08\x0b-\x1f]")
_LINES = 40


@frozen
class Container:
    """A container that runs, or has ended."""

    _client: APIClient
    _name: str

    def alive(self) -> bool:
        """Return whether its init runs."""
        return bool(self._client.inspect_container(self._name)["State"]["Running"])

    def console(self) -> str:
        """Return what was said on its console."""
        return _CONTROL.sub("", bytes(self._client.logs(self._name)).decode(errors="replace"))

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until its console has what a regular expression matches.

        :raises TerraError: when it ends before, or takes too long; with the end of its console.
        """

        def seen() -> bool:
            ended = not self.alive()
            return re.search(pattern, self.console()) is not None or ended

        try:
            wait_until(seen, seconds=_SECONDS, what=f"{pattern!r} on the console of a container", interval=1.0)
        except WaitedInVain as error:
            raise TerraError(f"{error}\n{self._last()}") from error
        found = re.search(pattern, self.console())
        if found is None:
            raise TerraError(f"the container has ended without {pattern!r} on its console\n{self._last()}")
        return found

    def wait_for_end(self) -> None:
        """Wait until it has ended, as it does when its system restarts.

        :raises TerraError: when it takes too long; with the end of its console.
        """
        try:
            wait_until(lambda: not self.alive(), seconds=_END_SECONDS, what="a container to restart", interval=0.5)
        except WaitedInVain as error:
            raise TerraError(f"{error}\n{self._last()}") from error

    def _last(self) -> str:
        return "\n".join(self.console().splitlines()[-_LINES:])


class Containers:
    """Starts roots as containers.

    :param engine: what does so.
    :param network: where each of them is plugged in by its ``eth0``.
    :param work: a directory for files.
    """

    def __init__(self, engine: Engine, network: Network, work: Path) -> None:
        self._engine, self._network = engine, network
        outer = work / "outer.tar"
        write_tiny_root(outer, "mount", "unshare")
        engine.import_image(outer, _OUTER, ['CMD ["/bin/sh"]'])
        outer.unlink()

    @contextmanager
    def started(self, root: Path, devices: Sequence[Path], words: Sequence[str]) -> Iterator[Container]:
        """Start the system of a mounted root; at the end, it loses its power.

        :param root: where it is mounted.
        :param devices: the block devices that it has, and no others.
        :param words: what a boot loader would write on the kernel line.
        """
        with closing(self._engine.client()) as docker, Undo() as undo:
            client = docker.api
            made = client.create_container(
                _OUTER,
                ["/bin/sh", "-c", _START, "start", *words],
                environment={"container": "docker"},
                host_config=client.create_host_config(**_options(client, root, devices)),
                tty=True,
            )
            name = str(made["Id"])
            undo.callback(_remove, client, name)
            client.start(name)
            process = int(client.inspect_container(name)["State"]["Pid"])
            undo.enter_context(self._network.wire(_WIRE, str(process)))
            yield Container(client, name)


@frozen
class Contained:
    """Where versions of a whole system decide in containers.

    :param containers: starts them.
    :param images: those of a whole system, by reference.
    """

    containers: Containers
    images: list[str]

    def decided(self, root: Path, devices: Sequence[Path], version: str, *, cut: bool) -> bool:
        """Start a version on trial, and wait until it has decided; return whether it is kept.

        :param cut: it loses its power before.
        """
        with self.containers.started(root, devices, [f"version={version}", f"terra.try={version}"]) as container:
            if cut:
                container.wait_for("Started|Starting|Reached target")
                return False
            named = re.escape(version)
            kept = container.wait_for(rf"{named} is (healthy, and is started from now on|given up: )")[1] != "given up: "
            if not kept:  # it restarts by itself
                container.wait_for_end()
            return kept

    def settled(self, root: Path, devices: Sequence[Path], version: str, tried: str) -> None:
        """Start the former version, and wait until it says of one that was tried that it did not come up."""
        with self.containers.started(root, devices, [f"version={version}"]) as container:
            container.wait_for(rf"{re.escape(tried)} is given up: it was to be started on trial")


def contained(network: Network, registry: Registry, engine: Engine, work: Path) -> Contained:
    """Push images of a whole system, and return what starts their versions as containers."""
    whole = Images(network, registry, "")
    return Contained(Containers(engine, network, work), [whole.push_as(f"contained-{at}") for at in range(_IMAGES)])


def _options(client: APIClient, root: Path, devices: Sequence[Path]) -> dict[str, Any]:
    """Return what a container may do: mount, as systemd has to, and nothing with devices but its own."""
    binds = {str(root): {"bind": _SYSTEM, "mode": "rw"}}
    options: dict[str, Any] = {
        "cap_add": ["SYS_ADMIN", "NET_ADMIN"],
        "devices": [f"{path}:{path}:rwm" for path in devices],
        "network_mode": "none",
        "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
    }
    if client.info().get("CgroupVersion") == "2":
        options["cgroupns"] = "private"
    else:  # systemd writes to the hierarchy "name=systemd", where the engine's machine has mounted it
        binds[_CGROUPS] = {"bind": _CGROUPS, "mode": "ro"}
    return {**options, "binds": binds}


def _remove(client: APIClient, name: str) -> None:
    try:
        client.remove_container(name, force=True, v=True)
    except NotFound:
        return
