"""The image of an installation: looked up before anything is written, and fetched onto the very disks that it is for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from attrs import frozen

from terra_core.config.node import Node
from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.image.source import ImageSource
from terra_core.plugins import Filled, Plugins


class _EnoughError(Exception):
    """Ends a pull when all is known that was to be known."""


@frozen(kw_only=True)
class FoundImage:
    """An image that its registry has, by the digest that its tag named when it was looked up, wherever the tag moves meanwhile.

    :param reference: its name, by digest.
    :param bytes: the size of its layers as the registry has them.
    """

    reference: ImageReference
    bytes: int
    _registry: Filled
    _session: Session

    def open(self, room: Path) -> AbstractContextManager[ImageSource]:
        """Offer to fetch it into ``room``, to be applied meanwhile."""
        return _pull(self._registry, self.reference, room, self._session, None)


def look_up(node: Node, plugins: Plugins, session: Session, work: Path) -> FoundImage:
    """Ask the registry for the image of a node; its signature is looked at, and no layer is fetched.

    :param work: a path for what comes of it, not made yet.
    :raises TerraError: as the registry said it, or when nobody whom the node trusts has signed it.
    """
    registry = plugins.fill("registry", node.plugins, source=session.source)
    try:
        with _pull(registry, node.image, work, session, node.trust) as image:
            name = f"{node.image.registry}/{node.image.path}@{image.digest}"
            size = sum(layer.size for layer in image.manifest.layers)
            raise _EnoughError
    except _EnoughError:
        return FoundImage(reference=parse_image_reference(name), bytes=size, registry=registry, session=session)


def _pull(
    registry: Filled, reference: ImageReference, layout: Path, session: Session, trust: Trust | None
) -> AbstractContextManager[ImageSource]:
    offer: AbstractContextManager[ImageSource] = registry.call(
        "pull_image", AbstractContextManager, reference=reference, layout=layout, session=session, trust=trust
    )
    return offer
