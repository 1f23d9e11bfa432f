"""Images that the conformance kit makes, and what is in those that a plugin made."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from attrs import frozen

from terra_core.oci import Descriptor, Digest, Limits, Manifest, media, this_platform
from terra_core.oci.compression import uncompressed
from terra_core.oci.documents import read_config
from terra_core.oci.source import Blob, ImageSource
from terra_core.oci.structure import read_document

_PIECE = 1 << 20


class MadeImage:
    """An image in memory, as a :class:`terra_core.oci.source.PortableImage`.

    :param plain: its layers, uncompressed, the lowest first.
    :param kind: how they are compressed where they are read: ``plain`` or ``gzip``.
    :param happens: called before each piece of its last layer that is read.
    """

    def __init__(self, plain: Sequence[bytes], kind: str = "plain", *, happens: Callable[[], None] = lambda: None) -> None:
        layers = [gzip.compress(one, mtime=0) if kind == "gzip" else one for one in plain]
        document = {
            "architecture": this_platform().architecture,
            "os": "linux",
            "config": {"Labels": {"made-by": "the conformance kit"}},
            "rootfs": {"type": "layers", "diff_ids": [str(digest_of(one)) for one in plain]},
        }
        self.config_document = json.dumps(document).encode()
        self.config = read_config(read_document(self.config_document, "the configuration"))
        described = tuple(Descriptor(media.OCI_LAYERS[kind], digest_of(one), len(one)) for one in layers)
        config = Descriptor(media.OCI_CONFIG, digest_of(self.config_document), len(self.config_document))
        self.manifest = Manifest(config, described)
        self.digest = digest_of(repr(self.manifest).encode())
        self._blobs = {digest_of(one): one for one in layers}
        self._happens = happens

    @contextmanager
    def open_layer(self, layer: Descriptor) -> Iterator[Blob]:
        """Open a layer of the manifest."""
        blob = io.BytesIO(self._blobs[layer.digest])
        yield _Watched(blob, self._happens) if layer == self.manifest.layers[-1] else blob


@frozen
class _Watched:
    """A layer that something happens with."""

    blob: Blob
    happens: Callable[[], None]

    def read(self, length: int) -> bytes:
        """Return the next bytes."""
        self.happens()
        return self.blob.read(length)


@frozen
class Found:
    """A file of an image.

    :param entry: how the last layer that has it describes it.
    :param content: its bytes; empty for what is no regular file.
    """

    entry: tarfile.TarInfo
    content: bytes = b""


def digest_of(content: bytes) -> Digest:
    """Return the digest of some bytes."""
    return Digest("sha256", hashlib.sha256(content).hexdigest())


def tree(files: Mapping[str, bytes]) -> bytes:
    """Return the tar of some files, by their paths."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def layers_of(image: ImageSource) -> list[bytes]:
    """Read the layers of an image, and return them uncompressed."""
    found = []
    for layer in image.manifest.layers:
        with image.open_layer(layer) as blob:
            found.append(b"".join(uncompressed(blob.read, media.LAYERS[layer.media_type], Limits())))
    return found


def files_of(layers: Sequence[bytes]) -> dict[str, Found]:
    """Return what is in some layers, by its path without a leading slash; whiteouts are files as any other."""
    found = {}
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isreg() else None
                found[entry.name.removeprefix("./").strip("/")] = Found(entry, file.read() if file else b"")
    return found


def read_all(blob: Blob) -> bytes:
    """Read a layer to its end."""
    pieces = []
    while piece := blob.read(_PIECE):
        pieces.append(piece)
    return b"".join(pieces)
