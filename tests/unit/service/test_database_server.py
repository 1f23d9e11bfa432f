"""What errors of a database server mean, and what is said of them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import DBAPIError

from terra_core.errors import ConfigError, TerraError
from terra_core.service.database import explained, open_engine
from terra_core.service.database_server import DatabaseAway, for_libpq, options_of
from terra_core.service.room import DatabaseFull

URL = "postgresql+psycopg://terra:a-secret@db.example/terra"


def explanation_of(error: psycopg.Error, *, cut: bool = False) -> TerraError:
    raised = DBAPIError.instance("a statement", {"a": "value"}, error, psycopg.Error, connection_invalidated=cut)
    with pytest.raises(TerraError) as caught, explained(create_engine(URL)):
        raise raised
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("connection failed: to db.example, port 5432 failed:\n\tConnection refused"),
        errors.AdminShutdown("terminating connection due to administrator command"),
        errors.CannotConnectNow("the database system is starting up"),
        errors.TooManyConnections("sorry, too many clients already"),
        errors.ConnectionFailure("the connection was lost"),
        errors.QueryCanceled("canceling statement due to statement timeout"),
        errors.LockNotAvailable("canceling statement due to lock timeout"),
        errors.DeadlockDetected("deadlock detected"),
        errors.SerializationFailure("could not serialize access"),
        errors.ReadOnlySqlTransaction("cannot execute INSERT in a read-only transaction"),
        errors.IdleInTransactionSessionTimeout("terminating connection due to idle-in-transaction timeout"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_is_worth_another_try(error: psycopg.Error) -> None:
    told = explanation_of(error)
    assert type(told) is DatabaseAway
    said = " ".join(str(error).split())
    assert told.message == f"postgresql+psycopg://***@db.example/terra: the database does not answer now: {said}"


def test_a_connection_that_is_cut_is_worth_another_try_whatever_it_says() -> None:
    assert type(explanation_of(psycopg.InterfaceError("the connection is closed"), cut=True)) is DatabaseAway


def test_what_does_not_pass_is_said_as_what_it_is() -> None:
    assert type(explanation_of(errors.DiskFull("could not extend file"))) is DatabaseFull
    assert type(explanation_of(errors.NumericValueOutOfRange("integer out of range"))) is ConfigError
    for error in (errors.InsufficientPrivilege("permission denied for table nodes"), errors.UndefinedTable("no such table")):
        told = explanation_of(error)
        assert type(told) is TerraError
        assert told.hint == "look at the database, and at what its user may do there"


def test_numbers_of_errors_are_not_said() -> None:
    told = explanation_of(psycopg.OperationalError("failed to resolve host 'x': [Errno -2] Name or service not known"))
    assert told.message.endswith("failed to resolve host 'x': Name or service not known")


def test_options_of_the_url_are_not_replaced() -> None:
    options = options_of(make_url(f"{URL}?connect_timeout=60&application_name=mine"))["connect_args"]
    assert "connect_timeout" not in options
    assert "application_name" not in options
    assert options["client_encoding"] == "utf8"


def test_no_url_takes_the_encoding_that_has_all_characters_away() -> None:
    assert options_of(make_url(f"{URL}?client_encoding=latin1"))["connect_args"]["client_encoding"] == "utf8"
    assert for_libpq(make_url(f"{URL}?client_encoding=latin1"), {}) == {"client_encoding": "utf8"}
    assert for_libpq(make_url("sqlite:////x"), {"connect_timeout": 1}) == {}


@pytest.mark.parametrize("option", ["autocommit=true", "prepare_threshold=0", "row_factory=x", "context=x", "cursor_factory=x"])
def test_what_the_driver_takes_as_an_object_is_no_option_of_a_url(option: str) -> None:
    with pytest.raises(TerraError, match=f"the URL has the option {option.partition('=')[0]}") as caught:
        open_engine(f"{URL}?{option}")
    assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql+pg8000", "postgresql+psycopg2", "mysql+pymysql"])
def test_a_driver_that_is_missing_is_named_with_what_to_install(scheme: str) -> None:
    with pytest.raises(TerraError, match="the driver of the database cannot be used: No module named") as caught:
        open_engine(f"{scheme}://terra:a-secret@db.example/terra")
    assert "pip install 'terra-core[service,postgresql]'" in caught.value.hint
    assert "a-secret" not in str(caught.value)
