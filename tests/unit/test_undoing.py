"""Nothing that undoes can take the place of what failed: see docs/decisions/0022."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = (ROOT / "terra_core", ROOT / "lab", ROOT / "iso", *ROOT.glob("plugins/*/*/"), *ROOT.glob("apps/*/*/"))
SOURCES = sorted(path for place in PLACES if place.name != "tests" for path in place.rglob("*.py"))
HARMLESS = frozenset(
    {
        "append", "cancel", "cancelled", "close", "discard", "done", "end", "exception", "gather", "items", "join", "leave",
        "reset", "restore", "set", "shutdown", "signal", "tcsetattr", "tuple", "values",
    }
)  # fmt: skip
"""What a ``finally`` clause may call: it ends, closes or notes something, and fails for nothing outside of this process."""


def hazards(text: str) -> Iterator[str]:
    """Yield what could hide the first error behind an error of undoing."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and _name(node) == "ExitStack":
            yield f"line {node.lineno}: ExitStack: take terra_core.system.undo.Undo"
        if isinstance(node, ast.Try):
            for call in _calls(node.finalbody):
                if _name(call) not in HARMLESS and not _quiet(call):
                    yield f"line {call.lineno}: {ast.unparse(call)}: undo it by terra_core.system.undo.Undo, not by finally"


def _calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    waiting: list[ast.AST] = [*body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.With) and any(_suppresses(item.context_expr) for item in node.items):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting += ast.iter_child_nodes(node)


def _suppresses(context: ast.expr) -> bool:
    return isinstance(context, ast.Call) and _name(context) == "suppress"


def _quiet(call: ast.Call) -> bool:
    return any(word.arg == "ignore_errors" for word in call.keywords)


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_failed_first_is_what_is_told(path: Path) -> None:
    assert list(hazards(path.read_text())) == []


def test_what_is_found() -> None:
    assert list(hazards("try:\n  pass\nfinally:\n  umount(x)\n"))
    assert list(hazards("with ExitStack() as stack: pass"))
    assert not list(hazards("try:\n  pass\nfinally:\n  os.close(x)\n  with suppress(OSError):\n    x.unlink()\n"))
