"""The records: who holds what, what is never given twice, and that a machine reads back as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Barrier, Thread

import pytest
from attrs import evolve

from terra_core.config.loader import make_document
from terra_core.config.node import OS_LABEL, NetworkNode
from terra_core.config.values import Address, Label, PluginName
from terra_core.controller.database import open_database
from terra_core.controller.records import BootLine, KeptTarget, Phase, Upgrade, Version
from terra_core.controller.store import Record, State, Store
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.hookspecs import CONTRACT, Target, Volume
from tests.unit.controller.fakes import node_document, node_table

TARGET = KeptTarget(
    storage=PluginName("iscsi"),
    store=PluginName("file"),
    contract=CONTRACT,
    target=Target(
        label=OS_LABEL,
        name="iqn.2024.san.crosbymichael.com.cm-01:fs",
        id=2,
        client="iqn.2024.node.crosbymichael.com:cm-01",
        portal=Address("10.0.10.4"),
        volumes=(Volume(name="/iscsi/cm-01/0.lun", size=128000),),
        kernel_arguments=("ISCSI_TARGET_IP=10.0.10.4",),
        data={"secret": "s"},
    ),
)
SEED = """\
{
 "hostname": "cm-01",
 "mac": "54:b2:03:07:f1:d1",
 "image": "docker.io/crosbymichael/cm-01:v5",
 "disk_groups": [
  {
   "label": "os",
   "stage": 1,
   "disks": [
    {
     "id": 1,
     "device": "/iscsi/cm-01/0.lun",
     "fs_size": 128000
    }
   ],
   "subvolumes": [
    {
     "name": "home",
     "path": "/home"
    },
    {
     "name": "log",
     "path": "/var/log"
    },
    {
     "name": "containerd",
     "path": "/var/lib/containerd"
    }
   ],
   "target": {
    "iqn": "iqn.2024.san.crosbymichael.com.cm-01:fs",
    "id": 2
   }
  }
 ],
 "initiator_iqn": "iqn.2024.node.crosbymichael.com:cm-01"
}"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Open an empty store."""
    return Store(open_database(f"sqlite:///{tmp_path / 'terra.db'}"))


def reserve(store: Store, **more: str) -> Record:
    document = node_document(**more)
    assert document.value.mac is not None
    return store.reserve(document.value, document.raw, document.tables)


def ready(store: Store, record: Record) -> Record:
    return store.save(evolve(record, state=State.READY, targets=(TARGET,), digest="sha256:1", kernel_arguments=("quiet",)))


def test_a_machine_is_given_as_the_seed_shows_it(store: Store) -> None:
    record = ready(store, reserve(store))
    assert json.dumps(record.as_json(), indent=1) == SEED
    assert json.dumps(store.get("cm-01").as_json(), indent=1) == SEED


def test_a_record_reads_back_as_it_was_written(store: Store) -> None:
    document = make_document({**node_table(), "btrfs": {"compress": "zstd"}}, NetworkNode, source="node.toml", owners={"btrfs"})
    assert document.value.mac is not None
    record = store.reserve(document.value, document.raw, document.tables)
    assert store.get("cm-01") == record
    changed = ready(store, evolve(record, problem="it has no disk"))
    assert store.get("cm-01") == changed
    assert store.get("cm-01").tables == {"btrfs": {"compress": "zstd"}}
    assert list(store.all()) == [changed]


def test_a_machine_that_is_being_provisioned_has_no_targets_to_show(store: Store) -> None:
    shown = reserve(store).as_json()
    assert shown["disk_groups"] == []
    assert shown["initiator_iqn"] == ""


@pytest.mark.parametrize("state", list(State))
def test_a_host_name_that_is_taken_names_its_holder(store: Store, state: State) -> None:
    store.save(evolve(reserve(store), state=state))
    with pytest.raises(ConflictError) as caught:
        reserve(store, mac="02:00:00:00:00:02")
    assert caught.value.message == f"the host name cm-01 belongs to cm-01 (54:b2:03:07:f1:d1), which is {state.value}"
    assert "terra delete cm-01" in caught.value.hint


@pytest.mark.parametrize("spelling", ["54:B2:03:07:F1:D1", "54-b2-03-07-f1-d1", "54b2.0307.f1d1", "54b20307f1d1"])
def test_an_address_that_is_taken_names_its_holder_in_any_spelling(store: Store, spelling: str) -> None:
    reserve(store)
    with pytest.raises(ConflictError) as caught:
        reserve(store, hostname="cm-02", mac=spelling)
    assert caught.value.message.startswith("the MAC address 54:b2:03:07:f1:d1 belongs to cm-01")


def test_a_host_name_in_capitals_is_the_same_host_name(store: Store) -> None:
    reserve(store)
    with pytest.raises(ConflictError):
        reserve(store, hostname="CM-01", mac="02:00:00:00:00:02")


def test_a_conflict_takes_nothing(store: Store) -> None:
    reserve(store)
    with pytest.raises(ConflictError):
        reserve(store, hostname="cm-02")
    assert [record.node.hostname for record in store.all()] == ["cm-01"]
    assert reserve(store, hostname="cm-02", mac="02:00:00:00:00:02").generation == 1


def test_of_many_at_once_one_gets_the_name_and_the_others_a_conflict(store: Store) -> None:
    barrier, won, lost = Barrier(16), list[Record](), list[str]()

    def contend(at: int) -> None:
        barrier.wait()
        try:
            won.append(reserve(store, mac=f"02:00:00:00:00:{at:02x}" if at % 2 else "54:b2:03:07:f1:d1"))
        except ConflictError as error:
            lost.append(error.message)

    threads = [Thread(target=contend, args=(at,)) for at in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 15
    assert all("belongs to cm-01" in message for message in lost)


def test_generations_go_on_after_a_machine_is_forgotten(store: Store) -> None:
    for generation in (1, 2, 3):
        record = reserve(store)
        assert record.generation == generation
        store.forget(record)
    assert reserve(store, hostname="cm-02").generation == 1


def test_target_numbers_are_never_given_twice(store: Store, tmp_path: Path) -> None:
    record = reserve(store)
    first = [store.number(record.node.hostname, label) for label in ("os", "storage")]
    store.forget(record)
    again = Store(open_database(f"sqlite:///{tmp_path / 'terra.db'}"))
    second = [again.number(record.node.hostname, label) for label in ("os", "storage")]
    assert [*first, *second] == sorted(set(first + second))


def test_what_belongs_to_a_former_machine_does_not_touch_a_later_one_of_its_name(store: Store) -> None:
    former = reserve(store)
    store.forget(former)
    later = reserve(store)
    store.forget(former)
    store.save(evolve(former, problem="late"))
    store.set_problem(former, "late")
    assert store.get("cm-01") == later


def test_a_problem_is_noted_and_nothing_else_is_changed(store: Store) -> None:
    stale = reserve(store)
    fresh = ready(store, stale)
    store.set_problem(stale, "no disk")
    assert store.get("cm-01") == evolve(fresh, problem="no disk")


def test_nobody_deletes_a_machine_that_is_being_provisioned(store: Store) -> None:
    reserve(store)
    with pytest.raises(ConflictError, match="is being provisioned"):
        store.begin_delete("cm-01")
    assert store.get("cm-01").state is State.PROVISIONING


def test_nobody_deletes_a_machine_twice_unless_the_first_time_failed(store: Store) -> None:
    record = ready(store, reserve(store))
    assert store.begin_delete("cm-01") == record
    with pytest.raises(ConflictError, match="is being deleted already"):
        store.begin_delete("cm-01")
    store.set_problem(record, "the target is busy")
    assert store.begin_delete("cm-01").problem == "the target is busy"
    assert store.get("cm-01").problem == ""


@pytest.mark.parametrize("hostname", ["cm-02", "", "%", "cm-01' or '1'='1", "\0", "é" * 1000])
def test_a_machine_that_is_not_there_is_not_found(store: Store, hostname: str) -> None:
    reserve(store)
    with pytest.raises(NotFoundError, match="no machine is named"):
        store.get(hostname)
    with pytest.raises(NotFoundError):
        store.begin_delete(hostname)


def test_a_full_disk_is_said_as_such(store: Store) -> None:
    reserve(store)
    pooled = store._engine.raw_connection()  # the one connection that is used again: its limit is that of a full disk
    pooled.cursor().execute("pragma max_page_count=1")
    pooled.close()
    bulky = "/".join(["docker.io", *(["x" * 60] * 7), "y:1"])

    def fill() -> None:
        for at in range(200):
            reserve(store, hostname=f"node-{at}", mac=f"02:00:00:00:00:{at:02x}", image=bulky)

    with pytest.raises(TerraError, match="the database cannot be used: database or disk is full"):
        fill()


def test_a_machine_with_another_version_reads_back_and_has_either_in_the_place_of_the_other(store: Store) -> None:
    node = make_document({**node_table(), "kernel_arguments": ["quiet"]}, NetworkNode, source="test").value
    record = store.reserve(node, {**node_table(), "kernel_arguments": ["quiet"]}, {})
    system = evolve(TARGET, target=evolve(TARGET.target, name="iqn.2024.san.x.cm-01:fs.7", id=7, kernel_arguments=("T=7",)))
    data = evolve(TARGET, target=evolve(TARGET.target, label=Label("data"), id=3, kernel_arguments=("terra.target=data",)))
    words = ("boot=terra", "terra.root=1", *TARGET.target.kernel_arguments, "terra.target=data", "systemd.mount-extra=a:b:c:d")
    other = Version(image="x/next:7", digest="sha256:2", layout="l", targets=(system,), words=("boot=terra", "terra.root=2"))
    waiting = Upgrade(phase=Phase.WAITING, image="x/next:7", digest="sha256:2", since=1.5, other=other, places={"/a": "/b"})
    ready = evolve(
        record,
        state=State.READY,
        digest="sha256:1",
        targets=(TARGET, data),
        kernel_arguments=(*words, "quiet"),
        upgrade=waiting,
    )
    store.save(ready)
    found = store.get("cm-01")
    assert found == ready
    assert [kept.target.id for kept in found.exported] == [2, 3]
    assert [kept.target.id for kept in found.every_target] == [2, 3, 7]
    turned = found.swapped()
    assert str(turned.node.image) == turned.document["image"] == "x/next:7"
    assert turned.kernel_arguments == (
        "boot=terra", "terra.root=2", "T=7", "terra.target=data", "systemd.mount-extra=a:b:c:d", "quiet"
    )  # fmt: skip
    assert turned.swapped() == found, "there and back"
    line = BootLine(digest=found.digest, kernel_arguments=found.kernel_arguments)
    assert turned.upgrade is not None
    trial = evolve(turned, upgrade=evolve(turned.upgrade, phase=Phase.TRIAL, back=line))
    store.exchange(found, trial)
    found = store.get("cm-01")
    assert isinstance(found, Record)
    assert [kept.target.id for kept in found.exported] == [7, 3, 2]
    assert (found.boot.image, found.boot.kernel_arguments) == ("sha256:1", ready.kernel_arguments)
    assert list(store.bootable()) == [found.boot]
    with pytest.raises(ConflictError, match="changed by somebody else"):
        store.exchange(ready, ready)
