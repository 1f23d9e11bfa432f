"""Machines whose disks come from plugins that controller.toml does not select any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from terra_core.config.controller import Controller, Paths
from terra_core.config.loader import make_document
from terra_core.config.values import PluginName
from terra_core.controller import daemon
from terra_core.controller.machines import Machines
from terra_core.controller.services import Services
from terra_core.errors import ConfigError, TerraError
from terra_core.plugins import Plugins
from tests.unit.controller.fakes import ROLES, Site, World, fake_plugins, make_site

OTHER = {**ROLES, "storage": PluginName("other"), "store": PluginName("other")}
NAME = "iqn.2024.san.example.cm-01:fs"


def switched(site: Site, plugins: Plugins) -> Site:
    """Return the next controller, which selects other plugins."""
    services = Services(
        config=Controller(plugins=OTHER), session=site.services.session, plugins=plugins, store=site.services.store
    )
    machines = Machines(services)
    machines.unfinished()
    return evolve(site, services=services, machines=machines)


@pytest.fixture
def other() -> World:
    """Return what the other plugin does."""
    return World()


@pytest.fixture
def after(site: Site, world: World, other: World) -> Site:
    """Return a controller whose only machine was made by plugins that it does not select any more."""
    site.provision()
    world.storage_runs = False
    return switched(site, fake_plugins(world, other=other))


def test_its_target_is_exported_by_the_plugin_that_made_it(after: Site, world: World, other: World) -> None:
    assert after.machines.start_storage()
    assert world.storage_runs
    assert other.storage_runs, "new machines get their disks from there"
    after.machines.restore()
    assert list(world.exported) == [NAME]
    assert other.exported == {}
    assert after.store.get("cm-01").problem == ""


def test_it_is_listed_and_deleted(after: Site, world: World, other: World) -> None:
    assert after.store.get("cm-01").as_row()["disk_groups"][0]["target"]["iqn"] == NAME
    after.delete()
    assert after.left() == []
    assert "release_target" in world.calls
    assert "remove_volume" in world.calls
    assert not {"release_target", "remove_volume"} & set(other.calls)


def test_a_new_machine_comes_from_the_selected_one(after: Site, world: World, other: World) -> None:
    after.provision(hostname="cm-02", mac="02:00:00:00:00:02")
    assert list(other.exported) == ["iqn.2024.san.example.cm-02:fs"]
    (kept,) = after.store.get("cm-02").targets
    assert (kept.storage, kept.store) == ("other", "other")


def test_a_plugin_that_is_gone_is_named_for_its_machines_and_keeps_no_other_down(site: Site, other: World) -> None:
    site.provision()
    found = fake_plugins(site.world, other=other)
    after = switched(site, Plugins({name: one for name, one in found.installed.items() if name == "other"}))
    after = evolve(after, services=evolve(after.services, config=Controller(plugins=dict.fromkeys(ROLES, PluginName("other")))))
    machines = Machines(after.services)
    machines.unfinished()
    assert machines.start_storage()
    machines.restore()
    assert "'fake', the plugin for the role store, is not installed" in site.store.get("cm-01").problem
    with pytest.raises(TerraError, match="'fake', the plugin for the role"):
        machines.delete(site.store.begin_delete("cm-01"), lambda event: None)
    assert site.store.get("cm-01").problem.startswith("cannot be taken away")


@pytest.mark.parametrize(("made", "taken"), [(True, True), (False, False)])
def test_its_table_is_read_as_long_as_there_is_such_a_machine(
    made: bool, taken: bool, tmp_path: Path, world: World, other: World
) -> None:
    paths = Paths(tmp_path / "root")
    site = make_site(paths.root, world)
    if made:
        site.provision()
    site.operations.stop()
    site.store.close()
    plugins = fake_plugins(world, other=other)
    chosen: dict[str, Any] = {"plugins": dict.fromkeys(ROLES, "other"), "fake": {}}
    document = make_document(chosen, Controller, source="controller.toml", owners=plugins.names)
    if taken:
        daemon.make_services(document, document.value, paths, plugins).store.close()
        return
    with pytest.raises(ConfigError, match="fake: nobody reads this table"):
        daemon.make_services(document, document.value, paths, plugins)
