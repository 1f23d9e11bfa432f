"""The floors of the house, as ``.importlinter`` draws them."""

from __future__ import annotations

import ast
from configparser import ConfigParser
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]
PLUGINS = {path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")}
APPLICATIONS = {path.parent.name for path in ROOT.glob("apps/*/pyproject.toml")}


@pytest.fixture
def drawn() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / ".importlinter")
    return parser


def test_the_floors_hold(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = lint_imports(config_filename=str(ROOT / ".importlinter"), no_cache=True)
    assert code == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_lines_are_split_in_one_place() -> None:
    packages = [ROOT / "terra_core", *(path for top in ("plugins", "apps") for path in ROOT.glob(f"{top}/*/terra_*/"))]
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in packages
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "splitlines"
    ]
    assert found == [], "splitlines ends a line where no other program does: take terra_core.system.reading.lines_of"


@pytest.mark.parametrize(
    ("contract", "key", "expected"),
    [
        ("importlinter", "root_packages", PLUGINS | APPLICATIONS | {"iso", "lab"}),
        ("importlinter:contract:plugins", "source_modules", PLUGINS),
        ("importlinter:contract:applications", "source_modules", APPLICATIONS),
        ("importlinter:contract:strangers", "modules", PLUGINS),
        ("importlinter:contract:guests", "source_modules", PLUGINS),
        ("importlinter:contract:guests", "forbidden_modules", APPLICATIONS),
        ("importlinter:contract:public", "source_modules", APPLICATIONS),
        ("importlinter:contract:public", "forbidden_modules", PLUGINS),
        ("importlinter:contract:core", "forbidden_modules", PLUGINS | APPLICATIONS),
        ("importlinter:contract:programs", "source_modules", PLUGINS | APPLICATIONS),
    ],
)
def test_every_plugin_and_application_is_held_to_them(drawn: ConfigParser, contract: str, key: str, expected: set[str]) -> None:
    assert set(drawn[contract][key].split()) - {"terra_core"} == expected


def test_a_plugin_may_import_what_plugins_may_and_nothing_that_comes_later(drawn: ConfigParser) -> None:
    allowed = {"hookspecs", "building", "config", "image", "oci", "registry", "system", "errors"}
    core = {path.stem for path in (ROOT / "terra_core").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    forbidden = drawn["importlinter:contract:plugins"]["forbidden_modules"].split()
    assert {f"terra_core.{name}" for name in core - allowed - {"__init__"}} == set(forbidden)
