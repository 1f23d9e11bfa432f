"""A database that many threads use at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from terra_core.controller.database import hosts, open_database
from terra_core.errors import TerraError
from terra_core.service import database
from terra_core.service.database import explained


def test_writers_of_a_file_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_MS", 100)
    engine = open_database(f"sqlite:///{tmp_path / 'terra.db'}")

    def write(number: int) -> None:
        for at in range(4):
            with explained(engine), engine.begin() as connection:
                connection.execute(insert(hosts).values(hostname=f"cm-{number}-{at}", generation=1))
                time.sleep(0.02)  # the disk is slow

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(write, range(20)))
    with engine.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(hosts)) == 80
    engine.dispose()


def test_who_waits_for_a_turn_in_vain_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_TURN_SECONDS", 0.1)
    engine = open_database(f"sqlite:///{tmp_path / 'terra.db'}")
    with engine.begin(), ThreadPoolExecutor(1) as pool:

        def ask() -> None:
            with explained(engine), engine.begin():
                pass

        with pytest.raises(TerraError, match="was in use for too long"):
            pool.submit(ask).result()
    engine.dispose()
