"""The log of a daemon."""

from __future__ import annotations

import io
import logging
import sys

import pytest
import structlog
from structlog.testing import capture_logs

from terra_core.errors import TerraError
from terra_core.service.running import Unending, configure_logging


def test_what_peers_said_is_escaped_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    configure_logging(debug=False)
    try:
        structlog.get_logger("x").info("pulled \x1b[2J", host="a\x1b]0;x\x07", said="one\nforged line")
        logging.getLogger("library").warning("said \x1b[31m%s", "\x9bm")
    finally:
        structlog.reset_defaults()
    text = out.getvalue()
    assert len(text.splitlines()) == 2
    assert text.replace("\n", "").isprintable()
    assert "host=a\\x1b]0;x\\x07" in text


def test_work_that_goes_on_failing_is_said_once_each_time_that_it_begins_to() -> None:
    work = Unending("it cannot be done")
    failures = (TerraError("full"), ValueError("odd"), None, TerraError("full again"))
    with capture_logs() as said:
        for failure in failures:
            with work.turn():
                if failure is not None:
                    raise failure
    assert {one["event"] for one in said} == {"it cannot be done"}
    assert [one["reason"] for one in said] == ["full", "full again"]
