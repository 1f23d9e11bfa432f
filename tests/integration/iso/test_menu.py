"""The menu of terra.iso, read by GRUB's own parser; and what its initial RAM disk runs, by a shell's."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.system.process import run

ISO = Path(__file__).parents[3] / "iso"
SHELL = [ISO / "component", *sorted(ISO.glob("*/customize")), *sorted(ISO.glob("*/files/etc/initramfs-tools/scripts/*"))]


def test_grub_takes_the_menu() -> None:
    run(["grub-script-check", ISO / "boot/menu.cfg"])


@pytest.mark.parametrize("path", SHELL, ids=lambda path: str(path.relative_to(ISO)))
def test_a_shell_takes_the_programs_of_recipes(path: Path) -> None:
    run(["sh", "-n", path])
