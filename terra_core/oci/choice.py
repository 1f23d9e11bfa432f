"""The manifest of an image for this machine, among those that an index lists, and those that its indexes list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from terra_core.errors import NotFoundError
from terra_core.oci import media
from terra_core.oci.documents import Descriptor, Platform, read_index
from terra_core.oci.faults import ImageError, shown
from terra_core.oci.platforms import for_this_platform, is_for_here, other_platforms, this_platform
from terra_core.oci.structure import Node

DEEPEST_INDEX = 4
"""How deep indexes may be nested."""


def choose_manifest(listed: Sequence[Descriptor], read: Callable[[Descriptor], Node], what: str) -> Descriptor:
    """Return the descriptor of the manifest that fits this machine's platform best.

    :param listed: manifests and indexes, of which the best is taken; what is neither is passed over.
    :param read: gives the document of an index.
    :param what: the image, as the subject of an error's sentence.
    :raises NotFoundError: when none is for this platform.
    :raises ImageError: when there is no manifest, or indexes are nested too deep.
    """
    for depth in range(DEEPEST_INDEX + 1):
        known = [item for item in listed if item.media_type in media.MANIFESTS | media.INDEXES]
        if not known:
            types = ", ".join(sorted({item.media_type for item in listed})) or "nothing"
            raise ImageError(f"{what} has no image manifest, but {types}")
        fitting = for_this_platform(known)
        if not fitting:
            raise _other_platform(what, other_platforms(known))
        chosen = fitting[0]
        if chosen.media_type in media.MANIFESTS:
            return chosen
        if depth < DEEPEST_INDEX:
            listed = read_index(read(chosen), chosen.media_type)
    raise ImageError(f"{what} has indexes nested more than {DEEPEST_INDEX} deep")


def require_platform(built_for: Platform, what: str) -> None:
    """Refuse the image of another platform, whatever an index said of it.

    :param built_for: what its configuration says.
    :param what: as for :func:`choose_manifest`.
    :raises NotFoundError: when it is for another platform.
    """
    if not is_for_here(built_for):
        raise _other_platform(what, f"it is built for {built_for}")


def _other_platform(what: str, offered: str) -> NotFoundError:
    return NotFoundError(f"{what} was not built for {this_platform()}", hint=shown(offered.encode(errors="replace")))
