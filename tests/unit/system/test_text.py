"""Text of others on its way to a terminal or a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terra_core.system.text import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with Umläute, 漢字 and emoji 🙂", "plain, with Umläute, 漢字 and emoji 🙂"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
        ("\x9b31m\x90q\x9c", "\\x9b31m\\x90q\\x9c"),
        ("over\rwritten\b\b", "over\\rwritten\\x08\\x08"),
        ("\u202egnp.exe\u2028next\ufeff", "\\u202egnp.exe\\u2028next\\ufeff"),
        ("not UTF-8: \udcff", "not UTF-8: \\udcff"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("one\r\ntwo\n\tthree", "one\ntwo\n\tthree"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_one_line_is_one_line() -> None:
    assert one_line("first\nError: second\tthird") == "first\\nError: second\\tthird"


@given(st.text(st.characters()))
def test_nothing_is_left_that_is_not_printable(text: str) -> None:
    assert one_line(text).isprintable()
    assert printable(text).replace("\n", "").replace("\t", "").isprintable()
