"""How progress looks, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re

import pytest

from terra_core.cli.output import _Lines, reporter
from terra_core.system.progress import Event


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def lines(*events: tuple[float, Event], verbose: bool = False) -> list[str]:
    """Return what is printed in a pipe, when each event comes at its time."""
    out, clock = io.StringIO(), Clock()
    display = _Lines(out, verbose=verbose, clock=clock)
    for now, event in events:
        clock.now = now
        display.take(event)
    return out.getvalue().splitlines()


def test_bytes_have_a_line_at_both_ends_and_one_every_few_seconds() -> None:
    pushed = [(at / 10, Event("push", "pushing", at * 1_000_000, 120_000_000)) for at in range(121)]
    assert lines(*pushed) == [
        "push: pushing: 0 bytes of 120.0 MB",
        "push: pushing: 50.0 MB of 120.0 MB",
        "push: pushing: 100.0 MB of 120.0 MB",
        "push: pushing: 120.0 MB, 10.0 MB/s",
    ]


def test_thousands_of_files_have_no_line_each() -> None:
    put = [(at / 1000, Event("restore", "put files back", at, 8000, "files")) for at in range(1, 8001)]
    assert lines(*put) == [
        "restore: put files back: 1 of 8000",
        "restore: put files back: 5001 of 8000",
        "restore: put files back: 8000 of 8000",
    ]


def test_steps_have_a_line_each() -> None:
    events = [(0.0, Event("build", f"Step {at + 1}/3", at, 3, "steps")) for at in range(3)]
    events.insert(2, (0.0, Event("build", "output of step 2", 1, 3, "steps")))
    events.append((0.1, Event("build", "built", 3, 3, "steps")))
    assert lines(*events) == [
        "build: Step 1/3: 0 of 3",
        "build: Step 2/3: 1 of 3",
        "build: Step 3/3: 2 of 3",
        "build: built: 3 of 3",
    ]


def test_verbose_shows_every_text() -> None:
    events = [(0.0, Event("build", text, 1, 3, "steps")) for text in ("Step 2/3", "one", "two", "two")]
    assert [line.split(":")[1] for line in lines(*events, verbose=True)] == [" Step 2/3", " one", " two"]


def test_texts_without_figures() -> None:
    assert lines((0, Event("pull", "asking")), (0, Event("pull", "asking")), (0, Event("pull", "found"))) == [
        "pull: asking",
        "pull: found",
    ]


def test_a_step_that_begins_again() -> None:
    whole = Event("pull", "first", 10, 10)
    assert lines((0, whole), (1, whole), (1, Event("pull", "second", 0, 10)), (1, Event("pull", "second", 10, 10))) == [
        "pull: first: 10 bytes",
        "pull: second: 0 bytes of 10 bytes",
        "pull: second: 10 bytes",
    ]


@pytest.mark.parametrize(
    ("count", "shown"),
    [(999, "999 bytes"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (12_345_678, "12.3 MB"), (5 * 10**15, "5000.0 TB")],
)
def test_sizes(count: int, shown: str) -> None:
    assert lines((0, Event("a", "b", count))) == [f"a: b: {shown}"]


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    with reporter(out) as report:
        report(Event("push", "pushing [bold]x[/bold]", 50, 100))
        report(Event("push", "pushed", 100, 100))
    text = out.getvalue()
    assert "\x1b[" in text
    assert "pushed" in text
    assert "100 bytes" in text


def last_lines(monkeypatch: pytest.MonkeyPatch, columns: int, *events: tuple[float, Event], end: float = 0.0) -> list[str]:
    """Return the bars as they stand at the end, when each event comes at its time."""
    clock = Clock()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("terra_core.cli.output.time.monotonic", clock)
    out = Terminal()
    with reporter(out) as report:
        for clock.now, event in events:
            report(event)
        clock.now = end
    steps = {event.step for _, event in events}
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "\n")
    return [line.rstrip() for line in text.split("\n") if line][-len(steps) :]


def test_the_bar_of_an_ended_step_counts_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        (0, Event("clear", "remove")),
        (2, Event("pull", "pulling", 10, 100)),
        (3, Event("apply", "layers", 1, 2, "layers")),
        (5, Event("pull", "pulled", 100, 100)),
        (7, Event("apply", "layers", 2, 2, "layers")),
        (8, Event("sync", "write")),
    ]
    shown = last_lines(monkeypatch, 100, *events, end=20)
    assert [(line.split()[0], line.split()[-1]) for line in shown] == [
        ("clear", "0:00:02"),
        ("pull", "0:00:03"),
        ("apply", "0:00:04"),
        ("sync", "0:00:12"),
    ]


def test_a_step_that_speaks_again_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [(0, Event("boot", "one")), (1, Event("sync", "two")), (4, Event("boot", "three"))]
    shown = last_lines(monkeypatch, 100, *events, end=6)
    assert [line.split()[-1] for line in shown] == ["0:00:06", "0:00:03"]


@pytest.mark.parametrize(("columns", "letters"), [(60, 18), (80, 27), (120, 37), (200, 100)])
def test_what_a_step_says_has_room_on_every_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, letters: int) -> None:
    text = "pulling " + "registry.example/" * 20
    (shown,) = last_lines(monkeypatch, columns, (0, Event("apply", text, 123_400_000, 456_700_000)))
    said = shown.partition("pulling")[1:]
    assert len("".join(said).partition("…")[0]) >= letters
    assert "123.4 MB of 456.7 MB" in shown
    assert len(shown) <= columns


def test_no_escapes_in_a_pipe() -> None:
    out = io.StringIO()
    with reporter(out) as report:
        report(Event("push", "pushing", 0, 100))
    assert out.getvalue() == "push: pushing: 0 bytes of 100 bytes\n"


def test_what_others_said_cannot_move_the_cursor() -> None:
    out = io.StringIO()
    with reporter(out) as report:
        report(Event("pull\x1b[2J", "registry\x1b]0;owned\x07 said\nError: no", 1, 1, "steps"))
    assert out.getvalue() == "pull\\x1b[2J: registry\\x1b]0;owned\\x07 said\\nError: no: 1 of 1\n"
