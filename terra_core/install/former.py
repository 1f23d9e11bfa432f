"""The machine that is on the disks already: what an installation anew would lose, and an upgrade would keep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs import Filesystem
from terra_core.image.contained import ContainedRoot
from terra_core.install.facts import Device
from terra_core.plugins import Plugins
from terra_core.system.disks import signatures_of
from terra_core.system.mounts import mounted
from terra_core.system.process import run
from terra_core.system.undo import Undo
from terra_core.versions.record import PLACE, Record, place_of, read_record

_UNTOUCHED = ("ro", "norecovery")
"""A mount with these options writes nothing, not even what a power cut left undone."""
_SHOWN = 19


@frozen(kw_only=True)
class Former:
    """A machine that ``terra-install`` has laid down on a disk.

    :param device: a disk that it is on, as node.toml names it.
    :param record: how the last one of its versions was laid down.
    :param versions: how many of them there are.
    :param upgrades: whether it can have a further one: the root is not all of its file system, and the plugin makes others.
    """

    device: str
    record: Record
    versions: int
    upgrades: bool

    def lines(self) -> list[str]:
        """Return what a user should know of it before it is lost."""
        record, node = self.record, self.record.node
        said = f"{self.device}: is of the machine {node.get('hostname')}: {record.image} ({record.digest[:_SHOWN]})"
        said += f", laid down by Terra at {record.laid}" + (f", and {self.versions - 1} more" if self.versions > 1 else "")
        if not self.upgrades:
            return [said]
        own = ["its machine-id and host keys", *_kept(node)]
        subvolumes = [f"subvolume {name}" for name in _subvolumes(node)]
        return [said, f"terra upgrade on that machine brings it the next version, and keeps {', '.join([*own, *subvolumes])}"]

    def as_json(self) -> dict[str, Any]:
        """Return it as ``terra-install --plan -o json`` prints it."""
        record = self.record
        return {
            "device": self.device,
            "hostname": record.node.get("hostname"),
            "image": record.image,
            "digest": record.digest,
            "laid": record.laid,
            "versions": self.versions,
            "upgrades": self.upgrades,
            "keep": _kept(record.node),
        }


def former_machines(
    devices: Sequence[Device], plugins: Plugins, work: Path, *, running: Path = Path("/")
) -> tuple[Former, ...]:
    """Return the machines that these disks hold, as far as that can be seen; nothing is written to any disk by this.

    :param devices: the disks that an installation would write to.
    :param plugins: the installed plugins.
    :param work: a directory to mount in.
    :param running: the root of the system that runs, which is looked at when one of the disks is in use.
    """
    found: dict[str, Former] = {}
    for device in devices:
        for records, alone in _of_running(running) if device.use else _of_disk(device, plugins, work):
            last = max(records, key=place_of)
            name = json.dumps([last.node.get("hostname"), last.laid, last.digest])
            upgrades = not alone and _has_versions(last, plugins)
            found.setdefault(name, Former(device=device.name, record=last, versions=len(records), upgrades=upgrades))
    return tuple(found.values())


def _of_running(root: Path) -> Iterator[tuple[list[Record], bool]]:
    if record := _record(root):
        found = run(["findmnt", "--noheadings", "--output", "FSROOT", "--target", root], accept=(0, 1))
        yield [record], found.text.strip() == "/"


def _of_disk(device: Device, plugins: Plugins, work: Path) -> Iterator[tuple[list[Record], bool]]:
    """Yield, for each file system on a disk, the records of the roots in it, and whether one of them is all of it."""
    place = work / "former"
    place.mkdir(exist_ok=True)
    for path, kind in _file_systems(device.path):
        chosen = _plugin(kind, plugins)
        if chosen is None:
            continue
        try:
            with _looked_into(path, place, kind, chosen):
                whole = _record(place)
                records = [record for root in _directories(place) if (record := _record(root))]
        except (TerraError, OSError):  # it is broken, or too much of it is elsewhere: what it holds is not known
            continue
        if whole or records:
            yield [*([whole] if whole else []), *records], whole is not None


@contextmanager
def _looked_into(device: Path, place: Path, kind: str, filesystem: Filesystem) -> Iterator[None]:
    """Mount a file system to be read for the time of a block, of which other disks may be unknown to the kernel, or away."""
    with Undo() as undo:
        try:
            undo.enter_context(mounted(device, place, filesystem=kind, options=_UNTOUCHED))
        except TerraError:
            options = filesystem.plan_reading(device, Session(source=PLACE))
            if not options:
                raise
            undo.enter_context(mounted(device, place, filesystem=kind, options=(*_UNTOUCHED, *options)))
        yield


def _file_systems(device: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file systems on a disk and its partitions; lsblk(8) has their kinds from udev, which may be elsewhere."""
    found = run(["lsblk", "--json", "--list", "--paths", "--output", "PATH", device], accept=(0, 1, 32)).text
    for row in json.loads(found)["blockdevices"] if found.strip() else ():
        path = Path(row["path"])
        yield from ((path, one.kind) for one in signatures_of(path) if not one.table)


def _directories(place: Path) -> Iterator[Path]:
    """Yield the directories at the top, which the roots of versions are."""
    yield from (path for path in sorted(place.iterdir()) if path.is_dir() and not path.is_symlink())


def _record(root: Path) -> Record | None:
    try:
        with ContainedRoot(root) as inside:
            return read_record(inside)
    except (TerraError, OSError):
        return None


def _has_versions(record: Record, plugins: Plugins) -> bool:
    chosen = _plugin(record.filesystem, plugins)
    return chosen is not None and chosen.brings("copy_root")


def _plugin(name: str, plugins: Plugins) -> Filesystem | None:
    """Return the filesystem plugin of a name, which is that of the file system; ``None`` when it is not installed."""
    try:
        return plugins.fill(Filesystem, {"filesystem": name}, source=PLACE)
    except TerraError:
        return None


def _kept(node: Mapping[str, Any]) -> list[str]:
    table = node.get("upgrade")
    keep = table.get("keep") if isinstance(table, dict) else None
    return [path for path in keep if isinstance(path, str)] if isinstance(keep, list) else []


def _subvolumes(node: Mapping[str, Any]) -> list[str]:
    groups = node.get("groups")
    tables = [one for one in groups if isinstance(one, dict)] if isinstance(groups, list) else []
    named = [one for table in tables if isinstance(table.get("subvolumes"), list) for one in table["subvolumes"]]
    return [str(one["name"]) for one in named if isinstance(one, dict) and "name" in one]
