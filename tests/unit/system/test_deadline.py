"""Deadlines of blocks that wait in something else."""

from __future__ import annotations

import socket
import threading
import time

from terra_core.system.deadline import Deadline


def test_what_waits_is_interrupted_once() -> None:
    ours, theirs = socket.socketpair()
    calls: list[float] = []

    def cut() -> None:
        calls.append(time.monotonic())
        ours.shutdown(socket.SHUT_RDWR)
        raise OSError("an error of it is passed over")

    with ours, theirs, Deadline(0.05, cut) as deadline:
        assert ours.recv(1) == b""
        time.sleep(0.1)
    assert deadline.passed
    assert len(calls) == 1


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    calls: list[int] = []
    deadline = Deadline(1, lambda: calls.append(1))
    for _ in range(3):  # it may be entered again, from its beginning
        with deadline:
            time.sleep(0.4)
    time.sleep(0.7)  # a second and more after it was entered last
    assert not deadline.passed
    assert calls == []


def test_a_shorter_one_does_not_wait_for_a_longer_one() -> None:
    with Deadline(60, lambda: None) as long, Deadline(0.05, lambda: None) as short:
        time.sleep(0.2)
    assert short.passed
    assert not long.passed


def test_many_at_once() -> None:
    ended = threading.Event()
    passed: list[bool] = []

    def work() -> None:
        with Deadline(0.1, ended.set) as deadline:
            ended.wait(5)
        passed.append(deadline.passed)

    threads = [threading.Thread(target=work) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 50
    assert any(passed)
