"""A look at an image before anything is made of it: what it has where, which kernel boots, and what its RAM disk holds."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from terra_core.errors import TerraError
from terra_core.image import ramdisk
from terra_core.image.apply import read_on
from terra_core.image.kernels import Kernels, find_kernels
from terra_core.image.merged import MergedTree
from terra_core.oci.compression import uncompressed
from terra_core.oci.digest import Digest
from terra_core.oci.documents import Descriptor
from terra_core.oci.faults import ImageError, shown
from terra_core.oci.limits import Limits, Tally
from terra_core.oci.media import LAYERS
from terra_core.oci.source import ImageSource
from terra_core.oci.tar import ByteStream, TarReader


@frozen(kw_only=True)
class Survey:
    """What an image is like.

    :param tree: what it has, and where.
    :param kernels: its kernels.
    :param scripted: whether the RAM disk of the kernel that boots holds the script that was asked about; ``None`` when there is
        no such RAM disk, or when it cannot be looked into.
    :param unread: why it cannot; empty when it can.
    """

    tree: MergedTree
    kernels: Kernels
    scripted: bool | None = None
    unread: str = ""


def survey(image: ImageSource, script: str, *, limits: Limits | None = None) -> Survey:
    """Look at an image; its layers may still be on their way, and all of them are verified when this returns.

    :param script: the file that the RAM disk has to hold, by its path there.
    :raises TerraError: when a layer is missing, broken, not what the manifest says, or cannot be applied.
    """
    bounds = limits or Limits()
    tree = MergedTree(bounds)
    tally = Tally(bounds)
    for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
        tree.begin_layer()
        _add_layer(image, layer, diff_id, tree, tally)
    kernels = find_kernels(tree)
    if kernels.chosen is None:
        return Survey(tree=tree, kernels=kernels)
    try:
        scripted = ramdisk.holds(_content(image, tree, kernels.chosen.initrd, bounds), script)
    except ramdisk.UnreadableError as error:
        return Survey(tree=tree, kernels=kernels, unread=error.message)
    return Survey(tree=tree, kernels=kernels, scripted=scripted)


def _add_layer(image: ImageSource, layer: Descriptor, diff_id: Digest, tree: MergedTree, tally: Tally) -> None:
    hasher = diff_id.hasher()
    at = b""

    def hashed(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            hasher.update(piece)
            yield piece

    with image.open_layer(layer) as blob:
        try:
            reader = TarReader(ByteStream(hashed(uncompressed(blob.read, LAYERS[layer.media_type], tally.limits))), tally)
            for entry in reader:
                at = entry.name
                tree.add(entry)
        except ImageError as error:
            read_on(blob)  # a blob that is not what was asked for explains whatever its content led to
            place = f"{shown(at)}: " if at else ""
            raise ImageError(f"layer {layer.digest}: {place}{error.message}", hint=error.hint) from error
        read_on(blob)
    if hasher.hexdigest() != diff_id.encoded:
        found = f"{diff_id.algorithm}:{hasher.hexdigest()}"
        raise ImageError(
            f"layer {layer.digest}: uncompressed it has the digest {found}, where the configuration says {diff_id}"
        )


def _content(image: ImageSource, tree: MergedTree, path: str, limits: Limits) -> Iterator[bytes]:
    """The content of a file, out of the layer that has it."""
    number = tree.find(path.encode(errors="surrogateescape")).node
    if not isinstance(number, int):
        raise TerraError(f"/{path} of the image is no file")
    position, wanted = tree.layer_of(number)
    layer = image.manifest.layers[position]
    with image.open_layer(layer) as blob:
        reader = TarReader(ByteStream(uncompressed(blob.read, LAYERS[layer.media_type], limits)), Tally(limits))
        for at, entry in enumerate(reader):
            if at == wanted:
                if entry.segments is not None:
                    raise ramdisk.UnreadableError("it is a sparse file")
                for piece in reader.content():
                    yield bytes(piece)
                return
