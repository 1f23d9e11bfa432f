"""Who asks a registry, and what it says when it wants to know."""

from __future__ import annotations

import pytest

from terra_core.registry import Credentials
from terra_core.registry.challenge import Challenge, read_challenges


def test_secrets_are_not_shown() -> None:
    shown = repr(Credentials("user", "secret", "secret", "secret"))
    assert "secret" not in shown
    assert "user" in shown


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", []),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        ("Negotiate", [Challenge("negotiate", {})]),
        (
            'Bearer realm="https://auth/token",service="s, t",scope="a:b:pull,push"',
            [Challenge("bearer", {"realm": "https://auth/token", "service": "s, t", "scope": "a:b:pull,push"})],
        ),
        (
            'BEARER Realm = "r" , service=plain, Basic realm="a \\"b\\""',
            [Challenge("bearer", {"realm": "r", "service": "plain"}), Challenge("basic", {"realm": 'a "b"'})],
        ),
        ('Negotiate, Basic realm="x"', [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        ('Negotiate YII==, Basic realm="x"', [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        ('NTLM a+/b , Bearer realm=x', [Challenge("ntlm", {}), Challenge("bearer", {"realm": "x"})]),
        ('Bearer realm="first", realm="second"', [Challenge("bearer", {"realm": "first"})]),
        ('Bearer realm="never ends', [Challenge("bearer", {})]),
        ("\0\1", []),
    ],
)
def test_challenges(header: str, challenges: list[Challenge]) -> None:
    assert read_challenges(header)[: len(challenges)] == challenges


@pytest.mark.parametrize("header", ["a " * 100_000, 'a b="' + "\\" * 100_000, "," * 1_000_000, 'a b="c",' * 100_000])
def test_a_header_without_end_takes_no_time(header: str) -> None:
    read_challenges(header)
