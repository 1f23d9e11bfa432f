"""What a file decides: a role of another file, and a table that no one reads, are refused by the name of who decides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from terra_core.config.controller import Controller, Paths
from terra_core.config.loader import make_document
from terra_core.config.node import Node
from terra_core.config.server import Server
from terra_core.controller.daemon import make_services
from terra_core.create import create_image, render_build
from terra_core.errors import ConfigError
from terra_core.hookspecs import ROLES
from terra_core.install.use import installation
from terra_core.plugins import Plugins
from terra_core.selection import _DECIDED, CONTROLLER, INSTALLED, PROVISIONED, SERVER, Use, check_selection

USES = {"server": SERVER, "install": INSTALLED, "provision": PROVISIONED, "controller": CONTROLLER}
ALLOWED = {
    "server": {"network", "builder", "registry"},
    "install": {"registry", "filesystem", "bootloader"},
    "provision": {"filesystem"},
    "controller": {"registry", "filesystem", "store", "storage", "boot"},
}
ALL = frozenset(role.default for role in ROLES.values())


def refused(use: Use, chosen: Mapping[str, str], tables: tuple[str, ...] = (), beside: tuple[str, ...] = ()) -> list[str]:
    try:
        check_selection(use, chosen, tables, source="x.toml", beside=beside)
    except ConfigError as error:
        return list(error.problems)
    return []


def test_every_role_says_who_decides_it() -> None:
    assert set(_DECIDED) == set(ROLES)


@pytest.mark.parametrize("role", list(ROLES))
@pytest.mark.parametrize("use", list(USES))
def test_a_role_is_taken_where_it_is_decided_and_refused_elsewhere(use: str, role: str) -> None:
    problems = refused(USES[use], {role: "paper"})
    if role in ALLOWED[use]:
        assert problems == []
    else:
        (problem,) = problems
        assert problem.startswith(f"x.toml: plugins.{role}: {USES[use].file} does not decide who fills the role {role}: ")
        assert ".toml decides it" in problem


@pytest.mark.parametrize(
    ("use", "read"),
    [
        ("server", {"netplan", "docker"}),
        ("install", {"docker", "btrfs", "grub"}),
        ("provision", {"btrfs"}),
        ("controller", {"docker", "file", "iscsi", "tftp"}),
    ],
)
def test_a_table_is_taken_where_its_plugin_has_a_part(use: str, read: set[str]) -> None:
    problems = refused(USES[use], {}, tuple(ALL))
    assert [problem.split(": ")[1] for problem in problems] == sorted(ALL - read)
    assert all("nobody reads this table" in problem for problem in problems)


def test_the_table_of_the_plugin_that_is_selected_and_not_that_of_the_default() -> None:
    assert refused(PROVISIONED, {"filesystem": "paper"}, ("paper",)) == []
    (problem,) = refused(PROVISIONED, {"filesystem": "paper"}, ("paper", "btrfs"))
    assert problem.startswith("x.toml: btrfs: nobody reads this table")
    assert refused(PROVISIONED, {}, ("paper", "btrfs"), beside=("paper",)) == [], "a group may select another one"


def test_everything_is_said_at_once() -> None:
    problems = refused(SERVER, {"storage": "iscsi", "netwrok": "a", "boot": "tftp"}, ("iscsi", "grub"))
    assert [problem.split(": ")[1] for problem in problems] == [
        "plugins.storage", "plugins.netwrok", "plugins.boot", "grub", "iscsi",
    ]  # fmt: skip


NODE = {
    "hostname": "a", "image": "a/b:1", "groups": [{"label": "os", "disk": [{"device": "/dev/nothing"}]}],
}  # fmt: skip
TOLD = {"hostname": "a", "version": "1", "os": "terraos", "repo": "docker.io/b"}


@pytest.mark.parametrize("more", [{"plugins": {"storage": "iscsi"}}, {"iscsi": {}}])
def test_create_refuses_it(more: dict[str, object]) -> None:
    plugins = Plugins.discover()
    document = make_document({**TOLD, **more}, Server, source="server.toml", owners=plugins.names)
    for work in (create_image, render_build):
        with pytest.raises(ConfigError, match=r"server\.toml: (plugins\.storage|iscsi): "):
            work(document, plugins=plugins)


@pytest.mark.parametrize("more", [{"plugins": {"storage": "iscsi"}}, {"plugins": {"boot": "tftp"}}, {"netplan": {}}])
def test_installing_refuses_it_before_it_looks_at_any_disk(more: dict[str, object], tmp_path: Path) -> None:
    plugins = Plugins.discover()
    document = make_document({**NODE, **more}, Node, source="node.toml", owners=plugins.names)
    with (
        pytest.raises(ConfigError, match=r"node\.toml: (plugins\.storage|plugins\.boot|netplan): "),
        installation(document, paths=Paths(tmp_path), plugins=plugins),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [{"plugins": {"network": "netplan"}}, {"plugins": {"bootloader": "grub"}}, {"btrfs": {}}])
def test_the_controller_refuses_it_before_its_database_is_made(more: dict[str, object], tmp_path: Path) -> None:
    plugins = Plugins.discover()
    document = make_document(more, Controller, source="controller.toml", owners=plugins.names)
    with pytest.raises(ConfigError, match=r"controller\.toml: (plugins\.network|plugins\.bootloader|btrfs): "):
        make_services(document, document.value, Paths(tmp_path), plugins)
    assert list(tmp_path.iterdir()) == []
