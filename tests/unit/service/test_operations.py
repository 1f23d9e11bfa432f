"""Long work: what it says, to whom and when, and how it is ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from terra_core.errors import ConfigError, ConflictError, InterruptedWork, NotFoundError
from terra_core.service.operations import Operation, Operations
from terra_core.system.process import interruption
from terra_core.system.progress import Event, Report
from tests.unit.service.following import heard

PATIENCE = 5.0


@pytest.fixture
def operations() -> Iterator[Operations]:
    """Allow one job at a time."""
    operations = Operations(1)
    yield operations
    operations.stop()


class Gate:
    """Work that waits until it is let go, and asks whether it was cancelled meanwhile."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self, report: Report) -> Mapping[str, Any]:
        self.begun.set()
        assert self.open.wait(PATIENCE)
        report(Event("gate", "through"))
        return {"through": True}


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Yield a gate that is open at the end."""
    gate = Gate()
    yield gate
    gate.open.set()


def said(operation: Operation) -> list[tuple[str, Mapping[str, Any]]]:
    """Return all that an operation said, to its end."""
    return [(message.kind, message.data) for message in heard(operation) if message is not None]


def works(report: Report) -> Mapping[str, Any]:
    report(Event("one", "first", 1, 2))
    report(Event("two", "second"))
    return {"answer": 42}


def test_work_tells_its_progress_and_then_its_result(operations: Operations) -> None:
    operation = operations.start("provision", "cm-01", works)
    assert said(operation) == [
        ("progress", {"step": "one", "text": "first", "done": 1, "total": 2, "unit": "bytes"}),
        ("progress", {"step": "two", "text": "second", "done": None, "total": None, "unit": "bytes"}),
        ("result", {"answer": 42}),
    ]
    assert operation.as_json() == {"id": operation.id, "kind": "provision", "subject": "cm-01", "state": "done"}


def test_who_comes_late_hears_all_of_it(operations: Operations) -> None:
    operation = operations.start("provision", "cm-01", works)
    first = said(operation)
    assert said(operation) == first
    assert said(operations.get(operation.id)) == first


def test_who_comes_early_hears_it_as_it_happens(operations: Operations, gate: Gate) -> None:
    operation = operations.start("provision", "cm-01", gate)

    async def follow() -> list[str]:
        messages = operation.messages(0.05)
        assert await anext(messages) is None, "silence is said to be silence"
        assert operation.as_json()["state"] == "running"
        gate.open.set()
        return [message.kind async for message in messages if message is not None]

    assert asyncio.run(follow()) == ["progress", "result"]


def test_of_what_is_counted_the_last_is_kept(operations: Operations) -> None:
    def work(report: Report) -> Mapping[str, Any]:
        report(Event("begin", "says what it does"))
        for done in range(10_001):
            report(Event("pull", "the first layer", done, 10_000))
            report(Event("pull", "the second layer", done))
        report(Event("begin", "says what it does"))
        return {}

    operation = operations.start("provision", "cm-01", work)
    said(operation)
    told = [(data.get("text"), data.get("done")) for _, data in said(operation)]
    assert told == [
        ("says what it does", None),
        ("the first layer", 10_000),
        ("the second layer", 10_000),
        ("says what it does", None),
        (None, None),
    ]


def test_any_number_follows_without_a_thread(operations: Operations, gate: Gate) -> None:
    operation = operations.start("provision", "cm-01", gate)

    async def follow(heard: list[str]) -> None:
        async for message in operation.messages(PATIENCE):
            assert message is not None, "nobody was left to wait"
            heard.append(message.kind)

    async def everybody() -> list[list[str]]:
        heard: list[list[str]] = [[] for _ in range(1000)]
        followers = [asyncio.create_task(follow(one)) for one in heard]
        gate.begun.wait(PATIENCE)
        await asyncio.sleep(0)
        assert threading.active_count() == before
        gate.open.set()
        await asyncio.gather(*followers)
        return heard

    assert gate.begun.wait(PATIENCE)
    before = threading.active_count()
    assert asyncio.run(everybody()) == [["progress", "result"]] * 1000


def test_who_stops_to_follow_is_not_rung_any_more(operations: Operations, gate: Gate) -> None:
    operation = operations.start("provision", "cm-01", gate)

    async def follow() -> None:
        await anext(operation.messages(PATIENCE))

    async def leave() -> None:
        follower = asyncio.create_task(follow())
        await asyncio.sleep(0)
        follower.cancel()
        with pytest.raises(asyncio.CancelledError):
            await follower

    asyncio.run(leave())
    gate.open.set()
    assert [kind for kind, _ in said(operation)] == ["progress", "result"]


@pytest.mark.parametrize(
    ("error", "document"),
    [
        (ConflictError("taken", hint="choose"), {"status": 409, "title": "ConflictError", "detail": "taken", "hint": "choose"}),
        (
            ConfigError(["a: b", "c: d"]),
            {"status": 422, "title": "ConfigError", "detail": "a: b\nc: d", "problems": ["a: b", "c: d"]},
        ),
        (
            OSError(28, "No space left on device", "/iscsi/x"),
            {"status": 500, "title": "TerraError", "detail": "/iscsi/x: No space left on device"},
        ),
        (OSError("odd"), {"status": 500, "title": "TerraError", "detail": "odd"}),
        (KeyError("x"), {"status": 500, "title": "Defect", "detail": "a defect of Terra's: KeyError('x')"}),
    ],
)
def test_what_the_work_raises_becomes_a_problem(operations: Operations, error: Exception, document: dict[str, Any]) -> None:
    def fail(report: Report) -> Mapping[str, Any]:
        raise error

    operation = operations.start("provision", "cm-01", fail)
    assert said(operation) == [("problem", document)]
    assert operation.as_json()["state"] == "failed"
    assert said(operations.start("provision", "cm-02", works))[-1][0] == "result", "and others go on"


def test_work_that_is_cancelled_ends_at_its_next_report(operations: Operations, gate: Gate) -> None:
    operation = operations.start("provision", "cm-01", gate)
    assert gate.begun.wait(PATIENCE)
    operations.cancel(operation.id)
    gate.open.set()
    ((kind, problem),) = said(operation)
    assert (kind, problem["title"]) == ("problem", "InterruptedWork")
    assert "provision of cm-01 was interrupted" in problem["detail"]


@pytest.mark.parametrize("at", ["pulling docker.io/x/y:1", "mkfs.btrfs", "provision of cm-02"])
def test_whatever_is_at_work_when_it_is_cancelled_the_client_is_told_of_the_operation(
    operations: Operations, gate: Gate, at: str
) -> None:
    def work(report: Report) -> Mapping[str, Any]:
        gate.begun.set()
        assert gate.open.wait(PATIENCE)
        raise InterruptedWork(f"{at} was interrupted")

    operation = operations.start("provision", "cm-01", work)
    assert gate.begun.wait(PATIENCE)
    operations.cancel(operation.id)
    gate.open.set()
    ((kind, problem),) = said(operation)
    assert (kind, problem["title"]) == ("problem", "InterruptedWork")
    assert problem["detail"] == "provision of cm-01 was interrupted; all of it has been undone"


def test_programs_that_the_work_runs_are_ended_too(operations: Operations, gate: Gate) -> None:
    asked: list[Callable[[], bool] | None] = []

    def work(report: Report) -> Mapping[str, Any]:
        asked.append(interruption.get())
        return gate(report)

    operation = operations.start("provision", "cm-01", work)
    assert gate.begun.wait(PATIENCE)
    assert asked[0] is not None
    assert not asked[0]()
    operations.cancel(operation.id)
    assert asked[0]()
    assert interruption.get() is None, "nobody else is"


def test_work_that_waits_is_cancelled_without_waiting_for_its_turn(operations: Operations, gate: Gate) -> None:
    operations.start("provision", "cm-01", gate)
    undone = threading.Event()

    def work(report: Report) -> Mapping[str, Any]:
        try:
            return works(report)
        finally:
            undone.set()

    waiting = operations.start("provision", "cm-02", work)
    operations.cancel(waiting.id)
    ((kind, problem),) = said(waiting)
    assert (kind, problem["title"]) == ("problem", "InterruptedWork")
    assert undone.is_set(), "it had its chance to undo what was done before it was queued"
    assert not gate.open.is_set()


def test_cancelling_what_is_done_changes_nothing(operations: Operations) -> None:
    operation = operations.start("provision", "cm-01", works)
    before = said(operation)
    operations.cancel(operation.id)
    assert said(operation) == before
    assert operation.as_json()["state"] == "done"


def test_stopping_cancels_all_and_waits_for_the_end(gate: Gate) -> None:
    operations = Operations(1)
    running = operations.start("provision", "cm-01", gate)
    waiting = [operations.start("provision", f"cm-{at}", works) for at in range(5)]
    assert gate.begun.wait(PATIENCE)
    threading.Timer(0.1, gate.open.set).start()
    operations.stop()
    assert [one.as_json()["state"] for one in (running, *waiting)] == ["failed"] * 6
    operations.stop()


def test_a_removal_waits_for_no_other_work(gate: Gate) -> None:
    operations = Operations(1)
    running = operations.start("provision", "cm-01", gate)
    assert gate.begun.wait(PATIENCE)
    queued = operations.start("provision", "cm-02", works)
    removed = operations.start("delete", "cm-03", works, removal=True)
    assert said(removed)[-1][0] == "result"
    assert [one.as_json()["state"] for one in (running, queued)] == ["running", "running"]
    gate.open.set()
    operations.stop()


def test_an_unknown_operation_is_not_found(operations: Operations) -> None:
    with pytest.raises(NotFoundError, match="no operation 'x'"):
        operations.get("x")
    with pytest.raises(NotFoundError):
        operations.cancel("x")


def test_old_operations_are_dropped_and_running_ones_kept(gate: Gate) -> None:
    operations = Operations(2)
    running = operations.start("provision", "cm-01", gate)
    for at in range(300):
        said(operations.start("delete", f"cm-{at}", works))
    known = operations.all()
    assert running in known
    assert len(known) <= 201
    gate.open.set()
    operations.stop()
