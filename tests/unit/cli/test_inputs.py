"""The files that terra apply is given."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from terra_core.cli import run, terra
from terra_core.cli.inputs import read_inputs
from terra_core.errors import ConfigError
from terra_core.plugins import Plugins

NONE = Plugins({})


def node(place: Path, hostname: str, number: int = 1, *, more: str = "", name: str = "") -> Path:
    path = place / (name or f"{hostname}.toml")
    path.write_text(
        f'hostname = "{hostname}"\nmac = "52:54:00:00:00:{number:02x}"\nimage = "example:6"\n{more}\n'
        '[[groups]]\nlabel = "os"\n[[groups.disk]]\ndevice = "/dev/sda"\nsize = 256\n'
    )
    return path


def test_a_directory_is_read_once_and_what_is_no_machine_is_left_alone(tmp_path: Path) -> None:
    files = [node(tmp_path, f"cm-{number:02}", number) for number in range(1, 41)]
    server, stranger, hidden = tmp_path / "server.toml", tmp_path / "pyproject.toml", tmp_path / ".cm-99.toml"
    server.write_text('hostname = "example"\nversion = "6"\nos = "example:1"\nrepo = "example"\n')
    stranger.write_text("[tool]\na = 1\n")
    hidden.write_text("what an editor has left\n")
    (tmp_path / "notes.txt").write_text("no TOML\n")
    (tmp_path / "link.toml").symlink_to(files[0])
    found = read_inputs([str(tmp_path), str(files[3]), str(tmp_path)], NONE)
    assert list(found.documents) == [f"cm-{number:02}" for number in range(1, 41)]
    assert found.wrong == {}
    assert sorted(found.others) == [str(stranger), str(server)]


def test_all_that_is_wrong_with_any_file_is_found_and_the_others_are_read(tmp_path: Path) -> None:
    good = node(tmp_path, "cm-01")
    wrong = node(tmp_path, "cm-02", 2, more='colour = "red"\nkernel_arguments = ["a b"]')
    broken = tmp_path / "cm-03.toml"
    broken.write_text("hostname = \n")
    empty = tmp_path / "empty"
    empty.mkdir()
    found = read_inputs([str(tmp_path), str(empty), str(tmp_path / "nowhere.toml")], NONE)
    assert [document.source for document in found.documents.values()] == [str(good)]
    assert set(found.wrong) == {str(wrong), str(broken), str(empty), str(tmp_path / "nowhere.toml")}
    said = str(found.wrong[str(wrong)])
    assert "colour: neither a key" in said
    assert "kernel_arguments[0]: expected one kernel argument" in said
    assert "is not TOML" in str(found.wrong[str(broken)])
    assert "has no file NAME.toml" in str(found.wrong[str(empty)])
    assert "no such file" in str(found.wrong[str(tmp_path / "nowhere.toml")])


def test_links_that_lead_to_each_other_are_said_of_their_file(tmp_path: Path) -> None:
    good, loop = node(tmp_path, "cm-01"), tmp_path / "loop.toml"
    loop.symlink_to(loop)
    found = read_inputs([str(tmp_path), str(loop / "below.toml")], NONE)
    assert [document.source for document in found.documents.values()] == [str(good)]
    assert set(found.wrong) == {str(loop), str(loop / "below.toml")}
    assert str(found.wrong[str(loop)]) == f"{loop}: cannot be read: Too many levels of symbolic links"


def test_nobody_waits_for_the_writer_of_a_pipe_that_lies_in_a_directory(tmp_path: Path) -> None:
    good, pipe, directory = node(tmp_path, "cm-01"), tmp_path / "pipe.toml", tmp_path / "directory.toml"
    os.mkfifo(pipe)
    directory.mkdir()
    found = read_inputs([str(tmp_path)], NONE)
    assert [document.source for document in found.documents.values()] == [str(good)]
    assert {name: str(error) for name, error in found.wrong.items()} == {
        str(place): f"{place}: is no regular file" for place in (pipe, directory)
    }


@pytest.mark.parametrize(
    ("hostname", "number", "said"),
    [("CM-01", 2, "have the host name cm-01 both"), ("cm-02", 1, "have the MAC address 52:54:00:00:00:01 both")],
)
def test_two_files_of_one_machine_are_refused_and_both_are_named(
    tmp_path: Path, hostname: str, number: int, said: str
) -> None:
    first, second = node(tmp_path, "cm-01"), node(tmp_path, hostname, number, name="other.toml")
    with pytest.raises(ConfigError) as caught:
        read_inputs([str(tmp_path)], NONE)
    assert f"{first} and {second}: {said}" in str(caught.value)


def test_standard_input_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(node(tmp_path, "cm-01").read_bytes())))
    found = read_inputs(["-", "-"], NONE)
    assert [document.source for document in found.documents.values()] == ["standard input"]


def test_a_file_that_is_named_has_to_be_of_a_machine(tmp_path: Path) -> None:
    server = tmp_path / "server.toml"
    server.write_text('hostname = "example"\nversion = "6"\nos = "example:1"\nrepo = "example"\n')
    assert "mac: is required for provisioning" in str(read_inputs([str(server)], NONE).wrong[str(server)])


def test_an_empty_name_is_not_the_directory_that_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`terra apply "$MACHINES"`, and the variable is not set."""
    node(tmp_path, "cm-01")
    monkeypatch.chdir(tmp_path)
    found = read_inputs([""], NONE)
    assert not found.documents
    assert "the name of a file is empty" in str(found.wrong[""])


URLS = (
    "http://zoe:secret@127.0.0.1:1/cm-01.toml",
    "http://zoe:sec/ret@127.0.0.1:1/cm-01.toml",
    "ftp://zoe:secret@127.0.0.1/cm-01.toml",
    "s3+http://zoe:secret@127.0.0.1/cm-01.toml",
)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("words", [["apply", "-o", "json"], ["validate", "-o", "json"], ["provision"]])
def test_a_password_in_a_url_is_in_neither_output_nor_errors(
    url: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(terra, [*words, url]) in (1, 2)
    said = "".join(capsys.readouterr())
    assert "127.0.0.1" in said
    for part in ("zoe", "secret", "sec/ret"):
        assert part not in said
