"""The agent's records: what is taken, what counts, what is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terra_core.config.loader import make_document
from terra_core.errors import ConflictError, NotFoundError
from terra_orbit.agent.connections import fresh_macs
from terra_orbit.agent.records import Attachment, Move, Record, State
from terra_orbit.agent.requests import parse_signal
from terra_orbit.agent.store import KEPT_REVISIONS, Store
from terra_orbit.vhost import Vhost


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open an empty store."""
    store = Store(f"sqlite:///{tmp_path / 'orbit.db'}")
    yield store
    store.close()


def document(name: str = "one", **more: object) -> dict[str, Any]:
    return {"id": name, "image": "tiny:1", **more}


def create(store: Store, name: str = "one") -> Record:
    raw = document(name)
    return store.create(raw, make_document(raw, Vhost, source="test").value, "sha256:1", ["02:00:00:00:00:01"])


def test_a_name_is_taken_once_and_free_again_when_its_container_is_forgotten(store: Store) -> None:
    first = create(store)
    with pytest.raises(ConflictError, match="there is a container one already, which is running"):
        create(store)
    store.put_attachment(first, Attachment(interface="eth0", revision=1, conf={"type": "x"}, pid=1, started="1"))
    store.forget(first)
    second = create(store)
    assert second.uid != first.uid
    assert store.attachments(second) == []
    with pytest.raises(NotFoundError):
        store.fresh(first)


def test_revisions_follow_each_other_and_go_back(store: Store) -> None:
    record = create(store)
    record = store.add_revision(record, document(env=["A=1"]), "sha256:2", record.macs)
    assert (record.revision, record.current.image, record.former and record.former.number) == (2, "sha256:2", 1)
    record = store.return_to(record, 1, State.RUNNING)
    assert (record.revision, len(record.revisions), record.former) == (1, 1, None)
    assert store.add_revision(record, document(), "sha256:3", record.macs).revision == 2


def test_the_oldest_revisions_are_forgotten(store: Store) -> None:
    record = create(store)
    for number in range(KEPT_REVISIONS + 3):
        record = store.add_revision(record, document(env=[f"A={number}"]), "sha256:2", record.macs)
    record = store.drop_oldest(record)
    assert len(record.revisions) == KEPT_REVISIONS
    assert record.current.number == KEPT_REVISIONS + 4


def test_addresses_are_remembered_when_a_connection_is_not(store: Store) -> None:
    record = create(store)
    attachment = Attachment(
        interface="eth0", revision=1, conf={"type": "x"}, pid=7, started="9", addresses=("10.0.0.2/24",), keeper="k"
    )
    store.put_attachment(record, attachment)
    assert store.attachments(record) == [attachment]
    store.drop_attachment(record, attachment)
    assert store.attachments(record) == []
    assert store.former_addresses(record, "eth0") == ("10.0.0.2/24",)


def test_one_that_departs_may_not_run_until_its_state_is_decided_again(store: Store) -> None:
    record = create(store)
    move = Move(url="http://10.0.10.21:9100", token="secret", ref="a/b:1", state=State.RUNNING)  # of nobody
    departed = store.depart(record, move, "on its way")
    assert (departed.state, departed.move, departed.problem) == (State.STOPPED, move, "on its way")
    assert store.change(departed, problem="asked in vain").move == move
    assert store.all()[0].move == move
    assert store.change(departed, state=State.RUNNING).move is None
    assert store.return_to(store.depart(record, move, ""), 1, State.RUNNING).move is None


def test_it_is_all_there_when_it_is_opened_again(store: Store, tmp_path: Path) -> None:
    record, agent = create(store), store.agent
    store.close()
    again = Store(f"sqlite:///{tmp_path / 'orbit.db'}")
    assert (again.agent, list(again.all())) == (agent, [record])
    again.close()


def test_hardware_addresses_are_local_different_and_kept() -> None:
    raw = document(networks=[{"type": "bridge", "name": f"b{at}", "ipam": {"type": "dhcp"}} for at in range(3)])
    raw["networks"][1]["mac"] = "52-54-00-00-00-01"
    vhost = make_document(raw, Vhost, source="test").value
    macs = fresh_macs(vhost)
    assert macs[1] == "52:54:00:00:00:01"
    assert len(set(macs)) == 3
    assert all(int(mac[:2], 16) & 3 == 2 for mac in (macs[0], macs[2]))
    assert fresh_macs(vhost, macs) == macs


@pytest.mark.parametrize(
    ("text", "name"), [("hup", "SIGHUP"), ("SIGKILL", "SIGKILL"), ("15", "SIGTERM"), ("RTMIN+3", "SIGRTMIN+3")]
)
def test_signals_have_many_spellings(text: str, name: str) -> None:
    assert parse_signal(text) == name


@pytest.mark.parametrize("text", ["", "0", "99", "-9", "NOPE", "KILL; reboot", "²"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a signal"):
        parse_signal(text)
