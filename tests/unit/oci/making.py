"""Images made by code: tar streams byte by byte, and layouts around them, right or wrong as a test needs them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from backports import zstd

from terra_core.oci import media, this_platform

BLOCK = 512
END = bytes(2 * BLOCK)
MTIME = 1_600_000_000


@frozen(kw_only=True)
class Item:
    """One tar entry with everything that can be said, and lied, about it."""

    name: bytes
    type: bytes = b"0"
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = MTIME
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    pax: Mapping[bytes, bytes] | Sequence[tuple[bytes, bytes]] = {}
    size: int | None = None
    magic: bytes = b"ustar\x0000"
    prefix: bytes = b""
    raw_size: bytes = b""
    tail: bytes = b""

    def blocks(self) -> bytes:
        """Return the blocks of this entry, its extended header before it."""
        return self._extended() + self.header() + _padded(self.data)

    def header(self) -> bytes:
        """Return the header block."""
        size = len(self.data) if self.size is None else self.size
        fields = b"".join((
            self.name[:100].ljust(100, b"\0"),
            _octal(self.mode, 8),
            _octal(self.uid, 8),
            _octal(self.gid, 8),
            self.raw_size or _octal(size, 12),
            _octal(self.mtime, 12),
            b" " * 8,
            self.type,
            self.target[:100].ljust(100, b"\0"),
            self.magic,
            bytes(64),
            _octal(self.device[0], 8),
            _octal(self.device[1], 8),
            self.prefix.ljust(155, b"\0"),
        ))  # fmt: skip
        fields = (self.tail and fields[: 512 - len(self.tail)].ljust(512 - len(self.tail), b"\0") + self.tail) or fields
        return checked(fields.ljust(BLOCK, b"\0"))

    def _extended(self) -> bytes:
        records = list(self.pax.items() if isinstance(self.pax, Mapping) else self.pax)
        keys = [key for key, _ in records]
        if len(self.name) > 100 and b"path" not in keys:
            records.append((b"path", self.name))
        if len(self.target) > 100 and b"linkpath" not in keys:
            records.append((b"linkpath", self.target))
        return extension(b"x", b"".join(record(key, value) for key, value in records)) if records else b""


def checked(block: bytes) -> bytes:
    """Return the header block with its checksum filled in."""
    blank = block[:148] + b" " * 8 + block[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def record(key: bytes, value: bytes) -> bytes:
    """Return a record of a pax header."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d%s" % (length, rest)


def extension(kind: bytes, content: bytes) -> bytes:
    """Return an extended header: pax ``x`` and ``g``, GNU ``L`` and ``K``."""
    return Item(name=b"extension", type=kind, data=content).blocks()


def tar(*parts: Item | bytes, end: bytes = END) -> bytes:
    """Return a tar stream of entries and raw bytes."""
    return b"".join(part.blocks() if isinstance(part, Item) else part for part in parts) + end


def file(name: bytes, data: bytes = b"data", **more: Any) -> Item:
    """Return a regular file."""
    return Item(name=name, data=data, **more)


def folder(name: bytes, mode: int = 0o755, **more: Any) -> Item:
    """Return a directory."""
    return Item(name=name, type=b"5", mode=mode, **more)


def symlink(name: bytes, target: bytes, **more: Any) -> Item:
    """Return a symbolic link."""
    return Item(name=name, type=b"2", target=target, mode=0o777, **more)


def hardlink(name: bytes, target: bytes, **more: Any) -> Item:
    """Return a hard link."""
    return Item(name=name, type=b"1", target=target, **more)


def whiteout(name: bytes) -> Item:
    """Return an empty file of this name."""
    return Item(name=name)


def make_special(path: Path, kind: str) -> Path:
    """Make a ``block`` or ``character`` device, a ``fifo`` or a ``socket``; return what exists once the device is opened."""
    free = next(number for number in range(200, 1 << 20) if not Path(f"/sys/block/loop{number}").exists())
    ptmx = os.makedev(5, 2)
    kinds = {
        "block": (stat.S_IFBLK, os.makedev(7, free)),
        "character": (stat.S_IFCHR, ptmx),
        "fifo": (stat.S_IFIFO, 0),
        "socket": (stat.S_IFSOCK, 0),
    }
    os.mknod(path, kinds[kind][0] | 0o600, kinds[kind][1])
    return Path(f"/sys/block/loop{free}")


def _octal(number: int, width: int) -> bytes:
    if 0 <= number < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, number)
    value: int = number % 256 ** (width - 1)
    return (b"\xff" if number < 0 else b"\x80") + value.to_bytes(width - 1, "big")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


@frozen(kw_only=True)
class Blob:
    """A layer's blob and what is said about it."""

    content: bytes
    media_type: str
    diff_id: str
    size: int | None = None
    digest: str | None = None


def sha256(content: bytes) -> str:
    """Return the digest as descriptors write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer(stream: bytes, kind: str = "gzip") -> Blob:
    """Return the blob of an uncompressed layer."""
    packs: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress, "plain": bytes}
    suffix = "" if kind == "plain" else f"+{kind}"
    name = f"application/vnd.oci.image.layer.v1.tar{suffix}"
    return Blob(content=packs[kind](stream), media_type=name, diff_id=sha256(stream))


class LayoutMaker:
    """Writes an OCI image layout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.index([])

    def blob(self, content: bytes) -> str:
        """Store a blob; return its digest."""
        digest = sha256(content)
        self.place(digest).write_bytes(content)
        return digest

    def place(self, digest: str) -> Path:
        """Return the path of a blob."""
        return self.path / "blobs" / digest.replace(":", "/")

    def document(self, value: object, media_type: str, **more: object) -> dict[str, Any]:
        """Store a JSON document; return its descriptor."""
        content = json.dumps(value).encode()
        return {"mediaType": media_type, "digest": self.blob(content), "size": len(content), **more}

    def index(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Write ``index.json``."""
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(manifests)}))

    def image(
        self, layers: Sequence[Blob | bytes], name: str = "latest", *, architecture: str = "", docker: bool = False
    ) -> dict[str, Any]:
        """Store an image of these layers and make it the only one in the index; return its manifest's descriptor."""
        blobs = [part if isinstance(part, Blob) else layer(part) for part in layers]
        config = self.document(
            {
                "architecture": architecture or this_platform().architecture,
                "os": "linux",
                "config": {"Cmd": ["/bin/sh"], "Env": None, "Labels": {"a": "b"}},
                "rootfs": {"type": "layers", "diff_ids": [blob.diff_id for blob in blobs]},
            },
            media.DOCKER_CONFIG if docker else media.OCI_CONFIG,
        )
        listed = []
        for blob in blobs:
            digest = self.blob(blob.content)
            if blob.digest is not None:
                self.place(digest).rename(self.place(blob.digest))
            size = len(blob.content) if blob.size is None else blob.size
            listed.append({"mediaType": blob.media_type, "digest": blob.digest or digest, "size": size})
        media_type = media.DOCKER_MANIFEST if docker else media.OCI_MANIFEST
        manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": listed}
        found = self.document(manifest, media_type, annotations={"org.opencontainers.image.ref.name": name})
        self.index([found])
        return found


__all__ = [
    "Blob", "Item", "LayoutMaker", "checked", "evolve", "extension", "file", "folder", "hardlink", "layer", "make_special",
    "record", "sha256", "symlink", "tar", "whiteout",
]  # fmt: skip
