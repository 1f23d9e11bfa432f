"""Checks for every test of Terra: unit tests start no program, and the others leave nothing behind.

A pytest plugin; the ``conftest.py`` at the top of the repository names it, so that it holds for the tests of plugins too.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.isolation import Isolation, isolated
from lab.leaks import Leaks, difference, snapshot
from lab.suite import choose
from terra_core.errors import TerraError
from terra_core.system.process import run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

_STARTS = frozenset({
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
})  # fmt: skip
_REAL = frozenset({"integration", "vm"})
_SETTLE = 5.0
_outliving: set[str] = set()
"""The things that fixtures of a wider scope than a module have made."""
_reported: set[str] = set()
"""The things that were reported for a module already."""


class _Guard:
    """An audit hook that notices every start of a program; audit hooks cannot be removed, so it can be lifted."""

    def __init__(self) -> None:
        self.closed = False
        self.refused: list[str] = []
        self._installed = False

    def install(self) -> None:
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._audit)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Let programs be started, for what is not the test's."""
        closed, self.closed = self.closed, False
        try:
            yield
        finally:
            self.closed = closed

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.closed and event in _STARTS:
            what = f"a unit test started a program: {event}{arguments[:2]!r}"
            self.refused.append(what)
            pytest.fail(f"{what}\nmove the test to tests/integration, or test the part that decides, not the part that does")


_guard = _Guard()


def pytest_configure() -> None:
    """Set the guard up, and choose what base images are made of."""
    _guard.install()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell ignores it for runs in the background, and tests send it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    choose()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Guard the fixtures of a unit test; not their end, which may be that of other tests' fixtures too."""
    yield from _guarded(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a unit test that starts a program, also when it does so in a thread or swallows the error."""
    yield from _guarded(item)


def _guarded(item: pytest.Item) -> Generator[None, None, None]:
    _guard.refused.clear()
    _guard.closed = _below(item.config, item.path, {"unit"})
    try:
        yield
    finally:
        _guard.closed = False
    if _guard.refused:
        pytest.fail("\n".join(_guard.refused))


@pytest.fixture(autouse=True, scope="module")
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a module of integration or virtual machine tests that leaves something behind.

    What fixtures of a wider scope made is checked at the end of the run. What other processes of the machine do meanwhile does
    not count; see :mod:`lab.isolation`.
    """
    if not _below(request.config, request.path, _REAL):
        yield
        return
    before = snapshot()
    yield
    _expect_nothing(before, _outliving, f"{request.path.name} left behind")


@pytest.fixture(autouse=True, scope="session")
def _nothing_left_at_all(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Check the same for the whole run, fixtures of a wider scope included, in mounts and a TMPDIR of its own."""
    if not any(_below(request.config, item.path, _REAL) for item in request.session.items):
        yield
        return
    with Undo() as resources:
        with _guard.lifted():  # the first test of the run may be a unit test
            resources.enter_context(isolated([tmp_path_factory.getbasetemp()]))
        before = snapshot()
        yield
        _expect_nothing(before, _reported, "the run left behind")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
    """Keep in mind what a fixture that outlives its module puts up."""
    if fixturedef.scope not in ("session", "package") or Isolation.current is None:
        return (yield)
    before = snapshot()
    result = yield
    _outliving.update(difference(before, snapshot()))
    return result


@pytest.fixture(scope="session")
def lab_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an ssh key pair; return the private key, whose public half has ``.pub`` added to its name."""
    key = tmp_path_factory.mktemp("ssh") / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "terra-lab", "-f", key])
    return key


def _below(config: pytest.Config, path: Path, directories: Set[str]) -> bool:
    """Return whether ``path`` is in one of ``directories`` of the repository, wherever the repository is."""
    return path.is_relative_to(config.rootpath) and bool(directories & set(path.relative_to(config.rootpath).parts))


def _expect_nothing(before: Leaks, excused: set[str], what: str) -> None:
    def left() -> list[str]:
        return [line for line in difference(before, snapshot()) if line not in excused]

    try:
        wait_until(lambda: not left(), seconds=_SETTLE, what="everything to be gone")
    except TerraError:
        lines = left()
        _reported.update(lines)
        message = "\n  ".join([f"{what}:", *lines])
        pytest.fail(message)
