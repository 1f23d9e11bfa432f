"""Whether the tag that a machine's image was named by means another image by now."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable

from terra_core.config.values import ImageReference
from terra_core.controller.records import Record
from terra_core.errors import TerraError

_KEPT_SECONDS = 10.0
_SHORT = 19
"""So much of a digest is said: ``sha256:`` and twelve digits."""


class Tags:
    """Asks a registry, and for a whole directory of machines once. May be used from several threads.

    :param digest_of: asks it for the digest of an image.
    """

    def __init__(self, digest_of: Callable[[ImageReference], str]) -> None:
        self._digest_of = digest_of
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._known: dict[str, tuple[float, str, str]] = {}

    def note(self, record: Record) -> str:
        """Say what a person should know of the tag of a machine's image; nothing where all is as it was."""
        image = record.node.image
        if not record.digest or image.digest:
            return ""
        digest, problem = self._asked(image)
        if problem:
            return f"whether the tag of {image} has moved cannot be told: {problem}"
        if digest == record.digest:
            return ""
        return (
            f"the tag of {image} has moved: the machine keeps {record.digest[:_SHORT]}, and the tag means {digest[:_SHORT]}; "
            "terra delete and terra apply lay that down, and its data goes"
        )

    def _asked(self, image: ImageReference) -> tuple[str, str]:
        key = str(image)
        with self._locks[key]:
            asked, digest, problem = self._known.get(key, (-_KEPT_SECONDS, "", ""))
            if time.monotonic() - asked >= _KEPT_SECONDS:
                digest = problem = ""
                try:
                    digest = self._digest_of(image)
                except TerraError as error:
                    problem = error.message
                self._known[key] = time.monotonic(), digest, problem
        return digest, problem
