"""What a person reads of an error of the operating system: its words, and not its number."""

from __future__ import annotations

import ast
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from terra_core.errors import TerraError, words_of

ROOT = Path(__file__).parents[2]
OWN = frozenset({
    "OSError", "PermissionError", "FileNotFoundError", "FileExistsError", "NotADirectoryError", "IsADirectoryError",
    "ConnectionError", "ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError", "BlockingIOError", "TimeoutError",
})  # fmt: skip


def test_an_error_has_its_words_and_the_name_of_its_file() -> None:
    full = os.strerror(errno.ENOSPC)
    assert words_of(OSError(errno.ENOSPC, full)) == full
    assert words_of(OSError(errno.ENOSPC, full, "/srv/a")) == f"/srv/a: {full}"
    assert words_of(TimeoutError("timed out")) == "timed out"
    assert words_of(TerraError("message", hint="hint")) == "message\nhint"


def test_no_number_of_an_error_is_shown() -> None:
    found = []
    for top in (*ROOT.glob("terra_core"), *ROOT.glob("plugins/*/terra_*"), *ROOT.glob("apps/*/terra_*")):
        for path in top.rglob("*.py"):
            found += [f"{path.relative_to(ROOT)}:{line}" for line in shown_as_they_are(ast.parse(path.read_text()))]
    assert found == []


def test_what_is_found() -> None:
    text = """\
try:
    pass
except (ValueError, OSError) as e:
    f"{e}"
    str(e)
    e.strerror
except KeyError as e:
    str(e)
"""
    assert sorted(shown_as_they_are(ast.parse(text))) == [4, 5]


def shown_as_they_are(tree: ast.AST) -> Iterator[int]:
    """Yield the lines where an error that may be the operating system's is made text by itself."""
    for handler in ast.walk(tree):
        if isinstance(handler, ast.ExceptHandler) and handler.name and OWN & set(_names(handler.type)):
            for node in ast.walk(handler):
                shown: ast.expr | None = None
                if isinstance(node, ast.FormattedValue):
                    shown = node.value
                elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "str" and node.args:
                    shown = node.args[0]
                if isinstance(shown, ast.Name) and shown.id == handler.name:
                    yield shown.lineno


def _names(kind: ast.expr | None) -> Iterator[str]:
    if isinstance(kind, ast.Tuple):
        for part in kind.elts:
            yield from _names(part)
    elif isinstance(kind, ast.Name):
        yield kind.id
    elif isinstance(kind, ast.Attribute):
        yield kind.attr
