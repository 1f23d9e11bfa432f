"""Programs of this machine run in a root that has nothing but them, a shell and another C library's place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_core.machine.programs import PATH, check_programs, collect_programs
from terra_core.system.mounts import bound
from terra_core.system.process import run


def test_a_program_runs_where_none_of_its_libraries_are(tmp_path: Path) -> None:
    """Run a program in a root with a shell that was brought the same way, and without any library where a linker looks."""
    root = tmp_path / "root"
    for path, file in collect_programs(["sh", "ip"]).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(file.content)
        (root / path).chmod(file.mode)
    assert not (root / "lib").exists()
    own = root / "usr/lib/terra/own"
    shell = ["/usr/lib/terra/linkers/@ld.so", "--library-path", "/usr/lib/terra/own/lib", "/usr/lib/terra/own/sh"]
    script = f"command -v ip; set -- -Version; . /{PATH}/ip"
    done = run(["chroot", root, *shell, "-c", script], env={"PATH": f"/usr/sbin:/{PATH}"})
    assert done.text.splitlines()[0] == f"/{PATH}/ip"
    assert "iproute2" in done.text
    assert {path.name for path in own.iterdir()} >= {"lib", "ip", "sh"}


def test_a_program_says_that_the_root_stands_on_it(tmp_path: Path) -> None:
    """systemd-shutdown(8) looks at the first letter of the command line of what it would end."""
    root = tmp_path / "root"
    for path, file in collect_programs(["sh", "cat"]).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(file.content)
        (root / path).chmod(file.mode)
    (root / "proc").mkdir()
    shell = ["/usr/lib/terra/linkers/@ld.so", "--library-path", "/usr/lib/terra/own/lib", "/usr/lib/terra/own/sh"]
    script = f"set -- /proc/self/cmdline; . /{PATH}/cat"
    with bound(Path("/proc"), root / "proc"):
        done = run(["chroot", root, *shell, "-c", script])
    assert done.text.split("\0")[0] == "@ld.so"
    assert done.text.split("\0")[-2] == "/proc/self/cmdline"


def test_a_program_that_is_not_here_is_named(tmp_path: Path) -> None:
    for name in ("no-such-program", "/usr/bin/env", "../bin/env"):
        with pytest.raises(TerraError, match="not found on this machine"):
            check_programs([name])


def test_a_script_is_no_program(tmp_path: Path) -> None:
    assert shutil.which("ldd") is not None
    with pytest.raises(TerraError, match="is no 64-bit program"):
        check_programs(["ldd"])
