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

    :param context: the directory that the build sees, less what its .dockerignore names; nothing outside it is read.
    :param overlay: a directory whose tree is laid over the context, all of it, with the modes that it has.
    :param dockerfile: the path of the Dockerfile within the two.
    :param reference: the name that the image gets; ``None`` for none.
    :param no_cache: whether every step runs again.
    :param arguments: values for the Dockerfile's ARG instructions.
    :param labels: labels that the image gets, beside those of the Dockerfile.
    :param base: the only image that it stands on, which the labels ``org.opencontainers.image.base.*`` name; none without it.
    :param components: the images that its Dockerfile lays over the base; they have to be for the same machine.
    :param epoch: seconds since 1970 that no time of a file that is sent is later than, SOURCE_DATE_EPOCH as
        https://reproducible-builds.org/specs/source-date-epoch/ has it; the files of the overlay have exactly this one. When
        left out, the environment's SOURCE_DATE_EPOCH, or the time of the newest file of the context.
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
    :param size: its size in bytes.
    :param epoch: the epoch that it was built with: core lets no time of its own layers be later where it leaves the builder.
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
    """How a system did that was started to see whether it comes up.

    :param state: what ``systemctl is-system-running`` said in the end; empty when it never did.
    :param failed: the units that failed, a line each.
    :param errors: the journal's errors, or what else there is to see where there is no journal.
    """

    state: str
    failed: tuple[str, ...] = ()
    errors: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it came up, and every unit with it."""
        return self.state == "running"


class Builder(Role):
    """Role ``builder``: building images on this machine, reading what was built, and trying it."""

    role = "builder"
    default = "docker"

    @hook
    def build_image(self, build: BuildRequest, session: Session) -> BuiltImage:
        """Build an image and give it its name.

        A step that fails leaves no container and no image of this build behind, and neither does an interruption.

        :raises TerraError: with the failed step and its output.
        """

    @hook
    def save_image(self, image: str, work: Path, session: Session) -> AbstractContextManager[PortableImage]:
        """Offer an image that :meth:`build_image` made, to be read; no program of it is run.

        It is read as the builder keeps it. Core rewrites its times and its configuration before it leaves this machine.

        :param image: its id.
        :param work: an existing directory with room for all of it, for what has to be written; the plugin leaves it as it was.
        """

    @hook
    def try_image(self, image: str, seconds: float, session: Session) -> Trial:
        """Start an image that :meth:`build_image` made as a container, its own init first, and see how the system does.

        The image stays as it is, and the container is gone afterwards, whatever happens.

        :param image: its id.
        :param seconds: how long it may take to come up.
        """
