"""A full disk under the database: machines can be deleted, and what cannot be done is said as what it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.databases import restore
from terra_core.config.controller import Controller, Paths
from terra_core.config.loader import make_document
from terra_core.config.values import PluginName
from terra_core.controller import daemon
from terra_core.controller.ballast import Ballast
from terra_core.controller.configuration import load_config
from terra_core.controller.machines import Machines
from terra_core.controller.services import Services
from terra_core.controller.stopping import stop_services
from terra_core.errors import TerraError
from terra_core.service.running import only_one
from terra_core.system.mounts import mounted
from tests.unit.controller.dumped import DUMPS
from tests.unit.controller.fakes import ROLES, Site, World, fake_plugins, make_site

COUNT = 20
MB = 1024 * 1024


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """Make a root on a small disk."""
    small = tmp_path / "small"
    small.mkdir()
    with mounted(Path("tmpfs"), small, filesystem="tmpfs", options=("size=40m",)):
        yield Paths(small)


def site_of(paths: Paths) -> Site:
    """Return a controller's parts, with the store as the daemon opens it."""
    site = make_site(paths.root, World())
    site.store.close()
    store = daemon.open_store(Controller(), paths, paths.root / "iscsi")
    services = Services(
        config=site.services.config, session=site.services.session, plugins=fake_plugins(site.world), store=store
    )
    return Site(site.world, paths, services, Machines(services), site.operations)


def fill(paths: Paths) -> None:
    """Leave not a byte."""
    descriptor = os.open(paths.root / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (MB, 4096, 1):
        try:
            while True:
                os.write(descriptor, bytes(size))
        except OSError:
            continue
    os.close(descriptor)


def provide_many(site: Site) -> None:
    for at in range(50):
        site.begin(hostname=f"more-{at}", mac=f"02:00:00:00:01:{at:02x}")


def test_machines_can_be_deleted(paths: Paths) -> None:
    site = site_of(paths)
    names = [f"node-{at}" for at in range(COUNT)]
    for at, name in enumerate(names):
        site.provision(hostname=name, mac=f"02:00:00:00:00:{at:02x}")
    site.store.keep_room()
    fill(paths)
    with pytest.raises(TerraError, match="the database cannot be used: database or disk is full"):
        provide_many(site)
    for name in names:
        site.delete(name)
    assert not [record for record in site.store.all() if record.hostname in names]
    site.operations.stop()
    site.store.close()


def test_the_room_is_taken_again_when_there_is_enough(paths: Paths) -> None:
    site = site_of(paths)
    site.store.keep_room()
    ballast = paths.state / "terra.db.ballast"
    assert ballast.stat().st_blocks * 512 >= 2 * MB
    ballast.unlink()
    fill(paths)
    site.store.keep_room()
    assert not ballast.exists(), "the last bytes are left to others"
    (paths.root / "filler").unlink()
    site.store.keep_room()
    assert ballast.stat().st_blocks * 512 >= 2 * MB
    site.operations.stop()
    site.store.close()


def test_a_controller_starts(paths: Paths) -> None:
    site = site_of(paths)
    site.provision()
    site.store.keep_room()
    site.operations.stop()
    site.store.close()
    fill(paths)
    again = daemon.open_store(Controller(), paths, paths.root / "iscsi")
    assert [record.hostname for record in again.all()] == ["cm-01"]
    again.close()
    with only_one(paths, "controller"):
        pass


def test_a_controller_starts_with_the_database_of_an_earlier_one(paths: Paths) -> None:
    restore(DUMPS / "schema-1-first.sql", paths.state / "terra.db", paths.root)
    Ballast(paths.state / "terra.db.ballast").take()
    fill(paths)
    store = daemon.open_store(Controller(), paths, paths.root / "iscsi")
    assert [record.hostname for record in store.all()] == ["cm-01", "cm-02"]
    store.close()


def test_what_cannot_be_written_is_no_defect(paths: Paths) -> None:
    fill(paths)
    plugins = fake_plugins(World())
    document = load_config(None, paths, plugins)
    with pytest.raises(TerraError, match=r"No space left on device|disk is full|disk I/O error|unable to open"):
        daemon.run_controller(document, Controller(plugins=ROLES), paths, plugins)


def test_services_can_be_stopped(paths: Paths) -> None:
    site = site_of(paths)
    site.machines.start_storage()
    site.operations.stop()
    site.store.close()
    paths.run.mkdir(parents=True)
    (paths.run / "controller.lock").touch()
    fill(paths)
    config = Controller(plugins=dict.fromkeys(("storage", "boot"), PluginName("fake")))
    document = make_document({}, Controller, source="controller.toml")
    assert stop_services(document, config, paths, fake_plugins(site.world)) == ("storage",)
