"""The routes of images that are laid down for machines to be clones of; they ask for the dependency ``goldens``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyio import to_thread
from attrs import frozen
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from terra_core.client.answers import ImageShown
from terra_core.config.loader import make_document
from terra_core.controller.goldens import Goldens
from terra_core.service.audit import note
from terra_core.service.description import described
from terra_core.service.operation_routes import table_of


@frozen(kw_only=True)
class PinRequest:
    """The body of ``POST /v1/images/{digest}/pin``.

    :param pinned: whether the image is kept when no machine is of it.
    """

    pinned: bool


@get("/v1/images", sync_to_thread=True, opt=described(answer=Sequence[ImageShown]))
def list_images(goldens: NamedDependency[Goldens]) -> list[dict[str, Any]]:
    """List the images that are laid down, each for a layout of disks."""
    return goldens.shown()


@post("/v1/images/{digest:str}/pin", status_code=200, opt=described(body=PinRequest, answer=Sequence[ImageShown]))
async def pin_image(
    goldens: NamedDependency[Goldens], request: Request[Any, Any, Any], digest: FromPath[str]
) -> list[dict[str, Any]]:
    """Keep an image also when no machine is of it, or no longer.

    The digest may be cut short, to six digits or more.
    """
    wanted = make_document(await table_of(request), PinRequest, source="request").value
    note("pin image" if wanted.pinned else "unpin image", digest)
    return await to_thread.run_sync(lambda: goldens.pin(digest, pinned=wanted.pinned))


@delete("/v1/images/{digest:str}", status_code=200, sync_to_thread=True, opt=described(answer=Sequence[ImageShown]))
def remove_image(goldens: NamedDependency[Goldens], digest: FromPath[str]) -> list[dict[str, Any]]:
    """Remove what is laid down of an image; its machines keep their disks, and the next one is laid down in full again.

    The digest may be cut short, to six digits or more.
    """
    note("remove image", digest)
    return goldens.remove(digest)


IMAGE_ROUTES = (list_images, pin_image, remove_image)
