"""The units of the daemons give them what they count on."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest

from terra_core.service.notifying import Notifier

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", ["systemd/controller.service", "apps/terra_orbit/systemd/orbit.service"])
def test_a_daemon_may_open_files_for_a_thousand_followers_and_its_work(path: str) -> None:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as the documentation of configparser has it
    unit.read(ROOT / path)
    assert int(unit["Service"]["LimitNOFILE"]) >= 2 * 4096, "half of them are for connections, of which there are 4096 at most"


def test_the_threads_of_many_disks_are_no_more_than_the_controller_may_have() -> None:
    text = (ROOT / "systemd/controller.service").read_text()
    assert "\nTasksMax=infinity\n" in text


def controller_unit() -> ConfigParser:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # see above
    unit.read(ROOT / "systemd/controller.service")
    return unit


def test_the_controller_keeps_its_service_manager_told() -> None:
    service = controller_unit()["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 2 * Notifier({"WATCHDOG_USEC": "90000000"}).pause
    assert service["KillMode"] == "process", "storage and boot services outlive it"
    assert service["ExecStart"].startswith("/usr/local/sbin/terra ")
