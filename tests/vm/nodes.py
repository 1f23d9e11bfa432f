"""What a node.toml asks for, and whether the machine that was made of it has it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lab.machine import Machine

_EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def example(name: str, **values: str) -> str:
    """Return a node.toml of the examples, with other values for some of its strings."""
    text = (_EXAMPLES / name).read_text()
    for key, value in values.items():
        text, replaced = re.subn(rf"^{key} = .*$", f'{key} = "{value}"', text, flags=re.MULTILINE)
        assert replaced == 1, key
    return text


def group(
    label: str, kind: str, disks: int, *, boot: str = "", compression: str = "", filesystem: str = "", **subvolumes: str
) -> str:
    """Return a group of node.toml, with a mark for each device."""
    lines = ["[[groups]]", f'label = "{label}"', f'type = "{kind}"', 'stage = "stage1"']
    lines += ["mbr = true"] if label == "os" and boot != "uefi" else []
    lines += [f'boot = "{boot}"'] if boot else []
    lines += [f'compression = "{compression}"'] if compression else []
    lines += [f'filesystem = "{filesystem}"'] if filesystem else []
    lines += ["[[groups.disk]]\ndevice = DISK"] * disks
    lines += [f'[[groups.subvolumes]]\nname = "{name}"\npath = "{path}"' for name, path in subvolumes.items()]
    return "\n".join(lines) + "\n"


def expect_healthy(
    machine: Machine, hostname: str, mounts: dict[str, str], *, missing: bool = False, version: str = "os"
) -> None:
    """Ask the machine what it is, what it has mounted, and whether its disks had errors."""
    expect_running(machine, hostname)
    assert f"version={version}" in machine.ssh("cat /proc/cmdline").text.split()
    for path, subvolume in mounts.items():
        expect_mounted(machine, path, "btrfs", subvolume)
        stats = json.loads(machine.ssh(f"sudo btrfs --format json device stats {path}").stdout)["device-stats"]
        there = [row for row in stats if not (missing and row["device"] in ("", "<missing disk>"))]
        assert there
        assert not [row for row in there if any(int(row[name]) for name in row if name.endswith(("_errs", "errors")))]


def expect_running(machine: Machine, hostname: str) -> None:
    """Ask the machine what it is, and whether everything in it came up."""
    state = machine.ssh("systemctl is-system-running --wait", accept=range(256), timeout=300).text.strip()
    faults = "systemctl --failed --no-legend; sudo journalctl -b -p warning --no-pager | tail -40"
    assert state == "running", machine.ssh(faults).text
    assert machine.ssh("hostname").text.strip() == hostname


def expect_mounted(machine: Machine, path: str, filesystem: str, place: str) -> dict[str, str]:
    """Ask the machine what it has mounted at a path; return findmnt(8)'s row.

    :param filesystem: the type that it has to be.
    :param place: the path within that file system.
    """
    answer = machine.ssh(f"findmnt --json --output TARGET,SOURCE,FSTYPE,FSROOT,OPTIONS --mountpoint {path}")
    (found,) = json.loads(answer.stdout)["filesystems"]
    assert (found["fstype"], found["fsroot"]) == (filesystem, place)
    return dict(found)


def profiles(machine: Machine, path: str) -> dict[str, str]:
    """Return the profiles of the file system at ``path``."""
    rows = json.loads(machine.ssh(f"sudo btrfs --format json filesystem df {path}").stdout)["filesystem-df"]
    return {row["bg-type"]: row["bg-profile"].lower() for row in rows if row["bg-type"] != "GlobalReserve"}
