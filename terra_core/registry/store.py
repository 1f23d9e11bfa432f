"""An OCI image layout that is written to, by one pull at a time, and that can be read at any moment meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import asdict, evolve

from terra_core.config.values import ImageReference
from terra_core.errors import NotFoundError
from terra_core.oci import Descriptor, Digest, ImageError, Layout, media, this_platform
from terra_core.oci.documents import REFERENCE_NAME, read_index
from terra_core.oci.structure import DOCUMENT_BYTES, read_document
from terra_core.registry.remote import Found
from terra_core.system.files import write_file
from terra_core.system.locks import unlock, wait_for_lock

_PARTIAL = ".partial"
_MODE = 0o644
_LOCK_SECONDS = 4 * 3600
_VERSION = b'{"imageLayoutVersion":"1.0.0"}'


class Store:
    """The layout, held by whoever made this; see :func:`held`.

    :param path: its directory.
    :param lock: the descriptor that holds the lock.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock
        for name, content in (("index.json", _index([])), ("oci-layout", _VERSION)):
            if not (path / name).exists():
                write_file(path / name, content, mode=_MODE)
        self._layout = Layout(path)

    def add(self, found: Found, reference: ImageReference) -> None:
        """Write the documents of an image, and list it under its reference."""
        for document in found.documents:
            self._put(document.descriptor.digest, document.content)
        self._list(found, str(reference))

    def open_blob(self, descriptor: Descriptor) -> int | None:
        """Open a blob of the right length for reading; one of another length is removed.

        :returns: a file descriptor, for the caller to close; nothing when it is not there.
        """
        try:
            return self._layout.open_blob(descriptor)
        except NotFoundError:
            return None
        except ImageError:
            self.remove_blob(descriptor)
            return None

    def open_partial(self, descriptor: Descriptor) -> int:
        """Open what has come of a blob so far, for reading and writing."""
        place = self._partial(descriptor)
        place.parent.mkdir(exist_ok=True)
        return os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)

    def accept(self, descriptor: Descriptor) -> None:
        """Give a complete and verified blob its final name."""
        place = self._blob(descriptor.digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        self._partial(descriptor).replace(place)

    def remove_blob(self, descriptor: Descriptor) -> None:
        """Remove a blob that is not what its name says."""
        self._blob(descriptor.digest).unlink(missing_ok=True)

    def remove_partial(self, descriptor: Descriptor) -> None:
        """Remove what has come of a blob: it is of no use."""
        self._partial(descriptor).unlink(missing_ok=True)

    def release(self) -> None:
        """Let another pull write to the layout; this one has nothing more to write."""
        unlock(self._lock)

    def tidy(self) -> None:
        """Remove what pulls of other images have left half-way."""
        for left in (self._path / _PARTIAL).glob("*"):
            left.unlink()
        with suppress(FileNotFoundError):
            (self._path / _PARTIAL).rmdir()

    def _blob(self, digest: Digest) -> Path:
        return self._path / "blobs" / digest.algorithm / digest.encoded

    def _partial(self, descriptor: Descriptor) -> Path:
        return self._path / _PARTIAL / f"{descriptor.digest.algorithm}-{descriptor.digest.encoded}"

    def _put(self, digest: Digest, content: bytes) -> None:
        place = self._blob(digest)
        with suppress(OSError):
            if place.stat().st_size == len(content) and digest.matches(place.read_bytes()):
                return
        place.parent.mkdir(parents=True, exist_ok=True)
        write_file(place, content, mode=_MODE)

    def _list(self, found: Found, name: str) -> None:
        """List both what the reference names and the manifest for this machine, so that either digest finds it."""
        path = self._path / "index.json"
        with path.open("rb") as file:
            before = file.read(DOCUMENT_BYTES)
        read_index(read_document(before, str(path)))
        listed = json.loads(before)["manifests"]
        ours = {str(found.named.digest), str(found.chosen.digest)}
        kept = [_without_name(item, name) for item in listed if item.get("digest") not in ours]
        entries = [_entry(found.named, name)]
        if found.chosen.digest != found.named.digest:
            entries.append(_entry(evolve(found.chosen, platform=found.chosen.platform or this_platform()), ""))
        content = _index([*kept, *entries])
        if content != before:
            write_file(path, content, mode=_MODE)


@contextmanager
def held(path: Path, attend: Callable[[], None]) -> Iterator[Store]:
    """Hold a layout, made when it is not there, that nobody else may write to before it is released.

    :param attend: called while another pull is waited for.
    :raises TerraError: when that takes too long.
    """
    path.mkdir(parents=True, exist_ok=True)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        wait_for_lock(directory, seconds=_LOCK_SECONDS, what=f"another pull into {path} to end", waiting=attend)
        yield Store(path, directory)
    finally:
        os.close(directory)


def _entry(descriptor: Descriptor, name: str) -> dict[str, object]:
    entry: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if descriptor.platform:
        entry["platform"] = {key: value for key, value in asdict(descriptor.platform).items() if value}
    if name:
        entry["annotations"] = {REFERENCE_NAME: name}
    return entry


def _without_name(entry: dict[str, object], name: str) -> dict[str, object]:
    """Return an entry of another image, which loses the name when the tag has moved on from it."""
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict) or annotations.get(REFERENCE_NAME) != name:
        return entry
    rest = {key: value for key, value in annotations.items() if key != REFERENCE_NAME}
    left = {key: value for key, value in entry.items() if key != "annotations"}
    return {**left, "annotations": rest} if rest else left


def _index(entries: list[dict[str, object]]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()
