"""From an image in the engine to an OCI image layout on disk.

Engines save an image (``GET /images/get``) in Docker's own archive format, newer ones with an image layout beside it. What is
read here is what all of them have: manifest.json, the configuration and the layers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import requests
from attrs import define, field, frozen
from docker import APIClient
from docker.errors import DockerException
from isal import isal_zlib

from terra_core.errors import TerraError
from terra_core.oci import Descriptor, Digest, ImageError, Limits, media, this_platform
from terra_core.oci.archive import DockerArchive
from terra_core.oci.compression import uncompressed
from terra_core.oci.documents import REFERENCE_NAME
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo
from terra_docker.context import rfc3339
from terra_docker.engine import connected
from terra_docker.settings import Docker
from terra_docker.timestamps import clamped

_GZIP_LEVEL = 3
_CONFIG_KEYS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
    "Healthcheck", "OnBuild", "Shell",
)  # fmt: skip
"""Of a configuration's "config", what the OCI image specification has, and what Docker added to it for running and building."""

Json = dict[str, Any]


@frozen(kw_only=True)
class Saving:
    """How an image is saved.

    :param name: what it is called in the layout's index; ``None`` for no name.
    :param epoch: no time is later than this, in seconds since 1970; ``None`` leaves all as they are.
    :param kept: digests of uncompressed layers that stay as they are whatever the epoch: those of the base.
    :param known: by the digest of the uncompressed layer, what stands in its place and is not written.
    :param compress: whether layers are compressed by gzip, which another version of the library may do in other words.
    """

    name: str | None = None
    epoch: int | None = None
    kept: Collection[str] = ()
    known: Mapping[str, Descriptor] = field(factory=dict)
    compress: bool = False


def save_image(client: APIClient, image: str, layout: Path, saving: Saving, report: Report) -> str:
    """Save an image of the engine into a new OCI image layout, less its known layers; the same layers give the same bytes.

    :param image: its id.
    :param layout: an empty directory.
    :returns: the digest of the manifest.
    :raises TerraError: when what the engine gives is no image, or not what its configuration says.
    """
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    writer = _Writer(blobs, saving)
    with _saved(client, image, layout, report) as archive:
        layers = []
        total = len(archive.manifest.layers)
        for number, (layer, diff_id) in enumerate(zip(archive.manifest.layers, archive.config.diff_ids, strict=True)):
            report(Event("save", "check and write the layers", number, total, "layers"))
            layers.append(writer.layer(archive, layer, diff_id))
        report(Event("save", "check and write the layers", total, total, "layers"))
        config = oci_config(json.loads(archive.document), [layer.diff_id for layer in layers], saving.epoch)
    return _finish(layout, writer, config, layers, saving)


@contextmanager
def saved_image(image: str, work: Path, settings: Docker, report: Report) -> Iterator[DockerArchive]:
    """An image of the engine, to be read as long as the block lasts.

    :param image: its id.
    :param work: a directory with room for it.
    :raises TerraError: when the engine does not give it.
    """
    with connected(settings) as client:
        try:
            with _saved(client, image, work, report) as archive:
                yield archive
        except (DockerException, requests.RequestException) as error:
            raise TerraError(f"{image}: the engine does not give the image: {error}") from error


@contextmanager
def _saved(client: APIClient, image: str, work: Path, report: Report) -> Iterator[DockerArchive]:
    incoming, done = work / "incoming.tar", 0
    with Undo() as undo:
        undo.callback(incoming.unlink, missing_ok=True)
        with incoming.open("wb") as file:
            for piece in client.get_image(image):
                file.write(piece)
                done += len(piece)
                report(Event("save", "get the image from the engine", done))
        with DockerArchive(incoming) as archive:
            yield archive


def _finish(layout: Path, writer: _Writer, config: Json, layers: list[_Layer], saving: Saving) -> str:
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": writer.document(config, media.OCI_CONFIG),
        "layers": [layer.descriptor for layer in layers],
    }
    descriptor = writer.document(manifest, media.OCI_MANIFEST)
    descriptor["platform"] = {"os": config["os"], "architecture": config["architecture"]}
    if saving.name is not None:
        descriptor["annotations"] = {REFERENCE_NAME: saving.name}
    index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [descriptor]}
    (layout / "index.json").write_bytes(_encoded(index))
    (layout / "oci-layout").write_bytes(_encoded({"imageLayoutVersion": "1.0.0"}))
    return str(descriptor["digest"])


def oci_config(config: Json, diff_ids: list[str], epoch: int | None) -> Json:
    """The OCI image configuration for Docker's: less what tells of the machine and of the containers that it was built with.

    :param config: as the engine keeps it.
    :param diff_ids: the digests of the uncompressed layers, as they are now.
    :param epoch: no time is later than this.
    """
    inner = config.get("config") or {}
    history = [
        {key: _no_later(value, epoch) if key == "created" else value for key, value in entry.items()}
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


def _no_later(time: str, epoch: int | None) -> str:
    """A time as RFC 3339 has it, no later than ``epoch``."""
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
    saving: Saving
    _numbers: Iterator[int] = field(factory=count)

    def document(self, document: Json, media_type: str) -> Json:
        """Write a JSON document, and give its descriptor."""
        content = _encoded(document)
        digest = hashlib.sha256(content).hexdigest()
        (self.blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def layer(self, archive: DockerArchive, layer: Descriptor, diff_id: Digest) -> _Layer:
        """Write a layer, once it is what the configuration says."""
        known = self.saving.known.get(str(diff_id))
        if known is not None:
            descriptor: Json = {"mediaType": known.media_type, "digest": str(known.digest), "size": known.size}
            return _Layer(str(diff_id), descriptor)
        before, after, stored = diff_id.hasher(), hashlib.sha256(), hashlib.sha256()
        target = self.blobs / f"writing-{next(self._numbers)}"
        with archive.open_layer(layer) as blob, target.open("wb") as file:
            pieces = _counted(uncompressed(blob.read, media.LAYERS[layer.media_type], Limits()), before.update)
            if self.saving.epoch is not None and str(diff_id) not in self.saving.kept:
                pieces = clamped(pieces, self.saving.epoch)
            pieces = _counted(pieces, after.update)
            for piece in _gzipped(pieces) if self.saving.compress else pieces:
                stored.update(piece)
                file.write(piece)
        if before.hexdigest() != diff_id.encoded:
            raise ImageError(f"the engine saved a layer with the digest {before.hexdigest()}, where {diff_id} was announced")
        size = target.stat().st_size
        target.rename(self.blobs / stored.hexdigest())
        media_type = media.OCI_LAYERS["gzip" if self.saving.compress else "plain"]
        descriptor = {"mediaType": media_type, "digest": f"sha256:{stored.hexdigest()}", "size": size}
        return _Layer(f"sha256:{after.hexdigest()}", descriptor)


def _counted(pieces: Iterator[bytes], take: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        take(piece)
        yield piece


def _gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """RFC 1952, without a name and a time."""
    compressor = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, 31)
    for piece in pieces:
        if compressed := compressor.compress(piece):
            yield compressed
    yield compressor.flush()


def _encoded(document: Json) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

