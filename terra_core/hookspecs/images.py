"""The roles ``builder`` and ``registry``: where images are made, and where they are kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from terra_core.config.session import Session
from terra_core.config.values import ImageReference
from terra_core.hookspecs.markers import Offer, Role, hook, optional
from terra_core.oci.digest import Digest
from terra_core.oci.signature import FoundSignature
from terra_core.oci.source import ImageDocuments, ImageSource, PortableImage
from terra_core.system.trial import Trial


@frozen(kw_only=True)
class BuildRequest:
    """An image to build.

    :param context: the directory that the build reads, without what its .dockerignore names; nothing outside is read.
    :param dockerfile: the path of the Dockerfile within context and overlay.
    :param reference: the name that the image gets, if any.
    :param overlay: a directory whose whole tree is laid over the context, with its modes.
    :param no_cache: whether every step runs again.
    :param arguments: values for the Dockerfile's ARG instructions.
    :param labels: labels that the image gets, beside those of the Dockerfile.
    :param base: the image that it is based on, for the labels ``org.opencontainers.image.base.*``; without it, no such labels.
    :param components: the images that its Dockerfile lays over the base; they have to be for the same machine.
    :param epoch: the latest time of any file that is sent, and the time of every file of the overlay, in seconds since 1970;
        else the environment's SOURCE_DATE_EPOCH (reproducible-builds.org), or the time of the newest file of the context.
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

    :param reference: its name, if it got one.
    :param id: the digest of its configuration.
    :param size: in bytes.
    :param epoch: to which core limits the times in its own layers when it leaves the builder; ``None`` leaves them as they are.
    :param base_layers: the digests of the uncompressed layers that came with its base, which keep their times.
    """

    reference: ImageReference | None
    id: str
    size: int
    epoch: int | None = None
    base_layers: tuple[str, ...] = ()


class Builder(Role, role="builder", default="docker"):
    """Building images on this machine, reading what was built by its id, and trying it."""

    @hook
    def build_image(self, build: BuildRequest, session: Session) -> BuiltImage:
        """Build an image and give it its name; or raise the failed step and its output, and leave nothing of this build."""

    @hook
    def save_image(self, image: str, work: Path, session: Session) -> Offer[PortableImage]:
        """Offer an image that :meth:`build_image` made, to be read as the builder keeps it; run no program of it.

        Core rewrites its times and configuration before it leaves here. Leave ``work``, which has room for it, as it was.
        """

    @hook
    def try_image(self, image: str, seconds: float, session: Session) -> Trial:
        """Start an image that :meth:`build_image` made as a container with its own init, and return how its system did.

        It may take ``seconds`` to come up. Leave the image as it is, and remove the container in any case.
        """


class Registry(Role, role="registry", default="docker"):
    """Moving images from and to registries.

    A plugin knows how registries are reached, and fetches bytes; core checks their digests and signatures.
    :mod:`terra_core.registry` is a client that every plugin may use. The controller pulls several images at once, in threads.
    """

    @hook
    def pull_image(self, reference: ImageReference, layout: Path, session: Session) -> Offer[ImageSource]:
        """Offer to pull an image into an OCI image layout, made or added to, which can be read while the layers arrive.

        Entering looks the reference up, once, and returns when the manifest for this machine's platform and the configuration
        are in the layout, verified. The layers follow; those in the layout are not fetched again. Leaving without an exception
        waits until all layers are in the layout and verified; leaving with one ends the work at once.

        The layout keeps the registry's own bytes, so that digests are the registry's, and finds the image by either digest, of
        the manifest or of the index that the reference names. One pull at a time writes to a layout; others wait for its end. A
        later pull never takes a partial blob for a complete one.

        :param reference: by tag or digest; always by digest where the image has to be signed.
        """

    @optional
    def pull_layers(
        self, reference: ImageReference, layers: Sequence[Digest], layout: Path, session: Session
    ) -> Offer[ImageSource]:
        """Offer to pull an image of which only the ``layers`` of these digests will be read; else as :meth:`pull_image`."""
        return self.pull_image(reference, layout, session)

    @hook
    def inspect_image(self, reference: ImageReference, session: Session) -> ImageDocuments:
        """Look an image up in its registry, and fetch its documents only; errors are those of :meth:`pull_image`."""

    @hook
    def fetch_signatures(self, reference: ImageReference, digest: Digest, session: Session) -> Sequence[FoundSignature]:
        """Return every possible signature of a manifest or index in the forms of cosign, in any order, for core to verify."""

    @optional
    def check_push(self, reference: ImageReference, session: Session) -> None:
        """Check that a registry answers and accepts a push, before an image is made ready for it."""

    @hook
    def push_image(
        self, reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
    ) -> str:
        """Push an image, and give it its name, a tag, last; return the digest of the manifest in the registry.

        Compressed layers and the configuration are pushed unchanged. A layer that is not compressed is pushed in the form that
        the registry has of it, in a base or in the former image of this name, so that machines need not fetch it again; if it
        has none, in any form.
        """
