"""The log of a daemon."""

from __future__ import annotations

import io
import logging
import sys

import pytest
import structlog

from terra_core.service.running import configure_logging


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
