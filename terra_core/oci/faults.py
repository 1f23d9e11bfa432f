"""What is wrong with an image, and how its names are shown to a person."""

from __future__ import annotations

from terra_core.errors import TerraError
from terra_core.system.text import one_line

_SHOWN_LENGTH = 200


class ImageError(TerraError):
    """An image, or a part of one, is not what it has to be; nothing of it may be used any further."""


def shown(name: bytes) -> str:
    """Return a name from an image as one line of text: escape what is not printable, cut the middle of a long name.

    :param name: the name as it stands in the image.
    """
    text = one_line(name.decode("utf-8", "backslashreplace"))
    if len(text) <= _SHOWN_LENGTH:
        return text
    return f"{text[: _SHOWN_LENGTH // 2]}...{text[-_SHOWN_LENGTH // 2 :]}"
