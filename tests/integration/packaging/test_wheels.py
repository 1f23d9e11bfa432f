"""Terra from its wheels, in an environment with nothing else in it; and somebody else's plugin beside it."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from attrs import frozen

from lab.databases import contents, restore
from terra_core.hookspecs import ROLES
from terra_core.system.process import Completed, run

ROOT = Path(__file__).parents[3]
PAPER = ROOT / "tests/third_party/terra_paper"
UV = Path(sys.executable).with_name("uv")
INDEX = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_"))}
SERVER = (
    'hostname = "example"\nversion = "6"\nos = "docker.io/stellarproject/terraos:v11"\nrepo = "docker.io/stellarproject"\n'
    '[plugins]\nnetwork = "paper"\n[paper]\nlines = {lines}\n'
)


@frozen
class Environment:
    """A virtual environment of its own."""

    path: Path

    def install(self, *wheels: Path) -> None:
        python = self.path / "bin/python"
        uv("pip", "install", "--quiet", "--python", python, "--constraint", ROOT / "constraints.txt", *wheels)

    def terra(self, *words: str | Path, accept: Collection[int] = (0,)) -> Completed:
        return run([self.path / "bin/terra", *words], accept=accept, cwd=self.path)


def uv(*words: str | Path) -> None:
    run([UV, *words], timeout=300, env=INDEX, cwd=ROOT)


def make_environment(path: Path, *wheels: Path) -> Environment:
    uv("venv", "--quiet", "--no-project", "--python", sys.executable, path)
    environment = Environment(path)
    environment.install(*wheels)
    return environment


@pytest.fixture(scope="module", autouse=True)
def no_locks_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """uv leaves lock files where temporary files go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("locks")))
        yield


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build a wheel of every package of the workspace."""
    directory = tmp_path_factory.mktemp("wheels")
    uv("build", "--quiet", "--wheel", "--all-packages", "--out-dir", directory)
    return sorted(directory.glob("*.whl"))


@pytest.fixture(scope="module")
def terra(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Terra with all plugins that fill its roles; Orbit would bring what a daemon needs."""
    chosen = [wheel for wheel in wheels if not wheel.name.startswith("terra_orbit-")]
    return make_environment(tmp_path_factory.mktemp("terra") / "venv", *chosen)


@pytest.fixture(scope="module")
def beside(terra: Environment, wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Install the same with Orbit, and with a third party's plugin from a wheel of its own."""
    directory = tmp_path_factory.mktemp("paper")
    uv("build", "--quiet", "--wheel", "--out-dir", directory, PAPER)
    return make_environment(tmp_path_factory.mktemp("beside") / "venv", *wheels, *directory.glob("*.whl"))


def version_of(pyproject: Path) -> str:
    return str(tomllib.loads(pyproject.read_text())["project"]["version"])


def packages() -> list[Path]:
    return [ROOT, *(path.parent for top in ("plugins", "apps") for path in sorted(ROOT.glob(f"{top}/*/pyproject.toml")))]


def server_toml(directory: Path, lines: str = '["plug the cable in"]') -> Path:
    path = directory / "server.toml"
    path.write_text(SERVER.format(lines=lines))
    return path


def test_every_package_builds_a_wheel(wheels: list[Path]) -> None:
    names = {"terra_core", *(path.name for path in packages()[1:])}
    assert {wheel.name.partition("-")[0] for wheel in wheels} == names


def brought(package: Path) -> dict[str, tuple[str, str]]:
    """Return the distribution and version of every plugin that a package brings, by the plugin's name."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    return dict.fromkeys(project.get("entry-points", {}).get("terra.plugins", {}), (project["name"], project["version"]))


def test_the_wheels_alone_list_every_role_with_its_plugins(terra: Environment) -> None:
    rows = json.loads(terra.terra("plugins", "--json").text)
    assert list(dict.fromkeys(row["role"] for row in rows)) == list(ROLES)
    assert [(row["role"], row["name"]) for row in rows if row["selected"]] == [(r.role, r.default) for r in ROLES.values()]
    found = {row["name"]: (row["distribution"], row["version"]) for row in rows}
    assert found == {name: by for package in packages() for name, by in brought(package).items()}


def test_the_table_for_people_says_the_same(terra: Environment) -> None:
    rows = json.loads(terra.terra("plugins", "--json").text)
    head, *lines = (line.split() for line in terra.terra("plugins").text.splitlines())
    assert head == ["ROLE", "NAME", "DISTRIBUTION", "VERSION", "SELECTED"]
    words = [[row["role"], row["name"], row["distribution"], row["version"]] for row in rows]
    assert lines == [[*word, *(["yes"] if row["selected"] else [])] for word, row in zip(words, rows, strict=True)]


def test_the_version_is_the_wheels(terra: Environment) -> None:
    assert terra.terra("--version").text == f"terra, version {version_of(ROOT / 'pyproject.toml')}\n"


def test_the_installer_comes_with_them(terra: Environment) -> None:
    shown = run([terra.path / "bin/terra-install", "--version"], cwd=terra.path).text
    assert shown == f"terra-install, version {version_of(ROOT / 'pyproject.toml')}\n"


def test_the_commands_of_plugins_come_with_their_wheels(beside: Environment) -> None:
    for command, package in (("vab", "plugins/terra_docker"), ("ob", "apps/terra_orbit")):
        shown = run([beside.path / "bin" / command, "--version"], cwd=beside.path).text
        assert shown == f"{command}, version {version_of(ROOT / package / 'pyproject.toml')}\n"


@pytest.mark.parametrize(
    ("dump", "program"),
    [
        ("tests/unit/controller", "from terra_core.controller.database import open_database as open_it"),
        ("apps/terra_orbit/tests/unit", "from terra_orbit.agent.store import Store as open_it"),
    ],
)
def test_the_wheels_migrate_databases_of_their_daemons(beside: Environment, tmp_path: Path, dump: str, program: str) -> None:
    database = tmp_path / "former.db"
    restore(ROOT / dump / "dumps/schema-1.sql", database)
    run([beside.path / "bin/python", "-c", f"{program}\nopen_it('sqlite:///{database}')"], cwd=beside.path)
    assert any("alembic_version" in statement for statement in contents(database))


def test_somebody_elses_plugin_is_listed_beside_the_default(beside: Environment, tmp_path: Path) -> None:
    def network(*more: str | Path) -> list[tuple[str, str, str, bool]]:
        rows = json.loads(beside.terra("plugins", "--json", *more).text)
        return [(row["name"], row["distribution"], row["version"], row["selected"]) for row in rows if row["role"] == "network"]

    version = {name: version_of(ROOT / f"plugins/terra_{name}/pyproject.toml") for name in ("netplan", "networkd")}
    assert network() == [
        ("netplan", "terra-netplan", version["netplan"], True),
        ("networkd", "terra-networkd", version["networkd"], False),
        ("paper", "terra-paper", "2.5.0", False),
    ]
    chosen = network("--config", server_toml(tmp_path))
    assert chosen == [
        ("netplan", "terra-netplan", version["netplan"], False),
        ("networkd", "terra-networkd", version["networkd"], False),
        ("paper", "terra-paper", "2.5.0", True),
    ]


def test_somebody_elses_plugin_renders_when_toml_selects_it(beside: Environment, tmp_path: Path) -> None:
    text = beside.terra("create", "--dry", server_toml(tmp_path)).text
    assert "--- /etc/paper.note (0640 root:root)\nexample\nplug the cable in\n" in text
    assert "netplan" not in text


def test_the_errors_in_its_table_read_like_cores(beside: Environment, tmp_path: Path) -> None:
    path = server_toml(tmp_path, '"plug the cable in"')
    done = beside.terra("create", "--dry", path, accept=[2])
    assert done.stdout == b""
    assert f'{path}: paper.lines: expected a list, got "plug the cable in"' in done.stderr.decode()


def test_where_it_is_not_installed_the_error_says_how_to_get_it(terra: Environment, tmp_path: Path) -> None:
    path = server_toml(tmp_path)
    errors = terra.terra("create", "--dry", path, accept=[2]).stderr.decode()
    assert f"{path}: paper: neither a key of this file (" in errors
    path.write_text(path.read_text().partition("[paper]")[0])
    errors = terra.terra("create", "--dry", path, accept=[2]).stderr.decode()
    assert f"{path}: plugins.network: 'paper', the plugin for the role network, is not installed (installed: " in errors
    assert "install what brings it, or choose another" in errors
    assert "terra-paper" not in errors, "a name that nobody owns is offered to nobody"
    assert "Traceback" not in errors


def test_the_controller_says_what_it_lacks_where_only_the_commands_are_installed(terra: Environment, tmp_path: Path) -> None:
    errors = terra.terra("controller", "--root", tmp_path / "root", accept=[1]).stderr.decode()
    assert errors.startswith("Error: the controller needs ")
    assert "-m pip install 'terra-core[service]'" in errors
    assert not (tmp_path / "root").exists()
