"""What the contract promises of a plugin of any role."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import importlib_metadata as metadata
import pytest
from attrs import frozen

from terra_core.config.controller import Paths
from terra_core.config.schema import schema_of
from terra_core.config.session import Session
from terra_core.errors import ConfigError
from terra_core.hookspecs import Role
from terra_core.installed import Installed
from terra_core.plugins import Plugins

_DEADLINE_SECONDS = 120
E = TypeVar("E")
R = TypeVar("R", bound=Role)


@frozen
class _Entry:
    """The entry point of a plugin that is loaded already."""

    plugin: object

    def load(self) -> object:
        """Return the plugin, as an entry point does."""
        return self.plugin


class Conformance(Generic[R]):
    """The promises of every plugin; each role's own class adds to them.

    :cvar plugin: the plugin: the instance that its entry point loads.
    :cvar name: its name, which is that of its table too.
    :cvar tables: the plugins' tables of the TOML file.
    :cvar reads_table: whether the plugin has a table; one that has none reads nothing.
    """

    plugin: ClassVar[object]
    name: ClassVar[str]
    tables: ClassVar[Mapping[str, object]] = {}
    reads_table: ClassVar[bool] = True
    _role: ClassVar[type[Role]]

    @pytest.fixture
    def surroundings(self) -> None:
        """Put up what the plugin needs around it, such as a network namespace. To be overridden."""

    @pytest.fixture
    def root(self) -> Iterator[Path]:
        """Return the root of the session, which is not there yet: a short path, for sockets, which everybody can reach."""
        with tempfile.TemporaryDirectory(prefix="terra-") as place:
            Path(place).chmod(0o755)
            yield Path(place, "root")

    @pytest.fixture
    def session(self, root: Path, surroundings: None) -> Session:
        """Return a session with a root of its own, which nobody else uses."""
        return Session(source="test.toml", tables=self.tables, paths=Paths(root))

    @pytest.fixture
    def role(self) -> R:
        """Return the plugin as core asks it: every answer is checked to its last field."""
        return cast(R, self.filled())

    def filled(self) -> Role:
        """Return the plugin as it fills the role.

        :raises PluginError: when it does not.
        """
        return self.installed().named(self._role, self.name, source="test.toml")

    def installed(self) -> Plugins:
        """Return the plugin as the only one that is installed."""
        entry = cast(metadata.EntryPoint, _Entry(self.plugin))
        return Plugins({self.name: Installed(self.name, f"terra-{self.name}", "0", entry)})

    def use(self, role: R, session: Session) -> None:
        """Ask the plugin something for which it has to read its table. To be overridden by each role."""
        raise NotImplementedError

    def test_it_fills_the_role_and_is_made_for_this_contract(self) -> None:
        assert self.filled().plugin == self.name

    def test_a_key_that_its_table_does_not_know_is_refused_by_name(self, role: R, session: Session) -> None:
        model = self.installed().settings(self.name)
        if not self.reads_table:
            assert model is None, "a plugin without a table says no settings"
            return
        assert model is not None, "settings say the model of its table: without them, a table of its name is refused"
        assert schema_of(model, {}), "the types of its fields can be described"
        wrong = Session(source="wrong.toml", tables={self.name: {"no-such-key": 1}}, paths=session.paths)
        with pytest.raises(ConfigError) as caught:
            self.use(role, wrong)
        assert "wrong.toml" in str(caught.value), "the error names the file"
        assert "no-such-key" in str(caught.value), "and the key"


def everything(root: Path) -> dict[str, tuple[int, int]]:
    """Return all that is below a directory: the mode and size of each path; nothing when it is not there."""
    found = {}
    for path in sorted(root.rglob("*")) if root.exists() else ():
        status = path.lstat()
        found[str(path.relative_to(root))] = (status.st_mode, status.st_size)
    return found


def killed_after(work: Callable[[], Any]) -> None:
    """Do work in a process of its own that is killed with SIGKILL right after it, and all of its process group with it.

    :param work: may end itself earlier by :func:`die`.
    :raises AssertionError: when the work failed.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_DEADLINE_SECONDS)
        try:
            work()
        except BaseException:  # the parent reports the failure
            os._exit(1)
        die()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the work that was to be killed failed by itself"
    assert os.WTERMSIG(status) == signal.SIGKILL, f"the work did not come to where it was to be killed in {_DEADLINE_SECONDS} s"


def die() -> None:
    """End the work of :func:`killed_after` at once, with every program that it has started and that is no daemon."""
    os.killpg(0, signal.SIGKILL)


def killed_within(offer: Callable[[], AbstractContextManager[E]], work: Callable[[E], Any] = lambda entered: None) -> None:
    """Enter what a hook offers in a process of its own that is killed with SIGKILL while it is entered.

    :param work: what is done before that, with what entering gave.
    :raises AssertionError: when entering it or the work failed.
    """

    def inside() -> None:
        with offer() as entered:
            work(entered)
            die()

    killed_after(inside)


def assert_is_script(script: str) -> None:
    """Check that a boot step's script is one that sh(1) can read."""
    from terra_core.system.process import run

    run(["sh", "-n"], stdin=script.encode())
