"""The role ``builder``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import field, frozen

from terra_core.config.session import Session
from terra_core.config.values import ImageReference
from terra_core.hookspecs.markers import Role, hook
from terra_core.oci.source import PortableImage


@frozen(kw_only=True)
class BuildRequest:
    """An image to build.

    :param context: the directory that the build reads, without what its .dockerignore names; nothing outside is read.
    :param overlay: a directory whose whole tree is laid over the context, with its modes.
    :param dockerfile: the path of the Dockerfile within the two.
    :param reference: the name that the image gets; ``None`` for none.
    :param no_cache: whether every step runs again.
    :param arguments: values for the Dockerfile's ARG instructions.
    :param labels: labels that the image gets, beside those of the Dockerfile.
    :param base: the image that it is based on, for the labels ``org.opencontainers.image.base.*``; without it, no such labels.
    :param components: the images that its Dockerfile lays over the base; they have to be for the same machine.
    :param epoch: the latest time of any file that is sent, in seconds since 1970, and the time of every file of the overlay
        (SOURCE_DATE_EPOCH of reproducible-builds.org). When left out, the environment's SOURCE_DATE_EPOCH, or the time of the
        newest file of the context.
    """

    context: Path
    dockerfile: str
    reference: ImageReference | None
    overlay: Path | None = None
    no_cache: bool = False
    arguments: Mapping[str, str] = field(factory=dict)
    labels: Mapping[str, str] = field(factory=dict)
    base: ImageReference | None = None
    components: Sequence[ImageReference] = ()
    epoch: int | None = None


@frozen(kw_only=True)
class BuiltImage:
    """An image that was built, where the builder keeps it.

    :param reference: its name; ``None`` when it got none.
    :param id: the digest of its configuration.
    :param size: in bytes.
    :param epoch: the epoch that it was built with, to which core limits the times in its own layers when it leaves the builder;
        ``None`` leaves all times as they are.
    :param base_layers: the digests of the uncompressed layers that came with its base, which keep their times.
    """

    reference: ImageReference | None
    id: str
    size: int
    epoch: int | None = None
    base_layers: tuple[str, ...] = ()


@frozen(kw_only=True)
class Trial:
    """The result of starting a system on trial.

    :param state: the last answer of ``systemctl is-system-running``; empty when there was none.
    :param failed: the units that failed, one line each.
    :param errors: the journal's errors, or other output where there is no journal.
    """

    state: str
    failed: tuple[str, ...] = ()
    errors: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it came up with every unit."""
        return self.state == "running"


class Builder(Role, role="builder", default="docker"):
    """Building images on this machine, reading what was built, and trying it."""

    @hook
    def build_image(self, build: BuildRequest, session: Session) -> BuiltImage:
        """Build an image and give it its name; after a failure or an interruption, leave no container or image of this build.

        :raises TerraError: with the failed step and its output.
        """

    @hook
    def save_image(self, image: str, work: Path, session: Session) -> AbstractContextManager[PortableImage]:
        """Offer an image that :meth:`build_image` made, to be read as the builder keeps it; run no program of it.

        Core rewrites its times and its configuration before it leaves this machine.

        :param image: its id.
        :param work: an existing directory with room for all of it, for temporary files; leave it as it was.
        """

    @hook
    def try_image(self, image: str, seconds: float, session: Session) -> Trial:
        """Start an image that :meth:`build_image` made as a container with its own init, and return how its system did.

        Leave the image as it is, and remove the container in any case.

        :param image: its id.
        :param seconds: how long it may take to come up.
        """
