"""The controller's records in PostgreSQL: as in SQLite, those of an earlier controller, and a migration that fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from sqlalchemy import select

from lab.databases import differences, restore
from lab.postgresql import Postgresql
from terra_core.config.controller import Controller
from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.controller.database import FLOOR, SCHEMA, about, metadata, nodes, open_database
from terra_core.controller.happening import BootProgress, Kind, Stage
from terra_core.controller.happenings import Happenings
from terra_core.controller.machines import Machines
from terra_core.controller.rate import Rate
from terra_core.controller.store import Record, State, Store
from terra_core.doctor.records import Known, read
from terra_core.errors import ConfigError, ConflictError, TerraError
from terra_core.service import database
from terra_core.service.migration import Migrations
from terra_core.service.schema import Schema
from tests.unit.controller.dumped import DUMPS
from tests.unit.controller.fakes import ROLES, World, make_site, node_document, node_table

DUMP = DUMPS / "schema-1-first.postgresql.sql"


def reserve(store: Store, **more: str) -> Record:
    document = node_document(**more)
    assert document.value.mac is not None
    return store.reserve(document.value, document.raw, document.tables)


def test_a_machine_reads_back_as_it_was_written(postgresql: Postgresql) -> None:
    store = Store(open_database(postgresql.make("new")))
    record = reserve(store)
    with pytest.raises(ConflictError, match="the host name cm-01 belongs to cm-01"):
        reserve(store, mac="02:00:00:00:00:02")
    changed = store.save(evolve(record, state=State.READY, digest="sha256:1", kernel_arguments=("quiet",)))
    assert list(store.every()) == [changed]
    assert [boot.hostname for boot in store.bootable()] == ["cm-01"]
    assert [store.number(record.node.hostname, "os") for _ in range(2)] == [1, 2]
    store.forget(store.begin_delete("cm-01"))
    assert reserve(store).generation == 2
    store.close()


def test_a_nul_in_a_request_is_an_error_of_the_request_and_not_of_the_database(postgresql: Postgresql) -> None:
    store = Store(open_database(postgresql.make("nul")))
    with pytest.raises(ConfigError, match="the database holds no such value: PostgreSQL text fields cannot contain NUL"):
        store.find("cm\x0001")
    store.close()


def test_what_the_documents_say_of_a_dump_that_was_put_back(postgresql: Postgresql) -> None:
    text = Path("docs/operations.md").read_text()
    told = text[text.index("delete from nodes where state") :].split("\n\n")[0]
    store = Store(open_database(postgresql.make("older")))
    reserve(store)
    for floor in ("101", "201"):
        with store.engine.begin() as connection:
            for statement in filter(str.strip, told.split(";")):
                connection.exec_driver_sql(statement)
            assert connection.scalar(select(about.c.value).where(about.c.key == FLOOR)) == floor
    assert not store.every(), "it was being provisioned when the dump was taken"
    assert reserve(store).generation == 202
    store.close()


def test_what_happened_to_machines_is_kept_in_order(postgresql: Postgresql) -> None:
    store = Store(open_database(postgresql.make("happenings")))
    record = reserve(store)
    happenings = Happenings(store.engine, most_of_kind=10, rate=Rate(1000, 1))
    for at in range(40):
        happenings.record("cm-01", record.generation, Kind.DHCP, f"asks {at}\x00\ud800", {"odd": "\x00\ud800"})
        happenings.record("unknown", 1, Kind.DHCP, "asks")
    happenings.record("cm-\x00", 1, Kind.DHCP, "asks, and no database holds this name")
    happenings.record("cm-01", record.generation, Kind.REPORT, "booted", {"kernel": "6.12"}, stage=Stage.BOOTED)
    happenings.flush()
    *asked, booted = happenings.read("cm-01", record.generation)
    assert [one.text for one in asked] == [f"asks {at}\\x00\\ud800" for at in range(30, 40)]
    assert asked[0].data == {"odd": "\x00\ud800"}
    assert happenings.boot("cm-01", 1) == BootProgress(stage=Stage.BOOTED, since=booted.time, report={"kernel": "6.12"})
    assert [one.number for one in asked] == sorted(one.number for one in asked)
    since = store.since(record)
    store.set_problem(record, "its disk is gone")
    assert store.since(record) > since
    store.forget(record)
    happenings._rows.tidy()
    assert (happenings.read("cm-01", 1), happenings.boots()) == ([], {})
    store.close()


def test_the_doctor_reads_what_the_controller_wrote(postgresql: Postgresql, tmp_path: Path) -> None:
    url, world = postgresql.make("doctor"), World(clones=True)
    former = make_site(tmp_path / "root", world)
    config = Controller(plugins=ROLES, database=url)
    store = Store(open_database(url))
    services = evolve(former.services, config=config, store=store)
    site = evolve(former, services=services, machines=Machines(services))
    site.provision(storage=True)
    site.begin(hostname="cm-02", mac="02:00:00:00:00:02")
    record, known = store.get("cm-01"), read(url)
    assert [kept.target for kept in known.machines["cm-01"].targets] == [kept.target for kept in record.targets]
    assert known.machines["cm-01"].boot == record.boot
    assert (known.machines["cm-01"].settled, known.machines["cm-02"].settled) == (True, False)
    assert [one.image for one in known.laid.values()] == [str(record.node.image)]
    with store.engine.begin() as connection:
        connection.exec_driver_sql("update nodes set targets = '[1]' where hostname = 'cm-01'")
    assert read(url).machines["cm-01"].unreadable
    with store.engine.begin() as connection:
        connection.exec_driver_sql("drop table golden_volumes")
    assert read(url).laid == {}, "of an earlier Terra"
    store.close()
    with pytest.raises(TerraError, match='database "nowhere" does not exist') as caught:
        read(url.replace("/doctor?", "/nowhere?").replace("terra@", "terra:a-password@"))
    assert "a-password" not in str(caught.value)
    assert read(postgresql.make("empty")) == Known()
    former.operations.stop()


def test_machines_of_an_earlier_controller_are_as_they_were(postgresql: Postgresql, tmp_path: Path) -> None:
    engine, fresh = open_database(postgresql.make("former", DUMP.read_text())), open_database(postgresql.make("fresh"))
    assert differences(engine, metadata, fresh) == []
    fresh.dispose()
    restore(DUMPS / "schema-1-first.sql", tmp_path / "terra.db")
    here, there = Store(open_database(f"sqlite:///{tmp_path / 'terra.db'}")), Store(engine)
    assert list(there.every()) == list(here.every())
    assert all(isinstance(record, Record) for record in there.every())
    there.forget(there.begin_delete("cm-01"))
    document = make_document(node_table("gone"), NetworkNode, source="node.toml")
    assert document.value.mac is not None
    assert there.reserve(document.value, document.raw, document.tables).generation == 2
    assert there.number(document.value.hostname, "os") == 6
    here.close()
    there.close()


def test_a_migration_that_fails_changes_nothing(postgresql: Postgresql, tmp_path: Path) -> None:
    head = int(Migrations(SCHEMA.migrations).head)
    for number in range(1, head + 1):
        former = None if number == 1 else str(number - 1)
        (tmp_path / f"schema_{number}.py").write_text(
            f"revision = '{number}'\ndown_revision = {former!r}\ndef upgrade(): pass\n"
        )
    last = tmp_path / f"schema_{head + 1}.py"
    last.write_text(
        f"from alembic import op\nrevision = '{head + 1}'\ndown_revision = '{head}'\n"
        "def upgrade():\n    op.drop_column('nodes', 'mac')\n    op.drop_table('nowhere')\n"
    )
    where = postgresql.make("failing", DUMP.read_text())
    with pytest.raises(TerraError, match='table "nowhere" does not exist'):
        database.open_database(where, Schema(metadata, str(tmp_path)))
    engine = open_database(where)
    with engine.connect() as connection:
        assert connection.scalars(select(nodes.c.mac).order_by(nodes.c.mac)).all() == ["52:54:00:00:00:01", "52:54:00:00:00:02"]
        assert connection.scalar(select(about.c.value).where(about.c.key == "schema")) == str(head)
    engine.dispose()
