"""What an unfinished build leaves in the engine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress

from docker import APIClient
from docker.errors import APIError, DockerException, NotFound

from terra_core.errors import TerraError
from terra_core.system.waiting import wait_until

_CONTAINER = re.compile(r" ---> Running in ([0-9a-f]{12})")
_IMAGE = re.compile(r" ---> ([0-9a-f]{12})")
_NOTE = re.compile(
    r"(?:Removing| ---> Removed) intermediate container [0-9a-f]+"  # of an engine up to version 20, and of a later one
    r"| ---> Using cache|Successfully (?:built|tagged) \S+"
)
_CONTAINER_SECONDS = 30


class Leftovers:
    """The containers and images of one build, told from those that were there before and from those of others.

    :param client: the engine, before the build.
    """

    def __init__(self, client: APIClient) -> None:
        self._client = client
        self._images_before = {image["Id"] for image in client.images(all=True)}
        self._containers_before = {container["Id"][:12] for container in client.containers(all=True)}
        self._containers: set[str] = set()
        self._images: set[str] = set()

    def notice(self, line: str) -> bool:
        """Note the container or image that a line of the builder's names; return whether the line is about one."""
        container, image = _CONTAINER.fullmatch(line), _IMAGE.fullmatch(line)
        if container and container[1] not in self._containers_before:
            self._containers.add(container[1])
        if image:
            self._images.add(image[1])
        return bool(container or image or _NOTE.fullmatch(line))

    def made(self, image: str) -> None:
        """Take note of an image that the build made, by its id."""
        self._images.add(image.removeprefix("sha256:")[:12])

    def remove(self) -> None:
        """Wait until the engine has removed the containers, help it if it does not, and remove the images."""
        with suppress(DockerException, OSError):  # the build's own error is reported, and matters more
            for container in sorted(self._containers):
                self._remove_container(container)
            for image in self._made():
                self._remove_image(image)

    def _remove_container(self, container: str) -> None:
        try:
            wait_until(lambda: self._is_gone(container), seconds=_CONTAINER_SECONDS, what="the engine to end a build step")
        except TerraError:
            self._client.remove_container(container, force=True, v=True)

    def _is_gone(self, container: str) -> bool:
        try:
            self._client.inspect_container(container)
        except NotFound:
            return True
        return False

    def _made(self) -> list[str]:
        """Return the new images without a name that this build announced, or that stand on one of those; the last first."""
        new = {image["Id"]: image for image in self._client.images(all=True) if image["Id"] not in self._images_before}
        ours = {id_ for id_ in new if id_.removeprefix("sha256:")[:12] in self._images}
        while more := {id_ for id_, image in new.items() if image.get("ParentId") in ours} - ours:
            ours |= more
        return list(_children_first({id_: new[id_].get("ParentId", "") for id_ in ours if not _named(new[id_])}))

    def _remove_image(self, image: str) -> None:
        try:
            self._client.remove_image(image, noprune=True)
        except APIError as error:
            if error.status_code not in (404, 409):  # it is gone already, or another build uses it now
                raise


def _named(image: dict[str, object]) -> bool:
    tags = image.get("RepoTags") or []
    return isinstance(tags, list) and any(tag != "<none>:<none>" for tag in tags)


def _children_first(parents: dict[str, str]) -> Iterable[str]:
    left = dict(parents)
    while left:
        leaves = [image for image in left if image not in left.values()]
        for image in leaves:
            del left[image]
            yield image
