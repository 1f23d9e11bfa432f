"""Restarting the machine at the end of a command."""

from __future__ import annotations

from pathlib import Path


def restart(place: Path) -> None:
    """Restart this machine in order, by its service manager.

    :param place: where the root is mounted that the command was about; only ``/`` is this machine's.
    :raises TerraError: when it is another one, or systemctl(1) fails.
    """
    from terra_core.errors import TerraError
    from terra_core.system.process import run

    if place != Path("/"):
        raise TerraError(f"{place}: is not what this machine runs, so that no restart starts it", hint="leave --reboot out")
    run(["systemctl", "reboot"])
