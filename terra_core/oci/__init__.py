"""OCI images: what their documents say, and where their bytes lie.

Documents are read strictly and every blob is compared with its descriptor; an image may lie in a layout on disk, in a file of
``docker save`` or behind another :class:`ImageSource`. Nothing here lays an image down: :mod:`terra_core.image` does.
Slow to import: import it where it is used.
"""

from terra_core.oci.digest import Digest, is_digest, parse_digest
from terra_core.oci.documents import Descriptor, ImageConfig, Manifest, Platform
from terra_core.oci.faults import ImageError
from terra_core.oci.layout import Layout, StoredImage
from terra_core.oci.limits import Limits
from terra_core.oci.platforms import this_platform
from terra_core.oci.source import Blob, ImageDocuments, ImageSource

__all__ = [
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
    "is_digest",
    "parse_digest",
    "this_platform",
]
