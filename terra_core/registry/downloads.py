"""Layers on their way from a registry into a layout: several at once, each hashed as it comes and readable as it grows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from terra_core.errors import TerraError
from terra_core.oci import Descriptor, ImageError
from terra_core.registry.download import Download
from terra_core.registry.endpoint import Endpoint
from terra_core.registry.progress import POLL_SECONDS, Progress, explained, in_words
from terra_core.registry.store import Store
from terra_core.registry.transfer import Stopped, Transfer

_AT_ONCE = 4
_LAST_MOMENTS = 10.0


class Downloads:
    """All layers of an image. Entering starts the threads; leaving ends them, and keeps what has come.

    :param endpoints: the hosts to ask, in order; the last one is the registry itself.
    :param layers: what to fetch, the most urgent first.
    :param store: where it goes.
    :param progress: called by the waiting thread with the bytes that have come.
    :param doing: what to say in front of an error.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], layers: Sequence[Descriptor], store: Store, progress: Progress, doing: str
    ) -> None:
        self._transfer = Transfer(endpoints, store)
        self._progress = progress
        self._doing = doing
        self._all = {layer.digest: Download(layer, self._transfer) for layer in layers}
        for layer in layers:
            if self._all[layer.digest].descriptor.size != layer.size:
                raise ImageError(f"{layer.digest}: listed twice, with {layer.size} bytes and with another size")
        self._waiting = deque(self._all.values())
        self._total = sum(download.descriptor.size for download in self._all.values())
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
        self._transfer.stop()
        with self._transfer.changed:
            # A thread that still waits for an answer notices when it comes, and changes nothing any more.
            self._transfer.changed.wait_for(lambda: not any(download.busy for download in self._all.values()), _LAST_MOMENTS)
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
        self._progress(self._total, self._total)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait for a state of a download, and tell the progress meanwhile."""
        while True:
            with self._transfer.changed:
                if self._transfer.fault is not None:
                    raise in_words(self._doing, self._transfer.fault)
                if self._transfer.stopped:
                    raise TerraError(f"{self._doing}: it has ended already")
                if ready():
                    return
                self._transfer.changed.wait(POLL_SECONDS)
            self.tell()

    def tell(self) -> None:
        """Report how many bytes have come."""
        self._progress(sum(download.available for download in self._all.values()), self._total)

    def _give_up_the_layout(self) -> None:
        """Let another pull use the layout once all is there, however long this one is still read."""
        with self._transfer.changed:  # leaving waits for this lock, so that no other pull gets in between
            if self._transfer.stopped or self._complete or not all(download.verified for download in self._all.values()):
                return
            self._complete = True
            self._transfer.store.tidy()
            self._transfer.store.release()

    def _work(self) -> None:
        try:
            while True:
                with self._transfer.changed:
                    self._transfer.go_on()
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
            self._transfer.fail(error)


class Reading:
    """The bytes of a layer, in order, as they come; a :class:`terra_core.oci.source.Blob`."""

    def __init__(self, download: Download, downloads: Downloads) -> None:
        self._download = download
        self._downloads = downloads
        self._at = 0

    def read(self, length: int) -> bytes:
        """Return the next bytes, at most ``length`` and at least one; nothing at the end, when all of them are verified.

        :raises TerraError: when they do not come, or when the blob is another.
        :raises InterruptedWork: when the work was asked to end.
        """
        download = self._download
        piece = None
        while piece is None:  # available bytes may be withdrawn before they are read
            self._downloads.wait(lambda: download.available > self._at or download.verified)
            piece = download.read(self._at, length)
        self._downloads.tell()
        self._at += len(piece)
        return piece
