"""Locks of files and directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from terra_core.system.locks import locked, try_lock, unlock, wait_for_lock
from terra_core.system.waiting import WaitedInVain


def test_of_two_one_has_it_until_it_is_given_up(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    try:
        assert try_lock(first)
        assert try_lock(first)
        assert not try_lock(second)
        unlock(first)
        assert try_lock(second)
    finally:
        os.close(first)
        os.close(second)


def test_it_goes_with_the_last_descriptor(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    try:
        assert try_lock(first)
        again = os.dup(first)
        os.close(first)
        assert not try_lock(second)
        os.close(again)
        assert try_lock(second)
    finally:
        os.close(second)


def test_whoever_waits_is_asked_meanwhile_and_gets_it(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    asked: list[int] = []

    def waiting() -> None:
        asked.append(1)
        if len(asked) == 2:
            unlock(first)

    try:
        assert try_lock(first)
        wait_for_lock(second, seconds=10, what="the other", waiting=waiting)
        assert len(asked) == 2
        assert not try_lock(first)
    finally:
        os.close(first)
        os.close(second)


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", seconds=1):
        for _ in range(2):
            with pytest.raises(WaitedInVain, match=f"the lock {tmp_path}/lock"), locked(tmp_path / "lock", seconds=0):
                pass
    with locked(tmp_path / "lock", seconds=0):
        assert (tmp_path / "lock").is_file()


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock", seconds=0):
        pass
    assert not (tmp_path / "elsewhere").exists()
