"""What holds for every test: those in a folder named ``unit`` start no program."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

_STARTS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"})
_unit_test: list[str] = []


def _refuse(event: str, _: tuple[object, ...]) -> None:
    if _unit_test and event in _STARTS:
        raise AssertionError(f"{_unit_test[-1]} is a unit test and starts a program ({event})")


sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def no_programs_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuse to start programs while a unit test runs."""
    if "unit" not in request.path.parts:
        yield
        return
    _unit_test.append(request.node.nodeid)
    try:
        yield
    finally:
        _unit_test.pop()
