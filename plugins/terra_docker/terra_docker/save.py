"""From an image in the engine to an OCI image layout on disk.

Engines save an image (``GET /images/get``) in Docker's own archive format, newer ones with an image layout beside it. What is
read here is what all of them have: manifest.json, the configuration and the layers.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from io import RawIOBase
from itertools import count
from pathlib import Path
from typing import Any, cast

from attrs import define, field, frozen
from docker import APIClient
from isal import isal_zlib

from terra_core.image import ImageError, Limits, media, this_platform
from terra_core.image.compression import CHUNK, uncompressed
from terra_core.image.documents import REFERENCE_NAME
from terra_core.system.progress import Event, Report
from terra_docker.timestamps import clamped, rfc3339

_DOCUMENT_BYTES = 8 << 20
_GZIP_LEVEL = 3
_CONFIG_KEYS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
    "Healthcheck", "OnBuild", "Shell",
)  # fmt: skip
"""Of a configuration's "config", what the OCI image specification has, and what Docker added to it for running and building."""
_KINDS = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}

Json = dict[str, Any]


@frozen(kw_only=True)
class Saving:
    """How an image is saved.

    :param name: what it is called in the layout's index; ``None`` for no name.
    :param epoch: no time is later than this, in seconds since 1970; ``None`` leaves all as they are.
    :param kept: digests of uncompressed layers that stay as they are whatever the epoch: those of the base.
    :param compress: whether layers are compressed by gzip, which another version of the library may do in other words.
    """

    name: str | None = None
    epoch: int | None = None
    kept: Collection[str] = ()
    compress: bool = False


def save_image(client: APIClient, image: str, layout: Path, saving: Saving, report: Report) -> str:
    """Save an image of the engine into a new OCI image layout; the same layers give the same bytes.

    :param image: its id.
    :param layout: an empty directory.
    :returns: the digest of the manifest.
    :raises TerraError: when what the engine gives is no image, or not what its configuration says.
    """
    incoming, blobs = layout / "incoming", layout / "blobs" / "sha256"
    incoming.mkdir()
    blobs.mkdir(parents=True)
    saved = _receive(client.get_image(image), incoming, report)
    writer = _Writer(blobs, saving)
    said = saved.document("manifest.json")
    if not isinstance(said, list) or len(said) != 1:
        raise ImageError("the engine saved something else than one image")
    config = cast(Json, saved.document(said[0]["Config"]))
    diff_ids = config["rootfs"]["diff_ids"]
    if len(diff_ids) != len(said[0]["Layers"]):
        raise ImageError("the engine saved an image whose configuration tells of other layers")
    layers = []
    for number, (name, diff_id) in enumerate(zip(said[0]["Layers"], diff_ids, strict=True)):
        report(Event("save", "check and write the layers", number, len(diff_ids), "layers"))
        layers.append(writer.layer(saved.place(name), diff_id))
    report(Event("save", "check and write the layers", len(diff_ids), len(diff_ids), "layers"))
    _remove(incoming)
    document = oci_config(config, [layer.diff_id for layer in layers], saving.epoch)
    return _finish(layout, writer, document, layers, saving)


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
class _Saved:
    """The files of an archive, by name."""

    files: Mapping[str, Path]
    links: Mapping[str, str]

    def place(self, name: str) -> Path:
        found = self.files.get(self.links.get(name, name))
        if found is None:
            raise ImageError(f"the engine saved an image without its {name}")
        return found

    def document(self, name: str) -> object:
        place = self.place(name)
        if place.stat().st_size > _DOCUMENT_BYTES:
            raise ImageError(f"the engine saved an image whose {name} has more than {_DOCUMENT_BYTES} bytes")
        try:
            return json.loads(place.read_bytes())
        except ValueError as error:
            raise ImageError(f"the engine saved an image whose {name} is no JSON: {error}") from error


def _receive(pieces: Iterable[bytes], incoming: Path, report: Report) -> _Saved:
    """Take the archive's files, under names of our own."""
    files, links = dict[str, Path](), dict[str, str]()
    numbers = count()
    source = _Reader(iter(pieces))
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=CHUNK) as archive:
            for member in archive:
                name = posixpath.normpath(member.name)
                if member.issym() or member.islnk():
                    target = posixpath.join(posixpath.dirname(name), member.linkname) if member.issym() else member.linkname
                    links[name] = posixpath.normpath(target)
                elif (content := archive.extractfile(member)) is not None:
                    files[name] = incoming / str(next(numbers))
                    with files[name].open("wb") as file:
                        while piece := content.read(CHUNK):
                            file.write(piece)
                            report(Event("save", "get the image from the engine", source.done))
    except tarfile.TarError as error:
        raise ImageError(f"the engine saved no image: {error}") from error
    return _Saved(files, links)


class _Reader(RawIOBase):
    """Pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""
        self.done = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, length = [], 0
        while length < size and (self._left or self._refill()):
            part = self._left[: size - length]
            self._left = self._left[len(part) :]
            parts.append(part)
            length += len(part)
        self.done += length
        return b"".join(parts)

    def _refill(self) -> bool:
        self._left = next(self._pieces, b"")
        return bool(self._left)


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
    _done: dict[tuple[Path, str], _Layer] = field(factory=dict)

    def document(self, document: Json, media_type: str) -> Json:
        """Write a JSON document, and give its descriptor."""
        content = _encoded(document)
        digest = hashlib.sha256(content).hexdigest()
        (self.blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def layer(self, place: Path, diff_id: str) -> _Layer:
        """Write a layer, once it is what the configuration says."""
        if (place, diff_id) not in self._done:
            self._done[place, diff_id] = self._layer(place, diff_id)
        return self._done[place, diff_id]

    def _layer(self, place: Path, diff_id: str) -> _Layer:
        before, after, stored = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        with place.open("rb", buffering=0) as file:
            kind = _KINDS.get(file.read(2), "plain")
            file.seek(0)
            pieces = _counted(uncompressed(file.read, kind, Limits()), before.update)
            if self.saving.epoch is not None and diff_id not in self.saving.kept:
                pieces = clamped(pieces, self.saving.epoch)
            pieces = _counted(pieces, after.update)
            target = self.blobs / f"writing-{next(self._numbers)}"
            with target.open("wb") as blob:
                for piece in _gzipped(pieces) if self.saving.compress else pieces:
                    stored.update(piece)
                    blob.write(piece)
        if f"sha256:{before.hexdigest()}" != diff_id:
            raise ImageError(f"the engine saved a layer with the digest {before.hexdigest()}, where {diff_id} was announced")
        size = target.stat().st_size
        target.rename(self.blobs / stored.hexdigest())
        media_type = f"application/vnd.oci.image.layer.v1.tar{'+gzip' if self.saving.compress else ''}"
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


def _remove(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
