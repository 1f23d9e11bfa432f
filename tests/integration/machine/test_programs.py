"""Programs of this machine run in a root that has nothing but them, a shell and another C library's place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_core.machine.programs import PATH, check_programs, collect_programs
from terra_core.system.process import run


def test_a_program_runs_where_none_of_its_libraries_are(tmp_path: Path) -> None:
    """The root has a shell of its own, by the same means, and no library where a linker would look."""
    root = tmp_path / "root"
    for path, file in collect_programs(["sh", "ip"]).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(file.content)
        (root / path).chmod(file.mode)
    assert not (root / "lib").exists()
    own = root / "usr/lib/terra/own"
    shell = ["/usr/lib/terra/own/ld.so", "--library-path", "/usr/lib/terra/own/lib", "/usr/lib/terra/own/sh"]
    script = f"command -v ip; set -- -Version; . /{PATH}/ip"
    done = run(["chroot", root, *shell, "-c", script], env={"PATH": f"/usr/sbin:/{PATH}"})
    assert done.text.splitlines()[0] == f"/{PATH}/ip"
    assert "iproute2" in done.text
    assert {path.name for path in own.iterdir()} >= {"ld.so", "lib", "ip", "sh"}


def test_a_program_that_is_not_here_is_named(tmp_path: Path) -> None:
    for name in ("no-such-program", "/usr/bin/env", "../bin/env"):
        with pytest.raises(TerraError, match="not found on this machine"):
            check_programs([name])


def test_a_script_is_no_program(tmp_path: Path) -> None:
    assert shutil.which("ldd") is not None
    with pytest.raises(TerraError, match="is no 64-bit program"):
        check_programs(["ldd"])
