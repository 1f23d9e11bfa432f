"""Applying an image: its layers, the lowest first, to a root directory."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define, frozen

from terra_core.errors import TerraError
from terra_core.image.ahead import Ahead
from terra_core.image.directories import Directories
from terra_core.image.entries import EntryWriter
from terra_core.image.whiteouts import LayerRecord
from terra_core.oci.compression import uncompressed
from terra_core.oci.digest import Digest
from terra_core.oci.documents import Descriptor
from terra_core.oci.faults import ImageError, shown
from terra_core.oci.limits import Limits, Tally
from terra_core.oci.media import LAYERS
from terra_core.oci.source import Blob, ImageSource
from terra_core.oci.tar import ByteStream, TarReader
from terra_core.system.progress import Event, Report, silent

_BETWEEN_REPORTS = 0.2
_PIECES_AHEAD = 8
_READ_ON_AT_ONCE = 1 << 20
_MOST_READ_ON = 256 << 20


@frozen
class Applied:
    """What was done.

    :param layers: how many layers were applied.
    :param entries: how many entries and implied directories they had.
    :param bytes: length of all files together, holes included.
    :param seconds: how long it took, verification included.
    :param left_out: what of the image is not in the tree, a line each.
    """

    layers: int
    entries: int
    bytes: int
    seconds: float
    left_out: tuple[str, ...] = ()


def apply_layers(
    image: ImageSource,
    root: Path,
    *,
    limits: Limits | None = None,
    report: Report = silent,
    spared: str | None = None,
    first: int = 0,
    after: Callable[[int], object] = lambda _: None,
) -> Applied:
    """Apply an image to a root directory, as the OCI image specification's ``layer.md`` says.

    Layers are read, verified, inflated and written in one pass: the tree is verified only when this returns.
    After an error the tree is incomplete, and may hold content that was not verified: discard it. Nothing is ever written
    through any link to outside of the root. What was written is not yet synced to disk.

    :param image: what to apply; its layers may still be on their way.
    :param root: an existing directory that nobody else writes to; need not be empty.
    :param limits: how much the image may ask for; :class:`Limits` when left out.
    :param report: gets events ``apply``, counted in compressed bytes, five a second at most, and ``left out`` at the end;
        may end the work by raising :class:`terra_core.errors.InterruptedWork`.
    :param spared: a name in the root, one that the image cannot know, that no whiteout touches.
    :param first: the number of layers that the root holds already, and nothing else.
    :param after: called with the number of layers that the root holds whenever there is one more of them, verified.
    :returns: what was done.
    :raises TerraError: naming the layer and the entry.
    """
    started = time.monotonic()
    if os.geteuid() != 0:
        raise TerraError("only root can give files their owners", hint="run this as root")
    manifest, diff_ids = image.manifest, image.config.diff_ids
    tally = Tally(limits or Limits())
    progress = _Progress(manifest.layers[first:], report)
    with Directories(root, tally) as directories:
        away = (directories.open(b"").identity, os.fsencode(spared)) if spared is not None else None
        for position, (layer, diff_id) in list(enumerate(zip(manifest.layers, diff_ids, strict=True)))[first:]:
            record = LayerRecord(away) if position else None
            _apply_layer(_Layer(image, layer, diff_id, tally), directories, record, progress)
            directories.forget()  # so that all times are right
            after(position + 1)
    progress.end()
    left_out = tuple(tally.left_out.sentences())
    for number, sentence in enumerate(left_out):
        report(Event(f"left out ({number + 1})" if number else "left out", sentence))
    return Applied(len(manifest.layers[first:]), tally.entries, tally.bytes, time.monotonic() - started, left_out)


@define
class _Layer:
    image: ImageSource
    descriptor: Descriptor
    diff_id: Digest
    tally: Tally
    reader: TarReader | None = None

    def fault(self, error: Exception) -> TerraError:
        """Return the error that says in which layer and at which entry something went wrong."""
        message, hint = (error.message, error.hint) if isinstance(error, TerraError) else (str(error), "")
        if isinstance(error, OSError):
            message = error.strerror or str(error)
            hint = "the disk is too small for the image" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        place = f"{shown(self.reader.at)}: " if self.reader and self.reader.at else ""
        return ImageError(f"layer {self.descriptor.digest}: {place}{message}", hint=hint)


class _Progress:
    """Counts compressed bytes, and reports them now and then."""

    def __init__(self, layers: Sequence[Descriptor], report: Report) -> None:
        self.done = 0
        self._report = report
        self._total = sum(layer.size for layer in layers)
        self._layers = len(layers)
        self._next = 0.0

    def tell(self) -> None:
        """Report, unless that was done a moment ago."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _BETWEEN_REPORTS
            self._event()

    def end(self) -> None:
        """Report that all is done."""
        self.done = self._total
        self._event()

    def _event(self) -> None:
        text = f"{self._layers} layer{'s' * (self._layers != 1)}"
        self._report(Event("apply", text, min(self.done, self._total), self._total))


def _apply_layer(layer: _Layer, directories: Directories, record: LayerRecord | None, progress: _Progress) -> None:
    before = progress.done
    try:
        with layer.image.open_layer(layer.descriptor) as blob:
            try:
                _write_layer(layer, blob, directories, record, progress)
            except ImageError:
                # A blob with a wrong digest explains any error that its content led to.
                reader, layer.reader = layer.reader, None
                read_on(blob, progress.tell)
                layer.reader = reader
                raise
    except (ImageError, OSError) as error:
        raise layer.fault(error) from error
    progress.done = before + layer.descriptor.size


def _write_layer(layer: _Layer, blob: Blob, directories: Directories, record: LayerRecord | None, progress: _Progress) -> None:
    hasher = layer.diff_id.hasher()

    def read(length: int) -> bytes:
        piece = blob.read(length)
        progress.done += len(piece)
        return piece

    def hashed(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            hasher.update(piece)
            yield piece

    pieces = uncompressed(read, LAYERS[layer.descriptor.media_type], layer.tally.limits)
    with Ahead(hashed(pieces), _PIECES_AHEAD) as ahead:
        layer.reader = TarReader(ByteStream(ahead), layer.tally)
        writer = EntryWriter(directories, layer.reader, layer.tally, record, progress.tell)
        for entry in layer.reader:
            writer.write(entry)
            progress.tell()
    layer.reader = None
    read_on(blob, progress.tell)
    if hasher.hexdigest() != layer.diff_id.encoded:
        found = f"{layer.diff_id.algorithm}:{hasher.hexdigest()}"
        raise ImageError(f"uncompressed it has the digest {found}, where the configuration says {layer.diff_id}")


def read_on(blob: Blob, tell: Callable[[], None] = lambda: None) -> None:
    """Read what is left of a blob, within reason, for its end to be verified.

    :param tell: called now and then meanwhile.
    """
    left = _MOST_READ_ON
    while left > 0 and (piece := blob.read(_READ_ON_AT_ONCE)):
        left -= len(piece)
        tell()
