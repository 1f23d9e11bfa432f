"""Manual pages and names for a shell's completion."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from terra_core.cli import terra
from terra_core.cli.completion import hostnames
from terra_core.cli.manual import pages
from terra_core.client.controller import ControllerClient
from terra_core.errors import TerraError


def test_every_command_has_a_page() -> None:
    found = dict(pages(terra, "terra"))
    context = click.Context(terra)
    assert {"terra", *(f"terra-{name}" for name in terra.list_commands(context))} <= set(found)
    assert "terra-controller-init" in found, "commands of commands, too"
    page = found["terra-provision"]
    assert page.startswith('.TH TERRA\\-PROVISION 8 ""')
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"):
        assert f".SH {heading}\n" in page


def test_what_looks_like_a_request_is_text() -> None:
    @click.command("odd", help=".so /etc/shadow\n\n'quoted' \\fB and a -dash")
    def odd() -> None: ...

    ((_, page),) = pages(odd, "odd")
    assert "\\&.so /etc/shadow" in page
    assert "\\&'quoted' \\efB and a \\-dash" in page


def completed(*words: str, incomplete: str = "") -> list[str]:
    shell = ShellComplete(terra, {}, "terra", "_TERRA_COMPLETE")
    return [item.value for item in shell.get_completions([*words], incomplete)]


class _Node:
    def __init__(self, hostname: str) -> None:
        self.hostname = hostname


def test_machines_are_completed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def begin(self: ControllerClient, address: str | None = None) -> None:
        asked.append(address)

    monkeypatch.setattr(ControllerClient, "__init__", begin)
    monkeypatch.setattr(ControllerClient, "nodes", lambda _: (_Node("cm-01"), _Node("cm-02"), _Node("vm-01")))
    assert completed("--controller", "10.0.10.3", "delete", incomplete="cm") == ["cm-01", "cm-02"]
    assert completed("--controller", "10.0.10.3", "audit", "--host", incomplete="v") == ["vm-01"]
    assert asked == ["10.0.10.3", "10.0.10.3"]


def commands_of(group: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, group
    if isinstance(group, click.Group):
        for word in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), word)
            assert command is not None
            yield from commands_of(command, f"{name} {word}")


def test_every_command_takes_the_same_words() -> None:
    """A name of a machine is completed wherever it is asked for, and JSON is printed by -o json."""
    for name, command in commands_of(terra, "terra"):
        words = {word for parameter in command.params for word in parameter.opts}
        assert "-o" in words or "--json" not in words, name
        for parameter in command.params:
            if "hostname" in parameter.make_metavar(click.Context(command)).lower():
                assert parameter._custom_shell_complete is hostnames, name


def test_both_options_for_json_mean_the_same() -> None:
    shown = [CliRunner().invoke(terra, ["plugins", *words]) for words in (["--json"], ["-o", "json"], ["-o", "table"], [])]
    assert shown[0].stdout == shown[1].stdout != shown[2].stdout == shown[3].stdout
    assert json.loads(shown[0].stdout)


def test_no_controller_is_no_word(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(self: ControllerClient, address: str | None = None) -> None:
        raise TerraError("no token here")

    monkeypatch.setattr(ControllerClient, "__init__", refuse)
    assert completed("delete") == []
    monkeypatch.setattr(ControllerClient, "__init__", lambda *_: time.sleep(5))
    began = time.monotonic()
    assert completed("delete") == []
    assert time.monotonic() - began < 4
    assert capfd.readouterr() == ("", "")
