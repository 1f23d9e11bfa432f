"""What libraries log a thousand times is logged once."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from terra_core.service.repeats import Repeats


@pytest.fixture
def lines() -> list[str]:
    """Return the list of logged lines."""
    return []


@pytest.fixture
def logger(lines: list[str]) -> logging.Logger:
    """Return a logger as a daemon has it."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Handler()
    handler.addFilter(Repeats())
    logger = logging.Logger("terra.test")
    logger.addHandler(handler)
    return logger


def test_whatever_a_peer_puts_into_it_one_kind_is_logged_once(logger: logging.Logger, lines: list[str]) -> None:
    for at in range(1000):
        logger.warning("invalid request %s", at)
    logger.warning("something else")
    assert lines == ["invalid request 0", "something else"]


def test_after_a_minute_it_is_logged_again_with_how_many_there_were(
    logger: logging.Logger, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("terra_core.service.repeats.time", SimpleNamespace(monotonic=lambda: now))
    for _ in range(3):
        for _ in range(5):
            logger.error("no file is left")
        now += 61
    again = "no file is left (and 4 more of these since)"
    assert lines == ["no file is left", again, again]
