"""What an SBOM holds, however it is written."""

from __future__ import annotations

import uuid
from datetime import datetime

from attrs import frozen

from terra_core.sbom.dpkg import Package

_SPACE = uuid.UUID("9a1a41c4-5a4e-5c1f-8f0e-3c8f2b8d6f10")


@frozen(kw_only=True)
class Sbom:
    """A software bill of materials.

    :param image: the image's name.
    :param digest: the digest of its configuration, which is its id.
    :param created: when the image was made.
    :param packages: its packages, sorted.
    """

    image: str
    digest: str
    created: datetime
    packages: tuple[Package, ...]

    @property
    def identity(self) -> uuid.UUID:
        """Return a UUID of the image, the same for every SBOM of it (RFC 4122, version 5)."""
        return uuid.uuid5(_SPACE, self.digest)
