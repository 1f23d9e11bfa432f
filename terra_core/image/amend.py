"""One layer more on an image that is on disk."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from attrs import frozen

from terra_core.image import media
from terra_core.image.layout import Layout

_LAYER = "application/vnd.oci.image.layer.v1.tar"


@frozen
class File:
    """A file of the new layer; it belongs to root.

    :param content: its bytes, or for a symbolic link where it leads.
    :param mode: its permission bits.
    :param link: whether it is a symbolic link.
    """

    content: bytes
    mode: int = 0o644
    link: bool = False


def add_layer(layout: Path, digest: str, files: Mapping[str, File]) -> str:
    """Write an image that has one layer more than another; that one stays as it is.

    :param layout: the image layout that holds the one, and gets the other.
    :param digest: the digest of its manifest.
    :param files: by path without a leading slash.
    :returns: the digest of the new manifest.
    """
    image = Layout(layout)
    descriptor = image.resolve(digest)
    manifest = _read(layout, str(descriptor.digest))
    config = _read(layout, manifest["config"]["digest"])
    layer = _write(layout, _tar(files), _LAYER)
    config["rootfs"]["diff_ids"].append(layer["digest"])
    manifest["config"] = _write(layout, _encoded(config), media.OCI_CONFIG)
    manifest["layers"].append(layer)
    made = _write(layout, _encoded(manifest), descriptor.media_type)
    index = json.loads((layout / "index.json").read_bytes())
    index["manifests"].append(made)
    (layout / "index.json").write_bytes(_encoded(index))
    return str(made["digest"])


def _tar(files: Mapping[str, File]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, file in sorted(files.items()):
            info = tarfile.TarInfo(path)
            info.mode = file.mode
            if file.link:
                info.type, info.linkname = tarfile.SYMTYPE, file.content.decode()
            else:
                info.size = len(file.content)
            archive.addfile(info, None if file.link else io.BytesIO(file.content))
    return out.getvalue()


def _read(layout: Path, digest: str) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads((layout / "blobs" / "sha256" / digest.partition(":")[2]).read_bytes()))


def _write(layout: Path, content: bytes, media_type: str) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _encoded(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
