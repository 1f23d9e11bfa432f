"""The program by which a machine's owner says whether a version works, whatever it does."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from terra_core.upgrade.observe import check_problem


@pytest.fixture
def check(tmp_path: Path) -> Path:
    return tmp_path / "check"


def program(check: Path, *lines: str) -> tuple[str]:
    check.write_text("\n".join(("#!/bin/sh", *lines, "")))
    check.chmod(0o755)
    return (str(check),)


def test_its_last_lines_are_the_reason(check: Path) -> None:
    assert check_problem(program(check, "echo fine"), 60) == ""
    said = check_problem(program(check, "for line in $(seq 100); do echo $line; done; echo broken >&2; exit 4"), 60)
    assert said.split("\n")[0] == f"{check}: exit code 4"
    assert said.split("\n")[1:] == [*map(str, range(82, 101)), "broken"]


def test_one_that_ends_and_leaves_something_running_has_said_what_it_says(check: Path) -> None:
    pid = check.with_name("pid")
    for code, problem in ((0, ""), (1, f"{check}: exit code 1\nno")):
        began = time.monotonic()
        words = program(check, "sleep 600 &", f"echo $! > {pid}", *(["echo no"] if code else []), f"exit {code}")
        try:
            assert check_problem(words, 300) == problem
            assert time.monotonic() - began < 60
        finally:
            with suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), signal.SIGKILL)


def test_one_that_never_ends_is_ended(check: Path) -> None:
    began = time.monotonic()
    assert "its time was up" in check_problem(program(check, "trap '' INT TERM", "while :; do sleep 0.1; done"), 1)
    assert time.monotonic() - began < 60


def test_one_that_says_more_than_anybody_reads(check: Path) -> None:
    said = check_problem(program(check, "head -c 100000000 /dev/zero | tr '\\0' x", "exit 1"), 300)
    assert len(said) <= 2000
    assert said.endswith("xxx")
    said = check_problem(program(check, "yes | head -c 20000000", "exit 1"), 300)
    assert said.split("\n")[1:] == ["y"] * 20


def test_one_that_cannot_be_run_or_is_killed(check: Path) -> None:
    words = program(check, "kill -SEGV $$")
    assert check_problem(words, 60) == f"{check}: ended by signal 11"
    check.chmod(0o644)
    assert "Permission denied" in check_problem(words, 60)
    assert "No such file" in check_problem((f"{check}.none",), 60)
    assert check_problem((str(check.parent),), 60)


def test_what_it_says_is_text(check: Path) -> None:
    said = check_problem(program(check, r"printf '\033[2J\377\n'", "exit 1"), 60)
    assert said.split("\n")[1:] == ["\x1b[2J\ufffd"], "what prints it leaves no control characters"
