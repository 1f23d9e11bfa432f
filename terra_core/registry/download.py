"""One layer on its way from a registry into a layout: hashed as it comes, readable as it grows, resumed after a fault."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import requests
from attrs import define, field

from terra_core.errors import TerraError
from terra_core.oci import Descriptor, ImageError
from terra_core.registry.answers import check_encoding, translated
from terra_core.registry.endpoint import Endpoint
from terra_core.registry.transfer import Stopped, Transfer
from terra_core.registry.transport import TooSlow, Unreachable
from terra_core.system.deadline import Deadline
from terra_core.system.http import hang_up

if TYPE_CHECKING:
    from hashlib import _Hash

_PIECE = 1 << 20
_ATTEMPTS = 6
"""How often in a row a host may fail without having sent a useful amount of data."""
_WORTH = 64 << 10
_PACE_SECONDS = 60.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/(?:([0-9]{1,19})|\*)")


@define(eq=False)
class Download:
    """One layer. What has come is in a file; ``available`` bytes of that can be read, and they have been hashed."""

    descriptor: Descriptor
    _transfer: Transfer
    available: int = 0
    verified: bool = False
    busy: bool = False
    _touched: bool = False
    _fd: int | None = None
    _hosts: deque[Endpoint] = field(init=False)
    _hasher: _Hash = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._hosts = deque(self._transfer.endpoints)
        self._hasher = self.descriptor.digest.hasher()

    def read(self, at: int, length: int) -> bytes | None:
        """Return bytes that are there, nothing at the verified end, and ``None`` where there may be more later."""
        with self._transfer.changed:
            count = min(length, self.available - at)
            if count > 0 and self._fd is not None:
                self._touched = True
                return os.pread(self._fd, count, at)
            return b"" if self.verified and at == self.descriptor.size else None

    def close(self) -> None:
        """Close the file."""
        with self._transfer.changed:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def leave(self) -> None:
        """Note that the thread that fetched the layer does not touch it any more."""
        with self._transfer.changed:
            self.busy = False
            if self._transfer.stopped:
                self.close()
            self._transfer.changed.notify_all()

    def run(self) -> None:
        """Fetch what is missing of the layer, and verify it."""
        if self._take_stored():
            return
        store = self._transfer.store
        self._use(store.open_partial(self.descriptor))
        before = os.fstat(self._file).st_size
        if before > self.descriptor.size:
            os.ftruncate(self._file, 0)
        resumed = self._hash_file() > 0
        while True:
            self._fill()
            if self._is_right():
                break
            if not resumed and len(self._hosts) > 1:
                self._hosts.popleft()  # a mirror with other content
            elif not resumed:
                store.remove_partial(self.descriptor)
                raise ImageError(f"{self._hosts[0].name} sent something else than {self.descriptor.digest}")
            resumed = False
            self._start_over()
        with self._transfer.changed:
            self._transfer.go_on()
            store.accept(self.descriptor)
            self.verified = True
            self._transfer.changed.notify_all()

    @property
    def _file(self) -> int:
        if self._fd is None:
            raise Stopped
        return self._fd

    def _take_stored(self) -> bool:
        """Take the layer that the layout has already, if it does; one that is damaged is removed."""
        stored = self._transfer.store.open_blob(self.descriptor)
        if stored is None:
            return False
        self._use(stored)
        self._hash_file()
        if self._is_right():
            with self._transfer.changed:
                self.verified = True
                self._transfer.changed.notify_all()
            return True
        self._transfer.store.remove_blob(self.descriptor)
        self._forget()
        self.close()
        return False

    def _use(self, fd: int) -> None:
        with self._transfer.changed:
            self._fd = fd

    def _is_right(self) -> bool:
        return self.available == self.descriptor.size and self._hasher.hexdigest() == self.descriptor.digest.encoded

    def _hash_file(self) -> int:
        """Hash what an earlier pull has left; return how many bytes that was."""
        while piece := os.pread(self._file, _PIECE, self.available):
            self._transfer.go_on()
            self._hasher.update(piece)
            self._publish(len(piece))
        return self.available

    def _publish(self, length: int) -> None:
        with self._transfer.changed:
            self.available += length
            self._transfer.changed.notify_all()

    def _start_over(self) -> None:
        self._forget()
        os.ftruncate(self._file, 0)

    def _forget(self) -> None:
        """Take back what was offered.

        :raises ImageError: when somebody has read of it.
        """
        self._hasher = self.descriptor.digest.hasher()
        with self._transfer.changed:
            if self._touched:
                self._transfer.store.remove_partial(self.descriptor)
                raise ImageError(
                    f"what an earlier pull had left of {self.descriptor.digest} was damaged, and is removed now",
                    hint="do the same again",
                )
            self.available = 0

    def _fill(self) -> None:
        """Fetch what is missing."""
        failures, pause = 0, _FIRST_PAUSE
        while self.available < self.descriptor.size:
            before = self.available
            while len(self._hosts) > 1 and self._hosts[0] in self._transfer.gone:
                self._hosts.popleft()
            try:
                self._receive(self._hosts[0])
                continue
            except TerraError as error:
                self._transfer.go_on()
                if self.available - before >= _WORTH:
                    failures, pause = 0, _FIRST_PAUSE
                failures += _ATTEMPTS // 2 if isinstance(error, TooSlow) else 1
                if len(self._hosts) > 1:
                    self._transfer.gone.update([self._hosts[0]] if isinstance(error, Unreachable) else [])
                    self._hosts.popleft()
                    continue
                if isinstance(error, ImageError):
                    self._transfer.store.remove_partial(self.descriptor)
                if not isinstance(error, Unreachable) or failures >= _ATTEMPTS:
                    raise
                self._transfer.pause(min(max(pause, error.after), _LONGEST_PAUSE))
                pause *= 2

    def _receive(self, host: Endpoint) -> None:
        headers = {"Range": f"bytes={self.available}-"} if self.available else {}
        answer = self._ask(host, headers)
        with self._transfer.answering(answer):
            skipped, end = self._extent(answer, host)
            for piece in _pieces(answer, host.name):
                dropped = min(skipped, len(piece))
                skipped -= dropped
                self._take(memoryview(piece)[dropped:], host)
                if self.available == end and answer.headers.get("Content-Length"):
                    break
        if self.available < self.descriptor.size:
            raise Unreachable(f"{host.name} sent only a part of {self.descriptor.digest}")

    def _ask(self, host: Endpoint, headers: Mapping[str, str]) -> requests.Response:
        with self._transfer.changed:
            self.busy = False
            self._transfer.changed.notify_all()
        try:
            return host.open(f"blobs/{self.descriptor.digest}", headers)
        finally:
            with self._transfer.changed:
                self.busy = not self._transfer.stopped

    def _extent(self, answer: requests.Response, host: Endpoint) -> tuple[int, int]:
        """Return how many bytes to drop, for we have them, and where in the blob the last one of the answer ends."""
        size, first, end = self.descriptor.size, 0, self.descriptor.size
        if answer.status_code == 206:
            found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            first, end = (int(found[1]), int(found[2]) + 1) if found else (-1, 0)
            if found is None or first != self.available or not first < end <= size or found[3] not in (None, str(size)):
                raise ImageError(f"{host.name} sent another part of {self.descriptor.digest} than it was asked for")
        length = answer.headers.get("Content-Length")
        if length != str(end - first):  # some storage claims to have compressed a layer that was compressed before
            check_encoding(answer, host.name)
        if length is not None and length != str(end - first):
            raise ImageError(f"{host.name} has {length[:20]!a} bytes of {self.descriptor.digest} to send, not the rest")
        return self.available - first, end

    def _take(self, piece: memoryview, host: Endpoint) -> None:
        if self.available + len(piece) > self.descriptor.size:
            raise ImageError(f"{host.name} sent more than {self.descriptor.size} bytes for {self.descriptor.digest}")
        self._transfer.go_on()
        self._hasher.update(piece)
        at = self.available
        while piece:
            written = os.pwrite(self._file, piece, at)
            at += written
            piece = piece[written:]
        self._publish(at - self.available)


def _pieces(answer: requests.Response, name: str) -> Iterator[bytes]:
    """Read the body at a pace that is worth waiting for; what the reader takes its time over does not count."""
    left, missing = _PACE_SECONDS, _WORTH
    while True:
        before = time.monotonic()
        with Deadline(left, lambda: hang_up(answer)) as deadline:
            try:
                with translated(answer):
                    piece: bytes = answer.raw.read1(_PIECE, decode_content=False)
            except Unreachable:
                if not deadline.passed:
                    raise
        if deadline.passed:
            raise TooSlow(f"{name} is too slow: it sends less than {_WORTH >> 10} KiB in {_PACE_SECONDS:g} seconds")
        if not piece:
            return
        left -= time.monotonic() - before
        missing -= len(piece)
        if missing <= 0:
            left, missing = _PACE_SECONDS, _WORTH
        yield piece
