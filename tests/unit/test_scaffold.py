"""Names that a new plugin cannot have, and places where it cannot go."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.errors import ConfigError, ConflictError
from terra_core.plugins import Plugins
from terra_core.scaffold import SCAFFOLDS, new_plugin


@pytest.mark.parametrize("name", ["core", "orbit", "hostname", "plugins", "port", "class", "a_", "a--b", "A", "", "a b"])
def test_a_name_that_no_plugin_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NAME: "):
        new_plugin(name, "store", tmp_path, plugins=Plugins({}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("role", "said"), [("kitchen", "is no role"), ("builder", r"no scaffold for builder .* read the plugin terra-docker, ")]
)
def test_a_role_that_there_is_nothing_for(role: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        new_plugin("paper", role, tmp_path, plugins=Plugins({}))


def test_a_plugin_that_is_installed_and_a_place_that_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="is installed"):
        new_plugin("file", "store", tmp_path)
    (tmp_path / "terra-paper").mkdir()
    with pytest.raises(ConflictError, match="is there already"):
        new_plugin("paper", "store", tmp_path, plugins=Plugins({}))


@pytest.mark.parametrize("role", SCAFFOLDS)
def test_nothing_is_left_to_fill_in(role: str, tmp_path: Path) -> None:
    for path in new_plugin("my-paper", role, tmp_path, plugins=Plugins({})):
        assert "@name@" not in path.read_text()
        assert "@" not in path.name
