"""Signals as exceptions, so that what was begun is undone on the way out."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from terra_core.errors import InterruptedWork
from terra_core.system.undo import Undo

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_SECONDS = 0.01
_IMPATIENT_SECONDS = 1.0
Handler = Callable[[int, FrameType | None], object]
Formers = Mapping[int, Handler | int | None]
"""What signals had before, by their numbers."""


@contextmanager
def terminating() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise InterruptedWork in the main thread, as SIGINT raises KeyboardInterrupt."""

    def leave(number: int, _: FrameType | None) -> None:
        raise InterruptedWork(f"ended by {signal.Signals(number).name}")

    with _handled_by(leave, (signal.SIGTERM, signal.SIGHUP)), _raised_again_where_ignored():
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise InterruptedWork in the main thread, once: later ones let the clean-up finish.

    :raises InterruptedWork: wherever the main thread is when the first signal comes.
    """
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise InterruptedWork(f"interrupted by {signal.Signals(number).name}")

    with _handled_by(interrupt), _raised_again_where_ignored():
        yield


@contextmanager
def _handled_by(handler: Handler, numbers: Sequence[int] = _ENDING) -> Iterator[Formers]:
    """Give signals to a function for the time of a block; yield what they had before, which they have again then."""
    former: dict[int, Handler | int | None] = {}
    with Undo() as undo:
        undo.callback(_give_back, former)
        for number in numbers:
            former[number] = signal.getsignal(number)
            signal.signal(number, handler)
        yield former


def _give_back(former: Formers) -> None:
    for number, handler in former.items():
        signal.signal(number, handler)


@contextmanager
def _raised_again_where_ignored() -> Iterator[None]:
    """Raise an interruption again a moment later when it came where Python ignores exceptions.

    These are destructors and callbacks of weak references; an import has some of them (sys.unraisablehook(), signal(7)).
    """
    ignored: list[BaseException] = []
    former_hook = sys.unraisablehook

    def hook(what: sys.UnraisableHookArgs) -> None:
        if isinstance(what.exc_value, (InterruptedWork, KeyboardInterrupt)) and _in_main_thread():
            ignored.append(what.exc_value)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)  # takes no lock, unlike a thread
        else:
            former_hook(what)

    def again(number: int, frame: FrameType | None) -> None:
        raise ignored[-1].with_traceback(None)

    with Undo() as undo:
        undo.callback(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, again))
        undo.callback(signal.setitimer, signal.ITIMER_REAL, 0)
        undo.callback(setattr, sys, "unraisablehook", former_hook)
        sys.unraisablehook = hook
        yield


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Hold the first SIGINT, SIGTERM or SIGHUP back while a step lasts that must not end half-way; a second one comes through.

    :returns: a function that raises what was held back, if anything; call it when the outcome of the step is stored.
    """
    held: list[int] = []
    if not _in_main_thread():
        yield lambda: None
        return

    def hold(number: int, frame: FrameType | None) -> None:
        _give_back(before)
        held.append(number)

    def deliver() -> None:
        while held:
            signal.raise_signal(held.pop())

    with _handled_by(hold) as before:
        yield deliver


class Held:
    """SIGINT, SIGTERM and SIGHUP while :func:`held` keeps them from ending a step half-way."""

    def __init__(self) -> None:
        self._former: Formers = {}
        self._waiting: list[int] = []
        self._open = False
        self._since: float | None = None

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Let one signal through in a block, such as one that waits already; those after it wait again at once."""
        self._open = True
        try:
            while self._waiting:
                self._deliver(self._waiting.pop(0), None)
            yield
        finally:
            self._open = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        impatient = self._since is not None and now - self._since > _IMPATIENT_SECONDS
        if self._since is None:
            self._since = now
        if self._open or impatient:
            self._deliver(number, frame)
        elif number not in self._waiting:
            self._waiting.append(number)

    def _deliver(self, number: int, frame: FrameType | None) -> None:
        former = self._former[number]
        if callable(former):
            self._open = False  # it may raise
            former(number, frame)
            self._open = True
        elif former != signal.SIG_IGN:
            signal.signal(number, former)
            signal.raise_signal(number)


@contextmanager
def held() -> Iterator[Held]:
    """Hold signals that end programs back in a block, but where the block lets them through.

    What comes at once with a signal that was let through waits, too: it would end what the first one has asked for. A
    person who asks again more than a second after the first time is not held back. In other threads nothing changes.

    :returns: what lets them through.
    """
    signals = Held()
    if not _in_main_thread():
        yield signals
        return
    with _handled_by(signals._handle) as signals._former:
        yield signals
    for waiting in signals._waiting:
        signal.raise_signal(waiting)
