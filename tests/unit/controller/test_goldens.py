"""Images that are laid down once for machines to be clones of, with a plugin that lives in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from attrs import evolve
from sqlalchemy import update

from terra_core.client.controller import ControllerClient
from terra_core.controller.api import make_api
from terra_core.controller.database import golden_volumes, nodes
from terra_core.controller.golden import Golden, GoldenState
from terra_core.controller.machines import Machines
from terra_core.controller.store import Record, SetAside, Store
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.system.progress import Event
from tests.unit.controller.fakes import Site, World, make_site, node_table
from tests.unit.service.serving_lab import TOKEN, serving

REFERENCE = "docker.io/crosbymichael/cm-01:v5"


@pytest.fixture
def world() -> World:
    return World(clones=True)


def provision(site: Site, number: int, heard: list[Event] | None = None, **more: object) -> None:
    record = site.begin(hostname=f"cm-{number:02}", mac=f"02:00:00:00:00:{number:02x}", **more)
    site.machines.provision(record, (heard if heard is not None else []).append)


def golden(site: Site) -> Golden:
    (found,) = site.store.golden.every()
    return found


def used(site: Site, seconds_ago: int) -> None:
    site.store.golden.use(golden(site).layout, int(time.time()) - seconds_ago)


def test_an_image_is_laid_down_once_and_every_machine_is_a_clone(site: Site, world: World) -> None:
    heard: list[Event] = []
    for number in (1, 2, 3):
        provision(site, number, heard)
    assert world.calls.count("prepare_disks entered") == 1
    assert (world.calls.count("clone_volume"), world.calls.count("renew_identity")) == (3, 3)
    (shown,) = site.machines.goldens.shown()
    assert (shown["image"], shown["machines"], shown["state"], shown["pinned"]) == (REFERENCE, 3, "ready", False)
    assert shown["layout"] == "os fake 128000 MB with /home,/var/log,/var/lib/containerd"
    assert shown["digest"] == site.store.get("cm-01").digest
    assert [event.text for event in heard if event.step == "golden"][-1].startswith("cm-03 is a clone of what is laid down of")
    assert site.store.get("cm-02").kernel_arguments[1] == "terra.root=cm-02"


def test_fifty_who_ask_at_once_have_it_made_once(site: Site, world: World) -> None:
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda number: provision(site, number), range(1, 51)))
    assert world.calls.count("prepare_disks entered") == 1
    assert world.calls.count("clone_volume") == 50
    assert site.machines.goldens.shown()[0]["machines"] == 50


def test_who_waits_for_it_can_be_interrupted(site: Site, world: World) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def before(hook: str) -> None:
        if hook == "prepare_disks":
            begun.set()
            assert go_on.wait(30)

    world.before = before

    def refuse(event: Event) -> None:
        if event.text.startswith("wait until"):
            raise TerraError("enough")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(provision, site, 1)
        assert begun.wait(30)
        with pytest.raises(TerraError, match="enough"):
            site.machines.provision(site.begin(hostname="cm-02", mac="02:00:00:00:00:02"), refuse)
        go_on.set()
        first.result()
    assert [record.hostname for record in site.store.all()] == ["cm-01"]


def test_another_layout_is_laid_down_for_itself(site: Site, world: World) -> None:
    provision(site, 1)
    provision(site, 2, storage=True)
    assert world.calls.count("prepare_disks entered") == 3
    layouts = sorted(shown["layout"] for shown in site.machines.goldens.shown())
    assert layouts[1].startswith("storage fake 64+64 MB raid1; os fake")


def test_file_systems_that_cannot_be_clones_are_laid_down_in_full_and_it_is_said(tmp_path: Path) -> None:
    heard: list[Event] = []
    site = make_site(tmp_path / "root", World())
    provision(site, 1, heard)
    said = "cm-01 is laid down in full, and is no clone: the filesystem plugin 'fake' gives no copy an identity of its own"
    assert said in [event.text for event in heard]
    assert site.machines.goldens.shown() == []
    assert site.store.get("cm-01").layout == ""


@pytest.mark.parametrize("hook", ["plan_volume", "make_volume", "prepare_disks entered", "prepare_disks left"])
def test_what_fails_while_it_is_made_leaves_nothing(site: Site, world: World, hook: str) -> None:
    world.before = lambda called: world.fail.add(called) if called == hook and len(world.calls) > 3 else None
    with pytest.raises(TerraError, match="failed, as it should"):
        provision(site, 1)
    world.before = lambda called: None
    world.fail.clear()
    assert site.left() == []
    assert site.store.golden.every() == []
    provision(site, 1)
    assert golden(site).state is GoldenState.READY


def killed_while_making(site: Site, world: World) -> None:
    """Leave all that a controller leaves which is killed while it lays an image down."""
    provision(site, 1)
    with site.store._engine.begin() as connection:
        connection.execute(update(golden_volumes).values(state="making"))
    site.delete("cm-01")


def test_what_a_killed_controller_had_begun_is_removed(site: Site, world: World) -> None:
    killed_while_making(site, world)
    assert site.left() != []
    machines = Machines(site.services)
    machines.recover(machines.unfinished())
    assert site.left() == []
    assert site.store.golden.every() == []


def test_what_a_killed_controller_had_begun_is_made_anew_when_it_is_asked_for_first(site: Site, world: World) -> None:
    killed_while_making(site, world)
    former = golden(site)
    machines = Machines(site.services)
    unfinished = machines.unfinished()
    machines.provision(site.begin(), lambda event: None)
    machines.recover(unfinished)
    assert golden(site).state is GoldenState.READY
    assert golden(site).token != former.token
    assert site.store.get("cm-01").state.value == "ready"
    site.delete()
    assert site.left() == []


def test_a_golden_volume_whose_stamp_is_asked_for_is_not_looked_at_before(site: Site, world: World) -> None:
    provision(site, 1)
    hooks: list[str] = []
    world.before = hooks.append
    provision(site, 2)
    assert "clone_volume" in hooks
    assert hooks.count("reach_volume") == 1, "that of the machine's own volume; with Ceph, each takes a program"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.write_text("another"), "somebody has written to"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_what_is_not_as_it_was_made_is_not_cloned(site: Site, world: World, harm, said: str) -> None:  # type: ignore[no-untyped-def]
    provision(site, 1)
    site.machines.goldens.pin(golden(site).digest, pinned=True)
    former = golden(site)
    heard: list[Event] = []
    harm(Path(former.volumes[0].name))
    provision(site, 2, heard)
    assert any(said in event.text and event.text.startswith("warning: ") for event in heard)
    assert golden(site).token != former.token
    assert golden(site).pinned, "what a user wants kept is kept, made anew or not"
    assert world.calls.count("prepare_disks entered") == 2


def test_what_is_written_to_while_it_is_cloned_makes_no_machine(site: Site, world: World) -> None:
    provision(site, 1)
    volume = Path(golden(site).volumes[0].name)

    def before(hook: str) -> None:
        if hook == "clone_volume":
            volume.write_text("another")

    world.before = before
    with pytest.raises(TerraError, match="changed while it was cloned: somebody has written to"):
        provision(site, 2)
    world.before = lambda hook: None
    assert [record.hostname for record in site.store.all()] == ["cm-01"]
    provision(site, 2)
    assert world.calls.count("prepare_disks entered") == 2


@pytest.mark.parametrize("value", ["'\"rubbish\"'", "1e400"])
@pytest.mark.parametrize("column", ["volumes", "used", "contract", "pinned"])
def test_a_row_that_cannot_be_read_is_told_and_made_anew(site: Site, world: World, column: str, value: str) -> None:
    provision(site, 1)
    with site.store._engine.begin() as connection:
        connection.exec_driver_sql(f"update golden_volumes set {column} = {value}")  # noqa: S608  # no input
    (shown,) = site.machines.goldens.shown()
    assert "its row cannot be read" in shown["problem"]
    provision(site, 2)
    assert golden(site).problem == ""
    for hostname in ("cm-01", "cm-02"):
        site.delete(hostname)
    assert site.left() == []


@pytest.mark.parametrize("used", [-1, 2**62])
def test_a_time_that_no_clock_shows_is_none_at_all(site: Site, world: World, used: int) -> None:
    provision(site, 1)
    with site.store._engine.begin() as connection:
        connection.execute(update(golden_volumes).values(used=used))
    (shown,) = site.machines.goldens.shown()
    assert shown["used"][:4] in ("1970", "9999")
    assert shown["problem"] == ""


def test_a_row_that_names_no_disks_is_made_anew(site: Site, world: World) -> None:
    provision(site, 1)
    with site.store._engine.begin() as connection:
        connection.execute(update(golden_volumes).values(volumes=[]))
    provision(site, 2)
    assert len(golden(site).volumes) == 1
    assert len([path for path in (site.paths.root / "iscsi").iterdir() if path.name.startswith("golden_")]) == 1
    assert world.calls.count("prepare_disks entered") == 2


@pytest.mark.parametrize("token", ["", "..", "../images"])
def test_a_row_with_a_damaged_name_removes_nothing_else(site: Site, token: str) -> None:
    provision(site, 1)
    kernel = site.machines.goldens.kernel(golden(site))
    with site.store._engine.begin() as connection:
        connection.execute(update(golden_volumes).values(token=token))
    site.machines.goldens.remove(golden(site).digest)
    assert site.store.golden.every() == []
    assert (kernel / "vmlinuz").exists()


def known(site: Site, directory: Path | None) -> Machines:
    """Return the use cases of a controller that starts on the same database."""
    store = Store(site.store.engine, known_volumes=directory)
    return Machines(evolve(site.services, store=store))


def test_golden_volumes_that_no_row_names_go_at_the_start(site: Site, world: World) -> None:
    provision(site, 1)
    directory = site.paths.root / "iscsi"
    kept = golden(site).owner
    for name in ("golden_0123456789abcdef", "golden_mine", "cm-77"):
        (directory / name).mkdir()
        (directory / name / "0.lun").touch()
    known(site, None).unfinished()
    assert (directory / "golden_0123456789abcdef").exists(), "they may be those of another database"
    world.fail.add("remove_volumes")
    known(site, directory).unfinished()
    world.fail.clear()
    known(site, directory).unfinished()
    assert sorted(path.name for path in directory.iterdir()) == sorted(["cm-01", "cm-77", "golden_mine", kept])


def test_a_start_does_not_wait_for_who_makes_anew_what_was_begun(site: Site, world: World) -> None:
    killed_while_making(site, world)
    layout = golden(site).layout
    machines = Machines(site.services)
    unfinished = machines.unfinished()
    with machines.goldens._locks[layout], ThreadPoolExecutor(1) as pool:
        recovered = pool.submit(machines.recover, unfinished)
        wait([recovered], timeout=20)
        assert recovered.done()


def test_one_that_cannot_be_removed_keeps_no_other(site: Site, world: World) -> None:
    provision(site, 1)
    provision(site, 2, storage=True)
    for hostname in ("cm-01", "cm-02"):
        site.delete(hostname)
    first = site.store.golden.every()[0]
    with site.store._engine.begin() as connection:
        connection.execute(update(golden_volumes).values(used=0))
        connection.execute(update(golden_volumes).where(golden_volumes.c.token == first.token).values(store="gone"))
    with pytest.raises(TerraError, match="gone"):
        site.machines.goldens.remove_unused()
    assert golden(site).token == first.token


def test_what_a_machine_that_is_set_aside_was_of_is_kept_for_its_time(site: Site, world: World) -> None:
    provision(site, 1)
    used(site, 40 * 86400)
    with site.store._engine.begin() as connection:
        connection.execute(update(nodes).values(document="rubbish"))
    site.delete("cm-01")
    site.machines.goldens.remove_unused()
    assert golden(site)


def test_what_the_last_machine_was_of_is_not_removed_while_that_goes(site: Site, world: World) -> None:
    provision(site, 1)
    used(site, 40 * 86400)
    forget = site.store.forget

    def forgotten(record: Record | SetAside) -> None:
        forget(record)
        site.machines.goldens.remove_unused()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.store, "forget", forgotten)
        site.delete("cm-01")
    assert golden(site)


def test_what_is_unused_goes_after_its_time(site: Site, world: World) -> None:
    goldens = site.machines.goldens
    provision(site, 1)
    used(site, 40 * 86400)
    goldens.remove_unused()
    assert golden(site), "a machine is of it"
    site.delete("cm-01")
    goldens.remove_unused()
    assert golden(site), "the last machine went just now"
    used(site, 29 * 86400)
    goldens.remove_unused()
    assert golden(site)
    used(site, 31 * 86400)
    goldens.pin(golden(site).digest, pinned=True)
    goldens.remove_unused()
    assert golden(site), "it is pinned"
    goldens.pin(golden(site).digest, pinned=False)
    goldens.remove_unused()
    assert site.store.golden.every() == []
    assert [path for path in (site.paths.root / "iscsi").rglob("*") if path.is_file()] == []


def test_what_is_kept_for_no_time_goes_with_its_last_machine(tmp_path: Path, world: World) -> None:
    site = make_site(tmp_path / "root", world, keep_images=0)
    provision(site, 1)
    site.machines.goldens.remove_unused()
    assert golden(site)
    site.delete("cm-01")
    site.machines.goldens.remove_unused()
    assert site.store.golden.every() == []


def test_what_is_being_cloned_or_pinned_is_not_removed(site: Site, world: World) -> None:
    provision(site, 1)
    goldens, digest = site.machines.goldens, golden(site).digest
    refused: list[str] = []

    def before(hook: str) -> None:
        if hook == "clone_volume":
            with pytest.raises(ConflictError) as caught:
                goldens.remove(digest)
            refused.append(caught.value.message)

    world.before = before
    provision(site, 2)
    assert refused == [f"a machine is being made from {REFERENCE} (os fake 128000 MB with /home,/var/log,/var/lib/containerd)"]
    goldens.pin(digest[:15], pinned=True)
    with pytest.raises(ConflictError, match="is pinned"):
        goldens.remove(digest)
    goldens.pin(digest, pinned=False)
    assert [one["machines"] for one in goldens.remove(digest.removeprefix("sha256:")[:6])] == [2]
    assert site.store.get("cm-02").state.value == "ready"
    assert Path(site.store.get("cm-02").targets[0].target.volumes[0].name).exists()


def test_a_digest_has_to_name_one_image(site: Site) -> None:
    provision(site, 1)
    for wrong in ("", "sha256:", golden(site).digest[:12], "sha256:000000", "x"):
        with pytest.raises(NotFoundError, match="no image is laid down"):
            site.machines.goldens.remove(wrong)
    with site.store._engine.begin() as connection:
        row = connection.execute(golden_volumes.select()).one()._mapping
        other = {**row, "token": "other", "layout": "other", "digest": row["digest"][:-1] + "x"}
        connection.execute(golden_volumes.insert().values(**other))
    with pytest.raises(ConflictError, match="several images begin with"):
        site.machines.goldens.pin(row["digest"][:20], pinned=True)


@pytest.fixture
def client(site: Site) -> Iterator[ControllerClient]:
    with serving(make_api(site.context, TOKEN)) as served:
        yield ControllerClient(f"127.0.0.1:{served.port}", token=TOKEN)


def test_a_client_sees_pins_and_removes_images(site: Site, client: ControllerClient) -> None:
    assert client.images() == ()
    provision(site, 1)
    (shown,) = client.images()
    assert (shown.image, shown.machines, shown.pinned, shown.size, shown.problem) == (REFERENCE, 1, False, 128000, "")
    assert [one.pinned for one in client.pin_image(shown.digest)] == [True]
    with pytest.raises(ConflictError):
        client.remove_image(shown.digest)
    assert [one.pinned for one in client.pin_image(shown.digest[:20], pinned=False)] == [False]
    assert [one.digest for one in client.remove_image(shown.digest)] == [shown.digest]
    with pytest.raises(NotFoundError):
        client.remove_image(shown.digest)
    for wrong in ("../nodes", "", "sha256:zz", "abc"):
        with pytest.raises(NotFoundError, match="is no digest"):
            client.pin_image(wrong)
    assert client.images() == ()
    assert node_table()["image"] == REFERENCE
