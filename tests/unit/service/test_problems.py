"""Errors on their way through the API: the client raises what the daemon raised."""

from __future__ import annotations

import pytest

from terra_core.client.connection import error_of
from terra_core.errors import (
    CommandError,
    ConfigError,
    ConflictError,
    InterruptedWork,
    NotFoundError,
    PluginError,
    TerraError,
    UnavailableError,
)
from terra_core.service.database_server import DatabaseAway
from terra_core.service.problems import answer, describe, status_of

ERRORS = [
    ConfigError(["node.toml: mac: is wrong", "node.toml: image: is wrong"]),
    ConflictError("taken", hint="choose another"),
    NotFoundError("not there"),
    InterruptedWork("interrupted"),
    UnavailableError("not now", hint="try again"),
    TerraError("failed", hint="try again"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_way(error: TerraError) -> None:
    arrived = error_of(describe(error))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert arrived.exit_code == error.exit_code
    assert getattr(arrived, "problems", ()) == getattr(error, "problems", ())


@pytest.mark.parametrize("error", [CommandError("mkfs: exit code 1"), PluginError("plugin failed", hint="report it")])
def test_what_only_the_daemon_knows_arrives_as_a_failure(error: TerraError) -> None:
    arrived = error_of(describe(error))
    assert type(arrived) is TerraError
    assert str(arrived) == str(error)


def test_every_error_has_its_status() -> None:
    assert [status_of(error) for error in ERRORS] == [422, 409, 404, 409, 503, 500]


def test_a_database_that_is_away_says_when_to_ask_again() -> None:
    told = describe(DatabaseAway("not now"))
    assert (told["status"], told["title"]) == (503, "UnavailableError")
    assert answer(told).headers["Retry-After"] == "5"


@pytest.mark.parametrize("document", [{}, {"title": 6}, {"problems": []}, {"detail": None, "hint": 1}, {"title": "TerraError"}])
def test_a_document_that_is_none_is_an_error_all_the_same(document: dict[str, object]) -> None:
    assert isinstance(error_of(document), TerraError)
