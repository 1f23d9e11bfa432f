"""What a person is told of the upgrade of a machine of a controller."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from terra_core.client.answers import UpgradeShown

_PHASES = {
    "preparing": "to {image}: the next version is being made",
    "waiting": "to {image}: made, and taken when the machine has been off for a while",
    "trial": "to {image}: on trial until it reports that it is well",
    "kept": "to {image}: it was well",
    "returning": "back from {image} at the next start",
    "left": "to {image}: left",
    "restored": "a backup was restored: which version it has is seen when it runs",
}


def upgrade_line(upgrade: UpgradeShown) -> str:
    """Return where an upgrade stands, as a line."""
    said = _PHASES.get(upgrade.phase, f"to {{image}}: {upgrade.phase}").format(image=upgrade.image)
    reason = f": {upgrade.reason}" if upgrade.reason else ""
    kept = f"; {upgrade.other} is kept" if upgrade.phase == "kept" and upgrade.other else ""
    return f"{said}{reason}{kept}"


def since_of(upgrade: UpgradeShown) -> str:
    """Return since when an upgrade is in its phase, in UTC as RFC 3339 has it."""
    return datetime.fromtimestamp(upgrade.since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
