"""What a machine says of a boot of its own. It comes from the network: anybody may have written it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from attrs import asdict, fields_dict, frozen

from terra_core.config.structure import Problem, StructureError, has, structure, too_many
from terra_core.config.values import shown
from terra_core.errors import ConfigError

STATES = frozenset({"initializing", "starting", "running", "degraded", "maintenance", "stopping", "offline", "unknown"})
"""What systemctl(1) says for ``is-system-running``."""
ENDED = frozenset({"running", "degraded"})
"""Those in which a boot has come to its end."""
MOST = 32
"""How many addresses a machine names at most, and how many units that have failed."""
_LONGEST_UPTIME = 10**9
_BOOT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_IMAGE = re.compile(r"(?:sha256:[0-9a-f]{64})?")
_KERNEL = re.compile(r"[A-Za-z0-9._+~:-]{1,128}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")


@frozen(kw_only=True)
class BootReport:
    """What a machine says of a boot.

    :param boot_id: the kernel's id of this boot, as in ``/proc/sys/kernel/random/boot_id``.
    :param image: the digest that came with the boot files; empty when none did.
    :param state: what ``systemctl is-system-running --wait`` said.
    :param kernel: the release of the kernel, as ``uname -r`` shows it.
    :param uptime: seconds since the kernel started.
    :param addresses: by which others reach the machine.
    :param failed: the units that have failed.
    """

    boot_id: str
    image: str
    state: str
    kernel: str
    uptime: float
    addresses: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the boot had come to its end."""
        return self.state in ENDED

    def problems(self) -> Iterator[Problem]:
        """Yield what no machine says."""
        for name, pattern, expected in (
            ("boot_id", _BOOT_ID, "the id of a boot"),
            ("image", _IMAGE, "the digest of an image"),
            ("kernel", _KERNEL, "the release of a kernel"),
        ):
            if has(self, name) and not pattern.fullmatch(getattr(self, name)):
                yield Problem(name, f"expected {expected}, got {shown(getattr(self, name))}")
        if has(self, "state") and self.state not in STATES:
            yield Problem("state", f"expected one of {', '.join(sorted(STATES))}, got {shown(self.state)}")
        if has(self, "uptime") and not 0 <= self.uptime < _LONGEST_UPTIME:
            yield Problem("uptime", f"expected seconds since the kernel started, got {shown(self.uptime)}")
        if has(self, "addresses"):
            yield from too_many("addresses", self.addresses, MOST)
            yield from _wrong("addresses", self.addresses, _is_address, "an address")
        if has(self, "failed"):
            yield from too_many("failed", self.failed, MOST)
            yield from _wrong("failed", self.failed, _UNIT.fullmatch, "the name of a unit")

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return asdict(self)

    def __str__(self) -> str:
        said = f"reports that it is {self.state}, {self.uptime:.0f} s after its kernel started"
        failed = f"; failed: {', '.join(self.failed)}" if self.failed else ""
        at = f" at {', '.join(self.addresses)}" if self.addresses else ""
        return f"{said}{failed} (boot {self.boot_id}, kernel {self.kernel}{at})"


def read_report(raw: Mapping[str, Any]) -> BootReport:
    """Return a report; keys that a later base image may send are left out.

    :raises ConfigError: with all that is wrong.
    """
    try:
        return structure({key: raw[key] for key in fields_dict(BootReport) if key in raw}, BootReport)
    except StructureError as error:
        raise ConfigError([f"report: {problem}" for problem in error.problems]) from None


def _wrong(name: str, items: tuple[str, ...], right: Any, expected: str) -> Iterator[Problem]:  # any check of a text
    for at, item in enumerate(items[:MOST]):
        if not right(item):
            yield Problem(f"{name}[{at}]", f"expected {expected}, got {shown(item)}")


def _is_address(text: str) -> bool:
    try:
        return len(text) <= 45 and "%" not in text and bool(ip_address(text))
    except ValueError:
        return False
