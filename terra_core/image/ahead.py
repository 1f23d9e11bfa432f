"""Working ahead: one thread makes pieces while another uses them."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType

_PAUSE = 0.1


class Ahead:
    """Runs an iterator in a thread of its own, a few pieces ahead of whoever takes them.

    Inflating and hashing release the interpreter's lock, so that this uses a second core.

    :param source: gives the pieces; closed in its own thread when the context is left.
    :param depth: how many pieces may wait.
    """

    def __init__(self, source: Iterator[bytes], depth: int) -> None:
        self._source = source
        self._queue: Queue[bytes | BaseException] = Queue(depth)
        self._stop = Event()
        self._thread = Thread(target=self._work, daemon=True, name="ahead")

    def __enter__(self) -> Iterator[bytes]:
        self._thread.start()
        return self._pieces()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=_PAUSE)
            except Empty:
                continue
        self._thread.join()

    def _pieces(self) -> Iterator[bytes]:
        while True:
            piece = self._queue.get()
            if isinstance(piece, StopIteration):
                return
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def _work(self) -> None:
        last: BaseException = StopIteration()
        try:
            for piece in self._source:
                if not self._put(piece):
                    break
        except BaseException as error:  # noqa: BLE001, RUF100  # raised again in the thread that takes the pieces
            last = error
        self._put(last)

    def _put(self, piece: bytes | BaseException) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(piece, timeout=_PAUSE)
            except Full:
                continue
            return True
        return False
