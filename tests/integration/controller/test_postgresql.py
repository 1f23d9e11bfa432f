"""The controller's records in PostgreSQL: as in SQLite, those of an earlier controller, and a migration that fails."""

from __future__ import annotations

import io
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import evolve
from sqlalchemy import NullPool, create_engine, insert, select

from lab.databases import differences, restore
from lab.postgresql import Postgresql
from terra_core.config.controller import Controller, Paths
from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.config.values import Hostname
from terra_core.controller.audit import AuditLog
from terra_core.controller.backup import write_backup
from terra_core.controller.database import SCHEMA, about, metadata, nodes, open_database
from terra_core.controller.happening import BootProgress, Kind, Stage
from terra_core.controller.happenings import Happenings
from terra_core.controller.machines import Machines
from terra_core.controller.rate import Rate
from terra_core.controller.records import SetAside
from terra_core.controller.restoring import restore_backup, restore_state
from terra_core.controller.store import Record, State, Store
from terra_core.controller.tokens import Tokens
from terra_core.doctor.records import Known, read
from terra_core.errors import ConfigError, ConflictError, TerraError, UnavailableError
from terra_core.service import database
from terra_core.service.access import Role
from terra_core.service.database import explained, open_engine
from terra_core.service.migration import Migrations
from terra_core.service.schema import Schema
from terra_core.system.progress import silent
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


def at_once(number: int, work: Callable[[], object]) -> Counter[str]:
    """Do the same in many threads at once; return how often each kind of error came, and nothing for none."""

    def kind(_: int) -> str:
        try:
            work()
        except TerraError as error:
            return type(error).__name__
        return ""

    with ThreadPoolExecutor(number) as pool:
        return Counter(pool.map(kind, range(number)))


def test_of_those_who_want_the_same_at_once_one_has_it(postgresql: Postgresql) -> None:
    store = Store(open_database(postgresql.make("crowd")))
    assert at_once(12, lambda: reserve(store)) == {"": 1, "ConflictError": 11}
    (record,) = store.all()
    store.save(evolve(record, state=State.READY))
    assert at_once(12, lambda: store.begin_delete("cm-01")) == {"": 1, "ConflictError": 11}
    tokens = Tokens(store.engine, "own")
    assert at_once(12, lambda: tokens.create("ci", Role.READ)) == {"": 1, "ConflictError": 11}
    store.close()


def test_a_connection_that_was_cut_while_nobody_used_it_is_made_again(postgresql: Postgresql) -> None:
    url = postgresql.make("cut")
    store = Store(open_database(url))
    reserve(store)
    at_once(4, lambda: store.get("cm-01"))
    with create_engine(url, poolclass=NullPool).connect() as connection:
        others = "datname = current_database() and pid <> pg_backend_pid()"
        ended = connection.exec_driver_sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {others}").all()  # noqa: S608  # no text from outside
    assert ended
    assert at_once(4, lambda: store.get("cm-01")) == {"": 4}
    assert not store.was_cut()
    store.close()


@pytest.mark.parametrize("limit", ["lock", "statement"])
def test_a_limit_of_time_is_said_and_hurts_nothing(postgresql: Postgresql, limit: str) -> None:
    url = postgresql.make(limit)
    first = Store(open_database(url))
    first.save(evolve(reserve(first), state=State.READY))
    first.close()
    store = Store(open_database(f"{url}&options=-c%20{limit}_timeout%3D2s"))  # more than any needs
    with create_engine(url, poolclass=NullPool).connect() as holder:
        holder.execute(select(nodes).with_for_update())
        with pytest.raises(UnavailableError, match=f"canceling statement due to {limit} timeout"):
            store.begin_delete("cm-01")
        assert store.was_cut()
        assert not store.was_cut()
    assert store.begin_delete("cm-01").hostname == "cm-01"
    store.close()


def test_a_server_that_takes_no_writes_just_now_is_said(postgresql: Postgresql) -> None:
    url = postgresql.make("standby")
    store = Store(open_database(url))
    store.save(evolve(reserve(store), state=State.READY))
    standby = Store(open_engine(f"{url}&options=-c%20default_transaction_read_only%3Don"))
    with pytest.raises(UnavailableError, match="cannot execute SELECT FOR UPDATE in a read-only transaction"):
        standby.begin_delete("cm-01")
    assert standby.was_cut()
    assert list(standby.every()) == list(store.every())
    for one in (store, standby):
        one.close()


@pytest.mark.parametrize("dump", ["", DUMP.read_text()], ids=["new", "former"])
def test_numbers_of_what_happens_do_not_end_with_32_bits(postgresql: Postgresql, dump: str) -> None:
    """Each restore lets them go on by 1,000,000,000."""
    store = Store(open_database(postgresql.make(f"numbers-{len(dump)}", dump)))
    if not dump:
        reserve(store)
    with store.engine.begin() as connection:
        for table in ("happenings", "audit"):
            connection.exec_driver_sql(f"select setval('{table}_number_seq', {2**33})")
    store.happenings.record("cm-01", store.get("cm-01").generation, Kind.DHCP, "asks")
    store.happenings.flush()
    (asked,) = store.happenings.newest("cm-01", store.get("cm-01").generation, 1)
    assert asked.number == 2**33 + 1
    log = AuditLog(store.engine)
    log.refused(403, "ci", "", "POST /v1/nodes")
    log.look()
    assert [one["number"] for one in log.newest(1)] == [2**33 + 1]
    store.close()


def test_an_error_shows_no_row_and_no_value(postgresql: Postgresql) -> None:
    store = Store(open_database(postgresql.make("shown")))
    reserve(store)
    values = {"hostname": "cm-02", "targets": [{"secret": "a-secret"}], "problem": "a-secret"}
    with (
        pytest.raises(TerraError, match="null value in column") as caught,
        explained(store.engine),
        store.engine.begin() as connection,
    ):
        connection.execute(insert(nodes).values(**values))
    assert "a-secret" not in str(caught.value)
    assert "a-secret" in str(caught.value.__cause__), "the driver shows the row"
    store.close()


def test_a_database_that_lacks_characters_is_refused(postgresql: Postgresql) -> None:
    url = postgresql.make("latin", more="encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0")
    with pytest.raises(TerraError, match="has the encoding LATIN1, which lacks characters") as caught:
        open_database(url)
    assert "createdb --template=template0 --encoding=UTF8" in caught.value.hint


def kept_of(store: Store) -> tuple[object, ...]:
    return tuple(store.every()), store.happenings.read("cm-01", 1), tuple(store.golden.every())


def test_a_backup_goes_from_a_server_to_an_empty_one_and_from_sqlite_to_a_server(
    postgresql: Postgresql, tmp_path: Path
) -> None:
    url = postgresql.make("lost")
    store = Store(open_database(url))
    store.save(evolve(reserve(store), state=State.READY, problem="ä → \u2028"))
    reserve(store, hostname="cm-02", mac="02:00:00:00:00:02")  # half-made: it is unknown afterwards
    assert store.number(Hostname("cm-01"), "os") == 1
    store.happenings.record("cm-01", 1, Kind.DHCP, "asks", {"odd": "\x00\ud800"})
    store.happenings.flush()
    Tokens(store.engine, "own").create("ci", Role.READ)
    paths = Paths(tmp_path / "first")
    paths.etc.mkdir(parents=True)
    target = postgresql.make("found")
    (paths.etc / "controller.toml").write_text(f'database = "{target}"\n')  # as it is to be where it is restored
    output = io.BytesIO()
    manifest = write_backup(Controller(database=url), paths, output, silent)
    assert manifest.database == "var/lib/terra/terra.db"
    before = kept_of(store)
    again = Paths(tmp_path / "second")
    again.root.mkdir()
    said = restore_backup(io.BytesIO(output.getvalue()), again, silent)
    assert [line.partition(":")[0] for line in said.left_out] == ["the machine cm-02"]
    assert not (again.state / "terra.db").exists(), "it is in the server"
    found = Store(open_database(target))
    records, happenings, golden = kept_of(found)
    assert (records, happenings, golden) == ((before[0][0],), *before[1:])  # type: ignore[index]  # a tuple of records
    assert found.number(Hostname("cm-01"), "os") == 2
    assert reserve(found, hostname="cm-02", mac="02:00:00:00:00:02").generation > 100
    found.happenings.record("cm-01", 1, Kind.DHCP, "asks again")
    found.happenings.flush()
    assert found.happenings.newest("cm-01", 1, 1)[0].number > 10**9
    for taken in (target, url):
        with pytest.raises(TerraError, match="the database is not empty, and nothing is replaced"):
            restore_state(io.BytesIO(output.getvalue()), again, taken, silent)
    last = postgresql.make("last")
    restore_state(io.BytesIO(output.getvalue()), again, last, silent)
    engine, fresh = open_database(last), open_database(postgresql.make("fresh-one"))
    assert differences(engine, metadata, fresh) == []
    for one in (engine, fresh, store, found):
        (one.close if isinstance(one, Store) else one.dispose)()


def test_state_of_sqlite_that_no_server_holds_as_it_is_comes_with_it(postgresql: Postgresql, tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    restore(DUMPS / "schema-1-first.sql", paths.state / "terra.db", paths.root)
    with sqlite3.connect(paths.state / "terra.db") as connection:
        connection.execute("update nodes set targets = '[NaN', problem = 'a' || char(0) || 'b' where hostname = 'cm-01'")
    connection.close()
    output = io.BytesIO()
    write_backup(Controller(), paths, output, silent)
    url = postgresql.make("moved")
    restore_state(io.BytesIO(output.getvalue()), paths, url, silent)
    store = Store(open_database(url))
    first, second = store.every()
    assert isinstance(first, SetAside)
    assert first.problem == "a\\x00b"
    assert isinstance(second, Record)
    store.close()
    assert (paths.state / "terra.db").exists(), "no file is touched"


def test_a_server_that_is_killed_is_said_and_used_again_when_it_is_back(postgresql: Postgresql) -> None:
    url = postgresql.make("killed")
    store = Store(open_database(url))
    reserve(store)
    postgresql.kill()
    try:
        for work in (store.every, lambda: store.get("cm-01"), lambda: store.number(Hostname("cm-01"), "os")):
            with pytest.raises(UnavailableError, match="the database does not answer now") as caught:
                work()
            assert "the controller goes on by itself" in caught.value.hint
        with pytest.raises(TerraError, match="the database does not answer now"):
            open_database(url)
        with pytest.raises(TerraError, match="cannot be read"):
            read(url)
        with pytest.raises(UnavailableError):
            write_backup(Controller(database=url), Paths(Path("/nowhere")), io.BytesIO(), silent)
    finally:
        postgresql.start()
    assert [record.hostname for record in store.every()] == ["cm-01"]
    assert store.was_cut()
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
