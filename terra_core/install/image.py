"""The image of an installation: looked up before anything is written, and fetched onto the very disks that it is for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import frozen

from terra_core.config.node import Node
from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import ImageReference, pinned
from terra_core.image.source import ImageDocuments, ImageSource
from terra_core.plugins import Filled, Plugins


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
    _trust: Sequence[Trust]

    def open(self, room: Path) -> AbstractContextManager[ImageSource]:
        """Offer to fetch it into ``room``, to be applied meanwhile."""
        offer: AbstractContextManager[ImageSource] = self._registry.call(
            "pull_image",
            AbstractContextManager,
            reference=self.reference,
            layout=room,
            session=self._session,
            trust=self._trust,
        )
        return offer


def look_up(node: Node, plugins: Plugins, session: Session) -> FoundImage:
    """Ask the registry for the image of a node; its signature is looked at, and no layer is fetched.

    :raises TerraError: as the registry said it, or when nobody whom the node trusts has signed it.
    """
    registry = plugins.fill("registry", node.plugins, source=session.source)
    trust = () if node.trust is None else (node.trust,)
    known = registry.call("inspect_image", ImageDocuments, reference=node.image, session=session, trust=trust)
    return FoundImage(
        reference=pinned(node.image, str(known.named)), bytes=known.size, registry=registry, session=session, trust=trust
    )
