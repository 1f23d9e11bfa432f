"""What failed first is what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from terra_core.errors import TerraError
from terra_core.system.undo import Undo, first_kept, lasting, undoing


@pytest.fixture
def first() -> TerraError:
    return TerraError("the disk is full", hint="make room")


def unwind(*steps: Callable[[Undo], object], error: BaseException | None = None) -> None:
    """Register some steps, and then fail or not."""
    with Undo() as undo:
        for step in steps:
            step(undo)
        if error is not None:
            raise error


def fail() -> None:
    raise TerraError("it is still mounted")


def by_callback(undo: Undo) -> None:
    undo.callback(fail)


def by_function(undo: Undo) -> None:
    undo.push(lambda *_: fail())


def by_context(undo: Undo) -> None:
    @contextmanager
    def context() -> Iterator[None]:
        try:
            yield
        finally:
            fail()

    undo.enter_context(context())


def by_object(undo: Undo) -> None:
    class Context:
        def __enter__(self) -> None: ...

        def __exit__(self, *failure: object) -> None:
            fail()

    undo.enter_context(Context())


def by_error_that_itself_has_a_cause(undo: Undo) -> None:
    @contextmanager
    def context() -> Iterator[None]:
        try:
            yield
        finally:
            try:
                raise OSError("busy")
            except OSError as error:
                raise TerraError("it is still mounted") from error

    undo.enter_context(context())


def by_error_that_hides_its_cause(undo: Undo) -> None:
    @contextmanager
    def context() -> Iterator[None]:
        try:
            yield
        finally:
            try:
                raise OSError("busy")
            except OSError:
                raise TerraError("it is still mounted") from None

    undo.enter_context(context())


KINDS: list[Callable[[Undo], None]] = [
    by_callback, by_function, by_context, by_object, by_error_that_itself_has_a_cause, by_error_that_hides_its_cause
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_undoing_takes_no_errors_place(kind: Callable[[Undo], None], first: TerraError) -> None:
    done: list[str] = []
    with pytest.raises(TerraError) as told:
        unwind(lambda undo: undo.callback(done.append, "the rest"), kind, error=first)
    assert told.value is first
    assert str(first) == "the disk is full\nmake room\nand what was begun is not wholly undone: it is still mounted"
    assert done == ["the rest"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_undoing_alone_is_raised(kind: Callable[[Undo], None]) -> None:
    done: list[str] = []
    with pytest.raises(TerraError, match="still mounted"):
        unwind(lambda undo: undo.callback(done.append, "the rest"), kind)
    assert done == ["the rest"]


def test_the_first_of_several_errors_of_undoing_is_the_one() -> None:
    def second() -> None:
        raise OSError("another")

    with pytest.raises(TerraError, match="still mounted") as told:
        unwind(lambda undo: undo.callback(second), by_callback)
    assert "another" in str(told.value)


def test_a_context_that_explains_an_error_still_does(first: TerraError) -> None:
    @contextmanager
    def explaining() -> Iterator[None]:
        try:
            yield
        except TerraError as error:
            raise TerraError("0.lun cannot be written") from error

    with pytest.raises(TerraError, match=r"0\.lun"):
        unwind(lambda undo: undo.enter_context(explaining()), error=first)


def test_a_context_that_takes_an_error_still_does(first: TerraError) -> None:
    with Undo() as undo:
        undo.push(lambda *_: True)
        raise first


def test_what_was_handed_over_is_kept_as_well(first: TerraError) -> None:
    with Undo() as undo:
        undo.callback(fail)
        later = undo.pop_all()
    with pytest.raises(TerraError) as told, later:
        raise first
    assert told.value is first


def test_the_end_of_an_object(first: TerraError) -> None:
    class Service:
        def __enter__(self) -> None: ...

        @first_kept
        def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
            fail()

    with pytest.raises(TerraError) as told, Service():
        raise first
    assert told.value is first
    with pytest.raises(TerraError, match="still mounted"), Service():
        pass


def test_undoing_in_an_except_clause(first: TerraError) -> None:
    with pytest.raises(TerraError) as told:  # noqa: PT012  # the clause is what is tried
        try:
            raise first
        except TerraError as error:
            with undoing(error):
                fail()
            raise
    assert told.value is first
    assert "still mounted" in str(first)


def test_ctrl_c_while_undoing_comes_through(first: TerraError) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unwind(lambda undo: undo.callback(interrupt), error=first)


def test_what_lasts_stays_when_the_work_that_follows_is_done() -> None:
    done: list[str] = []
    with lasting(lambda: done.append("do"), lambda: done.append("undo")):
        assert done == ["do"]
    assert done == ["do"]


def test_what_lasts_is_undone_when_the_work_that_follows_fails(first: TerraError) -> None:
    done: list[str] = []
    with pytest.raises(TerraError) as caught, lasting(lambda: done.append("do"), lambda: done.append("undo")):
        raise first
    assert caught.value is first
    assert done == ["do", "undo"]


def test_what_was_to_last_and_fails_is_undone_as_far_as_it_came() -> None:
    done: list[str] = []
    with pytest.raises(TerraError, match="mounted"), lasting(fail, lambda: done.append("undo")):
        done.append("went on")
    assert done == ["undo"]


def test_what_is_for_a_failure_is_done_in_its_order_and_only_then() -> None:
    done: list[str] = []
    with Undo() as stack:
        stack.when_failing(done.append, "failed")
    assert done == []
    stack = Undo()
    stack.callback(done.append, "first")
    stack.when_failing(done.append, "failed")
    stack.callback(done.append, "last")
    stack.unwind([ValueError("reason")])
    assert done == ["last", "failed", "first"]
