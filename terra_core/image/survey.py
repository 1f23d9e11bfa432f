"""A look at an image before anything is made of it: what it has where, which kernel boots, and what its RAM disk holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from attrs import Factory, frozen

from terra_core.errors import TerraError
from terra_core.image import ramdisk
from terra_core.image.apply import read_on
from terra_core.image.kernels import Kernels, find_kernels, modules_of
from terra_core.image.merged import MergedTree
from terra_core.oci.compression import uncompressed
from terra_core.oci.digest import Digest
from terra_core.oci.documents import Descriptor
from terra_core.oci.faults import ImageError, shown
from terra_core.oci.limits import Limits, Tally
from terra_core.oci.media import LAYERS
from terra_core.oci.source import ImageSource
from terra_core.oci.tar import ByteStream, TarReader

_Take = Callable[[Iterator[bytes]], None]


@frozen(kw_only=True)
class Survey:
    """What is known of an image before it is applied.

    :param tree: what it has, and where.
    :param kernels: its kernels.
    :param ramdisk: what the RAM disk of the kernel that boots holds; ``None`` when none boots.
    :param modules: what depmod(8) has left beside that kernel's modules, by the names that were asked for.
    """

    tree: MergedTree
    kernels: Kernels
    ramdisk: ramdisk.Contents | None = None
    modules: Mapping[str, bytes] = Factory(dict)


def survey(image: ImageSource, modules: Mapping[str, int], *, limits: Limits | None = None) -> Survey:
    """Look at an image; its layers may still be on their way, and all of them are verified when this returns.

    :param modules: the files to read beside the modules of the kernel that boots, with the most bytes that each may have.
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
    found: dict[str, bytes] = {}
    looked: list[ramdisk.Contents] = []
    directory = modules_of(tree, kernels.chosen)
    wanted: list[tuple[str, _Take]] = [(kernels.chosen.initrd, lambda pieces: looked.append(ramdisk.contents(pieces)))]
    for name, most in modules.items() if directory else ():
        if path := tree.file_at(f"{directory}/{name}"):
            wanted.append((path, partial(_take_small, found, name, path, most)))
    _read(image, tree, wanted, bounds)
    return Survey(tree=tree, kernels=kernels, ramdisk=looked[0], modules=found)


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
            read_on(blob)  # a blob with a wrong digest explains any error that its content led to
            place = f"{shown(at)}: " if at else ""
            raise ImageError(f"layer {layer.digest}: {place}{error.message}", hint=error.hint) from error
        read_on(blob)
    if hasher.hexdigest() != diff_id.encoded:
        found = f"{diff_id.algorithm}:{hasher.hexdigest()}"
        raise ImageError(
            f"layer {layer.digest}: uncompressed it has the digest {found}, where the configuration says {diff_id}"
        )


def _take_small(found: dict[str, bytes], name: str, path: str, most: int, pieces: Iterator[bytes]) -> None:
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) > most:
            raise TerraError(f"/{path} of the image has more than {most} bytes")
    found[name] = bytes(content)


def _read(image: ImageSource, tree: MergedTree, wanted: Sequence[tuple[str, _Take]], limits: Limits) -> None:
    """Hand over the content of files, out of the layers that have them; each layer is read once."""
    takes: defaultdict[int, dict[int, _Take]] = defaultdict(dict)
    for path, take in wanted:
        number = tree.find(path.encode(errors="surrogateescape")).node
        if not isinstance(number, int):
            raise TerraError(f"/{path} of the image is no file")
        position, at = tree.layer_of(number)
        if at in takes[position]:
            raise TerraError(f"/{path} of the image is the same file as another that has to be something else")
        takes[position][at] = take
    for position, left in sorted(takes.items()):
        layer = image.manifest.layers[position]
        with image.open_layer(layer) as blob:
            reader = TarReader(ByteStream(uncompressed(blob.read, LAYERS[layer.media_type], limits)), Tally(limits))
            for at, entry in enumerate(reader):
                if at in left:
                    left.pop(at)(_pieces(reader, sparse=entry.segments is not None))
                if not left:
                    break


def _pieces(reader: TarReader, *, sparse: bool) -> Iterator[bytes]:
    if sparse:
        raise ramdisk.UnreadableError("it is a sparse file")
    for piece in reader.content():
        yield bytes(piece)
