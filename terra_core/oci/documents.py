"""The documents of an image: descriptors, manifests and configurations of the OCI image specification, version 1.1."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import field, frozen

from terra_core.oci import media
from terra_core.oci.digest import Digest, parse_digest
from terra_core.oci.faults import ImageError
from terra_core.oci.structure import Node

REFERENCE_NAME = "org.opencontainers.image.ref.name"
"""The annotation that names a manifest in a layout's index."""

_MOST_LAYERS = 512


@frozen
class Platform:
    """What a manifest was built for.

    :param os: such as ``linux``.
    :param architecture: such as ``amd64``, as the Go language names it.
    :param variant: of the architecture, such as ``v3``; empty for its baseline.
    """

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@frozen
class Descriptor:
    """A reference to a blob.

    :param media_type: what the blob is.
    :param digest: the digest of its content.
    :param size: its length in bytes.
    :param platform: what it was built for, where the index says so.
    :param annotations: free text by key.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(factory=dict, eq=False)


@frozen
class Manifest:
    """An image for one platform.

    :param config: its configuration.
    :param layers: its layers, the lowest first.
    :param annotations: free text by key.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(factory=dict, eq=False)


@frozen(kw_only=True)
class ImageConfig:
    """What an image says of itself.

    :param architecture: such as ``amd64``; empty where some tool has left it out, which stands for any.
    :param os: such as ``linux``, or empty likewise.
    :param diff_ids: the digests of the uncompressed layers, the lowest first.
    :param variant: of the architecture, such as ``v3``; empty for its baseline.
    :param entrypoint: the program that a container starts.
    :param cmd: its arguments, or the program where there is no entry point.
    :param env: environment variables as ``NAME=value``.
    :param user: as whom a container's program runs; empty for root.
    :param working_dir: where it runs; empty for the root directory.
    :param labels: free text by key.
    """

    architecture: str
    os: str
    diff_ids: tuple[Digest, ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    labels: Mapping[str, str] = field(factory=dict)
    variant: str = ""

    @property
    def platform(self) -> Platform:
        """The platform that it was built for."""
        return Platform(self.os, self.architecture, self.variant)


def read_descriptor(node: Node) -> Descriptor:
    """Read a descriptor.

    :raises ImageError: when a part is missing or has another form.
    """
    try:
        digest = parse_digest(node["digest"].text())
    except ImageError as error:
        raise ImageError(f"{node.where}.digest: {error.message}") from error
    return Descriptor(
        node["mediaType"].text(),
        digest,
        node["size"].size(),
        _read_platform(node["platform"]),
        node["annotations"].mapping(),
    )


def _read_platform(node: Node) -> Platform | None:
    """Read a descriptor's platform; one without words, as tools give to what is no image, is none."""
    if not node:
        return None
    parts = [node[key].text() if node[key] else "" for key in ("os", "architecture", "variant")]
    return Platform(*parts) if parts[0] or parts[1] else None


def read_index(node: Node, media_type: str = media.OCI_INDEX) -> tuple[Descriptor, ...]:
    """Read the manifests that an index lists.

    :param media_type: what the descriptor that led here said.
    :raises ImageError: when the document is no index.
    """
    _check_kind(node, media_type, media.INDEXES, without=("layers", "config"))
    return tuple(read_descriptor(item) for item in node["manifests"].items())


def read_manifest(node: Node, media_type: str = media.OCI_MANIFEST) -> Manifest:
    """Read an image manifest.

    :param media_type: what the descriptor that led here said.
    :raises ImageError: when the document is no manifest of an image, or has parts that Terra cannot apply.
    """
    _check_kind(node, media_type, media.MANIFESTS, without=("manifests",))
    config = read_descriptor(node["config"])
    if config.media_type not in media.CONFIGS:
        raise ImageError(
            f"{node.where}: holds {config.media_type}, which is no image of an operating system",
            hint="name an image, not another artifact that a registry stores",
        )
    layers = tuple(read_descriptor(item) for item in node["layers"].items())
    if len(layers) > _MOST_LAYERS:
        raise ImageError(f"{node.where}: {len(layers)} layers; more than {_MOST_LAYERS} are refused")
    for position, layer in enumerate(layers):
        if layer.media_type not in media.LAYERS:
            raise ImageError(f"{node.where}.layers[{position}]: unknown media type {layer.media_type!r}")
    return Manifest(config, layers, node["annotations"].mapping())


def read_config(node: Node) -> ImageConfig:
    """Read an image's configuration.

    :raises ImageError: when the document has another form.
    """
    rootfs = node["rootfs"]
    if rootfs["type"] and rootfs["type"].text() != "layers":
        raise ImageError(f'{rootfs.where}.type: expected "layers"')
    run = node["config"] or Node({}, f"{node.where}.config")
    return ImageConfig(
        architecture=node["architecture"].text() if node["architecture"] else "",
        os=node["os"].text() if node["os"] else "",
        diff_ids=tuple(parse_digest(text) for text in rootfs["diff_ids"].texts()),
        entrypoint=run["Entrypoint"].texts(),
        cmd=run["Cmd"].texts(),
        env=run["Env"].texts(),
        user=run["User"].text() if run["User"] else "",
        working_dir=run["WorkingDir"].text() if run["WorkingDir"] else "",
        labels=run["Labels"].mapping(),
        variant=node["variant"].text() if node["variant"] else "",
    )


def _check_kind(node: Node, media_type: str, same: Collection[str], without: tuple[str, ...]) -> None:
    """Refuse a document of another kind; Docker's and OCI's documents of one kind are read alike, whatever each is called."""
    version = node["schemaVersion"].value
    if version != 2 or isinstance(version, bool):
        raise ImageError(
            f"{node.where}: schemaVersion {version!r}, where 2 is read",
            hint="push the image again with a current tool" if version == 1 else "",
        )
    said = node["mediaType"]
    if said and said.text() not in {media_type, *same}:
        raise ImageError(f"{node.where}: says {said.text()!r} of itself, but was listed as {media_type!r}")
    for key in without:
        # A document that is an index and a manifest at once reads differently to each reader (CVE-2021-41190).
        if node[key]:
            raise ImageError(f"{node.where}: has {key!r}, which {media_type} does not")
