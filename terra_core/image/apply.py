"""Applying an image: its layers, the lowest first, to a root directory."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from attrs import define, frozen

from terra_core.errors import TerraError
from terra_core.image.ahead import Ahead
from terra_core.image.compression import uncompressed
from terra_core.image.digest import Digest
from terra_core.image.directories import Directories
from terra_core.image.documents import Descriptor, Manifest
from terra_core.image.entries import EntryWriter
from terra_core.image.faults import ImageError, shown
from terra_core.image.layout import Layout
from terra_core.image.limits import Limits, Tally
from terra_core.image.media import LAYERS
from terra_core.image.tar import TarReader
from terra_core.image.whiteouts import LayerRecord
from terra_core.system.progress import Event, Report, silent

_BETWEEN_REPORTS = 0.2
_PIECES_AHEAD = 8


@frozen
class Applied:
    """What was done.

    :param layers: how many layers were applied.
    :param entries: how many entries and implied directories they had.
    :param bytes: length of all files together, holes included.
    :param seconds: how long it took, verification included.
    """

    layers: int
    entries: int
    bytes: int
    seconds: float


def apply_layers(
    layout: Layout, manifest: Manifest, root: Path, *, limits: Limits | None = None, report: Report = silent
) -> Applied:
    """Apply an image to a root directory, as the OCI image specification's ``layer.md`` says.

    Every layer's size and digest is verified before the first change; the digest of what they hold when uncompressed is
    verified while it is applied. Nothing is written through any link to outside of the root. What was written is not yet
    synced to disk. After an error the tree is incomplete: discard it.

    :param layout: where the image is.
    :param manifest: what to apply.
    :param root: an existing directory that nobody else writes to; need not be empty.
    :param limits: how much the image may ask for; :class:`Limits` when left out.
    :param report: gets events ``verify`` and ``apply``, counted in compressed bytes, five a second at most; may end the
        work by raising :class:`terra_core.errors.InterruptedWork`.
    :returns: what was done.
    :raises TerraError: naming the layer and the entry.
    """
    started = time.monotonic()
    if os.geteuid() != 0:
        raise TerraError("only root can give files their owners", hint="run this as root")
    diff_ids = layout.config(manifest).diff_ids
    tally = Tally(limits or Limits())
    _verify(layout, manifest, report)
    progress = _Progress("apply", manifest, report)
    with Directories(root, tally) as directories:
        for position, (layer, diff_id) in enumerate(zip(manifest.layers, diff_ids, strict=True)):
            record = LayerRecord() if position else None
            _apply_layer(_Layer(layout, layer, diff_id, tally), directories, record, progress)
    progress.end()
    return Applied(len(manifest.layers), tally.entries, tally.bytes, time.monotonic() - started)


@define
class _Layer:
    layout: Layout
    descriptor: Descriptor
    diff_id: Digest
    tally: Tally

    def fault(self, where: bytes, error: Exception) -> TerraError:
        """The error that says in which layer and at which entry something went wrong."""
        message, hint = (error.message, error.hint) if isinstance(error, TerraError) else (str(error), "")
        if isinstance(error, OSError):
            message = error.strerror or str(error)
            hint = "the disk is too small for the image" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        place = f"{shown(where)}: " if where else ""
        return ImageError(f"layer {self.descriptor.digest}: {place}{message}", hint=hint)


class _Progress:
    """Counts compressed bytes, and reports them now and then."""

    def __init__(self, step: str, manifest: Manifest, report: Report) -> None:
        self.done = 0
        self._step = step
        self._report = report
        self._total = sum(layer.size for layer in manifest.layers)
        self._layers = len(manifest.layers)
        self._next = 0.0

    def tell(self) -> None:
        """Report, unless that was done a moment ago."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _BETWEEN_REPORTS
            self._event()

    def count(self, length: int) -> None:
        """Count bytes, and report."""
        self.done += length
        self.tell()

    def end(self) -> None:
        """Report that all is done."""
        self.done = self._total
        self._event()

    def _event(self) -> None:
        text = f"{self._layers} layer{'s' * (self._layers != 1)}"
        self._report(Event(self._step, text, min(self.done, self._total), self._total))


def _verify(layout: Layout, manifest: Manifest, report: Report) -> None:
    progress = _Progress("verify", manifest, report)
    verified: set[Descriptor] = set()
    for layer in manifest.layers:
        if layer not in verified:
            layout.verify(layer, progress.count)
            verified.add(layer)
    progress.end()


def _apply_layer(layer: _Layer, directories: Directories, record: LayerRecord | None, progress: _Progress) -> None:
    hasher = layer.diff_id.hasher()
    before = progress.done

    def read(length: int) -> bytes:
        piece = blob.read(length) or b""
        progress.done += len(piece)
        return piece

    def hashed(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            hasher.update(piece)
            yield piece

    with ExitStack() as stack:
        blob = stack.enter_context(os.fdopen(layer.layout.open_blob(layer.descriptor), "rb", buffering=0))
        pieces = uncompressed(read, LAYERS[layer.descriptor.media_type], layer.tally.limits)
        ahead = stack.enter_context(Ahead(hashed(pieces), _PIECES_AHEAD))
        reader = TarReader(ahead, layer.tally)
        try:
            _write_entries(reader, EntryWriter(directories, reader, layer.tally, record, progress.tell), progress.tell)
        except (ImageError, OSError) as error:
            raise layer.fault(reader.at, error) from error
    if hasher.hexdigest() != layer.diff_id.encoded:
        found = f"{layer.diff_id.algorithm}:{hasher.hexdigest()}"
        message = f"uncompressed it has the digest {found}, where the configuration says {layer.diff_id}"
        raise layer.fault(b"", ImageError(message))
    progress.done = before + layer.descriptor.size


def _write_entries(reader: TarReader, writer: EntryWriter, tell: Callable[[], None]) -> None:
    for entry in reader:
        writer.write(entry)
        tell()
