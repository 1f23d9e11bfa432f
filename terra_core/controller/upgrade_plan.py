"""What an upgrade of a machine will do; a pure function of what is known of it."""

from __future__ import annotations

from collections.abc import Iterator

from terra_core.client.answers import UpgradePlanShown
from terra_core.config.node import OS_LABEL
from terra_core.controller.records import Phase, Record

UPGRADE, UNCHANGED, UNDER_WAY = "upgrade", "unchanged", "under way"
_HOUR = 3600
_DAY = 24 * _HOUR


def planned(record: Record, image: str, digest: str, *, off: bool, keep: float, going: bool = False) -> UpgradePlanShown:
    """Return what an upgrade will do.

    :param image: the next image.
    :param digest: the manifest of that.
    :param off: whether the machine is off.
    :param keep: how long the former version is kept after it, in seconds.
    :param going: whether the machine is on its way to it.
    """
    changed = record.digest != digest and not going
    return UpgradePlanShown(
        hostname=record.hostname,
        action=UNDER_WAY if going else UPGRADE if changed else UNCHANGED,
        former=str(record.node.image),
        former_digest=record.digest,
        image=image,
        digest=digest,
        kept=tuple(_kept(record)) if changed else (),
        notes=tuple(_notes(record, off, keep)) if changed else (),
    )


def _kept(record: Record) -> Iterator[str]:
    yield "the files that make it itself: machine-id, host keys, hostname"
    yield from (f"{path}, which [upgrade] keep names" for path in record.node.upgrade.kept)
    for group in record.node.groups:
        paths = ", ".join(subvolume.path for subvolume in group.subvolumes)
        if group.label != OS_LABEL:
            yield f"the group {group.label}, which stays as it is{f': {paths}' if paths else ''}"
        elif paths:
            yield f"copies of the subvolumes {paths}"


def _notes(record: Record, off: bool, keep: float) -> Iterator[str]:
    yield "every other change of its system is not in the next version"
    yield from (f"not kept: {problem.text}" for problem in record.node.upgrade.refused())
    if off:
        yield "it is off: it boots the next version when it is switched on"
    else:
        yield "it runs: restart it when the next version is made, with half a minute or more between off and on"
    yield "it goes back to what it has, by itself, unless it reports that it is well"
    if keep:
        yield f"what it has is kept for {_in_words(keep)} after that: terra rollback {record.hostname}"
    if record.upgrade is not None and record.upgrade.phase is Phase.KEPT and record.upgrade.other is not None:
        yield f"its former version of {record.upgrade.other.image} is removed now"


def _in_words(seconds: float) -> str:
    for size, unit in ((_DAY, "days"), (_HOUR, "hours")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
