"""What a report may say: anybody on the network may have written it."""

from __future__ import annotations

from typing import Any

import pytest

from terra_core.controller.boot_report import read_report
from terra_core.errors import ConfigError

REPORT: dict[str, Any] = {
    "boot_id": "0b0e7c4e-9d3c-4b5e-8f3e-1c1f9a0d2b6a",
    "image": f"sha256:{64 * 'a'}",
    "state": "degraded",
    "kernel": "6.12.57+deb13-amd64",
    "uptime": 41.5,
    "addresses": ["10.0.10.50", "fd00::50"],
    "failed": ["dev-disk-by\\x2dlabel-x.swap", "getty@tty1.service"],
}


def test_a_report_is_read() -> None:
    report = read_report(REPORT)
    assert report.ended
    assert str(report) == (
        "reports that it is degraded, 42 s after its kernel started; failed: dev-disk-by\\x2dlabel-x.swap, getty@tty1.service "
        "(boot 0b0e7c4e-9d3c-4b5e-8f3e-1c1f9a0d2b6a, kernel 6.12.57+deb13-amd64 at 10.0.10.50, fd00::50)"
    )


def test_what_a_later_base_image_says_beside_is_left_out() -> None:
    assert read_report({**REPORT, "temperature": 40}) == read_report(REPORT)


@pytest.mark.parametrize("state", ["starting", "maintenance", "unknown"])
def test_a_boot_that_goes_on_has_not_ended(state: str) -> None:
    assert not read_report({**REPORT, "state": state}).ended


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("boot_id", "../../etc/passwd"),
        ("boot_id", REPORT["boot_id"] + "\n"),
        ("boot_id", 5),
        ("image", "docker.io/x"),
        ("state", "running\x1b[2J"),
        ("state", "good"),
        ("kernel", "6.1 <script>"),
        ("kernel", "6" * 129),
        ("uptime", -1),
        ("uptime", 1e300),
        ("uptime", 10**400),
        ("uptime", True),
        ("uptime", float("nan")),
        ("addresses", ["localhost"]),
        ("addresses", ["fe80::1%\x1b[2J"]),
        ("addresses", ["10.0.0.1"] * 33),
        ("addresses", "10.0.0.1"),
        ("failed", ["a b"]),
        ("failed", ["x" * 256]),
        ("failed", ["a.service"] * 33),
        ("failed", {"a.service": 1}),
    ],
)
def test_what_no_machine_says_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        read_report({**REPORT, key: value})
    assert str(caught.value).startswith(f"report: {key}")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_every_problem_is_said_and_what_is_missing_too() -> None:
    with pytest.raises(ConfigError) as caught:
        read_report({"state": 1})
    named = sorted(problem.split(":")[1].strip() for problem in caught.value.problems)
    assert named == ["boot_id", "image", "kernel", "state", "uptime"]
