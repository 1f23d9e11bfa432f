"""From a record to a row and back: a row is read back before it is written, and one that cannot be read is set aside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import asdict, evolve

from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.config.structure import structure
from terra_core.config.values import Hostname, Mac, shown
from terra_core.controller.database import Unreadable
from terra_core.controller.records import KeptTarget, Record, SetAside, State, Upgrade
from terra_core.errors import ConfigError, TerraError
from terra_core.hookspecs import NodeBoot

_WRONG = (ConfigError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What reading a row may raise: another version of Terra, or something else, may have written anything into it."""
_LONGEST_REASON = 400


def row_of(record: Record) -> dict[str, Any]:
    """Return a record as its row.

    :raises TerraError: when it would not read back as it is: a row that nobody can read is never written.
    """
    row = {
        "hostname": record.node.hostname,
        "mac": record.mac,
        "state": record.state.value,
        "generation": record.generation,
        "document": dict(record.document),
        "tables": dict(record.tables),
        "targets": [asdict(target) for target in record.targets],
        "digest": record.digest,
        "kernel_arguments": list(record.kernel_arguments),
        "problem": record.problem,
        "layout": record.layout,
        "host": record.host,
        "upgrade": {} if record.upgrade is None else {**asdict(record.upgrade), "phase": record.upgrade.phase.value},
    }
    try:
        # First as it is, to find what JSON would change in silence, then as the database will return it.
        _record(row)
        _record(json.loads(json.dumps(row)))
    except _WRONG as error:
        raise TerraError(f"{record.hostname}: its record cannot be kept: {_reason(error)}") from error
    return row


def sent(record: Record) -> dict[str, Any]:
    """Return a record for another host, which makes it again by :func:`read_values`; its file has what the record has of it."""
    labels = {group.label for group in record.node.groups}
    groups = [group for group in record.document["groups"] if group["label"] in labels]
    return row_of(evolve(record, document={**record.document, "image": str(record.node.image), "groups": groups}))


def read_values(values: Mapping[str, Any]) -> Record | SetAside:
    """Return the record of a row, or what is known of it where it cannot be read.

    :param values: the row's columns by name.
    """
    try:
        return _record(values)
    except _WRONG as error:
        return _set_aside(values, _reason(error))


def _record(values: Mapping[str, Any]) -> Record:
    for name in ("document", "tables", "targets", "kernel_arguments", "upgrade"):
        if isinstance(values[name], Unreadable):
            raise ValueError(f"{name}: is no JSON: {values[name].reason}")
    document, tables = _table(values, "document"), _table(values, "tables")
    node = make_document({key: document[key] for key in document if key not in tables}, NetworkNode, source="database").value
    record = Record(
        node=node,
        document=document,
        tables=tables,
        state=structure(values["state"], State),
        generation=structure(values["generation"], int),
        targets=structure(values["targets"], tuple[KeptTarget, ...]),
        digest=structure(values["digest"], str),
        kernel_arguments=structure(values["kernel_arguments"], tuple[str, ...]),
        problem=structure(values["problem"], str),
        layout=structure(values["layout"], str),
        upgrade=structure(values["upgrade"], Upgrade) if _table(values, "upgrade") else None,
        host=structure(values["host"], str),
    )
    for name, found in (("hostname", node.hostname), ("mac", record.mac)):
        if found != values[name]:
            raise ValueError(f"{name}: the row is of {values[name]!r}, and what it holds of {found!r}")
    return record


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table: object = values[name]
    if not isinstance(table, Mapping):
        raise ValueError(f"{name}: expected a table, got {shown(table)}")
    return table


def _set_aside(values: Mapping[str, Any], reason: str) -> SetAside:
    targets, whole = _targets(values["targets"])
    others, all_others = _targets(_others(values["upgrade"]))
    document = values["document"]
    image = document.get("image") if isinstance(document, Mapping) else None
    return SetAside(
        hostname=str(values["hostname"]),
        mac=str(values["mac"]),
        generation=values["generation"],
        state=str(values["state"]),
        image=image if isinstance(image, str) else "",
        targets=(*targets, *(evolve(kept, made=False) for kept in others)),
        boot=boot_of(values),
        whole=whole and all_others,
        reason=reason,
        problem=str(values["problem"]),
        host=str(values["host"]),
    )


def _others(upgrade: object) -> object:
    """Return the targets of a machine's other version, as its row has them; no list where that cannot be told."""
    other = upgrade.get("other") if isinstance(upgrade, Mapping) else ""
    return [] if other is None else other.get("targets") if isinstance(other, Mapping) else None


def _targets(raw: object) -> tuple[tuple[KeptTarget, ...], bool]:
    if not isinstance(raw, list):
        return (), False
    found = []
    for one in raw:
        try:
            found.append(structure(one, KeptTarget))
        except _WRONG:
            continue
    return tuple(found), len(found) == len(raw)


def boot_of(values: Mapping[Any, Any]) -> NodeBoot | None:
    """Return what the machine of a row boots; ``None`` where that cannot be read."""
    try:
        return NodeBoot(
            hostname=structure(values["hostname"], Hostname),
            mac=structure(values["mac"], Mac),
            image=structure(values["digest"], str),
            kernel_arguments=structure(values["kernel_arguments"], tuple[str, ...]),
        )
    except _WRONG:
        return None


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).replace("database: ", "").split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."
