"""The memory of a container as a further layer of its checkpoint's image.

The layer holds CRIU's own files below ``/.orbit/memory``. The image's label ``io.terra.orbit.memory`` names it, so that it can
be told from the file system's layers: a container is made of these alone, and the files of the last one go to the engine.
Engines do not keep the media type of a layer, hence the label.

Images go to the engine as the archives that ``docker load`` reads. A layer that the engine has need not be in one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from terra_core.errors import TerraError
from terra_orbit.agent.rendering import LABEL_PASSING, label_of

LABEL_MEMORY = "io.terra.orbit.memory"
PLACE = ".orbit/memory"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DEPTH = 4
_CHUNK = 1 << 20


def layer_of(image: Mapping[str, Any]) -> str | None:
    """Return the digest of the layer that holds memory; ``None`` for an image without one.

    :param image: as the engine describes it.
    :raises TerraError: when its label names another layer than its last one.
    """
    label = label_of(image, LABEL_MEMORY)
    if not label:
        return None
    layers = (image.get("RootFS") or {}).get("Layers") or []
    if len(layers) < 2 or layers[-1] != label:
        raise TerraError(f"{image.get('Id', 'the image')}: its label {LABEL_MEMORY} does not name its last layer")
    return label


def write_layer(directory: Path, layer: Path) -> str:
    """Write CRIU's files as a layer; return its digest (the ``diff_id`` of the image specification).

    :param directory: what the engine stored.
    :param layer: the tar to make, readable by root alone: it holds whatever the programs knew.
    :raises TerraError: when there are no files, or something else than files.
    """
    files = sorted(path for path in directory.rglob("*") if not path.is_dir() or path.is_symlink())
    if not files:
        raise TerraError(f"{directory}: the engine stored no memory there")
    with open(layer, "xb", opener=_private) as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for parent in (".orbit", PLACE):
            tar.addfile(_entry(parent, directory=True))
        for path in files:
            if path.is_symlink() or not path.is_file():
                raise TerraError(f"{path}: expected a file of CRIU's")
            name = _checked(path.relative_to(directory).as_posix())
            with path.open("rb") as content:
                tar.addfile(_entry(f"{PLACE}/{name}", size=path.stat().st_size), content)
    with layer.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def read_files(archive: Iterable[bytes], directory: Path) -> None:
    """Write the files of a layer, as the engine hands them out, below a directory that is made for them.

    :param archive: the tar of ``/.orbit/memory``, in pieces.
    :param directory: must not be there yet.
    :raises TerraError: when the archive is damaged, or holds something else than files with plain names.
    """
    directory.mkdir(mode=0o700)
    found = False
    try:
        with tarfile.open(fileobj=_Pieces(archive), mode="r|") as tar:
            for entry in tar:
                if entry.isdir():
                    continue
                content = tar.extractfile(entry) if entry.isreg() else None
                if content is None:
                    raise TerraError(f"the checkpoint's memory holds {entry.name!r}, which is no file")
                _write(directory, _checked(entry.name.partition("/")[2]), content)
                found = True
    except tarfile.TarError as error:
        raise TerraError(f"the checkpoint's memory cannot be read: {error}") from error
    if not found:
        raise TerraError("the checkpoint's memory is empty")


def with_memory(image: Mapping[str, Any], layer: str) -> bytes:
    """Return the configuration of an image with one more layer, which holds memory.

    :param image: as the engine describes it.
    :param layer: the digest of the layer.
    """
    config = dict(image["Config"])
    labels = {name: value for name, value in (config.get("Labels") or {}).items() if name != LABEL_PASSING}
    config["Labels"] = {**labels, LABEL_MEMORY: layer}
    return _configuration(image, config, [*image["RootFS"]["Layers"], layer])


def without_memory(image: Mapping[str, Any], agent: str) -> bytes:
    """Return the configuration of an image without the layer that holds memory.

    :param agent: the name of the agent that needs it while a container is made from it.
    """
    config = dict(image["Config"])
    labels = {name: value for name, value in (config.get("Labels") or {}).items() if name != LABEL_MEMORY}
    config["Labels"] = {**labels, LABEL_PASSING: agent}
    return _configuration(image, config, image["RootFS"]["Layers"][:-1])


def identity(configuration: bytes) -> str:
    """Return the id that an engine gives an image of this configuration."""
    return f"sha256:{hashlib.sha256(configuration).hexdigest()}"


def write_archive(configuration: bytes, archive: Path, *, layer: Path | None = None, name: str | None = None) -> None:
    """Write what ``docker load`` reads to know an image, all of whose layers it has but the last one.

    :param layer: the tar of that one, unless the engine has it, too.
    :param name: the image's name and tag.
    """
    digests = json.loads(configuration)["rootfs"]["diff_ids"]
    layers = [f"{digest.partition(':')[2]}.tar" for digest in digests]
    manifest = [{"Config": "config.json", "RepoTags": [name] if name else None, "Layers": layers}]
    with open(archive, "xb", opener=_private) as raw, tarfile.open(fileobj=raw, mode="w") as tar:
        for file, content in (("manifest.json", json.dumps(manifest).encode()), ("config.json", configuration)):
            tar.addfile(_entry(file, size=len(content)), io.BytesIO(content))
        if layer is not None:
            with layer.open("rb") as data:
                tar.addfile(_entry(layers[-1], size=layer.stat().st_size), data)


def _configuration(image: Mapping[str, Any], config: Mapping[str, Any], layers: list[str]) -> bytes:
    """Return an image's configuration, always as the same bytes: their digest is the image's id."""
    made = {
        "architecture": image["Architecture"],
        "os": image["Os"],
        "created": image.get("Created") or "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": layers},
    }
    return json.dumps(made, sort_keys=True, separators=(",", ":")).encode()


def _entry(name: str, *, size: int = 0, directory: bool = False) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o700 if directory else 0o600
    info.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    return info


def _checked(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not 0 < len(parts) <= _DEPTH or not all(_PART.fullmatch(part) for part in parts):
        raise TerraError(f"the memory holds {name!r}, which is no name of CRIU's")
    return "/".join(parts)


def _write(directory: Path, name: str, content: IO[bytes]) -> None:
    path = directory / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with open(path, "xb", opener=_private) as file:
            while piece := content.read(_CHUNK):
                file.write(piece)
    except FileExistsError:
        raise TerraError(f"the checkpoint's memory holds {name!r} twice") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


class _Pieces(io.RawIOBase):
    """A file of what comes in pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        taken, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return taken
