"""From an image as a builder keeps it to an OCI image whose bytes do not depend on when and where it was built.

The configuration loses what names the machine and the containers of the build, and no time in the layers that the build added
is later than its epoch. See docs/decisions/0017.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from isal import isal_zlib

from terra_core.oci import media
from terra_core.oci.compression import uncompressed
from terra_core.oci.digest import Digest, parse_digest
from terra_core.oci.documents import REFERENCE_NAME, Descriptor, ImageConfig, Manifest, read_config
from terra_core.oci.faults import ImageError
from terra_core.oci.layout import Layout, StoredImage
from terra_core.oci.limits import Limits
from terra_core.oci.platforms import this_platform
from terra_core.oci.source import Blob, ImageSource, PortableImage
from terra_core.oci.structure import read_document
from terra_core.oci.timestamps import clamped, rfc3339
from terra_core.system.progress import Event, Report

_GZIP_LEVEL = 3
_CONFIG_KEYS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
    "Healthcheck", "OnBuild", "Shell",
)  # fmt: skip
"""Of a configuration's "config", what the OCI image specification has, and what engines add to it for running and building."""

Json = dict[str, Any]


@frozen(kw_only=True)
class Repacking:
    """How an image is repacked.

    :param name: what it is called in the layout's index; ``None`` for no name.
    :param epoch: no time is later than this, in seconds since 1970; ``None`` leaves all as they are.
    :param kept: digests of uncompressed layers that stay as they are whatever the epoch: those of the base.
    :param compress: whether layers are compressed by gzip, whose output may differ between versions of the library.
    :param whole: whether the layers that stay as they are are written too; else they are read from the image itself.
    """

    name: str | None = None
    epoch: int | None = None
    kept: Collection[str] = ()
    compress: bool = False
    whole: bool = False


@frozen(kw_only=True)
class RepackedImage:
    """The result, as a :class:`terra_core.oci.source.PortableImage`.

    :param digest: the digest of its manifest.
    :param config_document: the bytes of its configuration.
    """

    digest: Digest
    manifest: Manifest
    config: ImageConfig
    config_document: bytes
    _stored: StoredImage
    _origin: PortableImage
    _left: Collection[Descriptor]

    def open_layer(self, layer: Descriptor) -> AbstractContextManager[Blob]:
        """Open a layer: of the layout, or one of the image itself that was not written."""
        return (self._origin if layer in self._left else self._stored).open_layer(layer)


def repack(image: PortableImage, layout: Path, repacking: Repacking, report: Report) -> RepackedImage:
    """Write an image into a new OCI image layout; the same layers give the same bytes.

    :param image: what is read; it has to stay readable as long as the result is used, unless all of it is written.
    :param layout: an empty directory.
    :raises TerraError: when what the image holds is not what its configuration says.
    """
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    writer = _Writer(blobs, repacking)
    layers: list[_Layer] = []
    left: list[Descriptor] = []
    total = len(image.manifest.layers)
    for number, (layer, diff_id) in enumerate(zip(image.manifest.layers, image.config.diff_ids, strict=True)):
        report(Event("save", "check and write the layers", number, total, "layers"))
        if writer.writes(diff_id):
            layers.append(writer.layer(image, layer, diff_id))
        else:
            left.append(layer)
            layers.append(_Layer(str(diff_id), _described(layer)))
    report(Event("save", "check and write the layers", total, total, "layers"))
    config = oci_config(json.loads(image.config_document), [layer.diff_id for layer in layers], repacking.epoch)
    digest, document = _finish(layout, writer, config, layers, repacking)
    written = Layout(layout)
    manifest = written.manifest(written.resolve(digest))
    read = read_config(read_document(document, "the configuration"))
    return RepackedImage(
        digest=parse_digest(digest),
        manifest=manifest,
        config=read,
        config_document=document,
        stored=StoredImage(written, parse_digest(digest), manifest, read),
        origin=image,
        left=left,
    )


def _described(layer: Descriptor) -> Json:
    return {"mediaType": layer.media_type, "digest": str(layer.digest), "size": layer.size}


def _finish(layout: Path, writer: _Writer, config: Json, layers: list[_Layer], repacking: Repacking) -> tuple[str, bytes]:
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": writer.document(config, media.OCI_CONFIG),
        "layers": [layer.descriptor for layer in layers],
    }
    descriptor = writer.document(manifest, media.OCI_MANIFEST)
    descriptor["platform"] = {"os": config["os"], "architecture": config["architecture"]}
    if repacking.name is not None:
        descriptor["annotations"] = {REFERENCE_NAME: repacking.name}
    index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [descriptor]}
    (layout / "index.json").write_bytes(encoded(index))
    (layout / "oci-layout").write_bytes(encoded({"imageLayoutVersion": "1.0.0"}))
    return str(descriptor["digest"]), encoded(config)


def oci_config(config: Json, diff_ids: list[str], epoch: int | None) -> Json:
    """Return the OCI image configuration for a builder's: less what tells of the machine and of the containers that built it.

    :param config: as the builder keeps it.
    :param diff_ids: the digests of the uncompressed layers, as they are now.
    :param epoch: no time is later than this.
    """
    inner = config.get("config") or {}
    history = [
        {key: _no_later(value, epoch) if key == "created" else value for key, value in entry.items() if not _tells(key, value)}
        for entry in config.get("history") or ()
    ]
    here = this_platform()
    return {
        "architecture": config.get("architecture") or here.architecture,
        **({"variant": config["variant"]} if config.get("variant") else {}),
        "os": config.get("os") or here.os,
        **({"author": config["author"]} if config.get("author") else {}),
        **({"created": _no_later(config["created"], epoch)} if config.get("created") else {}),
        "config": {key: inner[key] for key in _CONFIG_KEYS if inner.get(key)},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    }


def _tells(key: str, value: Any) -> bool:
    """Return whether a part of the history names an image that is nowhere but where it was built, as Buildah's comments do."""
    return key == "comment" and re.fullmatch(r"FROM [0-9a-f]{12,64}", str(value)) is not None


def _no_later(time: str, epoch: int | None) -> str:
    """Return a time as RFC 3339 has it, no later than ``epoch``."""
    if epoch is None:
        return time
    bound = rfc3339(epoch)
    return bound if not time.endswith("Z") or time.rstrip("Z").partition(".")[0] >= bound.rstrip("Z") else time


@frozen
class _Layer:
    diff_id: str
    descriptor: Json


@define
class _Writer:
    """Writes blobs.

    :param blobs: the directory for them.
    """

    blobs: Path
    repacking: Repacking
    _numbers: Iterator[int] = field(factory=count)

    def writes(self, diff_id: Digest) -> bool:
        """Return whether a layer is written."""
        return self.repacking.whole or self._changes(diff_id)

    def _changes(self, diff_id: Digest) -> bool:
        return self.repacking.epoch is not None and str(diff_id) not in self.repacking.kept

    def document(self, document: Json, media_type: str) -> Json:
        """Write a JSON document, and give its descriptor."""
        content = encoded(document)
        digest = hashlib.sha256(content).hexdigest()
        (self.blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def layer(self, image: ImageSource, layer: Descriptor, diff_id: Digest) -> _Layer:
        """Write a layer, once it is what the configuration says."""
        before, after, stored = diff_id.hasher(), hashlib.sha256(), hashlib.sha256()
        target = self.blobs / f"writing-{next(self._numbers)}"
        with image.open_layer(layer) as blob, target.open("wb") as file:
            pieces = _counted(uncompressed(blob.read, media.LAYERS[layer.media_type], Limits()), before.update)
            if self._changes(diff_id) and self.repacking.epoch is not None:
                pieces = clamped(pieces, self.repacking.epoch)
            pieces = _counted(pieces, after.update)
            for piece in gzipped(pieces) if self.repacking.compress else pieces:
                stored.update(piece)
                file.write(piece)
        if before.hexdigest() != diff_id.encoded:
            raise ImageError(f"a layer has the digest {before.hexdigest()}, where the configuration says {diff_id}")
        size = target.stat().st_size
        target.rename(self.blobs / stored.hexdigest())
        media_type = media.OCI_LAYERS["gzip" if self.repacking.compress else "plain"]
        descriptor = {"mediaType": media_type, "digest": f"sha256:{stored.hexdigest()}", "size": size}
        return _Layer(f"sha256:{after.hexdigest()}", descriptor)


def _counted(pieces: Iterator[bytes], take: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        take(piece)
        yield piece


def gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Compress a layer (RFC 1952, without a name and a time)."""
    compressor = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, 31)
    for piece in pieces:
        if compressed := compressor.compress(piece):
            yield compressed
    yield compressor.flush()


def encoded(document: Json) -> bytes:
    """Return a JSON document in the one form that gives the same digest everywhere."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
