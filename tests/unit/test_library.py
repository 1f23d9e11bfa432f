"""The library: what ``import terra_core`` gives, what that costs, and what no module of it may do to its process."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import terra_core
from terra_core.create import Rendered

ROOT = Path(terra_core.__file__).parent
FOREIGN = ("cli", "pytest_plugin.py", "testing", "scaffold")
"""The commands, which speak to a person; what tests plugins; and the beginnings of plugins."""
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in FOREIGN)
CALLS = {
    "print", "input", "exit", "quit", "breakpoint",
    "sys.exit", "os._exit", "os.abort",
    "os.chdir", "os.fchdir", "os.chroot", "os.umask", "os.putenv", "os.unsetenv",
    "os.environ.update", "os.environ.setdefault", "os.environ.pop", "os.environ.clear",
    "signal.signal", "signal.setitimer", "signal.alarm", "signal.set_wakeup_fd", "signal.raise_signal",
    "sys.stdout.write", "sys.stderr.write", "sys.setrecursionlimit", "sys.setswitchinterval", "sys.settrace",
    "socket.setdefaulttimeout", "locale.setlocale", "logging.basicConfig", "logging.disable", "structlog.configure",
    "warnings.simplefilter", "warnings.filterwarnings", "gc.disable", "terminating", "interruptible", "faulthandler.enable",
}  # fmt: skip
ALLOWED = {
    # What commands and daemons ask for; a client only holds signals back while it does not know yet what to cancel.
    "system/signals.py": {"signal.signal", "signal.setitimer", "signal.raise_signal", "sys.unraisablehook"},
    "system/namespaces.py": {"os.fchdir", "os.chroot"},  # of the one thread that has these apart from all others
    "service/running.py": {"logging.basicConfig", "structlog.configure"},  # a daemon's own
    "controller/daemon.py": {"terminating"},
    "controller/portal_check.py": {"sys.exit"},  # a program of keepalived's, which imports nothing of Terra's
    "system/garbage.py": {"gc.disable"},  # until the end of its block, and where it was on
    "system/imports.py": {"sys.modules[name]"},  # while a daemon begins, and no module that is there
    "registry/pull.py": {"interruptible"},  # a function of registry/progress.py
}


def writes(text: str) -> Iterator[str]:
    """Yield what a module does to the process that it is in."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in CALLS:
            yield name
        elif isinstance(node, ast.Raise) and node.exc is not None and ast.unparse(node.exc).startswith("SystemExit"):
            yield "raise SystemExit"
        elif isinstance(node, ast.Global):
            yield f"global {', '.join(node.names)}"
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
            yield from (ast.unparse(one) for one in targets if ast.unparse(one).startswith(("os.environ", "sys.")))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_prints_ends_the_process_or_changes_it_for_others(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    found = set(writes(path.read_text())) - ALLOWED.get(place, set())
    assert found == set()


def test_what_is_found() -> None:
    text = "import os, sys\nprint(1)\nos.environ['A'] = '1'\ndel os.environ['A']\nraise SystemExit(1)\n"
    assert set(writes(text)) == {"print", "os.environ['A']", "raise SystemExit"}
    text = "def f():\n  global x\n  os.chdir('/')\n  signal.signal(1, f)\n"
    assert set(writes(text)) == {"global x", "os.chdir", "signal.signal"}


def test_every_public_name_is_there_and_typed() -> None:
    for name in terra_core.__all__:
        assert getattr(terra_core, name) is not None
        assert not isinstance(getattr(terra_core, name), types.ModuleType), f"{name} is a module, too, which would hide it"
    assert sorted(terra_core.__all__) == terra_core.__all__
    assert set(terra_core.__all__) <= set(dir(terra_core))
    (typed,) = (node for node in ast.parse((ROOT / "__init__.py").read_text()).body if ast.unparse(node).startswith("if TYPE"))
    imported = {alias.name for node in ast.walk(typed) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(terra_core.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        terra_core.nothing  # type: ignore[attr-defined]  # noqa: B018  # it is not there


@pytest.mark.parametrize("name", terra_core.__all__)
def test_no_public_name_is_that_of_a_module(name: str) -> None:
    assert not (ROOT / f"{name}.py").exists()
    assert not (ROOT / name).exists()


@pytest.mark.parametrize("name", [name for name in terra_core.__all__ if name != "Report"])
def test_every_public_name_is_explained(name: str) -> None:
    assert (getattr(terra_core, name).__doc__ or "").strip()


def test_the_page_shows_every_function() -> None:
    page = (ROOT.parent / "docs/library.md").read_text()
    functions = [name for name in terra_core.__all__ if isinstance(getattr(terra_core, name), types.FunctionType)]
    assert [name for name in functions if name not in page and name != "check_rendered"] == []


def test_several_documents_are_used_from_threads_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(number: int) -> Path:
        path = tmp_path / f"{number}.toml"
        path.write_text(
            f'hostname = "host-{number}"\nversion = "1"\nos = "x/y:1"\nrepo = "x"\n'
            f'[[netplan.interfaces]]\nname = "eth{number}"\naddresses = ["10.0.{number}.2/24"]\n'
        )
        return path

    def render(path: Path) -> Rendered:
        return terra_core.render_build(terra_core.load(path, terra_core.Server))

    monkeypatch.chdir(tmp_path)
    files = [write(number) for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(render, files))
    for number, rendered in enumerate(found):
        text = "\n".join(file.content.decode() for file in rendered.files)
        assert f"host-{number}\n" in text
        assert f"eth{number}:" in text
        assert f"10.0.{number}.2/24" in text
    assert Path.cwd() == tmp_path
