"""Tables on standard output."""

from __future__ import annotations

import sys

import pytest

from terra_core.cli.tables import print_table

HEAD = ("HOSTNAME", "TARGET")
ROWS = [("a", "iqn.2024.san.example.com.a:fs"), ("terra-02", "x")]
TABLE = "HOSTNAME   TARGET\na          iqn.2024.san.example.com.a:fs\nterra-02   x\n"
BLOCKS = "HOSTNAME   a\nTARGET     iqn.2024.san.example.com.a:fs\n\nHOSTNAME   terra-02\nTARGET     x\n"


@pytest.mark.parametrize(
    ("terminal", "columns", "expected"), [(False, 20, TABLE), (True, 20, BLOCKS), (True, 39, BLOCKS), (True, 40, TABLE)]
)
def test_what_does_not_fit_is_a_block_of_lines(
    terminal: bool, columns: int, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    print_table(HEAD, ROWS)
    assert capsys.readouterr().out == expected


def test_a_table_without_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEAD, [])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "5")
    print_table(HEAD, [])
    assert capsys.readouterr().out == "HOSTNAME   TARGET\n"
