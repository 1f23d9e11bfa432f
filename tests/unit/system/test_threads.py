"""Doing the same for several things side by side."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from terra_core.errors import TerraError
from terra_core.system.threads import side_by_side

_word: ContextVar[str] = ContextVar("word", default="")


def test_as_many_as_may_are_under_way_at_once_and_the_answers_are_in_order() -> None:
    three, under_way, most = threading.Barrier(3, timeout=20), 0, 0
    counting = threading.Lock()

    def work(item: int) -> int:
        nonlocal under_way, most
        with counting:
            under_way += 1
            most = max(most, under_way)
        three.wait()
        with counting:
            under_way -= 1
        return item * item

    assert side_by_side(work, range(9), at_once=3) == [item * item for item in range(9)]
    assert most == 3
    assert side_by_side(work, [], at_once=3) == []


def test_the_threads_have_the_context_of_who_asked() -> None:
    token = _word.set("terra")
    try:
        assert side_by_side(lambda item: f"{_word.get()} {item}", "ab", at_once=2) == ["terra a", "terra b"]
    finally:
        _word.reset(token)


def test_no_further_one_is_begun_once_one_has_failed_and_those_under_way_end_first() -> None:
    begun: list[int] = []
    failed, ended = threading.Event(), threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            failed.set()
            raise TerraError("the first one")
        if item == 1:
            assert failed.wait(20)
            ended.set()

    with pytest.raises(TerraError, match="the first one"):
        side_by_side(work, range(1000), at_once=2)
    assert ended.is_set() or 1 not in begun
    assert len(begun) < 1000
