"""Progress on standard error: bars on a terminal, lines in a pipe or a log."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from attrs import evolve

from terra_core.system.progress import Event, Report
from terra_core.system.text import one_line, printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PAUSE_SECONDS = 5.0
_MANY = ("bytes", "files")
"""What there may be millions of: it has a line now and then, and not each."""
_UNITS = ("kB", "MB", "GB", "TB")
_STEP_WIDTH = 18
_WIDTH_FOR_BARS = 110
_WIDTH_FOR_RATES = 80
"""The columns that a terminal needs for each part of a bar; the text of a step is dropped first."""


class _Display(Protocol):
    def take(self, event: Event) -> None: ...

    def close(self) -> None: ...


@contextmanager
def reporter(stream: TextIO | None = None, *, verbose: bool = False, side_by_side: bool = False) -> Iterator[Report]:
    """Yield a :data:`Report` that shows events for as long as the block lasts.

    On a terminal, every step has a bar with its last text, the time it has taken, and its rate where bytes are counted.
    Elsewhere a step has a line when it begins and when it ends, one for each thing that is counted other than bytes and files,
    and one every few seconds while it lasts.

    :param stream: where to; standard error when left out.
    :param verbose: show the text of every event, such as all that the steps of a build print.
    :param side_by_side: whether the steps go on at the same time, such as those of several machines, and report from several
        threads; otherwise each begins when the one before it has ended.
    """
    out = sys.stderr if stream is None else stream
    terminal = out.isatty() and os.environ.get("TERM") != "dumb"
    display: _Display = _Bars(out, verbose=verbose, side_by_side=side_by_side) if terminal else _Lines(out, verbose=verbose)

    lock = threading.Lock()

    def show(event: Event) -> None:
        with lock:
            display.take(evolve(event, step=one_line(event.step), text=one_line(printable(event.text))))

    try:
        yield show
    finally:
        display.close()


class _Lines:
    def __init__(self, stream: TextIO, *, verbose: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._verbose = verbose
        self._clock = clock
        self._steps: dict[str, _Step] = {}

    def take(self, event: Event) -> None:
        """Print the event if its time has come."""
        now = self._clock()
        step = self._steps.get(event.step)
        if step is None or step.begins_again(event):
            step = self._steps[event.step] = _Step(now)
        elif not (self._verbose and event.text != step.text) and not step.is_due(event, now):
            return
        step.printed = now
        step.text, step.done, step.ended = event.text, event.done, _is_end(event)
        figures = _figures(event, now - step.begun if step.ended else None)
        print(f"{event.step}: {event.text}{f': {figures}' if figures else ''}", file=self._stream, flush=True)

    def close(self) -> None:
        """Everything was printed when it came."""


class _Step:
    """The state of a step that was printed last."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.printed = begun
        self.text = ""
        self.done: int | None = None
        self.ended = False

    def begins_again(self, event: Event) -> bool:
        """Return whether a step that came to its end starts over, as a second image that is pulled."""
        return self.ended and event.done is not None and self.done is not None and event.done < self.done

    def is_due(self, event: Event, now: float) -> bool:
        """Return whether the event has a line of its own."""
        if _is_end(event):
            return not self.ended or event.text != self.text
        if event.unit not in _MANY and event.done != self.done:
            return True
        if event.done is None:
            return event.text != self.text
        return now - self.printed >= _PAUSE_SECONDS


class _Bars:
    def __init__(self, stream: TextIO, *, verbose: bool, side_by_side: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._side_by_side = side_by_side
        self._progress: Progress | None = None
        self._steps: dict[str, _Shown] = {}
        self._text = ""
        self._rates = True

    def take(self, event: Event) -> None:
        """Move the step's bar, after making it when there is none."""
        progress, now = self._started(), time.monotonic()
        if event.step not in self._steps:
            clock = _Clock(now)
            task = progress.add_task(event.step, total=event.total, text="", figures="", clock=clock)
            self._steps[event.step] = _Shown(task, clock)
        shown = self._steps[event.step]
        shown.clock.ended = now if _is_end(event) else None
        shown.counted = event.total is not None
        # A step without a total has ended when another one reports.
        for other in [] if self._side_by_side else self._steps.values():
            if other is not shown and not other.counted and other.clock.ended is None:
                other.clock.ended = now
                progress.update(other.task, total=1, completed=1)
        figures = _figures(event, now - shown.clock.begun if self._rates else None)
        completed = event.done if event.done is not None else 0
        progress.update(shown.task, total=event.total, completed=completed, text=event.text, figures=figures)
        if self._verbose and event.text != self._text:
            self._text = event.text
            progress.console.print(event.text, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the bars as they are."""
        if self._progress is not None:
            self._progress.stop()

    def _started(self) -> Progress:
        if self._progress is None:
            self._progress = self._made()
            self._progress.start()
        return self._progress

    def _made(self) -> Progress:
        # Here, because most runs show no bar.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.table import Column
        from rich.text import Text

        class Elapsed(ProgressColumn):
            """Shows how long a step has taken."""

            def render(self, task: Task) -> Text:
                return Text(str(task.fields["clock"]), style="progress.elapsed")

        console = Console(file=self._stream)
        self._rates = console.width >= _WIDTH_FOR_RATES
        wide = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        name = Column(no_wrap=True, overflow="ellipsis", max_width=_STEP_WIDTH)
        return Progress(
            TextColumn("{task.description}", markup=False, style="bold", table_column=name),
            TextColumn("{task.fields[text]}", markup=False, table_column=wide),
            *([BarColumn(bar_width=24)] if console.width >= _WIDTH_FOR_BARS else []),
            TextColumn("{task.fields[figures]}", markup=False, justify="right", table_column=Column(no_wrap=True)),
            Elapsed(Column(no_wrap=True)),
            console=console,
            expand=True,
        )


class _Clock:
    """How long a step has taken.

    :param begun: when it began.
    """

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.ended: float | None = None

    def __str__(self) -> str:
        seconds = int((time.monotonic() if self.ended is None else self.ended) - self.begun)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class _Shown:
    """A step that has a bar.

    :param task: the bar.
    :param clock: how long it has taken.
    """

    def __init__(self, task: TaskID, clock: _Clock) -> None:
        self.task = task
        self.clock = clock
        self.counted = False


def _is_end(event: Event) -> bool:
    return event.total is not None and event.done is not None and event.done >= event.total


def _figures(event: Event, seconds: float | None) -> str:
    """Return how far a step is, as a person reads it: ``12.3 of 45.6 MB, 5.1 MB/s``, ``3 of 8``."""
    if event.done is None:
        return ""
    if event.unit != "bytes":
        return f"{event.done} of {event.total}" if event.total is not None else f"{event.done} {event.unit}"
    size = size_of(event.done) if event.total is None or _is_end(event) else f"{size_of(event.done)} of {size_of(event.total)}"
    rate = f", {size_of(int(event.done / seconds))}/s" if seconds and event.done else ""
    return size + rate


def size_of(count: int) -> str:
    """Return a number of bytes as a person reads it: ``12.3 MB``."""
    if count < 1000:
        return f"{count} bytes"
    amount, unit = float(count), "bytes"
    for unit in _UNITS:  # noqa: B007  # the one it ends at is used
        amount /= 1000
        if amount < 999.95:
            break
    return f"{amount:.1f} {unit}"
