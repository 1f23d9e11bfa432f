"""Which processor QEMU is asked to emulate."""

from __future__ import annotations

import pytest

from terra_core.system.emulator import emulated_processor

_HELP = """\
Available CPUs:
x86 max                   Enables all features supported by the accelerator in the current host

Recognized CPUID flags:
  3dnow adx aes erms{}
  la57 lahf-lm
"""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (" fsrm fsrs", "max,la57=off,erms=off,fsrm=off"),
        ("", "max,la57=off,erms=off"),
        (" fsrms", "max,la57=off,erms=off"),
    ],
)
def test_what_is_slow_is_switched_off_as_far_as_this_qemu_has_it(more: str, expected: str) -> None:
    assert emulated_processor(_HELP.format(more)) == expected


def test_a_qemu_without_a_list_gets_the_plain_processor() -> None:
    assert emulated_processor("x86 max\n") == "max"
