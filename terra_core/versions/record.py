"""What a version keeps of how it was laid down, in its own root: see docs/decisions/0086."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from attrs import Factory, evolve, frozen

from terra_core.config.node import OS_LABEL
from terra_core.config.structure import StructureError, structure
from terra_core.errors import TerraError
from terra_core.hookspecs import RenderedFile
from terra_core.image.contained import ContainedRoot
from terra_core.system.mounts import bound
from terra_core.versions.manifest import NO_MARK, Entry, make_manifest, packed, unpacked

PLACE = "usr/lib/terra/version"
"""The directory of the record in a root; it belongs to no image, and is no part of what is compared."""

_FORMAT = 1
_RECORD, _MANIFEST = f"{PLACE}/record.json", f"{PLACE}/manifest.gz"
_RECORD_LIMIT = 4 << 20
_MANIFEST_LIMIT = 256 << 20
_FURTHER = re.compile(rf"{re.escape(OS_LABEL)}\.(\d{{1,9}})")


@frozen(kw_only=True)
class Record:
    """How a version was laid down.

    :param format: the number of this form.
    :param version: its name among the versions of the machine.
    :param image: the image as it was named.
    :param digest: the digest of its manifest.
    :param layers: the digests of its layers, uncompressed, the lowest first.
    :param laid: when, as RFC 3339 has it.
    :param filesystem: the plugin that made its file system.
    :param bootloader: the plugin that starts it.
    :param kernel_arguments: what the kernel line needs to find the root, beside the version's name; empty when an earlier Terra
        laid it down.
    :param node: the node.toml that it was laid down by, as parsed, with a trusted key itself in place of the key's path.
    """

    format: int = _FORMAT
    version: str
    image: str
    digest: str
    layers: tuple[str, ...]
    laid: str
    filesystem: str
    bootloader: str
    kernel_arguments: tuple[str, ...] = ()
    node: Mapping[str, object] = Factory(dict)


def number_of(version: str) -> int | None:
    """Return the place of a version in the order in which versions were laid down: 0 of ``os``, N of ``os.N``.

    A clock says nothing of that order: it may have been set since, and many machines have none that goes on without power.

    :param version: its name; of another one, such as that of a snapshot that a person made, there is none.
    """
    found = _FURTHER.fullmatch(version)
    return int(found[1]) if found else 0 if version == OS_LABEL else None


def place_of(record: Record) -> int:
    """Return the place of a root in that order: a snapshot that a person made has that of the version that it is a copy of."""
    return number_of(record.version) or 0


def write_record(record: Record, inside: ContainedRoot, root: Path, work: Path, later: Sequence[RenderedFile]) -> None:
    """Write down how a version was laid down, with every file of it. Nothing of it may change after that but ``later``.

    :param inside: its root.
    :param root: where that is mounted; what is mounted below it is no part of the version.
    :param work: a directory for a mount.
    :param later: files that are written into it at last.
    :raises TerraError: naming what cannot be read or written.
    """
    found = inside.look(PLACE, follow=False)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        inside.remove(PLACE)
    for path in (PLACE, *(file.path.rpartition("/")[0] for file in later)):
        inside.directory(path)
    place = work / "version"
    place.mkdir()
    with bound(root, place, for_reading=True) as alone:
        manifest = make_manifest(alone, left_out=PLACE)
    inside.write(_MANIFEST, packed({**manifest, **{file.path: _entry_of(file) for file in later}}), mode=0o600)
    inside.write(_RECORD, json.dumps(attrs.asdict(record), indent=1, default=str).encode(), mode=0o600)


def read_record(inside: ContainedRoot) -> Record | None:
    """Return how the version of a root was laid down; ``None`` when nobody has written that down.

    What others than root wrote does not count: at the top of the file system are also subvolumes that anybody may write to.

    :raises TerraError: when it cannot be read.
    """
    content = inside.read_of(_RECORD, owners={0, os.geteuid()}, limit=_RECORD_LIMIT)
    if content is None:
        return None
    try:
        raw = json.loads(content)
        node = raw.pop("node")
        record = structure(raw, Record)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError, StructureError) as error:
        raise _unreadable(_RECORD, error) from error
    if not isinstance(node, dict):
        raise _unreadable(_RECORD, "it has no node.toml")
    if record.format != _FORMAT:
        raise _unreadable(_RECORD, f"it has the format {record.format}, and this Terra knows {_FORMAT}")
    return evolve(record, node=node)


def read_manifest(inside: ContainedRoot) -> dict[str, Entry]:
    """Return every file of a version as it was laid down.

    :raises TerraError: when it cannot be read.
    """
    content = inside.read(_MANIFEST, limit=_MANIFEST_LIMIT)
    if content is None:
        raise _unreadable(_MANIFEST, "it is missing")
    try:
        return unpacked(content)
    except (ValueError, TypeError, LookupError, OSError, EOFError, RecursionError) as error:
        raise _unreadable(_MANIFEST, error) from error


def _unreadable(path: str, why: object) -> TerraError:
    hint = "what was laid down is not known any more; install the machine anew"
    return TerraError(f"/{path}: cannot be read: {why}", hint=hint)


def _entry_of(file: RenderedFile) -> Entry:
    digest = hashlib.sha256(file.content).hexdigest()
    return Entry(kind="file", mode=file.mode, uid=0, gid=0, size=len(file.content), content=digest, mark=NO_MARK)
