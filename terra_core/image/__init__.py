"""Images: reading an OCI image layout, verifying it by digest, and applying its layers to a root directory.

The road is: an :class:`ImageSource`, such as :meth:`Layout.image` of a directory, and :func:`apply_layers`. What was applied is
verified when that returns, and nothing outside of the root changes, whatever the layers hold.
Slow to import: import it where it is used.
"""

from terra_core.image.apply import Applied, apply_layers
from terra_core.image.digest import Digest, is_digest, parse_digest
from terra_core.image.documents import Descriptor, ImageConfig, Manifest, Platform
from terra_core.image.faults import ImageError
from terra_core.image.layout import Layout, StoredImage
from terra_core.image.limits import Limits
from terra_core.image.platforms import this_platform
from terra_core.image.source import Blob, ImageDocuments, ImageSource

__all__ = [
    "Applied",
    "Blob",
    "Descriptor",
    "Digest",
    "ImageConfig",
    "ImageDocuments",
    "ImageError",
    "ImageSource",
    "Layout",
    "Limits",
    "Manifest",
    "Platform",
    "StoredImage",
    "apply_layers",
    "is_digest",
    "parse_digest",
    "this_platform",
]
