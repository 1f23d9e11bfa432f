"""Starting and keeping up: which configuration counts, one controller a root, and a start that fails half-way."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from terra_core.config.controller import Paths, Tls
from terra_core.controller import daemon, keeping
from terra_core.controller.configuration import load_config
from terra_core.controller.keeping import Keeper
from terra_core.controller.stopping import stop_services
from terra_core.errors import ConfigError, TerraError
from terra_core.service.running import only_one
from terra_core.service.serving import bind, check_tls
from tests.unit.controller.fakes import FakeSettings, Site, World, fake_plugins


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Make a root with a place for configuration."""
    paths = Paths(tmp_path)
    paths.etc.mkdir(parents=True)
    return paths


def test_without_a_file_the_defaults_count(paths: Paths, world: World) -> None:
    config = load_config(None, paths, fake_plugins(world)).value
    assert (config.address, config.port, config.portal, config.jobs) == ("127.0.0.1", 9000, "127.0.0.1", 2)


def test_the_file_of_the_root_counts_and_the_one_that_is_asked_for_before_it(paths: Paths, world: World) -> None:
    (paths.etc / "controller.toml").write_text("port = 9001\n[fake]\na = 1\n")
    document = load_config(None, paths, fake_plugins(world))
    assert (document.value.port, document.tables) == (9001, {"fake": FakeSettings(a=1)})
    other = paths.root / "other.toml"
    other.write_text("port = 9002\n")
    assert load_config(other, paths, fake_plugins(world)).value.port == 9002


def test_a_file_that_is_asked_for_has_to_be_there(paths: Paths, world: World) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(paths.root / "other.toml", paths, fake_plugins(world))


def test_a_plugin_that_is_not_installed_is_named_before_anything_is_begun(paths: Paths, world: World) -> None:
    (paths.etc / "controller.toml").write_text('[plugins]\nregistry = "fake"\nfilesystem = "fake"\n')
    document = load_config(None, paths, fake_plugins(world))
    with pytest.raises(ConfigError, match=r"plugins\.store: 'file', the plugin for the role store, is not installed"):
        daemon.make_services(document, document.value, paths, fake_plugins(world))
    assert world.calls == []


def test_one_controller_a_root(paths: Paths) -> None:
    with only_one(paths, "controller"), pytest.raises(TerraError) as caught, only_one(paths, "controller"):
        pass
    assert caught.value.message == f"{paths.root}: a controller runs here already (process {os.getpid()})"
    assert "--root" in caught.value.hint
    with only_one(paths, "controller"):
        pass


def test_the_lock_is_no_way_to_write_elsewhere(paths: Paths, tmp_path: Path) -> None:
    paths.run.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("precious")
    (paths.run / "controller.lock").symlink_to(tmp_path / "elsewhere")
    refusal = pytest.raises(TerraError, match="cannot be written: Too many levels of symbolic links")
    with refusal, only_one(paths, "controller"):
        pass
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_another_user_starts_nothing(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    paths, plugins = Paths(tmp_path / "root"), fake_plugins(world)
    document = load_config(None, paths, plugins)
    for work in (daemon.run_controller, stop_services):
        with pytest.raises(TerraError, match="root alone may do"):
            work(document, document.value, paths, plugins)
    assert world.calls == []
    assert not paths.root.exists()


@pytest.mark.parametrize("hook", ["start_storage", "start_boot"])
def test_a_start_that_fails_stops_the_storage_service_that_nobody_uses(site: Site, world: World, hook: str) -> None:
    world.fail |= {hook}
    with pytest.raises(TerraError, match=f"{hook} failed"):
        Keeper(site.machines).begin()
    assert not world.storage_runs


def test_a_start_that_fails_leaves_the_disks_of_machines_alone(site: Site, world: World) -> None:
    site.provision()
    world.storage_runs = False
    world.fail |= {"start_boot"}
    with pytest.raises(TerraError, match="start_boot failed"):
        Keeper(site.machines).begin()
    assert world.storage_runs


def test_requests_are_served_while_the_disks_of_machines_are_exported_again(site: Site, world: World) -> None:
    site.provision()
    world.exported.clear()
    world.storage_runs = False
    keeper = Keeper(site.machines)
    keeper.begin()
    assert world.exported == {}, "exporting thousands takes long, and nobody shall wait for it"
    seen: list[str] = []
    world.before = lambda hook: seen.append(site.machines.troubles.of("cm-01")) if hook == "restore_target" else None
    keeper.look()
    assert seen == ["its disks are being exported again: the storage service was started"]
    assert site.machines.troubles.of("cm-01") == ""
    assert list(world.exported) == ["iqn.2024.san.example.cm-01:fs"]


def test_a_host_that_waits_looks_each_time_and_one_that_works_every_three_seconds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, clock, looks = Keeper(site.machines), SimpleNamespace(now=100.0), list[float]()
    monkeypatch.setattr(keeping, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(keeper, "look", lambda: looks.append(clock.now))
    for clock.now in (100.0, 101.0, 103.5, 104.0):
        keeper.look_when_due()
    keeper.wait_for_lead()
    for clock.now in (104.2, 104.5):
        keeper.look_when_due()
    assert looks == [100.0, 103.5, 104.2, 104.5]


def test_what_was_begun_since_is_not_taken_for_a_killed_controllers(site: Site, world: World) -> None:
    left = site.begin(hostname="cm-02", mac="02:00:00:00:00:02")
    keeper = Keeper(site.machines)
    keeper.begin()
    site.begin()
    keeper.look()
    assert [record.hostname for record in site.store.all()] == ["cm-01"]
    again = site.begin(hostname="cm-02", mac="02:00:00:00:00:02")
    site.machines.recover([left])
    assert site.store.get("cm-02") == again, "a later machine of the same name is another one"


def test_a_storage_service_that_was_gone_is_started_and_gets_its_targets_back(site: Site, world: World) -> None:
    keeper = Keeper(site.machines)
    keeper.begin()
    keeper.look()
    site.provision()
    exported = dict(world.exported)
    world.storage_runs = False
    keeper.look()
    assert world.exported == exported
    world.calls.clear()
    keeper.look()
    assert world.calls == ["start_storage", "start_boot", "measure_store"], "and nothing is done while all is well"


@pytest.mark.parametrize("error", [TerraError("cannot"), OSError(28, "No space left on device"), ZeroDivisionError("a defect")])
def test_the_watch_goes_on_whatever_happens(site: Site, world: World, error: Exception) -> None:
    def fail(hook: str) -> None:
        raise error

    keeper = Keeper(site.machines)
    keeper.begin()
    for _ in range(2):
        world.before = fail
        keeper.look()
        assert site.machines.troubles.services, "and it is said of every machine meanwhile"
        world.before = lambda hook: None
        keeper.look()
        assert not site.machines.troubles.services


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_named(address: str) -> None:
    with bind(address, 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(TerraError, match=f"cannot listen on {address} port {port}: Address already in use"):
            bind(address, port)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(TerraError, match=r"cannot listen on 192\.0\.2\.1 port 9000: Cannot assign requested address"):
        bind("192.0.2.1", 9000)


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    check_tls(None)
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nno base64\n-----END CERTIFICATE-----\n")
    os.mkfifo(tmp_path / "fifo.pem")
    for path in (broken, tmp_path / "missing.pem", tmp_path / "fifo.pem"):
        with pytest.raises(TerraError, match=f"the API cannot use the certificate {path}"):
            check_tls(Tls(certificate=str(path), key=str(path)))


def test_a_thread_that_looks_no_more_is_not_lively(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(site.machines)
    keeper.begin()
    assert keeper.lively
    later = time.monotonic() + 3600
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: later)
        assert not keeper.lively
        keeper.look()
        assert keeper.lively
