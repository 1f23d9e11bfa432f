"""What the kernel says of processes, and which one is meant; those that are started for it are in tests/integration."""

from __future__ import annotations

import os

from terra_core.system.processes import Process, find_daemon, read_stat, start_time


def test_this_process_is_known_by_its_id_and_its_start() -> None:
    stat = read_stat(os.getpid())
    assert stat is not None
    assert stat.parent == os.getppid()
    assert stat.state == "R"
    assert start_time(os.getpid()) == stat.started
    assert Process(os.getpid(), stat.started).alive


def test_another_start_is_another_process() -> None:
    other = Process(os.getpid(), "1")
    assert not other.alive
    assert not other.signal(9)
    assert other.wait(0)
    other.stop()


def test_what_is_no_process_is_not_alive() -> None:
    for pid in (0, -1, 2**22 + 1):
        assert read_stat(pid) is None
        assert start_time(pid) == ""
        assert not Process(pid, "").alive


def test_a_process_that_runs_does_not_end_by_being_waited_for() -> None:
    assert not Process(os.getpid(), start_time(os.getpid())).wait(0)


def test_a_daemon_that_nobody_started_is_not_found() -> None:
    assert find_daemon("tgtd", "TGT_IPC_SOCKET=/nowhere") is None
