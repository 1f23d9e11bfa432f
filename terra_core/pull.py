"""An image from a registry into an OCI image layout on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from terra_core.config.trust import Trust
from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.errors import ConfigError
from terra_core.images import Configuration, images_of
from terra_core.plugins import Plugins
from terra_core.system.progress import Report, silent


@frozen(kw_only=True)
class Pulled:
    """An image that is in a layout.

    :param reference: the name that it was pulled by.
    :param digest: the digest of its manifest for this machine's platform.
    :param layers: how many layers it has.
    :param bytes: the size of its layers as the registry has them.
    """

    reference: ImageReference
    digest: str
    layers: int
    bytes: int


def pull_image(
    image: str | ImageReference,
    layout: Path,
    *,
    config: Configuration | None = None,
    trust: Sequence[Trust] = (),
    plain_http: bool = False,
    report: Report = silent,
    plugins: Plugins | None = None,
) -> Pulled:
    """Pull an image into an OCI image layout; :func:`terra_core.unpack.unpack_image` takes it from there as ``oci:DIRECTORY``.

    What is in the layout already is not fetched again, and what has come before a failure stays for the next time.

    :param image: its name.
    :param layout: a directory, made when it is not there; one pull at a time uses it, and others wait.
    :param config: the file that says who fetches it, and whose are taken; the default plugin fetches anybody's without one.
    :param trust: whose signatures it must have besides.
    :param plain_http: whether the registry may be talked to without TLS.
    :param report: takes progress events, and may raise to end the work.
    :param plugins: the installed plugins; found when left out.
    :raises TerraError: as the registry said it, when what it sent is not what was asked for, or when nobody who is trusted has
        signed it.
    """
    try:
        reference = parse_image_reference(str(image))
    except ValueError as error:
        raise ConfigError([f"image: {error}"]) from None
    images = images_of(config, trust=trust, plain_http=plain_http, report=report, plugins=plugins)
    with images.pull(reference, layout) as source:
        layers = source.manifest.layers
    return Pulled(
        reference=reference, digest=str(source.digest), layers=len(layers), bytes=sum(layer.size for layer in layers)
    )
