"""Progress of a thread that waits for others: it checks whether the work may go on, and reports how far it is."""

from __future__ import annotations

import contextvars
import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from terra_core.errors import InterruptedWork, NotFoundError, TerraError
from terra_core.oci import ImageError
from terra_core.system.process import interruption
from terra_core.system.progress import Event, Report

T = TypeVar("T")

POLL_SECONDS = 0.1
_BETWEEN_REPORTS = 0.2


class Progress:
    """The progress of one piece of work; made in the thread that began it, and callable from any thread that waits for it.

    :param text: what is done, in words.
    :param report: is told so, five times a second at most.
    """

    def __init__(self, text: str, report: Report) -> None:
        self._text = text
        self._report = report
        self._asked = interruption.get()
        self._next = 0.0
        self._complete = False
        self._lock = threading.Lock()

    def __call__(self, done: int | None = None, total: int | None = None) -> None:
        """Report how far the work is, in bytes, unless that was done a moment ago.

        :raises InterruptedWork: when it was asked to end.
        """
        if self._asked is not None and self._asked():
            raise InterruptedWork(f"{self._text} was interrupted")
        with self._lock:
            now = time.monotonic()
            if now < self._next or (self._complete and done == total):
                return
            self._next = now + _BETWEEN_REPORTS
            self._complete = done is not None and done == total  # nothing is left to report after that
        self._report(Event("pull", self._text, done, total))

    def end(self, text: str, total: int) -> None:
        """Report that all is done."""
        self._report(Event("pull", text, total, total))


def interruptible(work: Callable[[], T], progress: Progress) -> T:
    """Do something that cannot be interrupted in a thread of its own, and leave it alone there when it has to end.

    :param work: must change nothing but what it returns.
    """
    results: list[T] = []
    faults: list[BaseException] = []
    ended = threading.Event()

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001, RUF100  # raised again in the thread that waits
            faults.append(error)
        ended.set()

    context = contextvars.copy_context()  # so that programs are interrupted too
    threading.Thread(target=lambda: context.run(body), daemon=True, name="registry").start()
    while not ended.wait(POLL_SECONDS):
        progress()
    if faults:
        raise faults[0]
    return results[0]


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Put what was being done in front of the message of an error."""
    try:
        yield
    except InterruptedWork:
        raise
    except (TerraError, OSError) as error:
        raise in_words(doing, error) from error


def in_words(doing: str, error: BaseException) -> BaseException:
    """Return an error with what was done in front; anything but an error of Terra's or the system's is returned as it is."""
    if isinstance(error, OSError):
        hint = "the disk is too small for the image" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        where = f"{error.filename}: " if error.filename else ""
        return TerraError(f"{doing}: {where}{error.strerror or error}", hint=hint)
    if isinstance(error, TerraError) and not isinstance(error, InterruptedWork):
        kind = next((kind for kind in (NotFoundError, ImageError) if isinstance(error, kind)), TerraError)
        return kind(f"{doing}: {error.message}", hint=error.hint)
    return error
