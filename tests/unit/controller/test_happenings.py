"""What happened to machines: in order, of the right machine, within bounds whatever comes, and what it says of a boot."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from terra_core.controller.database import open_database
from terra_core.controller.happening import BootProgress, Happening, Kind, Stage, utc
from terra_core.controller.happenings import Happenings
from terra_core.controller.rate import Rate
from terra_core.controller.store import Record, State, Store
from terra_core.errors import TerraError
from terra_core.system.waiting import wait_until
from tests.unit.controller.fakes import node_document

LATER = timedelta(seconds=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Open an empty store."""
    return Store(open_database(f"sqlite:///{tmp_path / 'terra.db'}"))


def reserve(store: Store, hostname: str = "cm-01", mac: str = "02:00:00:00:00:01") -> Record:
    """Take a name for a machine."""
    document = node_document(hostname=hostname, mac=mac)
    assert document.value.mac is not None
    return store.reserve(document.value, document.raw, document.tables)


def texts(happenings: Happenings, generation: int = 1, hostname: str = "cm-01") -> list[str]:
    """Return what is read of a machine."""
    return [happening.text for happening in happenings.read(hostname, generation)]


def unbounded(store: Store, **bounds: int) -> Happenings:
    """Return happenings that take as many as there are."""
    return Happenings(store.engine, rate=Rate(10**9, 1), **bounds)


def test_what_is_recorded_reads_back_in_order_and_from_a_position(store: Store) -> None:
    record, happenings = reserve(store), store.happenings
    before = utc()
    happenings.record("cm-01", record.generation, Kind.DHCP, "asks\x1b[2J for\nan address", {"address": "10.0.10.20"})
    happenings.record("cm-01", record.generation, Kind.FILE, "gets vmlinuz", time="2026-01-01T00:00:00.000Z")
    assert happenings.read("cm-01", 1) == [], "recording waits for no disk"
    happenings.flush()
    first, second = happenings.read("cm-01", 1)
    assert (first.kind, first.text, first.data) == (
        Kind.DHCP,
        "asks\\x1b[2J for; an address",
        {"address": "10.0.10.20"},
    )
    assert before <= first.time <= utc()
    assert (second.time, second.data, second.number) == ("2026-01-01T00:00:00.000Z", {}, first.number + 1)
    assert happenings.read("cm-01", 1, after=first.number) == [second]
    assert happenings.read("cm-01", 1, after=second.number) == []
    assert happenings.read("cm-01", 1, most=1) == [first]
    assert happenings.newest("cm-01", 1, 1) == [second]


def test_a_later_machine_of_the_same_name_has_no_history(store: Store) -> None:
    reserve(store)
    store.happenings.record("cm-01", 1, Kind.REPORT, "booted", {"kernel": "6.12"}, stage=Stage.BOOTED)
    store.happenings.flush()
    store.restate(store.get("cm-01"), State.READY.value)
    store.happenings.record("cm-01", 1, Kind.LOGIN, "too late", stage=Stage.BOOTING)
    store.forget(store.begin_delete("cm-01"))
    reserve(store)
    store.happenings.flush()
    assert texts(store.happenings, 2) == []
    assert store.happenings.boot("cm-01", 2) == BootProgress()
    store.happenings.record("cm-01", 1, Kind.LOGIN, "later still")
    store.happenings.flush()
    assert texts(store.happenings) == ["booted"], "of a machine that is gone nothing more is written"
    assert texts(store.happenings, 2) == []


def test_what_belongs_to_no_machine_is_not_kept(store: Store, tmp_path: Path) -> None:
    reserve(store)
    happenings = unbounded(store, most=10)
    for number in range(30):
        happenings.record(f"unknown-{number}", 1, Kind.DHCP, "asks")
    happenings.record("cm-01", 1, Kind.DHCP, "asks")
    happenings.flush()
    with closing(sqlite3.connect(tmp_path / "terra.db")) as connection:
        assert connection.execute("select hostname from happenings").fetchall() == [("cm-01",)]
        assert connection.execute("select hostname from boots").fetchall() == [("cm-01",)]


def test_what_machines_that_are_gone_had_goes_in_time(store: Store, tmp_path: Path) -> None:
    for number in (1, 2):
        reserve(store, f"cm-0{number}", f"02:00:00:00:00:0{number}")
        store.happenings.record(f"cm-0{number}", 1, Kind.DHCP, "asks")
    store.happenings.flush()
    store.forget(store.find("cm-01"))
    store.happenings._rows.tidy()
    with closing(sqlite3.connect(tmp_path / "terra.db")) as connection:
        for query in ("select hostname from happenings", "select hostname from boots"):
            assert connection.execute(query).fetchall() == [("cm-02",)]


def test_a_position_of_a_later_state_of_the_database_hides_nothing(store: Store) -> None:
    reserve(store)
    for text in ("one", "two"):
        store.happenings.record("cm-01", 1, Kind.DHCP, text)
    store.happenings.flush()
    last = store.happenings.read("cm-01", 1)[-1].number
    assert store.happenings.read("cm-01", 1, after=last) == []
    assert [one.text for one in store.happenings.read("cm-01", 1, after=last + 1)] == ["one", "two"]


def test_one_kind_pushes_no_other_out(store: Store) -> None:
    reserve(store)
    happenings = unbounded(store, most_of_kind=50)
    happenings.record("cm-01", 1, Kind.REPORT, "booted")
    for at in range(1000):
        happenings.record("cm-01", 1, Kind.DHCP, f"asks {at}")
        if at % 100 == 0:
            happenings.flush()
    happenings.flush()
    kept = texts(happenings)
    assert kept[0] == "booted"
    assert kept[-1] == "asks 999", "the oldest go"
    assert 50 <= len(kept) - 1 <= 70


def test_the_bound_of_all_machines_takes_the_oldest(store: Store) -> None:
    for number in range(10):
        reserve(store, f"cm-{number:02}", f"02:00:00:00:00:{number:02}")
    happenings = unbounded(store, most=25)
    for at in range(50):
        happenings.record(f"cm-{at % 10:02}", 1, Kind.FILE, f"gets {at}")
    happenings.flush()
    happenings._rows.tidy()
    kept = [text for number in range(10) for text in texts(happenings, 1, f"cm-{number:02}")]
    assert sorted(kept) == sorted(f"gets {at}" for at in range(25, 50))


def test_a_flood_of_one_machine_is_cut_and_says_so(store: Store) -> None:
    for number in (1, 2):
        reserve(store, f"cm-0{number}", f"02:00:00:00:00:0{number}")
    happenings = Happenings(store.engine, rate=Rate(5, 3))
    for at in range(1000):
        happenings.record("cm-01", 1, Kind.DHCP, f"asks {at}")
    happenings.record("cm-01", 1, Kind.LOGIN, "logs in")
    happenings.record("cm-02", 1, Kind.DHCP, "asks")
    happenings.flush()
    assert texts(happenings) == [*(f"asks {at}" for at in range(5)), "logs in"]
    assert texts(happenings, 1, "cm-02") == ["asks"]

    def late() -> bool:
        happenings.flush()
        return len(texts(happenings)) > 6

    wait_until(late, seconds=30, what="room for another one")
    assert texts(happenings)[6] == "asks 999 (and 994 others of its kind before it)"


def test_the_stage_of_what_was_cut_is_not_lost(store: Store) -> None:
    reserve(store)
    happenings = Happenings(store.engine, rate=Rate(1, 0.01))
    for _ in range(3):
        happenings.record("cm-01", 1, Kind.FILE, "gets a menu")
    happenings.record("cm-01", 1, Kind.FILE, "gets vmlinuz", stage=Stage.BOOTING)

    def booting() -> bool:
        happenings.flush()
        return happenings.boot("cm-01", 1).stage is Stage.BOOTING

    wait_until(booting, seconds=5, what="the stage")


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ({"a": "x" * 20_000}, {"left_out": "20009 bytes"}),
        ({"a": object()}, {"left_out": "is not for JSON"}),
        ({"a": float("nan")}, {"left_out": "is not for JSON"}),
        ({"a": ["\x00", "\ud800", None]}, {"a": ["\x00", "\ud800", None]}),
    ],
)
def test_no_data_fill_the_table_or_keep_others_from_it(store: Store, data: dict[str, object], kept: object) -> None:
    reserve(store)
    store.happenings.record("cm-01", 1, Kind.REPORT, "x" * 5000, data)
    store.happenings.record("cm-01", 1, Kind.REPORT, "\ud800\x00")
    store.happenings.flush()
    first, second = store.happenings.read("cm-01", 1)
    assert (len(first.text), first.data, second.text) == (400, kept, "\\ud800\\x00")


def test_a_row_that_cannot_be_read_hides_no_other(store: Store, tmp_path: Path) -> None:
    reserve(store)
    for text in ("one", "two", "three"):
        store.happenings.record("cm-01", 1, Kind.REPORT, text, {"a": 1}, stage=Stage.BOOTED)
    store.happenings.flush()
    with closing(sqlite3.connect(tmp_path / "terra.db")) as connection:
        connection.execute("update happenings set kind = 'of a later Terra' where text = 'one'")
        connection.execute("update happenings set data = '{' where text = 'two'")
        connection.execute("update boots set report = '{'")
        connection.commit()
    assert [(one.text, one.data) for one in store.happenings.read("cm-01", 1)] == [("two", {}), ("three", {"a": 1})]
    assert store.happenings.boot("cm-01", 1).stage is Stage.BOOTED
    with closing(sqlite3.connect(tmp_path / "terra.db")) as connection:
        connection.execute("update boots set stage = 'of a later Terra'")
        connection.commit()
    assert store.happenings.boots() == {("cm-01", 1): BootProgress()}


def test_a_database_that_cannot_be_written_loses_nothing_that_there_is_room_for(store: Store, tmp_path: Path) -> None:
    reserve(store)
    store.happenings.record("cm-01", 1, Kind.DHCP, "one")
    store.happenings.record("cm-01", 1, Kind.DHCP, "two")
    with closing(sqlite3.connect(tmp_path / "terra.db")) as connection:
        connection.execute("alter table happenings rename to away")
        connection.commit()
        with pytest.raises(TerraError, match="no such table: happenings"):
            store.happenings.flush()
        store.happenings.record("cm-01", 1, Kind.DHCP, "three")
        connection.execute("alter table away rename to happenings")
        connection.commit()
    store.happenings.flush()
    assert texts(store.happenings) == ["one", "two", "three"]


def test_one_value_that_the_database_refuses_takes_nothing_else_with_it(store: Store) -> None:
    reserve(store)
    happenings = unbounded(store)
    for at in range(40):
        happenings.record("cm-01", 1, Kind.DHCP, f"asks {at}")
        if at in (3, 4, 30):
            happenings.record("cm-\ud800", 1, Kind.DHCP, "asks, and no database holds this name")
    happenings.flush()
    assert texts(happenings) == [f"asks {at}" for at in range(40)]


def test_a_thread_writes_and_the_rest_is_written_at_the_end(store: Store) -> None:
    reserve(store)
    with store.happenings.writing():
        store.happenings.record("cm-01", 1, Kind.DHCP, "one")
        wait_until(lambda: texts(store.happenings) == ["one"], seconds=10, what="the first")
        store.happenings.record("cm-01", 1, Kind.DHCP, "two")
    assert texts(store.happenings) == ["one", "two"]


def test_followers_hear_of_their_machine_and_hold_no_thread(store: Store) -> None:
    for number in (1, 2):
        reserve(store, f"cm-0{number}", f"02:00:00:00:00:0{number}")

    async def follow() -> tuple[bool, bool]:
        listening = store.happenings.listening
        with listening("cm-01", 1) as one, listening("cm-01", 1) as other, listening("cm-02", 1) as stranger:
            before = threading.active_count()
            store.happenings.record("cm-01", 1, Kind.DHCP, "asks")
            await asyncio.to_thread(store.happenings.flush)
            async with asyncio.timeout(10):
                await one.wait()
                await other.wait()
            assert threading.active_count() <= before + 1
            return True, stranger.is_set()

    assert asyncio.run(follow()) == (True, False)
    assert store.happenings._bells == {}


def happening(kind: Kind, stage: Stage | None, seconds: float = 0, **data: object) -> Happening:
    """Return a happening so many seconds after a fixed time."""
    time = utc(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
    return Happening(hostname="cm-01", generation=1, kind=kind, text="", data=data, stage=stage, time=time)


def test_a_boot_goes_forward_and_starts_again() -> None:
    progress = BootProgress()
    for seconds, kind, stage, then in (
        (0, Kind.DHCP, None, Stage.OFF),
        (1, Kind.FILE, Stage.BOOTING, Stage.BOOTING),
        (2, Kind.LOGIN, Stage.BOOTING, Stage.BOOTING),
        (3, Kind.REPORT, Stage.BOOTED, Stage.BOOTED),
        (4, Kind.LOGIN, Stage.BOOTING, Stage.BOOTED),
        (5, Kind.DHCP, None, Stage.BOOTED),
        (6, Kind.FILE, Stage.BOOTING, Stage.BOOTING),
        (7, Kind.LOGIN, Stage.OFF, Stage.OFF),
        (8, Kind.LOGIN, Stage.BOOTING, Stage.BOOTING),
    ):
        progress = progress.after(happening(kind, stage, seconds))
        assert progress.stage is then, seconds
    assert progress.since.endswith("08.000Z")


def test_the_last_report_stays_while_the_machine_starts_again() -> None:
    booted = BootProgress().after(happening(Kind.REPORT, Stage.BOOTED, kernel="6.12"))
    again = booted.after(happening(Kind.FILE, Stage.BOOTING, 5))
    assert (again.stage, again.report) == (Stage.BOOTING, {"kernel": "6.12"})
    other = again.after(happening(Kind.REPORT, Stage.BOOTED, 9, kernel="6.13"))
    assert (other.since[-7:], other.report) == ("09.000Z", {"kernel": "6.13"})
    assert other.after(happening(Kind.REPORT, Stage.BOOTED, 10, kernel="6.14")).since == other.since


def test_what_was_seen_earlier_and_is_read_later_changes_nothing() -> None:
    booted = BootProgress().after(happening(Kind.REPORT, Stage.BOOTED, 30))
    assert booted.after(happening(Kind.FILE, Stage.BOOTING, 10)) == booted


def test_a_stage_of_a_clock_that_was_wrong_does_not_stay() -> None:
    ahead = BootProgress(stage=Stage.BOOTED, since=utc(datetime.now(UTC) + timedelta(days=3000)))
    assert ahead.after(happening(Kind.FILE, Stage.BOOTING)).stage is Stage.BOOTING


def test_times_as_text_are_in_order() -> None:
    at = datetime(2026, 1, 1, 23, 59, 59, 999000, tzinfo=UTC)
    assert [utc(at), utc(at + LATER)] == ["2026-01-01T23:59:59.999Z", "2026-01-02T00:00:00.999Z"]


def test_a_state_has_its_time(store: Store) -> None:
    record = reserve(store)
    since = store.since(record)
    assert since
    record = store.save(record)
    store.set_problem(record, "")
    assert store.since(record) == since, "nothing has changed"
    wait_until(lambda: utc() > since, seconds=1, what="the next millisecond")
    store.set_problem(record, "its disk is gone")
    failed = store.since(record)
    assert failed > since
    wait_until(lambda: utc() > failed, seconds=1, what="the next millisecond")
    store.restate(record, State.READY.value)
    assert store.since(record) > failed
