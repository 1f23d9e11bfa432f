"""Real programs: how they end, what they say, and that nothing of them stays."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from terra_core.errors import CommandError, InterruptedWork
from terra_core.system.process import Daemon, converse, interruption, run, uninterrupted
from terra_core.system.waiting import wait_until


def alive(pid: int) -> bool:
    """Return whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    return wait_until(lambda: not alive(pid), seconds=60, what=f"process {pid} to end")


@pytest.fixture
def grandchild(tmp_path: Path) -> Iterator[list[str | Path]]:
    """Yield a program that starts another, which keeps its output open, writes its id, and waits for it."""
    note = tmp_path / "pid"
    yield ["sh", "-c", f"sleep 60 & echo $! > {note}.new; mv {note}.new {note}; wait"]
    assert gone(int(note.read_text()))


def test_output_exit_code_and_standard_input() -> None:
    done = run(["cat"], stdin=b"\xff in")
    assert (done.code, done.stdout, done.text) == (0, b"\xff in", "\N{REPLACEMENT CHARACTER} in")
    assert run(["cat"]).stdout == b""
    assert run(["false"], accept=[0, 1]).code == 1
    big = b"x" * 5_000_000
    assert run(["cat"], stdin=big).stdout == big


def test_what_a_slow_program_reads_is_all_there() -> None:
    big = os.urandom(3_000_000)
    assert run(["sh", "-c", "sleep 0.5; cat"], stdin=big).stdout == big


def test_an_exit_code_that_is_not_accepted_shows_the_end_of_stderr() -> None:
    with pytest.raises(CommandError) as caught:
        run(["ls", "/nowhere"])
    assert caught.value.message.startswith("ls: exit code 2: ls /nowhere\n")
    assert "No such file or directory" in caught.value.message


def test_a_signal_is_named() -> None:
    with pytest.raises(CommandError, match="ended by signal 9"):
        run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])


def test_the_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_NOT", "x")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    lines = run(["env"], env={"EXTRA": "1"}).text.splitlines()
    assert {"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "EXTRA=1"} <= set(lines)
    assert not [line for line in lines if line.startswith("LD_PRELOAD_NOT")]


def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no-such-program: not found on this machine"):
        run(["no-such-program"])
    with pytest.raises(CommandError, match=r"true: .*/nowhere: No such file or directory"):
        run(["true"], cwd=tmp_path / "nowhere")
    plain = tmp_path / "plain"
    plain.write_text("x")
    with pytest.raises(CommandError, match="cannot be started: Permission denied"):
        run([plain])
    plain.chmod(0o755)
    with pytest.raises(CommandError, match="cannot be started: Exec format error"):
        run([plain])
    with pytest.raises(CommandError, match="cannot be started: embedded null byte"):
        run(["echo", "a\0b"])
    with pytest.raises(CommandError, match="cannot be started: Argument list too long"):
        run(["echo", "a" * 4_000_000])
    with pytest.raises(CommandError, match="no-such-program: not found"):
        Daemon(["no-such-program"], log=tmp_path / "log")


def test_a_program_that_takes_too_long_ends_with_all_that_it_started(grandchild: list[str | Path]) -> None:
    began = time.monotonic()
    with pytest.raises(CommandError, match="still running after 1 seconds"):
        run(grandchild, timeout=1)
    assert time.monotonic() - began < 10


def test_an_interruption_ends_the_program_with_all_that_it_started(grandchild: list[str | Path], tmp_path: Path) -> None:
    token = interruption.set((tmp_path / "pid").exists)
    try:
        with pytest.raises(InterruptedWork):
            run(grandchild)
        with uninterrupted():
            assert run(["sleep", "0.5"]).code == 0
    finally:
        interruption.reset(token)


def test_ctrl_c_ends_the_program_with_all_that_it_started(grandchild: list[str | Path], tmp_path: Path) -> None:
    def press() -> None:
        wait_until((tmp_path / "pid").exists, seconds=30, what="the program to have started another")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        run(grandchild)


def test_the_signals_of_a_terminal_do_not_reach_a_program() -> None:
    assert int(run([sys.executable, "-c", "import os; print(os.getpgrp())"]).text) != os.getpgrp()


def test_a_daemon_is_asked_to_end_and_then_made_to(tmp_path: Path) -> None:
    polite = Daemon(["sleep", "60"], log=tmp_path / "polite")
    assert polite.alive
    assert polite.stop() == -signal.SIGTERM
    deaf = Daemon([sys.executable, "-uc", "import signal, time; signal.signal(15, 1); print('deaf'); time.sleep(60)"],
                  log=tmp_path / "deaf")  # fmt: skip
    wait_until(lambda: deaf.tail() == "deaf", seconds=60, what="the daemon to be deaf")
    assert deaf.stop(0.2) == -signal.SIGKILL
    assert not deaf.alive


def test_a_conversation_gives_lines_as_they_come() -> None:
    pieces = [b"one\ntw", b"o\n", bytes(300_000), b"\nlast"]
    lines = list(converse(["cat"], stdin=iter(pieces)))
    assert lines == ["one", "two", "\0" * 300_000, "last"]


def test_a_conversation_has_both_streams_and_the_exit_code() -> None:
    with pytest.raises(CommandError, match=r"(?s)exit code 3.*said on stderr"):
        list(converse(["sh", "-c", "echo said on stderr >&2; exit 3"]))
    assert list(converse(["sh", "-c", "echo fine; exit 3"], accept=(3,))) == ["fine"]


def test_a_program_that_reads_nothing_more_is_fed_no_more() -> None:
    assert list(converse(["sh", "-c", "exec 0<&-; echo done"], stdin=iter([bytes(1_000_000)] * 3))) == ["done"]


def test_closing_a_conversation_ends_the_program() -> None:
    lines = converse(["sh", "-c", "echo $$; exec sleep 600"])
    process = Path("/proc", next(lines))
    assert process.exists()
    lines.close()
    assert not process.exists()


def test_a_conversation_is_interrupted() -> None:
    token = interruption.set(lambda: True)
    try:
        with pytest.raises(InterruptedWork):
            list(converse(["sleep", "600"]))
    finally:
        interruption.reset(token)


def test_a_conversation_that_takes_too_long() -> None:
    with pytest.raises(CommandError, match="its time was up"):
        list(converse(["sleep", "600"], timeout=0.5))


@pytest.mark.parametrize("left", ["sleep 600 &", "yes &"])
def test_what_a_program_has_left_running_is_not_waited_for(left: str) -> None:
    began = time.monotonic()
    lines = converse(["sh", "-c", f"{left} echo $!; exit 3"])
    child = int(next(line for line in lines if line != "y"))
    try:
        with pytest.raises(CommandError, match="exit code 3"):
            for _ in lines:
                pass
        assert time.monotonic() - began < 60
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_a_line_without_end_comes_in_pieces() -> None:
    lines = list(converse(["head", "-c", "5000000", "/dev/zero"]))
    assert sum(map(len, lines)) == 5_000_000
    assert max(map(len, lines)) < 2_000_000
