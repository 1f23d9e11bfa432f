"""Layers on their way from a registry into a layout: several at once, each hashed as it comes and readable as it grows."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import requests

from terra_core.errors import TerraError
from terra_core.oci import Descriptor, ImageError
from terra_core.system.http import hang_up
from terra_docker.attention import POLL_SECONDS, Attention, explained, in_words
from terra_docker.download import Download, Stopped
from terra_docker.endpoint import Endpoint
from terra_docker.store import Store

_AT_ONCE = 4
_LAST_MOMENTS = 10.0


class Downloads:
    """All layers of an image. Entering starts the threads; leaving ends them, and keeps what has come.

    :param endpoints: the hosts to ask, in order; the last one is the registry itself.
    :param layers: what to fetch, the most urgent first.
    :param store: where it goes.
    :param attention: called by whoever waits.
    :param doing: what to say in front of an error.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], layers: Sequence[Descriptor], store: Store, attention: Attention, doing: str
    ) -> None:
        self.endpoints = endpoints
        self.store = store
        self.changed = threading.Condition()
        self._attention = attention
        self._doing = doing
        self._all = {layer.digest: Download(layer, self) for layer in layers}
        for layer in layers:
            if self._all[layer.digest].descriptor.size != layer.size:
                raise ImageError(f"{layer.digest}: listed twice, with {layer.size} bytes and with another size")
        self._waiting = deque(self._all.values())
        self._total = sum(download.descriptor.size for download in self._all.values())
        self.gone: set[Endpoint] = set()
        self._answers: set[requests.Response] = set()
        self._fault: BaseException | None = None
        self.stopped = False
        self._complete = False
        self._threads = [
            threading.Thread(target=self._work, daemon=True, name=f"layer-{number}")
            for number in range(min(_AT_ONCE, len(self._all)))
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self.changed:
            self.stopped = True
            answers = list(self._answers)
            self.changed.notify_all()
        for answer in answers:
            hang_up(answer)
        with self.changed:
            # A thread that still waits for an answer finds out when it comes, and then touches nothing any more.
            self.changed.wait_for(lambda: not any(download.busy for download in self._all.values()), _LAST_MOMENTS)
            for download in self._all.values():
                if not download.busy:
                    download.close()

    @contextmanager
    def opened(self, layer: Descriptor) -> Iterator[Reading]:
        """Read one of the layers, from its beginning."""
        download = self._all.get(layer.digest)
        if download is None or download.descriptor.size != layer.size:
            raise ImageError(f"{self._doing}: {layer.digest} is no layer of the image")
        yield Reading(download, self)

    def finish(self) -> None:
        """Wait until every layer is there and verified.

        :raises TerraError: when one cannot be had.
        """
        self.wait(lambda: all(download.verified for download in self._all.values()))
        with explained(self._doing):
            self._give_up_the_layout()
        self._attention(self._total, self._total)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait for a state of a download, and call the attention meanwhile."""
        while True:
            with self.changed:
                if self._fault is not None:
                    raise in_words(self._doing, self._fault)
                if self.stopped:
                    raise TerraError(f"{self._doing}: it has ended already")
                if ready():
                    return
                self.changed.wait(POLL_SECONDS)
            self.tell()

    def tell(self) -> None:
        """Call the attention, with how many bytes have come."""
        self._attention(sum(download.available for download in self._all.values()), self._total)

    def pause(self, seconds: float) -> None:
        """Wait in a thread of a download."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while (left := deadline - time.monotonic()) > 0 and not self.stopped:
                self.changed.wait(left)
        self.go_on()

    def go_on(self) -> None:
        """Ask in a thread of a download whether anybody wants the rest.

        :raises Stopped: when not.
        """
        if self.stopped or self._fault is not None:
            raise Stopped

    @contextmanager
    def answering(self, answer: requests.Response) -> Iterator[None]:
        """While a body is read, leaving can end that at once."""
        with answer:
            with self.changed:
                self.go_on()
                self._answers.add(answer)
            try:
                yield
            finally:
                with self.changed:
                    self._answers.discard(answer)

    def _give_up_the_layout(self) -> None:
        """Let another pull use the layout once all is there, however long this one is still read."""
        with self.changed:  # leaving waits for this lock, and so does not let another pull in between
            if self.stopped or self._complete or not all(download.verified for download in self._all.values()):
                return
            self._complete = True
            self.store.tidy()
            self.store.release()

    def _work(self) -> None:
        try:
            while True:
                with self.changed:
                    self.go_on()
                    if not self._waiting:
                        return
                    download = self._waiting.popleft()
                    download.busy = True
                try:
                    download.run()
                finally:
                    download.leave()
                self._give_up_the_layout()
        except Stopped:
            return
        except BaseException as error:  # noqa: BLE001, RUF100  # raised again in the threads that wait
            with self.changed:
                self._fault = self._fault or error
                self.changed.notify_all()


class Reading:
    """The bytes of a layer, in order, as they come; a :class:`terra_core.oci.source.Blob`."""

    def __init__(self, download: Download, downloads: Downloads) -> None:
        self._download = download
        self._downloads = downloads
        self._at = 0

    def read(self, length: int) -> bytes:
        """Give the next bytes, at most ``length`` and at least one; nothing at the end, when all of them are verified.

        :raises TerraError: when they do not come, or when the blob is another.
        :raises InterruptedWork: when the work was asked to end.
        """
        download = self._download
        piece = None
        while piece is None:  # what is there may be taken back before somebody has read of it
            self._downloads.wait(lambda: download.available > self._at or download.verified)
            piece = download.read(self._at, length)
        self._downloads.tell()
        self._at += len(piece)
        return piece
