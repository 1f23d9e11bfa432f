"""Single files of an image, read out of its layers without laying it down."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator

from terra_core.oci.compression import uncompressed
from terra_core.oci.documents import Descriptor
from terra_core.oci.faults import ImageError
from terra_core.oci.limits import Limits, Tally
from terra_core.oci.media import LAYERS
from terra_core.oci.source import ImageSource
from terra_core.oci.tar import ByteStream, Entry, Kind, TarReader
from terra_core.oci.whiteouts import Whiteout, read_whiteout

_CHUNK = 1 << 16


def read_files(
    image: ImageSource, wanted: Callable[[str], bool], *, file_bytes: int = 64 << 20, limits: Limits | None = None
) -> dict[str, bytes]:
    """Read the regular files of an image that are wanted, as they are when all layers are applied.

    Nothing is followed: a file below a symbolic link is found at its own path only.

    :param image: where the layers are; all of them are verified when this returns.
    :param wanted: says of a path without a leading slash whether it is.
    :param file_bytes: the length of a file beyond which it is refused.
    :returns: content by path.
    :raises TerraError: when a layer is missing, broken, or not what the manifest says.
    """
    bounds = limits or Limits()
    tally = Tally(bounds)
    found: dict[bytes, bytes] = {}
    for layer in image.manifest.layers:
        _apply(_entries(image, layer, tally, bounds), found, wanted, file_bytes)
    return {os.fsdecode(path): content for path, content in sorted(found.items())}


def _entries(image: ImageSource, layer: Descriptor, tally: Tally, limits: Limits) -> Iterator[tuple[Entry, TarReader]]:
    with image.open_layer(layer) as blob:
        reader = TarReader(ByteStream(uncompressed(blob.read, LAYERS[layer.media_type], limits)), tally)
        for entry in reader:
            yield entry, reader
        while blob.read(_CHUNK):  # its digest is compared at its end
            pass


def _apply(
    entries: Iterator[tuple[Entry, TarReader]], found: dict[bytes, bytes], wanted: Callable[[str], bool], file_bytes: int
) -> None:
    """Bring ``found`` from what the layers below have to what they have together with this one."""
    below = dict(found)
    hidden: list[bytes] = []
    own: dict[bytes, bytes | None] = {}
    for entry, reader in entries:
        path = posixpath.normpath(b"/" + entry.name).lstrip(b"/")
        directory, name = posixpath.split(path)
        whiteout = read_whiteout(name)
        if whiteout is not None:
            _hide(whiteout, directory, below, hidden)
        elif entry.kind is Kind.FILE and wanted(os.fsdecode(path)):
            if entry.size > file_bytes:
                raise ImageError(f"{os.fsdecode(path)}: has {entry.size} bytes; more than {file_bytes} are refused")
            own[path] = b"".join(bytes(piece) for piece in reader.content())
        elif entry.kind is Kind.LINK and wanted(os.fsdecode(path)):
            target = posixpath.normpath(b"/" + entry.target).lstrip(b"/")
            own[path] = own.get(target, below.get(target))
        else:
            own[path] = None
            if entry.kind is not Kind.DIRECTORY:
                hidden.append(path + b"/")
    found.clear()
    found.update({path: content for path, content in below.items() if not path.startswith(tuple(hidden))})
    for path, content in own.items():
        found.pop(path, None)
        if content is not None:
            found[path] = content


def _hide(whiteout: Whiteout, directory: bytes, below: dict[bytes, bytes], hidden: list[bytes]) -> None:
    """Take from ``below`` the file that a whiteout hides, and add to ``hidden`` the beginnings of the paths that it hides."""
    if whiteout.opaque:
        hidden.append(directory + b"/" if directory else b"")
    elif whiteout.hidden:
        gone = posixpath.join(directory, whiteout.hidden)
        below.pop(gone, None)
        hidden.append(gone + b"/")
