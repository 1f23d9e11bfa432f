"""Which version a machine has whose record is of a backup, by what was seen; and what a backup's database says of upgrades."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from terra_core.controller.database import mark_upgrades
from terra_core.controller.records import Phase, Upgrade
from terra_core.controller.restored import Found, found_out


@pytest.mark.parametrize(
    ("phase", "seen", "found"),
    [
        # connected to the version of the record, to the other one; the volumes of the first are there, those of the second
        (Phase.KEPT, "nnyy", Found.OPEN),
        (Phase.KEPT, "ynyy", Found.THIS),
        (Phase.KEPT, "nyyy", Found.OTHER),  # it was brought back since the backup
        (Phase.KEPT, "nyny", Found.OTHER_ALONE),
        (Phase.KEPT, "ynyn", Found.THIS_ALONE),  # the former version was removed since
        (Phase.KEPT, "nnyn", Found.THIS_ALONE),
        (Phase.RETURNING, "nnny", Found.OTHER_ALONE),
        (Phase.RETURNING, "nnnn", Found.OPEN),  # the store is not there yet
        (Phase.WAITING, "ynyy", Found.UNNEEDED),
        (Phase.WAITING, "nyyy", Found.THIS_ALONE),  # it was upgraded since, and the backup does not know how that starts
        (Phase.WAITING, "nnyy", Found.OPEN),
        (Phase.WAITING, "nnny", Found.OPEN),
        (Phase.PREPARING, "nnyn", Found.THIS_ALONE),
    ],
)
def test_what_was_seen_decides(phase: Phase, seen: str, found: Found) -> None:
    upgrade = Upgrade(phase=phase, image="x/next:7", digest="sha256:2", since=1000.0)
    on_this, on_other, this_there, other_there = (one == "y" for one in seen)
    told = found_out(upgrade, on_this=on_this, on_other=on_other, this_there=this_there, other_there=other_there)
    assert told is found


def test_what_a_backup_says_of_upgrades_is_marked_and_nothing_else_is_changed() -> None:
    rows: dict[str, dict[str, Any]] = {
        "going": {"phase": "trial", "other": {"image": "x/former:6"}},
        "left": {"phase": "left", "other": None, "reason": "x"},
        "none": {},
    }
    with sqlite3.connect(":memory:") as database:
        database.execute("create table nodes (hostname text, upgrade text)")
        database.executemany("insert into nodes values (?, ?)", [(name, json.dumps(row)) for name, row in rows.items()])
        database.execute("insert into nodes values ('broken', 'no JSON')")
        mark_upgrades(database)
        found = dict(database.execute("select hostname, upgrade from nodes").fetchall())
    assert json.loads(found.pop("going")) == {**rows["going"], "restored": True}
    assert found == {"left": json.dumps(rows["left"]), "none": "{}", "broken": "no JSON"}


def test_a_database_of_a_terra_without_upgrades_is_left_as_it_is() -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table nodes (hostname text)")
        mark_upgrades(database)
