"""Provisioning and deleting: all of it or none, in every order of events."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import asdict, evolve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import PluginName
from terra_core.controller import disks
from terra_core.controller.disks import MB
from terra_core.controller.keeping import Keeper
from terra_core.controller.machines import Machines
from terra_core.controller.store import State
from terra_core.errors import ConfigError, ConflictError, InterruptedWork, NotFoundError, PluginError, TerraError
from terra_core.hookspecs import Room, Target, TargetRequest, Volume, hookimpl
from terra_core.system.progress import Event, silent
from tests.unit.controller.fakes import FakePlugin, Site, World, at_step, kill_at, make_site, node_document, node_table
from tests.unit.service.following import heard

STEPS = (
    "pull_image", "check_disks", "plan_volume", "plan_target", "make_volume", "make_volume entered", "open_volume",
    "prepare_disks", "prepare_disks entered", "prepare_disks left", "provision_target", "provision_target entered",
    "publish_boot", "start_boot",
)  # fmt: skip
IQN = "iqn.2024.san.example.cm-01:fs"


def test_no_machine_is_made_of_what_is_kept_for_others(site: Site, world: World) -> None:
    site.provision(hostname="cm-02", mac="02:00:00:00:00:02")
    world.room = Room(size=100 * MB, free=5 * MB - 1, reserve=5 * MB)
    with pytest.raises(ConflictError, match="4 MB of 100 MB are free in the store, and 5 MB are kept") as refused:
        site.machines.reserve(node_document())
    assert "terra delete" in refused.value.hint
    assert [record.hostname for record in site.store.all()] == ["cm-02"], "its name is free"
    keeper = Keeper(site.machines)
    keeper.look()
    keeper.look()
    troubles = site.machines.troubles
    assert "5 MB are kept" in troubles.services["store"]
    assert troubles.of("cm-02") == "", "those that are there go on"
    world.room = Room(size=100 * MB, free=5 * MB, reserve=5 * MB)
    keeper.look()
    assert troubles.services == {}
    site.provision()


def test_a_full_disk_has_to_fit_beside_what_is_kept(site: Site, world: World) -> None:
    world.room = Room(size=200000 * MB, free=133000 * MB, reserve=5001 * MB)
    table = node_table()
    table["groups"][0]["disk"][0]["allocation"] = "full"
    document = make_document(table, NetworkNode, source="node.toml")
    with pytest.raises(ConflictError, match="128000 MB are asked for, 133000 MB of 200000 MB are free"):
        site.machines.provision(site.machines.reserve(document), silent)
    assert site.left() == []
    world.room = Room(size=200000 * MB, free=133000 * MB, reserve=5000 * MB)
    site.machines.provision(site.machines.reserve(document), silent)
    assert site.store.get("cm-01").targets[0].target.volumes[0].full


@pytest.mark.parametrize("clones", [True, False], ids=["once for all", "in full"])
@pytest.mark.parametrize("seconds", [0.0, 3600.0], ids=["meanwhile", "at its end"])
def test_an_image_that_takes_what_is_kept_for_others_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clones: bool, seconds: float
) -> None:
    """The store may have room for the next machine, and not for its image: those that are there would lose their writes."""
    world = World(clones=clones)
    site = make_site(tmp_path / "root", world)
    monkeypatch.setattr(disks, "LOOK_SECONDS", seconds)

    def fill(hook: str) -> None:
        if hook == "prepare_disks entered":
            world.room = Room(size=100 * MB, free=5 * MB - 1, reserve=5 * MB)

    world.before = fill
    with pytest.raises(ConflictError, match="4 MB of 100 MB are free in the store, and 5 MB are kept"):
        site.provision()
    assert site.left() == []
    assert site.store.all() == []
    world.before, world.room = (lambda hook: None), None
    site.provision()
    site.operations.stop()
    site.store.close()


def test_a_machine_gets_its_disk_its_target_and_its_boot_files(site: Site, world: World) -> None:
    shown = site.provision()
    device = str(site.paths.root / "iscsi/cm-01/0.lun")
    assert shown["disk_groups"][0]["disks"] == [{"id": 1, "device": device, "fs_size": 128000}]
    assert shown["disk_groups"][0]["target"] == {"iqn": IQN, "id": 1}
    assert shown["initiator_iqn"] == "iqn.2024.node.example:cm-01"
    assert list(world.exported) == [IQN]
    assert world.published == {"cm-01": ("54:b2:03:07:f1:d1", "a kernel")}
    assert world.known == ("cm-01",)
    record = site.store.get("cm-01")
    assert record.state is State.READY
    assert record.kernel_arguments == ("boot=terra", "terra.root=os", "ISCSI_TARGET_NAME=cm-01")
    assert record.digest.startswith("sha256:")


def test_nothing_of_the_work_is_left_beside_the_machine(site: Site) -> None:
    site.provision()
    assert list((site.paths.work).iterdir()) == []


def test_groups_are_shown_in_the_order_of_the_file_and_the_system_comes_first_on_the_disks(site: Site) -> None:
    shown = site.provision(storage=True)
    assert [group["label"] for group in shown["disk_groups"]] == ["storage", "os"]
    assert [group["stage"] for group in shown["disk_groups"]] == [0, 1]
    disks = [[Path(disk["device"]).name for disk in group["disks"]] for group in shown["disk_groups"]]
    assert disks == [["1.lun", "2.lun"], ["0.lun"]]
    assert [kept.target.label for kept in site.store.get("cm-01").targets] == ["os", "storage"]


def test_the_json_is_the_same_when_it_is_asked_for_later(site: Site) -> None:
    assert json.dumps(site.provision(storage=True)) == json.dumps(site.store.get("cm-01").as_json())


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_undoes_all_earlier_ones(site: Site, world: World, step: str) -> None:
    failed: list[bool] = []

    def fail() -> None:
        failed.append(True)
        raise TerraError(f"{step} failed, as it should")

    at_step(world, step, fail)
    with pytest.raises(TerraError, match=f"{step} failed"):
        site.provision(storage=True)
    assert failed == [True]
    assert site.left() == []
    assert world.known == ()
    assert site.begin(storage=True).generation == 2, "the host name is free, and its next machine is another one"


@pytest.mark.parametrize("step", STEPS)
def test_a_defect_of_a_plugin_at_any_step_undoes_all_earlier_ones(site: Site, world: World, step: str) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a defect")

    at_step(world, step, fail)
    with pytest.raises((PluginError, ZeroDivisionError)):
        site.provision()
    assert site.left() == []


@pytest.mark.parametrize("step", STEPS)
def test_an_interruption_at_any_step_undoes_all_earlier_ones(site: Site, world: World, step: str) -> None:
    cancelled = threading.Event()
    at_step(world, step, cancelled.set)

    def work(report: Any) -> Mapping[str, Any]:
        def checked(event: Event) -> None:
            if cancelled.is_set():
                raise InterruptedWork("interrupted")
            report(event)

        return site.machines.provision(record, checked)

    record = site.begin()
    operation = site.operations.start("provision", "cm-01", work)
    last = [message for message in heard(operation) if message][-1]
    if step in ("publish_boot", "start_boot"):
        assert last.kind == "result", "no report comes after these: it is done"
        return
    assert last.data["title"] == "InterruptedWork"
    assert site.left() == []


@pytest.mark.parametrize("hook", ["withdraw_boot", "release_target"])
def test_an_undo_that_fails_keeps_the_record_and_can_be_repeated(site: Site, world: World, hook: str) -> None:
    world.fail |= {hook, "publish_boot"}
    with pytest.raises(TerraError, match="publish_boot failed"):
        site.provision()
    record = site.store.get("cm-01")
    assert record.state is State.DELETING
    assert record.problem == f"cannot be taken away: {hook} failed, as it should"
    with pytest.raises(ConflictError, match="belongs to cm-01"):
        site.begin()
    world.fail.clear()
    site.delete()
    assert site.left() == []


@pytest.mark.parametrize("hook", ["withdraw_boot", "release_target"])
def test_a_delete_that_fails_can_be_repeated(site: Site, world: World, hook: str) -> None:
    site.provision(storage=True)
    world.fail |= {hook}
    with pytest.raises(TerraError, match=f"{hook} failed"):
        site.delete()
    assert site.store.get("cm-01").problem == f"cannot be taken away: {hook} failed, as it should"
    world.fail.clear()
    site.delete()
    assert site.left() == []


def test_a_deleted_machine_leaves_nothing_and_its_names_are_not_used_again(site: Site, world: World) -> None:
    first = site.provision()
    assert site.delete() == {"hostname": "cm-01"}
    assert site.left() == []
    second = site.provision()
    assert second["disk_groups"][0]["target"] == {"iqn": "iqn.2024.san.example.cm-01.2:fs", "id": 2}
    assert first["initiator_iqn"] != second["initiator_iqn"]


def test_deleting_what_is_not_there(site: Site) -> None:
    with pytest.raises(NotFoundError, match="no machine is named 'cm-01'"):
        site.delete()


def test_a_delete_that_is_interrupted_before_it_begins_changes_nothing(site: Site) -> None:
    site.provision()
    before = site.store.get("cm-01")

    def interrupt(event: Event) -> None:
        raise InterruptedWork("interrupted")

    with pytest.raises(InterruptedWork):
        site.machines.delete(site.store.begin_delete("cm-01"), interrupt)
    assert site.store.get("cm-01") == before


def test_deleting_during_provisioning_is_a_conflict_and_the_provisioning_goes_on(site: Site, world: World) -> None:
    seen: list[str] = []

    def delete() -> None:
        with pytest.raises(ConflictError) as caught:
            site.delete()
        seen.append(caught.value.message)

    at_step(world, "prepare_disks entered", delete)
    site.provision()
    assert seen == ["cm-01 is being provisioned"]
    assert site.store.get("cm-01").state is State.READY


def test_provisioning_during_a_delete_is_a_conflict_and_the_delete_goes_on(site: Site, world: World) -> None:
    seen: list[str] = []

    def provision() -> None:
        with pytest.raises(ConflictError) as caught:
            site.provision()
        seen.append(caught.value.message)

    site.provision()
    at_step(world, "release_target", provision)
    site.delete()
    assert seen == ["the host name cm-01 belongs to cm-01 (54:b2:03:07:f1:d1), which is deleting"]
    assert site.left() == []


def test_two_machines_of_one_image_share_what_was_pulled_until_the_last_one_goes(site: Site) -> None:
    site.provision()
    site.provision(hostname="cm-02", mac="02:00:00:00:00:02")
    assert len(list((site.paths.state / "images").iterdir())) == 1
    site.delete()
    assert len(list((site.paths.state / "images").iterdir())) == 1
    site.delete("cm-02")
    assert site.left() == []


def test_of_many_that_provision_one_machine_at_once_one_wins(site: Site) -> None:
    barrier, results = threading.Barrier(8), list[object]()

    def provision() -> None:
        barrier.wait()
        try:
            results.append(site.provision())
        except TerraError as error:
            results.append(error)

    threads = [threading.Thread(target=provision) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(result, ConflictError) for result in results) == 7
    assert [record.state for record in site.store.all()] == [State.READY]


def test_machines_side_by_side_do_not_disturb_each_other(site: Site, world: World) -> None:
    names = [f"node-{at}" for at in range(12)]
    records = [site.begin(hostname=name, mac=f"02:00:00:00:00:{at:02x}") for at, name in enumerate(names)]
    operations = [site.operations.start("provision", "", partial(site.machines.provision, record)) for record in records]
    outcomes = [[message.kind for message in heard(operation) if message][-1] for operation in operations]
    assert outcomes == ["result"] * 12
    assert sorted(world.known) == sorted(names)
    assert len({target["target"]["id"] for record in site.store.all() for target in record.as_json()["disk_groups"]}) == 12


@pytest.mark.parametrize("step", STEPS)
def test_a_start_after_kill_9_at_any_step_leaves_all_of_a_machine_or_nothing(tmp_path: Path, world: World, step: str) -> None:
    site = make_site(tmp_path, world)
    kill_at(site, step, site.provision)
    again = make_site(tmp_path, world)
    again.machines.recover()
    again.machines.restore()
    again.machines.start_boot(again.machines.session)
    if step == "start_boot":
        assert again.store.get("cm-01").state is State.READY
        assert world.known == ("cm-01",)
        again.delete()
    assert again.left() == []
    assert again.begin().generation == 2
    again.operations.stop()


def test_a_delete_that_was_begun_is_finished_at_the_start(site: Site, world: World) -> None:
    site.provision()
    site.store.begin_delete("cm-01")
    site.machines.recover()
    assert site.left() == []


def test_a_machine_that_cannot_be_recovered_keeps_no_other_one_down(site: Site, world: World) -> None:
    site.provision()
    stuck = site.begin(hostname="cm-02", mac="02:00:00:00:00:02")
    site.store.save(evolve(stuck, targets=site.store.get("cm-01").targets))
    world.fail |= {"release_target"}
    site.machines.recover()
    site.machines.restore()
    assert site.store.get("cm-01").problem == ""
    assert site.store.get("cm-02").problem.startswith("cannot be taken away")


def test_a_start_leaves_healthy_machines_alone_and_exports_them_again(site: Site, world: World) -> None:
    site.provision()
    before = site.store.get("cm-01")
    lun = site.paths.root / "iscsi/cm-01/0.lun"
    inode = lun.stat().st_ino
    world.exported.clear()
    world.storage_runs = False
    assert site.machines.start_storage()
    site.machines.recover()
    site.machines.restore()
    assert list(world.exported) == [IQN]
    assert site.store.get("cm-01") == before
    assert (lun.stat().st_ino, lun.read_bytes()) == (inode, b"formatted")


def test_a_machine_whose_lun_is_missing_is_quarantined_and_its_lun_not_made_anew(site: Site, world: World) -> None:
    site.provision()
    site.provision(hostname="cm-02", mac="02:00:00:00:00:02")
    lun = site.paths.root / "iscsi/cm-01/0.lun"
    lun.rename(lun.with_suffix(".away"))
    world.exported.clear()
    site.machines.restore()
    assert site.store.get("cm-01").problem == f"{lun}: is missing"
    assert site.store.get("cm-01").state is State.READY
    assert not lun.exists()
    assert list(world.exported) == ["iqn.2024.san.example.cm-02:fs"], "the others go on"
    lun.with_suffix(".away").rename(lun)
    site.machines.restore()
    assert site.store.get("cm-01").problem == ""
    assert len(world.exported) == 2


def test_the_volumes_of_machines_are_reached_side_by_side(site: Site, world: World) -> None:
    site.provision()
    site.provision(hostname="cm-02", mac="02:00:00:00:00:02")
    world.exported.clear()
    two = threading.Barrier(2, timeout=20)

    def before(hook: str) -> None:
        if hook == "reach_volume":
            two.wait()

    world.before = before
    site.machines.restore()
    assert [site.store.get(name).problem for name in ("cm-01", "cm-02")] == ["", ""]
    assert len(world.exported) == 2


@pytest.mark.parametrize(
    "answer", [lambda volumes: [], lambda volumes: ["", *("it is away" for _ in volumes[1:])], lambda volumes: [None, None]]
)
def test_a_store_that_does_not_answer_for_each_volume_is_named(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch, answer: Callable[[list[Volume]], Any]
) -> None:
    def reached(self: FakePlugin, volumes: Any, session: Session) -> Any:  # what a plugin may do
        return answer(volumes)

    monkeypatch.setattr(FakePlugin, "reach_volumes", hookimpl(reached), raising=False)
    site.provision()
    site.provision(hostname="cm-02", mac="02:00:00:00:00:02")
    world.exported.clear()
    site.machines.restore()
    for name in ("cm-01", "cm-02"):
        assert "plugin 'fake'" in site.store.get(name).problem
        assert "reach_volumes" in site.store.get(name).problem
    assert world.exported == {}


def test_what_is_wrong_with_boot_files_is_said_while_disks_alone_are_exported_again(site: Site, world: World) -> None:
    site.provision()
    world.fail |= {"publish_boot"}
    site.machines.restore()
    world.exported.clear()
    site.machines.restore(disks_alone=True)
    assert site.store.get("cm-01").problem == "publish_boot failed, as it should"
    assert IQN in world.exported


def test_a_machine_whose_boot_files_are_lost_is_quarantined(site: Site, world: World) -> None:
    site.provision()
    world.fail |= {"publish_boot"}
    site.machines.restore()
    assert site.store.get("cm-01").problem == "publish_boot failed, as it should"
    assert IQN in world.exported


def test_what_work_that_was_killed_had_copied_and_pulled_is_removed(site: Site) -> None:
    site.provision()
    (site.paths.run / "work/cm-07-x/root").mkdir(parents=True)
    (site.paths.run / "work/cm-07-x/vmlinuz").write_bytes(b"kernel")
    (site.paths.state / "images/0123/blobs").mkdir(parents=True)
    site.machines.recover()
    assert not (site.paths.work).exists()
    assert len(list((site.paths.state / "images").iterdir())) == 1
    assert not (site.paths.state / "images/0123").exists()


def test_the_boot_loaders_of_an_image_are_installed_and_the_image_is_not_kept(site: Site, world: World) -> None:
    image = node_document().value.image
    result = site.machines.install_boot_image(image, lambda event: None)
    assert result["files"] == ["initrd.img-6.1.0-42-amd64", "vmlinuz-6.1.0-42-amd64"]
    assert site.left() == []


@pytest.mark.parametrize("hook", ["pull_image", "install_boot_image"])
def test_boot_loaders_that_cannot_be_installed_leave_nothing(site: Site, world: World, hook: str) -> None:
    world.fail |= {hook}
    with pytest.raises(TerraError, match=f"{hook} failed"):
        site.machines.install_boot_image(node_document().value.image, lambda event: None)
    assert site.left() == []


def test_the_image_has_to_be_signed_as_the_controller_says_and_as_the_node_does(
    site: Site, world: World, tmp_path: Path
) -> None:
    (own_key, own), (general_key, general) = (key_pair(tmp_path / name) for name in ("own.pub", "general.pub"))
    site = evolve(site, services=evolve(site.services, config=evolve(site.services.config, trust=Trust(key=str(general)))))
    site = evolve(site, machines=Machines(site.services))
    with pytest.raises(TerraError, match="is not signed"):
        site.machines.install_boot_image(node_document().value.image, lambda event: None)
    world.signed_by.append(general_key)
    site.machines.install_boot_image(node_document().value.image, lambda event: None)
    site.provision()
    table = {**node_table(hostname="cm-02", mac="54:b2:03:07:f1:d2"), "trust": {"key": str(own)}}
    site.machines.reserve(make_document(table, NetworkNode, source="node.toml"))
    own.unlink()
    with pytest.raises(TerraError, match="no valid signature"):
        site.machines.provision(site.store.get("cm-02"), lambda event: None)
    world.signed_by.append(own_key)
    site.machines.reserve(make_document({**table, "trust": {"key": public_text(own_key)}}, NetworkNode, source="node.toml"))
    site.machines.provision(site.store.get("cm-02"), lambda event: None)


def key_pair(path: Path) -> tuple[Ed25519PrivateKey, Path]:
    """Make a key pair, and write its public half."""
    key = Ed25519PrivateKey.generate()
    path.write_text(public_text(key))
    return key, path


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public half of a key."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("role", ["storage", "boot", "registry", "network", "bootloader"])
def test_a_role_that_a_node_does_not_decide_is_refused_before_the_name_is_taken(site: Site, role: str) -> None:
    table = {**node_table(), "plugins": {"filesystem": "fake", role: "fake"}}
    with pytest.raises(ConfigError, match=rf"node\.toml: plugins\.{role}: node\.toml, for provisioning, does not decide"):
        site.machines.reserve(make_document(table, NetworkNode, source="node.toml"))
    assert site.left() == []


def test_the_filesystem_of_controller_toml_counts_where_a_node_names_none(site: Site) -> None:
    table = {key: value for key, value in node_table().items() if key != "plugins"}
    record = site.machines.reserve(make_document({**table, "fake": {"a": 1}}, NetworkNode, source="node.toml", owners={"fake"}))
    assert record.node.plugins == {"filesystem": "fake"}
    assert site.store.get("cm-01") == record, "and the record says so, whatever controller.toml says later"
    site.machines.provision(record, lambda event: None)


class Richer(Target):
    """More than a target."""


class Text(str):
    """More than a text."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda target: Richer(**asdict(target, recurse=False)), "expected a Target, got"),
        (lambda target: evolve(target, name=Path("/x")), "name: expected a str"),
        (lambda target: evolve(target, name=Text("x")), "name: expected a str"),
        (lambda target: evolve(target, id=True), "id: expected an int"),
        (lambda target: evolve(target, id="1"), "id: expected an int"),
        (lambda target: evolve(target, id=7), "target whose id is 7 in place of 1"),
        (lambda target: evolve(target, portal="nowhere"), "portal: expected"),
        (lambda target: evolve(target, volumes=None), "volumes: expected a tuple"),
        (lambda target: evolve(target, volumes=[*target.volumes]), "volumes: expected a tuple"),
        (lambda target: evolve(target, volumes=()), r"target whose volumes is \(\) in place of"),
        (
            lambda target: evolve(target, volumes=(evolve(target.volumes[0], name=Path("/x")),)),
            r"volumes\[0\]\.name: expected a str",
        ),
        (lambda target: evolve(target, volumes=(evolve(target.volumes[0], size=1.5),)), r"volumes\[0\]\.size: expected an int"),
        (lambda target: evolve(target, kernel_arguments=(Path("/x"),)), r"kernel_arguments\[0\]: expected a str"),
        (lambda target: evolve(target, data={"a": 1}), "data.a: expected a str"),
        (lambda target: evolve(target, label="home"), "target whose label is 'home' in place of 'os'"),
    ],
)
def test_a_target_that_could_not_be_read_again_is_refused_before_it_is_stored(
    site: Site, monkeypatch: pytest.MonkeyPatch, change: Any, problem: str
) -> None:
    plan = FakePlugin.plan_target

    def changed(self: FakePlugin, request: TargetRequest, session: Session) -> Target:
        made: Target = change(plan(self, request, session))
        return made

    monkeypatch.setattr(FakePlugin, "plan_target", hookimpl(changed))
    said = "(planned a|gave an answer from plan_target that cannot be used:)"
    with pytest.raises(PluginError, match=f"plugin 'fake' {said} .*{problem}"):
        site.provision()
    assert site.left() == []


def test_a_filesystem_plugin_that_is_not_installed_is_refused_before_the_name_is_taken(site: Site) -> None:
    document = node_document()
    node = evolve(document.value, plugins={"filesystem": PluginName("zfs")})
    with pytest.raises(TerraError, match="'zfs', the plugin for the role filesystem, is not installed"):
        site.machines.reserve(evolve(document, value=node))
    assert site.left() == []
