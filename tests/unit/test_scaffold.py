"""Names that a new plugin cannot have, and places where it cannot go."""

from __future__ import annotations

import resource
import runpy
import shlex
import signal
from pathlib import Path

import importlib_metadata as metadata
import pytest
from click.testing import CliRunner

from terra_core.cli.plugin import command
from terra_core.config.structure import StructureError, structure
from terra_core.errors import ConfigError, ConflictError, TerraError
from terra_core.hookspecs import ROLES
from terra_core.installed import Installed
from terra_core.plugins import Plugins
from terra_core.scaffold import new_plugin


@pytest.mark.parametrize("name", ["core", "orbit", "hostname", "plugins", "class", "a_", "a--b", "A", "", "a b", "terra-paper"])
def test_a_name_that_no_plugin_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NAME: "):
        new_plugin(name, "store", tmp_path, plugins=Plugins({}))
    assert not list(tmp_path.iterdir())


def test_what_is_no_role(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no role"):
        new_plugin("paper", "kitchen", tmp_path, plugins=Plugins({}))


def test_a_plugin_that_is_installed_and_a_place_that_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="is installed"):
        new_plugin("file", "store", tmp_path)
    (tmp_path / "terra-paper").mkdir()
    with pytest.raises(ConflictError, match="is there already"):
        new_plugin("paper", "store", tmp_path, plugins=Plugins({}))


def test_two_names_of_one_python_package(tmp_path: Path) -> None:
    new_plugin("my-store", "store", tmp_path, plugins=Plugins({}))
    with pytest.raises(ConflictError, match="terra-my-store: is there already"):
        new_plugin("my_store", "store", tmp_path, plugins=Plugins({}))
    entry = metadata.EntryPoint("my-store", "terra_my_store:plugin", "terra.plugins")
    installed = Plugins({"my-store": Installed("my-store", "terra-my-store", "1", entry)})
    with pytest.raises(ConflictError, match=r"'my-store' .* is installed, as the Python package terra_my_store"):
        new_plugin("my_store", "store", tmp_path / "elsewhere", plugins=installed)


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_left_to_fill_in(role: str, tmp_path: Path) -> None:
    for path in new_plugin("my-paper", role, tmp_path, plugins=Plugins({})):
        assert "@name@" not in path.read_text()
        assert "@" not in path.name


def test_a_disk_that_is_full_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # write(2) fails in the midst, as on a full disk
    try:
        with pytest.raises(TerraError, match="terra-paper: File too large"):
            new_plugin("paper", "storage", tmp_path, plugins=Plugins({}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_can_be_pasted(tmp_path: Path) -> None:
    place = tmp_path / "two words"
    done = CliRunner().invoke(command, ["new", "paper", "--role", "storage", "--directory", str(place)])
    package = place / "terra-paper"
    words = ["pip", "install", "--editable", f"{package}[testing]", "&&", "pytest", str(package)]
    assert shlex.split(done.stderr.splitlines()[-1]) == words


def test_a_port_that_is_none_is_said_of_its_own_key(tmp_path: Path) -> None:
    new_plugin("paper", "storage", tmp_path, plugins=Plugins({}))
    made = runpy.run_path(str(tmp_path / "terra-paper/terra_paper/__init__.py"))
    with pytest.raises(StructureError, match=r"^first_port: "):
        structure({"first_port": 0}, made["Settings"])
