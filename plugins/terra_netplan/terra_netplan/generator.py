"""netplan's generator, which reads the YAML of a root and writes networkd's files into the same root."""

from __future__ import annotations

import sys
from pathlib import Path

from terra_core.system.process import Completed, run

GENERATORS = (
    Path("/usr/libexec/netplan/configure"),
    Path("/usr/libexec/netplan/generate"),
    Path("/lib/netplan/generate"),
)
"""Where it is in netplan 1.2 and later, from 0.106 on (Debian 12 and 13), and before that (Ubuntu 22.04)."""
NOT_RUN = 126
"""The exit code where this machine cannot keep it from starting programs; standard error says why."""
_SECONDS = 120
_ALONE = Path(__file__).with_name("alone.py")


def find_generator() -> Path | None:
    """Return the generator of the netplan that is installed here, if any."""
    return next((path for path in GENERATORS if path.is_file()), None)


def generate(generator: Path, root: Path) -> Completed:
    """Let the generator read ``etc/netplan`` of ``root``, and write to ``run`` of it.

    The generator, and even more ``netplan generate``, asks systemd for its state, reloads systemd and udev, and starts units
    early in a boot, all of them on this machine, whatever the root. Therefore it cannot start programs here.

    :raises CommandError: when it does not end in time.
    """
    return run([sys.executable, "-I", "-S", _ALONE, generator, "--root-dir", root], timeout=_SECONDS, accept=range(256))
