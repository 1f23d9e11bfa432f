"""What imports find while a module is made absent."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from terra_core.system.imports import absent


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a module that was not imported yet."""
    (tmp_path / "coloured.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "coloured", raising=False)
    return "coloured"


def test_it_is_not_found_meanwhile_and_is_found_afterwards(module: str) -> None:
    with absent(module), pytest.raises(ModuleNotFoundError):
        importlib.import_module(module)
    assert importlib.import_module(module)


def test_a_failure_leaves_it_to_be_found(module: str) -> None:
    with pytest.raises(ZeroDivisionError), absent(module):
        _ = 1 / 0
    assert importlib.import_module(module)


def test_one_that_is_imported_already_stays(module: str) -> None:
    former = importlib.import_module(module)
    with absent(module):
        assert importlib.import_module(module) is former
    assert sys.modules[module] is former
