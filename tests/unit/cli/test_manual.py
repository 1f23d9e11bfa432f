"""Manual pages and names for a shell's completion."""

from __future__ import annotations

import time
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from terra_core.cli import terra
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
    assert asked == ["10.0.10.3"]


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
