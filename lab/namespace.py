"""Network namespaces, and programs in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from lab.place import NAMESPACES, Place
from lab.processes import Process, end, gone, in_namespace
from terra_core.errors import TerraError
from terra_core.system.namespaces import in_network
from terra_core.system.process import Argument, run
from terra_core.system.undo import Undo

_LAST_MOMENTS = 5.0


class Namespace:
    """A network namespace with nothing but its loopback; a subclass furnishes it.

    It has no connection to the host or beyond. Leaving removes it; processes that still run in it are ended and reported.

    :param label: a word; the namespace's name adds the process id to it.
    """

    def __init__(self, label: str) -> None:
        self._place = Place(label)
        self._resources = Undo()

    @property
    def name(self) -> str:
        """The namespace's name, as ``ip netns`` knows it."""
        return self._place.name

    @property
    def path(self) -> Path:
        """The file that the namespace is bound to."""
        return NAMESPACES / self.name

    def __enter__(self) -> Self:
        with Undo() as resources:
            resources.enter_context(self._place)
            resources.callback(self._delete)
            run(["ip", "netns", "add", self.name])
            resources.callback(self._expect_empty)
            self.ip("link", "set", "lo", "up")
            self.furnish(resources)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def furnish(self, resources: ExitStack) -> None:
        """Put into it what it is for; ``resources`` are left before it is removed."""

    def ip(self, *words: str) -> str:
        """Return what ``ip`` (ip(8)) prints in it."""
        return run(["ip", "-n", self.name, *words]).text

    def command(self, args: Sequence[Argument]) -> list[str]:
        """Return the arguments that run ``args`` in the namespace.

        ``ip netns exec`` would give the program mounts of its own: a /sys without control groups, which dockerd needs,
        and mounts that nobody else sees.
        """
        return ["nsenter", f"--net={self.path}", "--", *(os.fspath(word) for word in args)]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread into the namespace: sockets, programs and threads that it makes meanwhile are there.

        A socket stays in the namespace where it was made, also after this ends. Other threads are not moved.
        """
        with in_network(self.path):
            yield

    def processes(self) -> list[Process]:
        """Return the processes in the namespace, except a thread that is :meth:`inside`."""
        return in_namespace(self.path)

    def _delete(self) -> None:
        if self.path.exists():
            run(["ip", "netns", "delete", self.name])

    def _expect_empty(self) -> None:
        left = self.processes()
        if gone(left, seconds=_LAST_MOMENTS):
            return
        left = [process for process in left if process.alive]
        end(left)
        names = ", ".join(f"{process.pid} ({process.command})" for process in left)
        raise TerraError(f"still running when the network {self.name} was taken down, and ended now: {names}")
