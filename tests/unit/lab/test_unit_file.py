"""The controller's unit file starts it by its configuration, or by the options that every site of the tests starts it with."""

from __future__ import annotations

from pathlib import Path

from lab.site import START

_UNIT = Path(__file__).parents[3] / "systemd" / "controller.service"


def test_the_unit_starts_the_controller_as_the_tests_do() -> None:
    lines = [line.lstrip("# ") for line in _UNIT.read_text().splitlines() if line.lstrip("# ").startswith("ExecStart=/")]
    by_options, by_configuration = (line.removeprefix("ExecStart=").split() for line in lines)
    assert by_options == ["/usr/local/sbin/terra", *START]
    assert by_configuration == ["/usr/local/sbin/terra", "controller"]


def test_services_that_the_controller_started_are_left_alone_when_it_is_restarted() -> None:
    assert "KillMode=process" in _UNIT.read_text().splitlines()
