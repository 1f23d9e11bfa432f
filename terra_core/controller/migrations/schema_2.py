"""A target names the plugins that made it, and has the words of every transport in place of those of iSCSI."""

from __future__ import annotations

from typing import Any

from alembic import op

from terra_core.service.migration import rewrite_json

revision = "2"
down_revision = "1"

_MADE_BY = {"storage": "iscsi", "store": "file", "contract": 2}
"""Who answers now for what the only storage plugin of that time had made: the files were its own as well."""


def upgrade() -> None:
    """Rewrite the targets of every machine."""
    rewrite_json(op.get_bind(), "nodes", key=("hostname",), column="targets", change=_every)


def _every(targets: list[Any]) -> list[Any]:
    if not isinstance(targets, list):
        raise TypeError
    return [_kept(target) for target in targets]


def _kept(target: Any) -> Any:  # whatever stands there
    """Return a target as it is kept now; one that cannot be read stays, and takes no other one with it."""
    try:
        kept = {name: target[name] for name in ("label", "id", "portal", "kernel_arguments")}
        kept |= {"name": target["iqn"], "client": target["initiator"], "data": {}}
        kept["volumes"] = [{"name": lun["path"], "size": lun["size"]} for lun in target["luns"]]
    except (KeyError, TypeError):
        return target
    return {**_MADE_BY, "target": kept}
