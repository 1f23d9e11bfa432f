"""What a build leaves in Podman's storage when it does not come to its end.

Podman ends at once when it is interrupted, and leaves its working containers with their mounts: podman-build(1) has no way to
name them. Each of them keeps the options of the build that it belongs to (``buildah.json``), and one of those is a path in the
directory of this build, as a secret that no step asks for. That tells them from those of any other build.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from terra_core.errors import CommandError, TerraError
from terra_core.oci.structure import read_document
from terra_core.system.process import uninterrupted
from terra_core.system.reading import read_regular
from terra_core.system.workspace import IMAGE_PREFIX, in_use
from terra_podman.program import Program

_SECRET = "terra-build"  # noqa: S105  # a name; there is no secret in it
_MARK = re.compile(rf"id={_SECRET},src=(/.*/{re.escape(IMAGE_PREFIX)}[^/,]+)/[^/,]+")
_MOST_BYTES = 64 << 20


class Leftovers:
    """The containers and images of one build, told from those that were there before and from those of others.

    :param podman: before the build.
    :param work: the directory of this build, whose name no other build has.
    """

    def __init__(self, podman: Program, work: Path) -> None:
        self._podman = podman
        self._work = work
        self._before = {str(image["Id"]) for image in podman.json("images", "--all")}

    def mark(self, file: Path) -> str:
        """Return the option of ``podman build`` that marks its containers.

        :param file: a file of the build's directory.
        """
        return f"--secret=id={_SECRET},src={file}"

    def remove(self, announced: Collection[str]) -> None:
        """Remove the containers, and the images that the build announced.

        :param announced: the beginnings of their ids.
        """
        with uninterrupted():
            self._remove_containers([name for name, work in _marked(self._podman) if work == self._work])
            # The build's own failure is on its way to the user, and is what matters.
            with suppress(TerraError):
                for image in self._made(announced):
                    self._podman.run("rmi", "--no-prune", image, accept=(0, 1, 2, 125))

    def sweep(self) -> None:
        """Remove the containers of builds that were killed: nobody works in their directories, or they are gone.

        A build locks its directory before it starts podman, so the directory of a container was locked once.
        """
        self._remove_containers([name for name, work in _marked(self._podman) if not in_use(work)])

    def _remove_containers(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(CommandError):
                self._podman.run("rm", "--force", name, accept=(0, 1))

    def _made(self, announced: Collection[str]) -> Iterator[str]:
        """Return the new images without a name that the build announced, the last first."""
        new = {str(image["Id"]): image for image in self._podman.json("images", "--all") if image["Id"] not in self._before}
        ours = {id_ for id_ in new if any(id_.startswith(begin) for begin in announced)}
        parents = {id_: str(new[id_].get("ParentId") or "") for id_ in ours if not new[id_].get("Names")}
        while parents:
            leaves = [image for image in parents if image not in parents.values()]
            for image in leaves or list(parents):
                del parents[image]
                yield image


def _marked(podman: Program) -> Iterator[tuple[str, Path]]:
    """Return the working containers of Terra's builds, each with the directory of its build."""
    try:
        there = podman.json("ps", "--all", "--external")
    except TerraError:
        return
    for container in there:
        name = str(container["Id"])
        for state in podman.storage.glob(f"*-containers/{name}/userdata/buildah.json"):
            with suppress(OSError, TerraError, ValueError):
                options = read_document(read_regular(state, _MOST_BYTES), str(state), unique=False)["CommonBuildOpts"]
                for secret in options["Secrets"].texts():
                    if found := _MARK.match(secret):
                        yield name, Path(found[1])
