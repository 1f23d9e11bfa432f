"""Migrating an agent's database: killed on the way, several agents at once, and on PostgreSQL."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from lab.databases import contents, differences, restore
from lab.postgresql import Postgresql
from terra_core.service.database import open_database
from terra_core.system.process import Daemon, run
from terra_orbit.agent.store import Store
from terra_orbit.agent.tables import SCHEMA

DUMPS = Path(__file__).parents[1] / "unit/dumps"
OPEN = "import sys; from terra_orbit.agent.store import Store; print(len(Store(sys.argv[1]).all()))"
QUIET = {"PYTHONDONTWRITEBYTECODE": "1"}
WRITING = "pwrite64,ftruncate,fsync,fdatasync,rename,unlink"
POINTS = 8


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Restore a database of the first schema."""
    restore(DUMPS / "schema-1.sql", tmp_path / "orbit.db")
    return tmp_path / "orbit.db"


def url(database: Path) -> str:
    return f"sqlite:///{database}"


def containers(where: str) -> list[tuple[str, ...]]:
    store = Store(where)
    found = [(record.id, record.state.value, *record.macs, *map(str, record.revisions)) for record in store.all()]
    store.close()
    return found


def ways_to_die(database: Path, trace: Path) -> Iterator[tuple[str, int]]:
    """Yield each system call by which a migration writes, and the number of the call to be killed at."""
    words = ["strace", "-f", "-qq", "-e", f"trace={WRITING}", "-o", str(trace)]
    run([*words, sys.executable, "-c", OPEN, url(database)], timeout=60, env=QUIET)
    calls = re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE)
    seen: Counter[str] = Counter()
    for at, call in enumerate(calls):
        seen[call] += 1
        if at % max(1, len(calls) // POINTS) == 0 or call == "rename":
            yield call, seen[call]


def seen(database: Path, place: Path) -> tuple[list[str], list[str] | None]:
    """Return the content of a database and of its copy, without what Alembic noted; the files themselves are not changed."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for path in database.parent.glob("*orbit.db*"):
        shutil.copy(path, place)
    copy = place / "orbit.db.schema-1"
    return unstamped(place / database.name), unstamped(copy) if copy.exists() else None


def unstamped(database: Path) -> list[str]:
    return [statement for statement in contents(database) if "alembic_version" not in statement]


def test_an_agent_that_is_killed_while_it_migrates_loses_nothing(database: Path, tmp_path: Path) -> None:
    restore(DUMPS / "schema-1.sql", tmp_path / "whole.db")
    before = unstamped(tmp_path / "whole.db")
    ways = list(ways_to_die(tmp_path / "whole.db", tmp_path / "trace"))
    assert len(ways) > POINTS / 2
    expected, whole = containers(url(tmp_path / "whole.db")), unstamped(tmp_path / "whole.db")
    states = set()
    for call, number in ways:
        for path in database.parent.glob("*orbit.db*"):
            path.unlink()
        restore(DUMPS / "schema-1.sql", database)
        words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={number}"]
        done = run([*words, sys.executable, "-c", OPEN, url(database)], timeout=60, accept=range(-64, 256), env=QUIET)
        assert done.code != 0, f"{call} {number} did not kill it"
        found, copy = seen(database, tmp_path / "seen")
        assert found in (before, whole), f"{call} {number}"
        assert copy in (None, before), f"{call} {number}"
        states.add(found == whole)
        assert containers(url(database)) == expected, f"{call} {number}"
        assert seen(database, tmp_path / "seen") == (whole, before), f"{call} {number}"
        assert {path.name for path in database.parent.glob("*orbit.db*")} == {"orbit.db", "orbit.db.schema-1"}
    assert states == {False, True}, "some were killed before the migration, and some after it"


def start_many(where: str, directory: Path) -> str:
    """Open a database in several processes at once; return what they print."""
    running = [Daemon([sys.executable, "-c", OPEN, where], log=directory / f"log-{number}") for number in range(5)]
    assert [one.wait(60) for one in running] == [0] * 5, [one.tail() for one in running]
    return "\n".join(one.log.read_text() for one in running)


def test_of_agents_that_start_at_once_one_migrates(database: Path, tmp_path: Path) -> None:
    said = start_many(url(database), tmp_path)
    assert said.count("the database was migrated") == 1
    assert re.findall(r"^\d+$", said, re.MULTILINE) == ["2"] * 5


def test_on_postgresql_of_agents_that_start_at_once_one_migrates(postgresql: Postgresql, tmp_path: Path) -> None:
    where = postgresql.make("former", (DUMPS / "schema-1.postgresql.sql").read_text())
    said = start_many(where, tmp_path)
    assert said.count("the database was migrated") == 1
    assert re.findall(r"^\d+$", said, re.MULTILINE) == ["2"] * 5
    restore(DUMPS / "schema-1.sql", tmp_path / "orbit.db")
    assert containers(where) == containers(url(tmp_path / "orbit.db"))
    engine, fresh = create_engine(where), open_database(postgresql.make("fresh"), SCHEMA)
    assert differences(engine, SCHEMA.tables, fresh) == []
    engine.dispose()
    fresh.dispose()


def test_on_postgresql_agents_that_make_a_database_at_once_make_it_once(postgresql: Postgresql, tmp_path: Path) -> None:
    said = start_many(postgresql.make("empty"), tmp_path)
    assert re.findall(r"^\d+$", said, re.MULTILINE) == ["0"] * 5
