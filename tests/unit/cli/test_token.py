"""What ``terra token`` does with several names."""

from __future__ import annotations

import pytest

from terra_core.cli import run, terra
from terra_core.client.answers import TokenShown
from terra_core.client.controller import ControllerClient
from terra_core.errors import ForbiddenError, NotFoundError, TerraError

GIVEN = ("ann", "ci")


def revoked(monkeypatch: pytest.MonkeyPatch, error: type[TerraError]) -> list[str]:
    """Let a controller revoke the tokens that were given; return the names that it is asked for."""
    asked: list[str] = []

    def revoke(_: ControllerClient, name: str) -> TokenShown:
        asked.append(name)
        if name not in GIVEN:
            raise error(f"no token is named {name!r}")
        return TokenShown(name=name, role="read", created="", last_used="", expires="", revoked="now")

    monkeypatch.setattr(ControllerClient, "revoke_token", revoke)
    monkeypatch.setenv("TERRA_TOKEN", "a-token-of-nobody")
    return asked


def test_a_name_that_is_wrong_keeps_no_other_token_valid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = revoked(monkeypatch, NotFoundError)
    assert run(terra, ["token", "revoke", "ghost", "ann", "ann", "ci"]) == 1
    assert asked == ["ghost", "ann", "ci"]
    assert capsys.readouterr().err == "Error: no token is named 'ghost'\nann is revoked\nci is revoked\n"
    assert run(terra, ["token", "revoke", "ann"]) == 0


def test_what_is_so_for_every_name_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = revoked(monkeypatch, ForbiddenError)
    assert run(terra, ["token", "revoke", "ghost", "ann"]) == 1
    assert asked == ["ghost"]
    assert capsys.readouterr().err.count("Error: ") == 1
