"""How every command ends: exit code 0, 1, 2 or 130, words on standard error, no traceback without ``--debug``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from terra_core.cli import run, terra
from terra_core.errors import ConfigError, InterruptedWork, TerraError


def raising(error: BaseException) -> click.Command:
    @click.command()
    @click.option("--debug", is_flag=True)
    def command(debug: bool) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (TerraError("the disk is full", hint="make room"), 1, "Error: the disk is full\nmake room\n"),
        (ConfigError(["node.toml: a: b", "node.toml: c: d"]), 2, "Error: node.toml: a: b\nnode.toml: c: d\n"),
        (TerraError("it said \x1b]0;x\x07\x9b2J"), 1, "Error: it said \\x1b]0;x\\x07\\x9b2J\n"),
        (InterruptedWork("interrupted"), 130, "Error: interrupted\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (OSError(5, "Input/output error"), 1, "Error: Input/output error\n"),
        (OSError(22, "Invalid argument"), 1, "Error: this is a defect of Terra's: OSError: [Errno 22] Invalid argument\n"),
        (RuntimeError("odd"), 1, "Error: this is a defect of Terra's: RuntimeError: odd\n"),
    ],
)
def test_an_error_ends_a_command_with_words(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raising(error), []) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["--help"], ["plugins"], ["create", "--dump"]])
def test_output_that_cannot_be_written(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run(terra, words) == 1
        full.flush()  # it leads nowhere now, as the interpreter's end writes once more
    assert capsys.readouterr().err == "Error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_stream_that_was_closed_before_the_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, name, None)  # as Python has it after `>&-`
    assert run(terra, ["plugins"]) == 0
    stream = getattr(sys, name)
    assert stream.name == "/dev/null"
    stream.close()


def test_an_error_of_the_work_is_no_error_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(OSError(28, "No space left on device", "/var/lib/x")), []) == 1
    assert capsys.readouterr().err == "Error: /var/lib/x: No space left on device\n"


def test_links_that_lead_to_each_other_are_no_defect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert run(terra, ["backup", "--root", str(tmp_path / "root"), str(loop / "backup.tar")]) == 1
    assert "Too many levels of symbolic links" in capsys.readouterr().err


def test_a_backup_takes_the_place_of_no_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert run(terra, ["backup", "--root", str(tmp_path / "root"), str(pipe)]) == 1
    assert f"Error: {pipe}: is there, and is no regular file\n" in capsys.readouterr().err
    assert pipe.is_fifo()


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(TerraError):
        run(raising(TerraError("x")), ["--debug"])


def test_a_traceback_obeys_nobody(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(TerraError) as caught:
        run(raising(TerraError("a \x1b[2J")), ["--debug"])
    sys.excepthook(caught.type, caught.value, caught.tb)
    _, err = capsys.readouterr()
    assert "Traceback" in err
    assert "a \\x1b[2J" in err


@pytest.mark.parametrize("words", [["nonsense"], ["plugins", "--nonsense"], ["plugins", "extra"], ["delete"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(terra, words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: ")


def use(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return ["plugins", "--config", str(path)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[plugins\n", ": is not TOML: "),
        ("[plugins]\nnetwrok = 'netplan'\n'a b' = 'c'\n", ": plugins.netwrok: is no role (roles: network, builder, registry, "),
        ("plugins = 1\n", ": plugins: expected a table, got 1"),
    ],
)
def test_a_wrong_file_is_wrong_usage(tmp_path: Path, text: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(terra, use(tmp_path / "server.toml", text)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"Error: {tmp_path / 'server.toml'}{problem}" in err


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(terra, ["plugins", "--config", str(tmp_path / "none.toml")]) == 2
    assert capsys.readouterr().err == f"Error: {tmp_path / 'none.toml'}: no such file\n"


def test_help_and_version_are_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(terra, ["--help"]) == 0
    assert run(terra, ["--version"]) == 0
    assert capsys.readouterr().err == ""


def options_with_paths(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command of Terra's up to an option or argument that is a path."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from options_with_paths(found, (*words, name))
    for one in command.params:
        if isinstance(one.type, click.Path) and not isinstance(command, click.Group):
            yield (*words, one.opts[-1]) if isinstance(one, click.Option) else (*words, "an-image", "--")
        elif isinstance(one.type, click.Path):
            yield (*words, one.opts[-1])


def test_no_option_takes_an_empty_path_for_the_directory_that_one_is_in(capsys: pytest.CaptureFixture[str]) -> None:
    """`terra controller --root "$ROOT" --stop`, and the variable is not set."""
    found = list(options_with_paths(terra))
    assert {("controller", "--root"), ("doctor", "--root"), ("restore", "--root"), ("unpack", "an-image", "--")} <= set(found)
    for words in found:
        assert run(terra, [*words, ""]) == 2, words
        assert "It is empty." in capsys.readouterr().err, words


def test_an_empty_address_is_not_that_of_this_machines_controller(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(terra, ["--controller", "", "delete", "cm-01"]) == 2
    assert "'--controller': It is empty." in capsys.readouterr().err
