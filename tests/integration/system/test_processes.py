"""Daemons that outlive whoever started them: found again, and ended, and nobody else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.processes import zombies
from terra_core.errors import TerraError
from terra_core.system.process import Daemon, run
from terra_core.system.processes import Process, find_daemon, find_daemons, start_time
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def undo() -> Iterator[Undo]:
    with Undo() as made:
        yield made


def sleeper(undo: Undo, log: Path, *, env: dict[str, str] | None = None, seconds: str = "600.25") -> Process:
    daemon = Daemon(["sleep", seconds], log=log, env=env, outlives=True)
    undo.callback(Process(daemon.pid, start_time(daemon.pid)).kill)
    place = Path(f"/proc/{daemon.pid}")
    wait_until(
        lambda: (place / "comm").read_text() == "sleep\n" and (place / "environ").read_bytes(), seconds=60, what="sleep to run"
    )
    return Process(daemon.pid, start_time(daemon.pid))


def test_it_is_found_by_a_word_of_its_command_line_or_of_its_environment(tmp_path: Path, undo: Undo) -> None:
    by_argument = sleeper(undo, tmp_path / "log", seconds="600.125")
    by_variable = sleeper(undo, tmp_path / "log", env={"SOCKET": str(tmp_path)})
    assert find_daemon("sleep", "600.125") == by_argument
    assert find_daemon("sleep", f"SOCKET={tmp_path}") == by_variable
    assert find_daemon("sleep", f"{tmp_path}") is None
    assert find_daemon("tgtd", "600.125") is None


@pytest.mark.parametrize("noted", ["1\n", "4194305\n", "", "{}", "no number", None])
def test_a_pid_file_that_is_wrong_keeps_nobody_from_being_found(tmp_path: Path, undo: Undo, noted: str | None) -> None:
    pid_file = tmp_path / "pid"
    if noted is not None:
        pid_file.write_text(noted)
    process = sleeper(undo, tmp_path / "log", env={"SOCKET": str(tmp_path)})
    assert find_daemon("sleep", f"SOCKET={tmp_path}", pid_file=pid_file) == process


def test_of_several_the_one_of_the_pid_file_comes_first(tmp_path: Path, undo: Undo) -> None:
    both = [sleeper(undo, tmp_path / "log", env={"SOCKET": str(tmp_path)}) for _ in range(2)]
    for process in both:
        (tmp_path / "pid").write_text(f"{process.pid}\n")
        found = list(find_daemons("sleep", f"SOCKET={tmp_path}", pid_file=tmp_path / "pid"))
        assert found[0] == process
        assert sorted(one.pid for one in found) == sorted(one.pid for one in both)


def test_one_of_another_pid_namespace_is_somebody_else(tmp_path: Path, undo: Undo) -> None:
    words = ["unshare", "--pid", "--fork", "--kill-child", "sleep", "600.5"]
    outer = Daemon(words, log=tmp_path / "log", env={"SOCKET": str(tmp_path)})
    undo.callback(outer.wait, 5)
    undo.callback(outer.signal, signal.SIGKILL)
    inner = wait_until(lambda: run(["pgrep", "--parent", str(outer.pid), "sleep"], accept=(0, 1)).text, seconds=60, what="it")
    assert Path(f"/proc/{int(inner)}/comm").read_text() == "sleep\n"
    assert find_daemon("sleep", f"SOCKET={tmp_path}") is None


def test_it_is_ended_and_leaves_no_zombie(tmp_path: Path, undo: Undo) -> None:
    process = sleeper(undo, tmp_path / "log")
    process.stop()
    assert not process.alive
    assert process.pid not in zombies(os.getpid())
    assert not process.signal(signal.SIGTERM)


def test_one_that_is_stopped_ends_by_sigterm_all_the_same(tmp_path: Path, undo: Undo) -> None:
    process = sleeper(undo, tmp_path / "log")
    process.signal(signal.SIGSTOP)
    process.stop(5)
    assert not process.alive


def test_one_that_does_not_hear_is_killed(tmp_path: Path) -> None:
    daemon = Daemon([sys.executable, "-c", _STUBBORN], log=tmp_path / "log", outlives=True)
    wait_until(lambda: "ready" in daemon.tail(), seconds=60, what="the daemon to be ready")
    process = Process(daemon.pid, start_time(daemon.pid))
    process.stop(0.2)
    assert not process.alive
    assert daemon.wait(5) == -signal.SIGKILL


def test_what_a_kill_does_not_end_is_said(tmp_path: Path, undo: Undo, monkeypatch: pytest.MonkeyPatch) -> None:
    process = sleeper(undo, tmp_path / "log")
    with monkeypatch.context() as patched:
        patched.setattr(Process, "signal", lambda self, number: True)  # as if it hung in the kernel
        with pytest.raises(TerraError, match=f"process {process.pid} was killed and has not ended within 0.1 seconds"):
            process.stop(0.1)

