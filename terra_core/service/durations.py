"""How long operations take and how long they wait, as histograms for ``/metrics``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram, Metric
from prometheus_client.registry import Collector

from terra_core.errors import InterruptedWork
from terra_core.system.progress import Event, Report

_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
"""Seconds: a clone takes less than one, and the first machine of a large image minutes."""


class Durations(Collector):
    """The durations of the operations of one daemon."""

    def __init__(self) -> None:
        self._whole = _histogram("terra_operation_seconds", "How long operations took.", "kind", "outcome")
        self._steps = _histogram("terra_operation_step_seconds", "How long each step of operations took.", "kind", "step")
        self._waits = _histogram("terra_operation_wait_seconds", "How long operations waited for their turn.", "kind")

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their present values."""
        for histogram in (self._whole, self._steps, self._waits):
            yield from histogram.collect()

    def waited(self, kind: str, seconds: float) -> None:
        """Take note of an operation whose turn has come."""
        self._waits.labels(kind).observe(seconds)

    @contextmanager
    def measured(self, kind: str, report: Report) -> Iterator[Report]:
        """Measure an operation, which is the block, and its steps by what it reports.

        A step lasts from its first event to the first event of another step.

        :param report: where the events go.
        """
        began = time.monotonic()
        step, since = "", began

        def watched(event: Event) -> None:
            nonlocal step, since
            if event.step != step:
                now = time.monotonic()
                note(now)
                step, since = event.step, now
            report(event)

        def note(now: float) -> None:
            if step:
                self._steps.labels(kind, step).observe(now - since)

        def ended(outcome: str) -> None:
            now = time.monotonic()
            note(now)
            self._whole.labels(kind, outcome).observe(now - began)

        try:
            yield watched
        except InterruptedWork:
            ended("interrupted")
            raise
        except BaseException:
            ended("failed")
            raise
        ended("done")


def _histogram(name: str, said: str, *labels: str) -> Histogram:
    return Histogram(name, said, labels, registry=None, buckets=_BUCKETS)
