"""Where volumes are planned to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import ConfigError, TerraError
from terra_core.hookspecs import Volume, VolumeRequest
from terra_file import plugin
from terra_file.settings import Settings

REQUEST = VolumeRequest(hostname=Hostname("terra-test-no-such-host"), number=3, size=128000)


def session(root: Path, **table: object) -> Session:
    return Session(source="controller.toml", tables={"file": table}, paths=Paths(root))


def test_on_a_whole_machine() -> None:
    planned = plugin.plan_volume(REQUEST, session(Path("/")))
    assert planned == Volume(name="/iscsi/terra-test-no-such-host/3.lun", size=128000)


def test_in_another_directory_below_another_root(tmp_path: Path) -> None:
    planned = plugin.plan_volume(REQUEST, session(tmp_path, directory="/srv/volumes"))
    assert planned.name == f"{tmp_path}/srv/volumes/terra-test-no-such-host/3.lun"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a,b", "a b", "a\nb", "$(x)", "a;b"])
def test_below_a_root_that_no_transport_can_be_told_of(name: str, tmp_path: Path) -> None:
    with pytest.raises(TerraError, match="volumes need a path of letters, digits"):
        plugin.plan_volume(REQUEST, session(tmp_path / name))


@pytest.mark.parametrize(
    ("table", "asked", "full"),
    [({}, None, False), ({}, True, True), ({"allocation": "full"}, None, True), ({"allocation": "full"}, False, False)],
)
def test_who_decides_when_a_disk_takes_its_room(
    table: dict[str, object], asked: bool | None, full: bool, tmp_path: Path
) -> None:
    assert plugin.plan_volume(evolve(REQUEST, full=asked), session(tmp_path, **table)).full is full


@pytest.mark.parametrize(("reserve", "kept"), [("5%", 50), ("0%", 0), ("99%", 990), ("3MiB", 3 * 1024 * 1024)])
def test_how_much_is_kept_free(reserve: str, kept: int) -> None:
    assert Settings(reserve=reserve).reserved(1000) == kept


@pytest.mark.parametrize("reserve", ["", "100%", "-5%", "5 %", "much", "5%%", "1e3"])
def test_a_reserve_that_is_none(reserve: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"controller.toml: file\.reserve: expected a share such as \"5%\""):
        plugin.plan_volume(REQUEST, session(tmp_path, reserve=reserve))


@pytest.mark.parametrize(
    "table",
    [{"directory": "srv"}, {"directory": "/srv/../etc"}, {"directory": 1}, {"place": "/srv"}, {"allocation": "fat"}],
)
def test_a_table_that_is_wrong(table: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"controller.toml: file\."):
        plugin.plan_volume(REQUEST, session(tmp_path, **table))
