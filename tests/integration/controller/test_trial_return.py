"""What a network machine on trial runs to decide whether it goes back, run by sh with what systemctl(1) would say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from terra_core.controller.trial_units import trial_units
from terra_core.system.process import run
from terra_core.system.rendered import RenderedFile

_SYSTEMCTL = """\
#!/bin/sh
case "$*" in
	"is-system-running --wait") echo "$STATE" ;;
	"list-units --state=failed "*) for unit in $FAILED; do echo "$unit loaded failed failed A unit" ; done ;;
	"--quiet is-active terra-report.service") exit 3 ;;
	*) exit 9 ;;
esac
"""


def script() -> str:
    """Return what the unit has the shell run, as systemd.service(5) reads the line."""
    (unit,) = (one for one in trial_units((), 30) if isinstance(one, RenderedFile))
    found = re.search(r'^ExecStart=:/bin/sh -c "(.*)"$', unit.content.decode(), re.MULTILINE)
    assert found
    assert "%" not in found[1]
    return found[1].replace('\\"', '"')


@pytest.mark.parametrize(
    ("state", "failed", "stays"),
    [
        ("running", "", True),
        ("degraded", "user@1000.service", True),
        ("degraded", "session-7.scope user-runtime-dir@1000.service user@1000.service", True),
        ("degraded", "app.service user@1000.service", False),
        ("degraded", "xuser@1000.service", False),
        ("degraded", "user@1000.service.d", False),
        ("starting", "user@1000.service", False),
        ("maintenance", "", False),
        ("", "", False),
    ],
)
def test_what_a_user_lets_fail_sends_no_machine_back(state: str, failed: str, stays: bool, tmp_path: Path) -> None:
    (tmp_path / "systemctl").write_text(_SYSTEMCTL)
    (tmp_path / "systemctl").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STATE": state, "FAILED": failed}
    assert run(["sh", "-c", script()], env=environment, accept=(0, 1)).code == (0 if stays else 1)
