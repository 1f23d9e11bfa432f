"""The token: made once, for its owner's eyes only."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from threading import Barrier, Thread

import pytest

from terra_core.client.connection import bearer_token
from terra_core.errors import TerraError
from terra_core.service.tokens import read_or_make_token, read_token


def test_the_token_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "etc/terra/token"
    umask = os.umask(0)
    try:
        token = read_or_make_token(path)
    finally:
        os.umask(umask)
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make_token(path) == token == read_token(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]


def test_no_two_are_alike(tmp_path: Path) -> None:
    assert len({read_or_make_token(tmp_path / f"{at}") for at in range(20)}) == 20


def test_of_many_that_start_at_once_all_get_the_same_one(tmp_path: Path) -> None:
    path, barrier, tokens = tmp_path / "etc/token", Barrier(16), list[str]()

    def start() -> None:
        barrier.wait()
        tokens.append(read_or_make_token(path))

    threads = [Thread(target=start) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 16
    assert set(tokens) == {read_token(path)}
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]


def test_the_token_of_somebody_else_is_taken_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("  my-own-long-token-0123456789  \n")
    assert read_or_make_token(path) == "my-own-long-token-0123456789"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short", b"x" * 15, b"two lines\nof a token", b"\xff" * 32, "schlüssel-schlüssel".encode()]
)
def test_what_is_no_token_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(TerraError, match="holds no token") as caught:
        read_or_make_token(path)
    assert "remove the file" in caught.value.hint
    assert path.read_bytes() == content


def test_no_token_says_where_one_comes_from(tmp_path: Path) -> None:
    with pytest.raises(TerraError, match="no token here") as caught:
        read_token(tmp_path / "token")
    assert "TERRA_TOKEN" in caught.value.hint


def test_a_directory_in_its_place_is_no_token(tmp_path: Path) -> None:
    with pytest.raises(TerraError, match="cannot be read: it is a directory, and no file"):
        read_or_make_token(tmp_path)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("no directory")
    with pytest.raises(TerraError, match=r"the token cannot be written: (Not a directory|File exists)"):
        read_or_make_token(tmp_path / "etc/token")


@pytest.mark.parametrize(
    ("mode", "said"), [(0o600, False), (0o400, False), (0o644, True), (0o640, True), (0o604, True), (0o620, True)]
)
def test_a_token_that_others_may_read_is_taken_and_the_log_says_so(
    tmp_path: Path, mode: int, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "token"
    path.write_text("my-own-long-token-0123456789\n")
    path.chmod(mode)
    assert read_or_make_token(path) == "my-own-long-token-0123456789"
    output = capsys.readouterr()
    log = output.out + output.err
    assert ("others may read the token" in log) is said
    assert (f"chmod 600 {path}" in log) is said
    assert "my-own" not in log


def test_a_token_of_an_editor(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xef\xbb\xbfmy-own-long-token-0123456789\r\n")
    assert read_token(tmp_path / "token") == "my-own-long-token-0123456789"


@pytest.mark.parametrize("content", [b"hostname = 'a'\n", b"short", None])
def test_a_file_that_somebody_named_is_not_to_be_removed(
    tmp_path: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "node.toml").write_bytes(content)
    monkeypatch.delenv("TERRA_TOKEN", raising=False)
    monkeypatch.setenv("TERRA_TOKEN_FILE", str(tmp_path / "node.toml"))
    with pytest.raises(TerraError, match=r"node.toml: (holds no token|no token here)") as caught:
        bearer_token()
    assert caught.value.hint.startswith("TERRA_TOKEN_FILE names it: ")


def test_a_fifo_in_its_place_is_no_token(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    with pytest.raises(TerraError, match="cannot be read: it is a FIFO, and no file"):
        read_token(tmp_path / "token")


def test_an_empty_token_of_somebody_is_not_replaced_by_this_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRA_TOKEN", "of-this-machine")
    with pytest.raises(TerraError, match="the token that was given is empty"):
        bearer_token("")
    assert bearer_token() == "of-this-machine"
