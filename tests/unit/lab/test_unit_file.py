"""The controller's unit file starts what every site of the tests starts."""

from __future__ import annotations

from pathlib import Path

from lab.site import START

_UNIT = Path(__file__).parents[3] / "systemd" / "controller.service"


def test_the_unit_starts_the_controller_as_the_tests_do() -> None:
    (line,) = [line for line in _UNIT.read_text().splitlines() if line.startswith("ExecStart=")]
    assert line.removeprefix("ExecStart=").split() == ["/usr/local/sbin/terra", *START]


def test_services_that_the_controller_started_are_left_alone_when_it_is_restarted() -> None:
    assert "KillMode=process" in _UNIT.read_text().splitlines()
