"""Images: reading an OCI image layout, verifying it by digest, and applying its layers to a root directory.

The road is: :class:`Layout` of a directory, :meth:`Layout.resolve` to a manifest's descriptor, :meth:`Layout.manifest`,
:func:`apply_layers`. No byte is used before its size and digest are verified, and nothing outside of the root changes,
whatever the layers hold. Slow to import: import it where it is used.
"""

from terra_core.image.apply import Applied, apply_layers
from terra_core.image.digest import Digest, is_digest, parse_digest
from terra_core.image.documents import Descriptor, ImageConfig, Manifest, Platform
from terra_core.image.faults import ImageError
from terra_core.image.layout import Layout, this_platform
from terra_core.image.limits import Limits

__all__ = [
    "Applied",
    "Descriptor",
    "Digest",
    "ImageConfig",
    "ImageError",
    "Layout",
    "Limits",
    "Manifest",
    "Platform",
    "apply_layers",
    "is_digest",
    "parse_digest",
    "this_platform",
]
