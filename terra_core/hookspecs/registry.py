"""The role ``registry``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path

from attrs import field, frozen

from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import ImageReference
from terra_core.hookspecs.markers import Role, hook
from terra_core.oci.source import ImageDocuments, ImageSource


class Builder(StrEnum):
    """What builds an image.

    ``AUTO`` is the classic builder, and BuildKit for a Dockerfile that needs it.
    """

    AUTO = "auto"
    CLASSIC = "classic"
    BUILDKIT = "buildkit"


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
    :param builder: which of the engine's builders does it.
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
    builder: Builder = Builder.AUTO
    epoch: int | None = None


@frozen(kw_only=True)
class BuiltImage:
    """An image in the engine.

    :param reference: its name; ``None`` when it got none.
    :param id: the digest of its configuration.
    :param size: its size in bytes.
    """

    reference: ImageReference | None
    id: str
    size: int


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


class Registry(Role):
    """Role ``registry``: building images, and moving them to and from registries."""

    role = "registry"
    default = "docker"

    @hook
    def build_image(self, build: BuildRequest, session: Session) -> BuiltImage:
        """Build an image and give it its name.

        A step that fails leaves no container and no image of this build behind, and neither does an interruption.

        :raises TerraError: with the failed step and the output of the engine.
        """

    @hook
    def push_image(self, reference: ImageReference, session: Session) -> str:
        """Push an image that :meth:`build_image` made.

        :returns: the digest of the manifest that the registry took.
        """

    @hook
    def save_image(self, image: str, work: Path, session: Session) -> AbstractContextManager[ImageSource]:
        """Offer an image that :meth:`build_image` made, to be read; no program of it is run.

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

    @hook
    def pull_image(
        self, reference: ImageReference, layout: Path, session: Session, trust: Sequence[Trust]
    ) -> AbstractContextManager[ImageSource]:
        """Offer to bring an image of a registry into an OCI image layout on disk, readable while it comes.

        Entering looks the reference up, once, and ends when the manifest for this machine's platform and the configuration are
        in the layout, verified. The layers follow; what the layout has already is not fetched again. Leaving without an
        exception waits until all of them are there and verified; leaving with one ends the work at once.

        The layout keeps the registry's own bytes, so that digests are the registry's; it can be read at any time, and finds the
        image by either digest, of the manifest or of the index that the reference names. One pull at a time writes to a layout,
        and others wait until all of it has come. What is left half-way is never taken as complete by a later pull.

        :param reference: by tag or digest.
        :param layout: a directory to make or to add to.
        :param trust: whose signatures the image must have, all of them; without, nothing of a layer is fetched.
        :raises TerraError: as the registry said it, or because the image is not what it has to be or not signed.
        """

    @hook
    def inspect_image(self, reference: ImageReference, session: Session, trust: Sequence[Trust]) -> ImageDocuments:
        """Look an image up in its registry, and fetch its documents only.

        :param trust: as for :meth:`pull_image`.
        :raises TerraError: as :meth:`pull_image` does.
        """
