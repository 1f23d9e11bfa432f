"""A site whose controller made its database before there were migrations: its machines are served, listed and deletable."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from lab.databases import restore
from tests.integration.controller.sites import Ground
from tests.unit.controller.dumped import DUMPS, FORMER

SIZES = {"cm-01/0.lun": 256, "cm-02/0.lun": 256, "cm-02/1.lun": 512, "cm-02/2.lun": 512}


@pytest.fixture(autouse=True)
def _clean(ground: Ground) -> Iterator[None]:
    yield
    ground.clear()


@pytest.mark.sqlite
@pytest.mark.parametrize("former", FORMER)
def test_machines_are_served_listed_and_deleted(ground: Ground, small: str, former: str) -> None:
    paths, volumes = ground.site.paths, ground.site.root / "iscsi"
    ground.provision(small)  # for the boot files of the machines, which a database does not hold
    ground.provision(small, "cm-02", "52:54:00:00:00:02")
    ground.site.stop_controller()
    ground.terra("controller", "--stop", "--root", ground.site.root)
    with closing(sqlite3.connect(paths.state / "terra.db")) as connection:
        (digest,) = connection.execute("select digest from nodes").fetchone()
    for path in paths.state.glob("terra.db*"):
        path.unlink()
    volumes.rename(volumes.with_name(f"before-{former}"))
    restore(DUMPS / f"{former}.sql", paths.state / "terra.db", ground.site.root)
    with closing(sqlite3.connect(paths.state / "terra.db")) as connection:
        connection.execute("update nodes set digest = ?", (digest,))
        connection.commit()
    for name, size in SIZES.items():
        path = volumes / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size * 1024 * 1024)
    ground.site.start_controller()
    on_its_way = "'booting'" in (DUMPS / f"{former}.sql").read_text()  # where boots were written down already
    assert [(node["hostname"], node["state"], node["problem"]) for node in ground.nodes()] == [
        ("cm-01", "booting" if on_its_way else "ready", ""),
        ("cm-02", "ready", ""),
    ]
    for node in ground.nodes():
        for group in node["disk_groups"]:
            assert ground.may_log_in(node["initiator_iqn"], group["target"]["iqn"])
    ground.terra("delete", "cm-01")
    ground.terra("delete", "cm-02")
    assert ground.left() == []
    later = ground.provision(small)
    assert later["initiator_iqn"].endswith(":cm-01:3"), "no name is used twice"
