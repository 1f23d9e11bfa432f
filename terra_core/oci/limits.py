"""How much an image may ask for before Terra stops."""

from __future__ import annotations

from attrs import define, field, frozen

from terra_core.oci.faults import ImageError
from terra_core.oci.leftout import LeftOut

_MIB = 1 << 20
_GIB = 1 << 30


@frozen(kw_only=True)
class Limits:
    """Bounds of one image; the defaults are far above any system image.

    They keep memory below 256 MiB, to which a zstd layer may add a window of 128 MiB at most.

    :param entries: of all layers together, directories that are only implied included.
    :param total_bytes: content of all layers together, holes included; also the length of each uncompressed layer.
    :param file_bytes: length of one file, holes included.
    :param path_bytes: length of a path or of a link's target.
    :param header_bytes: length of one extended header (pax, GNU long name, sparse map).
    :param xattr_bytes: length of one extended attribute's value; 65536 is the kernel's own bound.
    :param sparse_segments: data segments of one sparse file.
    :param ratio: uncompressed bytes a compressed byte may become, looked at once a layer is beyond ``ratio_from``.
    :param ratio_from: uncompressed bytes of a layer below which any ratio will do.
    """

    entries: int = 1_000_000
    total_bytes: int = 256 * _GIB
    file_bytes: int = 128 * _GIB
    path_bytes: int = 4096
    header_bytes: int = _MIB
    xattr_bytes: int = 65536
    sparse_segments: int = 100_000
    ratio: int = 250
    ratio_from: int = _GIB


@define
class Tally:
    """What an image has used of its limits so far, and what of it was left out.

    :param limits: the bounds.
    :param left_out: what the tree does not get.
    """

    limits: Limits
    left_out: LeftOut = field(factory=LeftOut, init=False)
    entries: int = field(default=0, init=False)
    bytes: int = field(default=0, init=False)

    def count_entry(self) -> None:
        """Count one more entry or implied directory.

        :raises ImageError: when the image has too many.
        """
        self.entries += 1
        if self.entries > self.limits.entries:
            raise ImageError(f"the image has more than {self.limits.entries} entries")

    def count_bytes(self, length: int) -> None:
        """Count a file of ``length`` bytes, before any of it is written.

        :raises ImageError: when the file, or the image with it, is too large.
        """
        if length > self.limits.file_bytes:
            raise ImageError(f"the file has {length} bytes; more than {self.limits.file_bytes} are refused")
        self.bytes += length
        if self.bytes > self.limits.total_bytes:
            raise ImageError(f"the image's files have more than {self.limits.total_bytes} bytes")
