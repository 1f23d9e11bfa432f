"""What is said to tgtd's management socket, against what tgtadm 1.0.85 was seen to say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_iscsi.management import Change, change_account

_HEAD = b"iscsi".ljust(64, b"\0")
NEW = (
    bytes.fromhex("07000000 00000000") + _HEAD + bytes.fromhex("9a000000 ffffffff 0000000000000000 ffffffffffffffff")
    + bytes(24) + b"user=us12,password=secretsecret12\0"
)  # fmt: skip
BIND = (
    bytes.fromhex("07000000 03000000") + _HEAD + bytes.fromhex("82000000 05000000 0000000000000000 ffffffffffffffff")
    + bytes(24) + b"user=us12\0"
)  # fmt: skip


@contextmanager
def tgtd(path: Path, answer: bytes) -> Iterator[bytearray]:
    """Take one request, and answer it; yield what was asked."""
    heard = bytearray()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.extend(connection.recv(4096))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield heard
        finally:
            thread.join(10)


def test_an_account_is_made_as_tgtadm_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "socket.0"
    with tgtd(path, bytes.fromhex("00000000 08000000")) as heard:
        assert change_account(path, Change.NEW, "us12", secret="secretsecret12", seconds=5) is True
    assert bytes(heard) == NEW


def test_an_account_is_bound_as_tgtadm_binds_it(tmp_path: Path) -> None:
    path = tmp_path / "socket.0"
    with tgtd(path, bytes.fromhex("0b000000 08000000")) as heard:
        assert change_account(path, Change.BIND, "us12", target=5, seconds=5) is False, "tgtd refused it"
    assert bytes(heard) == BIND


def test_a_tgtd_that_says_nothing_is_told_without_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "socket.0"
    with pytest.raises(TerraError, match=r"tgtd does not answer on .*: No such file") as caught:
        change_account(path, Change.NEW, "us12", secret="secretsecret12", seconds=5)
    assert "secretsecret12" not in str(caught.value)
    with tgtd(path, b"\0\0"), pytest.raises(TerraError, match="without an answer") as caught:
        change_account(path, Change.NEW, "us12", secret="secretsecret12", seconds=5)
    assert "secretsecret12" not in str(caught.value)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(TerraError, match=r"does not answer on .*: timed out"):
            change_account(path, Change.DELETE, "us12", seconds=0.05)
