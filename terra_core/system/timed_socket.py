"""Reading from a slow peer: a time limit for all that is read, and not only for each pause in it."""

from __future__ import annotations

import io
import math
import select
import socket
import ssl
import time
from typing import Any


class TimeLeft:
    """The time that is left for something; unlimited until it is set."""

    def __init__(self) -> None:
        self._end = math.inf
        self._seconds = math.inf

    def set(self, seconds: float) -> None:
        """Set the time that is left; ``math.inf`` for no limit."""
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def seconds(self) -> float:
        """Return the seconds that are left.

        :raises TimeoutError: when there are none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"it took longer than {self._seconds:g} seconds")
        return left


class TimedSocket:
    """A socket from which :mod:`http.client` reads answers, within a time limit.

    :param connection: the socket, which still owns the connection.
    :param silence: the longest time without a byte, in seconds.
    :param left: the time for all of it.
    """

    def __init__(self, connection: socket.socket, silence: float, left: TimeLeft) -> None:
        self._connection = connection
        self._silence = silence
        self._time = left

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return the file to read from, as :meth:`socket.socket.makefile` does."""
        assert mode == "rb", mode  # noqa: S101  # what http.client asks for
        return io.BufferedReader(_Timed(self._connection, self._silence, self._time))


class _Timed(io.RawIOBase):
    def __init__(self, connection: socket.socket, silence: float, left: TimeLeft) -> None:
        super().__init__()
        self._connection = connection
        self._raw = connection.makefile("rb", buffering=0)  # keeps the connection open when its owner closes it
        self._silence = silence
        self._time = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # any writable buffer
        left = self._time.seconds()
        self._connection.settimeout(min(self._silence, left))
        try:
            return self._raw.readinto(buffer)
        except TimeoutError:
            self._time.seconds()  # says which of the two it was
            raise

    def close(self) -> None:
        self._raw.close()
        super().close()


def shake_hands(connection: ssl.SSLSocket, seconds: float) -> None:
    """Make the handshake of a TLS connection within a time limit.

    :raises TimeoutError: when the other end takes longer.
    :raises ssl.SSLError: when it is not to be trusted.
    """
    left, wanted = TimeLeft(), select.poll()
    left.set(seconds)
    connection.settimeout(0)
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            wanted.register(connection, select.POLLIN)
        except ssl.SSLWantWriteError:
            wanted.register(connection, select.POLLOUT)
        else:
            connection.settimeout(seconds)
            return
        wanted.poll(1000 * left.seconds())
        left.seconds()
