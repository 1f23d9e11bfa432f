"""Which of several manifests is for a machine: architectures, as the Go language names them, and their variants.

The machine that runs an image need not be the one that pulls it, so the entry for the architecture's baseline is taken, which
most machines run: without a variant, or ``v1`` of amd64, ``v8`` of arm64, ``v7`` of arm. Where there is none, the highest below
it is taken, or else the lowest above it. What this machine's processor cannot run is not taken.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Set
from pathlib import Path

from terra_core.oci import media
from terra_core.oci.documents import Descriptor, Platform

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv6l": "arm", "armv7l": "arm", "armv8l": "arm"}
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_BASELINES = {"amd64": (1, 0), "arm64": (8, 0), "arm": (7, 0)}
_CPUINFO = Path("/proc/cpuinfo")
_ARM_MACHINE = re.compile(r"armv([678])l")
_VARIANT = re.compile(r"v?([0-9]{1,2})(?:\.([0-9]{1,2}))?")
_AMD64_LEVELS = {
    (2, 0): {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"},
    (3, 0): {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"},
    (4, 0): {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
"""The flags of /proc/cpuinfo that each level of the x86-64 psABI adds to the one below it."""

Level = tuple[int, int]
"""A variant as numbers: ``v3`` is (3, 0), ``v8.2`` is (8, 2)."""


def this_platform() -> Platform:
    """Return the platform of the machine that this runs on."""
    machine = platform.machine()
    return Platform("linux", _MACHINES.get(machine, machine))


def is_for_here(built_for: Platform) -> bool:
    """Return whether something was built for this operating system and architecture, whatever its variant.

    What says nothing of one of them is taken as built for here, as container engines take it.
    """
    here, architecture = this_platform(), built_for.architecture.lower()
    return (built_for.os.lower() or here.os, _ALIASES.get(architecture, architecture) or here.architecture) == (
        here.os,
        here.architecture,
    )


def for_this_platform(listed: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Return the manifests and indexes that fit this machine's platform best, or else those that name none.

    :returns: those of one variant: several where the list has it several times.
    """
    known = [item for item in listed if item.media_type in media.MANIFESTS | media.INDEXES]
    levels: dict[Level, list[Descriptor]] = {}
    for item in known:
        if item.platform is not None and is_for_here(item.platform):
            level = _level(this_platform().architecture, item.platform.variant)
            if level is not None:
                levels.setdefault(level, []).append(item)
    best = _best(this_platform().architecture, levels.keys(), processor_level())
    return tuple(levels[best] if best is not None else [item for item in known if item.platform is None])


def other_platforms(listed: Iterable[Descriptor]) -> str:
    """Return in words what these are built for, for an error that says that none of them fits."""
    platforms = sorted({str(item.platform) for item in listed if item.platform and item.platform.os != "unknown"})
    words = f"it is built for {', '.join(platforms) or 'nothing'}"
    if not any(item.platform and is_for_here(item.platform) for item in listed):
        return words
    return f"{words}, which this processor does not run; name the manifest by its digest to take it for another machine"


def processor_level() -> Level | None:
    """Return the highest variant that this machine's processor runs; ``None`` where that cannot be known."""
    if found := _ARM_MACHINE.fullmatch(platform.machine()):
        return int(found[1]), 0
    if this_platform().architecture != "amd64":
        return None  # a kernel does not name the versions of arm64
    try:
        with _CPUINFO.open(errors="replace") as lines:
            flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), None)
    except OSError:
        return None
    return None if flags is None else amd64_level(set(flags))


def amd64_level(flags: Set[str]) -> Level:
    """Return the level of the x86-64 psABI of a processor with these flags of /proc/cpuinfo."""
    has = (1, 0)
    for level, needed in _AMD64_LEVELS.items():
        if not needed <= flags:
            break
        has = level
    return has


def _level(architecture: str, variant: str) -> Level | None:
    """Return a variant as numbers; ``None`` for an unknown one, of which nobody can say that it runs here."""
    if not variant:
        return _BASELINES.get(architecture, (0, 0))
    found = _VARIANT.fullmatch(variant.lower())
    return (int(found[1]), int(found[2] or 0)) if found else None


def _best(architecture: str, levels: Iterable[Level], highest: Level | None) -> Level | None:
    baseline = _BASELINES.get(architecture, (0, 0))
    fitting = [level for level in levels if highest is None or level <= highest]
    return max((level for level in fitting if level <= baseline), default=None) or min(fitting, default=None)
