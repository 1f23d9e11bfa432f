"""The image of an installation: looked up before anything is written, and fetched onto the very disks that it is for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from attrs import frozen

from terra_core.config.node import Node
from terra_core.config.session import Session
from terra_core.config.values import ImageReference, pinned
from terra_core.image.source import ImageSource
from terra_core.plugins import Plugins
from terra_core.registry import Registry


@frozen(kw_only=True)
class FoundImage:
    """An image that its registry has, by the digest that its tag named when it was looked up, wherever the tag moves meanwhile.

    :param reference: its name, by digest.
    :param bytes: the size of its layers as the registry has them.
    """

    reference: ImageReference
    bytes: int
    _registry: Registry

    def open(self, room: Path) -> AbstractContextManager[ImageSource]:
        """Offer to fetch it into ``room``, to be applied meanwhile."""
        return self._registry.pull(self.reference, room)


def look_up(node: Node, plugins: Plugins, session: Session) -> FoundImage:
    """Ask the registry for the image of a node; its signature is looked at, and no layer is fetched.

    :raises TerraError: as the registry said it, or when nobody whom the node trusts has signed it.
    """
    registry = Registry(
        plugin=plugins.fill("registry", node.plugins, source=session.source),
        session=session,
        trust=() if node.trust is None else (node.trust,),
    )
    known = registry.inspect(node.image)
    return FoundImage(reference=pinned(node.image, str(known.named)), bytes=known.size, registry=registry)
