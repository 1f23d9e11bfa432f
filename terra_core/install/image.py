"""The image of an installation: looked up and looked at before anything is written.

Looking at it takes all of its layers. They are kept for the installation where this machine has room for them; where it has
none, they are fetched once, onto the very disks that the image is for. See docs/decisions/0023.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.config.node import Node
from terra_core.config.session import Session
from terra_core.config.values import ImageReference, pinned
from terra_core.hookspecs import Registry
from terra_core.images import Images
from terra_core.oci.source import ImageSource
from terra_core.plugins import Plugins
from terra_core.system.workspace import image_workspace, roomy

_SPARE_BYTES = 64 << 20
"""The part of a file system that is left free for others when an image is kept on it."""


@frozen(kw_only=True)
class FoundImage:
    """An image in its registry, by the digest that its tag named when it was looked up; the tag may move meanwhile.

    :param reference: its name, by digest.
    :param bytes: the size of its layers as the registry has them.
    """

    reference: ImageReference
    bytes: int
    _registry: Images

    def open(self, room: Path) -> AbstractContextManager[ImageSource]:
        """Offer to fetch it into ``room``, to be applied meanwhile."""
        return self._registry.pull(self.reference, room)


def look_up(node: Node, plugins: Plugins, session: Session) -> FoundImage:
    """Ask the registry for the image of a node; its signature is looked at, and no layer is fetched.

    :raises TerraError: as the registry said it, or when nobody whom the node trusts has signed it.
    """
    registry = Images(
        plugin=plugins.fill(Registry, node.plugins, source=session.source),
        session=session,
        trust=() if node.trust is None else (node.trust,),
    )
    known = registry.inspect(node.image)
    return FoundImage(reference=pinned(node.image, str(known.named)), bytes=known.size, registry=registry)


@contextmanager
def kept(image: FoundImage) -> Iterator[ImageSource | None]:
    """Fetch an image to where large work goes, as long as the block lasts; nothing where there is no room for it."""
    found = os.statvfs(roomy())
    if found.f_bavail * found.f_frsize < image.bytes + _SPARE_BYTES:
        yield None
        return
    with image_workspace() as work, image.open(work / "layout") as source:
        yield source
