"""Which disks an installation has begun to write to, so that a killed installation can be repeated.

The journal is kept where a reboot removes it: it names disks by the number that the kernel counts them by, which no other disk
gets as long as the kernel runs. After a reboot, what a killed installation has left is foreign like anything else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from attrs import asdict

from terra_core.install.facts import Device
from terra_core.system.disks import Signature
from terra_core.system.files import write_file


class Journal:
    """The journal of all installations on this machine.

    :param directory: where it is kept, a file for each disk.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, device: Device, hostname: str) -> None:
        """Note that a disk is about to be written to, and what is on it now; what was noted before stays."""
        signatures = list(dict.fromkeys((*self.begun(device, hostname), *device.signatures)))
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(device)
        write_file(path, json.dumps({"hostname": hostname, "signatures": [asdict(one) for one in signatures]}).encode())

    def begun(self, device: Device, hostname: str) -> tuple[Signature, ...]:
        """Return what was on a disk before it was written to; see :meth:`has_begun`."""
        return self._read(device, hostname) or ()

    def has_begun(self, device: Device, hostname: str) -> bool:
        """Return whether an installation of this machine has begun to write to the disk and has not finished."""
        return self._read(device, hostname) is not None

    def end(self, devices: Sequence[Device]) -> None:
        """Forget disks: their installation is complete."""
        for device in devices:
            self._path(device).unlink(missing_ok=True)

    def _read(self, device: Device, hostname: str) -> tuple[Signature, ...] | None:
        try:
            note = json.loads(self._path(device).read_text())
        except (OSError, ValueError):
            return None
        if not isinstance(note, dict) or note.get("hostname") != hostname:
            return None
        return tuple(Signature(**one) for one in note["signatures"])

    def _path(self, device: Device) -> Path:
        return self._directory / f"{device.number.replace(':', '-')}-{device.sequence or 'unknown'}-{device.size}.json"
