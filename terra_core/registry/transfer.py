"""What the downloads of one pull share: the hosts, the layout, and whether anybody still wants them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import requests
from attrs import define, field

from terra_core.registry.endpoint import Endpoint
from terra_core.registry.store import Store
from terra_core.system.http import hang_up


class Stopped(Exception):  # noqa: N818  # no error: nobody wants the rest any more
    """Raised in a thread whose work is no longer wanted."""


@define(eq=False)
class Transfer:
    """The state that the threads of a pull share; ``changed`` guards it.

    :param endpoints: the hosts to ask, in order; the last one is the registry itself.
    :param store: where the layers go.
    :param gone: hosts that do not answer any more.
    :param fault: the first error of a thread; it ends the others.
    :param stopped: whether the context of the pull has been left.
    """

    endpoints: Sequence[Endpoint]
    store: Store
    changed: threading.Condition = field(factory=threading.Condition)
    gone: set[Endpoint] = field(factory=set)
    fault: BaseException | None = None
    stopped: bool = False
    _answers: set[requests.Response] = field(factory=set)

    def stop(self) -> None:
        """Stop every thread: cut off the answers that are being read."""
        with self.changed:
            self.stopped = True
            answers = list(self._answers)
            self.changed.notify_all()
        for answer in answers:
            hang_up(answer)

    def fail(self, error: BaseException) -> None:
        """Stop every thread because of an error, unless there was one before."""
        with self.changed:
            self.fault = self.fault or error
            self.changed.notify_all()

    def go_on(self) -> None:
        """Check in a thread of a download that somebody wants the rest.

        :raises Stopped: when nobody does.
        """
        if self.stopped or self.fault is not None:
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait in a thread of a download."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while (left := deadline - time.monotonic()) > 0 and not self.stopped:
                self.changed.wait(left)
        self.go_on()

    @contextmanager
    def answering(self, answer: requests.Response) -> Iterator[None]:
        """Read a body in this block; :meth:`stop` cuts it off at once."""
        with answer:
            with self.changed:
                self.go_on()
                self._answers.add(answer)
            try:
                yield
            finally:
                with self.changed:
                    self._answers.discard(answer)
