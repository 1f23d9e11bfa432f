"""Changing machines that are there: what differs, what can be done about it, and that it is done as a whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import update

from terra_core.config.controller import Controller
from terra_core.config.loader import Document
from terra_core.config.node import NetworkDisk, NetworkGroup, NetworkNode, Subvolume, Upgrades
from terra_core.config.values import PluginName
from terra_core.controller.changes import Action, Plan
from terra_core.controller.database import nodes
from terra_core.controller.keeping import Keeper
from terra_core.controller.machines import Machines
from terra_core.controller.records import Record
from terra_core.controller.store import version_of
from terra_core.documents import make
from terra_core.errors import ConfigError, ConflictError, InterruptedWork, TerraError
from terra_core.hookspecs import Connected
from terra_core.system.progress import Event, silent
from tests.unit.controller.fakes import Site, World, at_step, fake_plugins, kill_at, make_site, node_table

_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
PUBLIC = _KEY.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
OTHER = "54:b2:03:07:f1:d2"
EXTRA = {"label": "data", "disk": [{"device": "/dev/sdb", "size": 64}]}


def document(site: Site, change: Callable[[dict[str, Any]], object] = lambda table: None, **more: Any) -> Document[NetworkNode]:
    """Return the file of the machine, changed."""
    table = node_table(**more)
    change(table)
    return make(table, NetworkNode, source="node.toml", plugins=site.services.plugins)


def size(megabytes: int) -> Callable[[dict[str, Any]], object]:
    return lambda table: table["groups"][0]["disk"][0].update(size=megabytes)


def more_groups(table: dict[str, Any]) -> object:
    return table["groups"].append(EXTRA)


def apply(site: Site, wanted: Document[NetworkNode], version: str = "", machines: Machines | None = None) -> Plan:
    """Plan and carry out, as the API does."""
    machines = machines or site.machines
    former, plan = machines.altering.checked(wanted, version)
    if former is None:
        machines.provision(machines.reserve(wanted), silent)
    else:
        machines.altering.change(former, wanted, silent)
    return plan


def test_a_second_identical_run_does_nothing(site: Site, world: World) -> None:
    assert apply(site, document(site)).action is Action.CREATE
    before, calls = site.services.store.get("cm-01"), len(world.calls)
    assert apply(site, document(site)).action is Action.UNCHANGED
    assert site.services.store.get("cm-01") == before
    assert world.calls[calls:] == []


def test_the_spelling_of_a_file_is_no_change(site: Site) -> None:
    apply(site, document(site, lambda table: table["groups"][0].update(disk=[{"device": "/dev/sda", "size": 131072}])))

    def spelled(table: dict[str, Any]) -> None:
        group = table["groups"][0]
        group["disk"][0]["size"] = "128GiB"
        group["type"] = "single"
        group["subvolumes"].reverse()
        table |= {"mac": "54-B2-03-07-F1-D1", "kernel_arguments": [], "fake": {"a": 0}}

    assert site.machines.altering.plan(document(site, spelled)).changes == ()


def test_a_record_that_leaves_more_to_defaults_than_its_file_is_no_change(site: Site) -> None:
    apply(site, document(site))
    row = {**node_table(), "groups": [{**node_table()["groups"][0]}]}
    del row["groups"][0]["stage"]
    with site.services.store.engine.begin() as connection:
        connection.execute(update(nodes).values(document=row))
        targets = connection.execute(nodes.select()).one().targets
        for target in targets:
            del target["made"]  # as an earlier Terra wrote them
        connection.execute(update(nodes).values(targets=targets))
    assert site.machines.altering.plan(document(site)).action is Action.UNCHANGED


def test_another_default_of_the_controller_changes_no_machine_that_is_there(site: Site) -> None:
    def silent_file(table: dict[str, Any]) -> None:
        del table["plugins"]

    chosen = {**site.services.config.plugins, "filesystem": PluginName("fake")}
    machines = Machines(evolve(site.services, config=Controller(plugins=chosen)))
    apply(site, document(site, silent_file), machines=machines)
    other = {**chosen, "filesystem": PluginName("other")}
    machines = Machines(evolve(site.services, config=Controller(plugins=other)))
    assert machines.altering.plan(document(site, silent_file)).action is Action.UNCHANGED


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda table: table.update(image="docker.io/crosbymichael/cm-01:v6"), "image"),
        (size(1000), "groups[os].disk[0].size"),
        (lambda table: table["groups"][0].update(options=["noatime"]), "groups[os].options"),
        (lambda table: table["groups"][0].update(compression="zstd"), "groups[os].compression"),
        (lambda table: table["groups"][0]["subvolumes"].pop(), "groups[os].subvolumes"),
        (lambda table: table["groups"][0]["disk"].append({"device": "/dev/sdb", "size": 9}), "groups[os].disk"),
        (lambda table: table["groups"][0]["disk"][0].update(allocation="full"), "groups[os].disk[0].allocation"),
        (lambda table: table.update(fake={"a": 1}), "fake.a"),
    ],
)
def test_what_cannot_be_changed_in_place_is_said_and_nothing_is_changed(
    site: Site, world: World, change: Callable[[dict[str, Any]], object], path: str
) -> None:
    apply(site, document(site))
    before, calls = site.services.store.get("cm-01"), len(world.calls)

    def both(table: dict[str, Any]) -> None:
        change(table)
        table["mac"] = OTHER

    plan = site.machines.altering.plan(document(site, both))
    assert plan.action is Action.REFUSED
    assert {one.path: one.possible for one in plan.changes} == {path: False, "mac": True}
    with pytest.raises(ConflictError, match=r"cm-01 is not changed: .*terra (delete and terra apply make it anew|upgrade)"):
        apply(site, document(site, both))
    assert site.services.store.get("cm-01") == before
    assert world.calls[calls:] == []


def test_a_group_that_goes_is_refused(site: Site) -> None:
    apply(site, document(site, storage=True))
    plan = site.machines.altering.plan(document(site))
    assert [(one.path, one.wanted, one.possible) for one in plan.changes] == [("groups[storage]", "", False)]


def test_address_and_kernel_words_are_changed_and_the_former_address_boots_nothing(site: Site, world: World) -> None:
    apply(site, document(site, lambda table: table.update(kernel_arguments=["quiet"])))
    first = site.services.store.get("cm-01")
    assert first.kernel_arguments[-1] == "quiet"
    wanted = document(site, lambda table: table.update(kernel_arguments=["console=ttyS1", "debug"], mac=OTHER))
    plan = apply(site, wanted)
    assert {one.path for one in plan.changes} == {"mac", "kernel_arguments"}
    record = site.services.store.get("cm-01")
    assert record.kernel_arguments == (*first.own_arguments, "console=ttyS1", "debug")
    assert (record.mac, world.published["cm-01"][0]) == (OTHER, OTHER)  # type: ignore[index]
    assert record.targets == first.targets


def with_upgrade(upgrade: Mapping[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda table: table.update(upgrade=upgrade)


def test_what_the_next_upgrade_takes_over_is_changed_and_waits_for_no_boot(site: Site) -> None:
    """Else it would be said that all is as the file says, and the next upgrade would leave behind what the file keeps."""
    apply(site, document(site))
    upgrade = {"keep": ["/etc/b", "/etc/a"], "check": ["/bin/check", "a b"]}
    plan = apply(site, document(site, with_upgrade(upgrade)))
    assert [(one.path, one.former, one.wanted) for one in plan.changes] == [
        ("upgrade.keep", "", "/etc/a, /etc/b"),
        ("upgrade.check", "", "/bin/check 'a b'"),
    ]
    assert not any(one.waits_for_boot for one in plan.changes)
    assert site.services.store.get("cm-01").node.upgrade.keep == ("/etc/b", "/etc/a")
    upgrade["keep"].reverse()
    assert apply(site, document(site, with_upgrade(upgrade))).action is Action.UNCHANGED, "in any order"
    split = {**upgrade, "check": ["/bin/check", "a", "b"]}
    assert [one.path for one in apply(site, document(site, with_upgrade(split))).changes] == ["upgrade.check"]
    assert [one.wanted for one in apply(site, document(site)).changes] == ["", ""]
    assert site.services.store.get("cm-01").node.upgrade.keep == ()


def of_system(**more: Any) -> Callable[[dict[str, Any]], object]:
    return lambda table: table["groups"][-1].update(more)


def of_disk(**more: Any) -> Callable[[dict[str, Any]], object]:
    return lambda table: table["groups"][-1]["disk"][0].update(more)


def of_subvolume(**more: Any) -> Callable[[dict[str, Any]], object]:
    return lambda table: table["groups"][-1]["subvolumes"][0].update(more)


OTHER_VALUES: dict[str, Callable[[dict[str, Any]], object]] = {
    "image": lambda table: table.update(image="docker.io/crosbymichael/cm-01:v6"),
    "mac": lambda table: table.update(mac=OTHER),
    "kernel_arguments": lambda table: table.update(kernel_arguments=["quiet"]),
    "trust": lambda table: table.update(trust={"key": PUBLIC}),
    "upgrade.keep": with_upgrade({"keep": ["/etc/a"]}),
    "upgrade.check": with_upgrade({"check": ["/bin/check"]}),
    "plugins": lambda table: table.update(plugins={"filesystem": "other"}),
    "groups": lambda table: table["groups"].append({"label": "more", "disk": [{"device": "/dev/sdz", "size": 64}]}),
    "groups.type": lambda table: table["groups"][0].update(type="raid0"),
    "groups.stage": of_system(stage="stage0"),
    "groups.mbr": of_system(mbr=True),
    "groups.boot": of_system(boot="uefi"),
    "groups.filesystem": of_system(filesystem="other"),
    "groups.compression": of_system(compression="zlib"),
    "groups.options": of_system(options=["noatime"]),
    "groups.disk.device": of_disk(device="/dev/vdz"),
    "groups.disk.size": of_disk(size=200000),
    "groups.disk.allocation": of_disk(allocation="full"),
    "groups.subvolumes.name": of_subvolume(name="another"),
    "groups.subvolumes.path": of_subvolume(path="/srv/another"),
}
"""Another value for each key of a node.toml; a test fails where one is missing."""


def keys_of(model: type[Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys of a file by its model, those of tables in it by their path."""
    within = {"disk": NetworkDisk, "subvolumes": Subvolume, "upgrade": Upgrades, "groups": NetworkGroup}
    for name in attrs.fields_dict(model):
        if name in within:
            yield from keys_of(within[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_no_key_of_a_file_is_changed_without_a_word(site: Site, world: World) -> None:
    named = {"hostname", "groups.label"}
    decide_nothing = {*named, "host", "upgrade.timeout", "upgrade.versions"}  # the others are refused here
    assert set(keys_of(NetworkNode)) - decide_nothing == set(OTHER_VALUES) - {"groups"}
    machines = Machines(evolve(site.services, plugins=fake_plugins(world, other=World())))
    apply(site, document(site, storage=True), machines=machines)
    for key, change in OTHER_VALUES.items():
        assert machines.altering.plan(document(site, change, storage=True)).changes, key


def test_the_address_of_another_machine_is_refused_by_its_name(site: Site) -> None:
    apply(site, document(site))
    apply(site, document(site, hostname="cm-02", mac=OTHER))
    with pytest.raises(ConflictError, match="belongs to cm-02"):
        site.machines.altering.plan(document(site, mac=OTHER))


def test_words_by_which_a_machine_finds_its_disks_are_refused(site: Site) -> None:
    for word in ("terra.uuid=1", "boot=local", "root=/dev/sda", "BOOTIF=1", "a b"):
        with pytest.raises(ConfigError, match=r"kernel_arguments\[0\]"):
            document(site, lambda table, word=word: table.update(kernel_arguments=[word]))  # type: ignore[misc]
    own = document(site, lambda table: table.update(kernel_arguments=["ISCSI_TARGET_NAME=another"]))
    with pytest.raises(TerraError, match="is a word that Terra says itself"):
        apply(site, own)
    apply(site, document(site))
    with pytest.raises(TerraError, match="is a word that Terra says itself"):
        site.machines.altering.plan(own)


def test_a_disk_grows_and_a_further_group_is_made(site: Site, world: World) -> None:
    apply(site, document(site))
    first = site.services.store.get("cm-01")

    def both(table: dict[str, Any]) -> None:
        size(200000)(table)
        more_groups(table)

    plan = apply(site, document(site, both))
    assert [one.path for one in plan.changes] == ["groups[os].disk[0].size", "groups[data]"]
    record = site.services.store.get("cm-01")
    assert [[volume.size for volume in kept.target.volumes] for kept in record.targets] == [[200000], [64]]
    assert [kept.made for kept in record.targets] == [True, True]
    assert record.targets[1].target.volumes[0].name.endswith("cm-01/1.lun"), "no name is taken twice"
    assert set(record.kernel_arguments) == {*first.kernel_arguments, *record.targets[1].target.kernel_arguments}
    assert {target.name for target in world.exported.values()} == {kept.target.name for kept in record.targets}
    assert apply(site, document(site, both)).action is Action.UNCHANGED


def test_a_disk_of_a_machine_that_is_connected_to_it_does_not_grow(site: Site, world: World) -> None:
    apply(site, document(site))
    before = site.services.store.get("cm-01")
    world.connected = {before.targets[0].target.id: (Connected(name="iqn.node"),)}
    plan = site.machines.altering.plan(document(site, size(200000)))
    assert "shut it down before" in plan.notes[-1]
    with pytest.raises(ConflictError, match="cm-01 is logged in to its disks"):
        apply(site, document(site, size(200000)))
    assert site.services.store.get("cm-01") == before
    assert apply(site, document(site, more_groups)).action is Action.CHANGE, "a further group takes nothing from it"


def test_a_change_that_is_not_wholly_undone_is_looked_at_at_once_and_so_is_one_that_mends_a_machine(
    site: Site, world: World
) -> None:
    """Else the machine would be called ready, or failed, for up to a minute."""
    apply(site, document(site))
    former, wanted = site.services.store.get("cm-01"), document(site, mac=OTHER)

    def change(record: Record) -> None:
        altering = site.machines.altering
        site.machines.logged(record, "change", lambda found, report: altering.change(found, wanted, report))(silent)

    def fail() -> None:
        raise TerraError("it failed once")

    at_step(world, "publish_boot", fail)
    with pytest.raises(TerraError, match="it failed once"):
        change(former)
    assert not site.machines.troubles.is_to_look_again(), "all of it is undone"
    world.fail.add("publish_boot")
    with pytest.raises(TerraError, match="publish_boot failed") as caught:
        change(former)
    assert caught.value.notes
    assert site.machines.troubles.is_to_look_again()
    world.fail.clear()
    site.services.store.set_problem(former, "its volume is a link")
    change(site.services.store.get("cm-01"))
    assert site.machines.troubles.is_to_look_again()
    Keeper(site.machines).mend(silent)
    assert site.services.store.get("cm-01").problem == ""


STEPS = [
    "plan_target", "make_volume entered", "prepare_disks entered", "provision_target", "publish_boot", "grow_volume entered",
    "restore_target", "start_boot",
]  # fmt: skip


def everything(table: dict[str, Any]) -> None:
    size(200000)(table)
    more_groups(table)
    table |= {"mac": OTHER, "kernel_arguments": ["debug"]}


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_leaves_the_machine_as_it_was(site: Site, world: World, step: str) -> None:
    apply(site, document(site))
    before = site.services.store.get("cm-01"), site.left(), dict(world.exported), dict(world.published)

    def fail() -> None:
        raise TerraError(f"{step} failed, as it should")

    former, _ = site.machines.altering.checked(document(site, everything), "")
    assert former is not None
    at_step(world, step, fail)
    with pytest.raises(TerraError, match="as it should"):
        site.machines.altering.change(former, document(site, everything), silent)
    assert (site.services.store.get("cm-01"), site.left(), dict(world.exported), dict(world.published)) == before
    assert world.sizes == {}
    apply(site, document(site, everything))
    assert not site.services.store.get("cm-01").unmade


@pytest.mark.parametrize("step", STEPS)
def test_a_start_after_kill_9_at_any_step_finishes_the_change(tmp_path: Path, world: World, step: str) -> None:
    site = make_site(tmp_path / "root", world)
    apply(site, document(site))
    former, _ = site.machines.altering.checked(document(site, everything), "")
    assert former is not None
    known = former
    kill_at(site, step, lambda: site.machines.altering.change(known, document(site, everything), silent))
    again = make_site(tmp_path / "root", world)
    again.machines.recover()
    again.machines.restore()
    record = again.services.store.get("cm-01")
    begun = step != "plan_target"  # before that, nothing is in the database
    assert record.problem == ""
    assert not record.unmade
    plan = again.machines.altering.plan(document(again, everything))
    assert plan.action is (Action.UNCHANGED if begun else Action.CHANGE)
    assert world.published["cm-01"][0] == record.mac  # type: ignore[index]
    assert {one.name for one in world.exported.values()} == {kept.target.name for kept in record.targets}
    assert world.sizes == ({record.targets[0].target.volumes[0].name: 200000} if begun else {})
    again.operations.stop()


def test_a_change_that_cannot_be_finished_is_said_until_it_is_applied_again(tmp_path: Path, world: World) -> None:
    site = make_site(tmp_path / "root", world)
    apply(site, document(site))
    former = site.services.store.get("cm-01")
    kill_at(site, "prepare_disks entered", lambda: site.machines.altering.change(former, document(site, everything), silent))
    world.fail = {"make_volume"}
    again = make_site(tmp_path / "root", world)
    again.machines.recover()
    again.machines.restore()
    record = again.services.store.get("cm-01")
    assert "could not be finished: make_volume failed" in record.problem
    assert [target.name for target in world.exported.values()] == [record.targets[0].target.name], "the machine goes on"
    world.fail = set()
    assert apply(again, document(again, everything)).action is Action.CHANGE
    record = again.services.store.get("cm-01")
    assert (record.problem, record.unmade) == ("", False)
    again.operations.stop()


def test_an_interruption_leaves_the_machine_as_it_was(site: Site) -> None:
    apply(site, document(site))
    before = site.services.store.get("cm-01")

    def interrupt(event: Event) -> None:
        if event.step == "publish":
            raise InterruptedWork("enough")

    former, _ = site.machines.altering.checked(document(site, everything), "")
    assert former is not None
    with pytest.raises(InterruptedWork):
        site.machines.altering.change(former, document(site, everything), interrupt)
    assert site.services.store.get("cm-01") == before


def test_a_plan_counts_for_the_machine_that_it_was_made_for(site: Site) -> None:
    apply(site, document(site))
    wanted = document(site, lambda table: table.update(kernel_arguments=["debug"]))
    plan = site.machines.altering.plan(wanted)
    apply(site, document(site, mac=OTHER))
    with pytest.raises(ConflictError, match="changed by somebody else since this was planned"):
        apply(site, wanted, plan.version)
    new = site.machines.altering.plan(document(site, hostname="cm-02", mac="54:b2:03:07:f1:d3"))
    with pytest.raises(ConflictError, match="since this was planned"):
        apply(site, wanted, new.version)


def test_of_two_changes_at_once_the_second_is_refused(site: Site) -> None:
    apply(site, document(site))
    wanted = [document(site, lambda table, word=word: table.update(kernel_arguments=[word])) for word in ("a", "b")]  # type: ignore[misc]
    found = [site.machines.altering.checked(one, "")[0] for one in wanted]
    assert found[0] is not None and found[1] is not None  # noqa: PT018
    site.machines.altering.change(found[0], wanted[0], silent)
    with pytest.raises(ConflictError, match="by somebody else meanwhile"):
        site.machines.altering.change(found[1], wanted[1], silent)
    assert site.services.store.get("cm-01").node.kernel_arguments == ("a",)


def test_a_machine_that_is_being_deleted_is_not_changed(site: Site) -> None:
    apply(site, document(site))
    wanted = document(site, more_groups)
    former, _ = site.machines.altering.checked(wanted, "")
    assert former is not None
    record = site.services.store.begin_delete("cm-01")
    with pytest.raises(ConflictError, match="by somebody else meanwhile"):
        site.machines.altering.change(former, wanted, silent)
    with pytest.raises(ConflictError, match="cm-01 is being deleted"):
        site.machines.altering.plan(wanted)
    site.machines.delete(record, silent)
    assert site.left() == []


def test_of_fifty_that_apply_one_machine_at_once_one_makes_it(site: Site) -> None:
    wanted, results = document(site), list[str]()

    def one() -> None:
        try:
            results.append(apply(site, wanted).action.value)
        except ConflictError:
            results.append("conflict")

    threads = [threading.Thread(target=one) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("create") == 1
    assert set(results) <= {"create", "conflict", "unchanged"}
    assert [record.hostname for record in site.services.store.every()] == ["cm-01"]


def test_a_tag_that_has_moved_is_said_and_is_no_change(site: Site) -> None:
    apply(site, document(site))
    record: Record = site.services.store.get("cm-01")
    assert site.machines.altering.plan(document(site)).notes == ()
    moved = evolve(record, digest="sha256:" + "0" * 64)
    site.services.store.save(moved)
    plan = Machines(site.services).altering.plan(document(site))
    assert plan.action is Action.UNCHANGED
    assert "the tag of docker.io/crosbymichael/cm-01:v5 has moved" in plan.notes[0]
    assert version_of(moved) == plan.version
