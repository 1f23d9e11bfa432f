"""What a daemon keeps for itself is closed to others, whoever made it first and whatever the umask was."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, String, Table, text

from terra_core.config.controller import Paths
from terra_core.errors import TerraError
from terra_core.service.database import open_database, shown_url
from terra_core.service.private import make_private
from terra_core.service.running import only_one
from terra_core.service.schema import Schema, about_table


@pytest.fixture(params=[0o022, 0o000, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    former = os.umask(request.param)
    yield
    os.umask(former)


def mode(path: Path) -> int:
    """Return the permissions of a path."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_a_directory_is_made_for_its_owner(tmp_path: Path) -> None:
    make_private(tmp_path / "var/lib/terra")
    assert mode(tmp_path / "var/lib/terra") == 0o700


def test_a_directory_that_is_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "terra").mkdir(mode=0o755)
    (tmp_path / "terra").chmod(0o755)
    make_private(tmp_path / "terra")
    assert mode(tmp_path / "terra") == 0o700


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TerraError, match="cannot be made: Not a directory"):
        make_private(tmp_path / "file/terra")


@pytest.mark.usefixtures("_umask")
def test_a_database_and_its_log_are_for_their_owner(tmp_path: Path) -> None:
    metadata = MetaData()
    about_table(metadata)
    Table("things", metadata, Column("name", String))
    path = tmp_path / "terra.db"
    for _ in range(2):
        engine = open_database(f"sqlite:///{path}", Schema(metadata, "terra_core.controller:migrations"))
        with engine.begin() as connection:
            connection.execute(text("insert into things values ('a')"))
            assert {entry.name: mode(entry) for entry in tmp_path.iterdir()} == dict.fromkeys(
                ("terra.db", "terra.db-wal", "terra.db-shm"), 0o600
            )
        engine.dispose()
        path.chmod(0o644)  # as earlier versions of Terra left it


@pytest.mark.parametrize(
    "password", ["secret", "sec/ret", "sec@ret", "a/sec@ret", "sec?ret", "sec#ret", "se:cret", "@secret", "secret/", "9/secret"]
)
@pytest.mark.parametrize("rest", ["127.0.0.1:1/terra", "127.0.0.1:port/terra", "", "127.0.0.1:1/terra?options=secret@x"])
@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "mysql", "nosuch"])
def test_no_password_of_a_database_is_shown(scheme: str, password: str, rest: str) -> None:
    url = f"{scheme}://terra:{password}@{rest}"
    with pytest.raises(TerraError) as caught:
        open_database(url, Schema(MetaData(), ""))
    said = f"{caught.value} {shown_url(url)}"
    for part in ("secret", "sec/", "sec@", "ret@", "a/sec", "sec?", "sec#", "cret"):
        assert part not in said, said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql:///terra?host=/nowhere&user=u&password=secret", "postgresql:///terra"),
        ("postgresql:///terra?host=/nowhere&password=sec@ret", "postgresql://***"),
        ("postgresql://127.0.0.1:1/terra?password=a/secret@b", "postgresql://***"),
        ("postgresql://127.0.0.1:1/terra;password=secret", "postgresql://127.0.0.1:1/terra"),
        ("postgresql+psycopg://127.0.0.1:1/terra#secret", "postgresql+psycopg://127.0.0.1:1/terra"),
        ("host=127.0.0.1 user=u password=sec@ret dbname=terra", "host=127.0.0.1 user=u password=*** dbname=terra"),
        ("password = 'sec ret' host=127.0.0.1", "password = *** host=127.0.0.1"),
        (r"sslpassword=sec\ ret host=127.0.0.1", "sslpassword=*** host=127.0.0.1"),
        (r"PASSWORD='sec\'ret secret", "PASSWORD=***"),
    ],
)
def test_a_password_in_another_place_of_a_url_is_not_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    with pytest.raises(TerraError) as caught:
        open_database(url, Schema(MetaData(), ""))
    assert "sec" not in str(caught.value)
    assert "ret" not in str(caught.value)


def test_a_url_without_a_password_is_shown() -> None:
    assert shown_url("sqlite:////var/lib/terra/terra.db") == "sqlite:////var/lib/terra/terra.db"
    assert shown_url("sqlite:////srv/a?b@c;d/terra.db") == "sqlite:////srv/a?b@c;d/terra.db"
    assert shown_url("postgresql://db.example/terra") == "postgresql://db.example/terra"
    assert shown_url("postgresql://terra:x@db.example:5432/terra?password=y") == "postgresql://***@db.example:5432/terra"
    assert shown_url("terra:x@db.example/terra") == "***@db.example/terra"


def test_a_password_that_is_escaped_is_taken_for_what_it_is() -> None:
    with pytest.raises(TerraError) as caught:
        open_database("postgresql+psycopg://terra:a%2Fb%40c@127.0.0.1:1/terra?connect_timeout=1", Schema(MetaData(), ""))
    assert "postgresql+psycopg://***@127.0.0.1:1/terra: " in str(caught.value)


def test_a_full_disk_under_the_lock_does_not_keep_a_daemon_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with only_one(Paths(tmp_path), "controller"):
        pass


def test_what_the_machine_refuses_is_no_defect(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/lib/terra/x")
    with pytest.raises(TerraError, match="/var/lib/terra/x: No space left on device"), only_one(Paths(tmp_path), "controller"):
        raise full
