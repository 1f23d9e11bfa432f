"""The beat of a server, by which a watchdog is fed: it comes of what answers requests, and of nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from litestar import Litestar

from terra_core.service.serving import bind, server
from terra_core.system.waiting import wait_until


@contextmanager
def beating(beat: Callable[[], None]) -> Iterator[None]:
    """Serve an application with a beat for as long as the block lasts."""
    listener = bind("127.0.0.1", 0)
    running = server(Litestar([]), beat=(0.05, beat))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        yield
    finally:
        running.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def test_it_comes_again_and_again_until_the_end() -> None:
    beats: list[float] = []
    with beating(lambda: beats.append(time.monotonic())):
        wait_until(lambda: len(beats) > 3, seconds=10, what="four beats")
    count = len(beats)
    time.sleep(0.2)
    assert len(beats) == count


def test_one_that_hangs_is_not_followed_by_another_one() -> None:
    hangs, go_on = threading.Event(), threading.Event()
    beats: list[float] = []

    def beat() -> None:
        beats.append(time.monotonic())
        hangs.set()
        go_on.wait(20)

    with beating(beat):
        assert hangs.wait(20)
        time.sleep(0.3)
        assert len(beats) == 1
        go_on.set()
        wait_until(lambda: len(beats) > 1, seconds=10, what="it to go on")
