"""The step that logs a machine in to its targets, run by sh."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from terra_core.system.process import run


def test_iscsid_reads_nothing_from_the_disk_that_it_logs_in_to(tmp_path: Path) -> None:
    script = resources.files("terra_iscsi").joinpath("connect").read_text()
    around = f"set -eu\nterra_run={tmp_path}\nterra_words() {{ :; }}\n"
    run(["sh", "-c", f"{around}{script}"])
    (settings,) = (tmp_path / "systemd/system/iscsid.service.d").iterdir()
    assert settings.name != "terra.conf", "a file of that name in the image would take its place"
    assert "Environment=OPENSSL_CONF=/dev/null" in settings.read_text().splitlines()
