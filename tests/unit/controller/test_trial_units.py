"""The units by which a network machine decides its trial."""

from __future__ import annotations

import pytest

from terra_core.controller.trial_units import trial_units
from terra_core.system.rendered import RenderedFile, RenderedLink


def units(*check: str) -> dict[str, str]:
    found = list(trial_units(check, 900))
    assert {one.path for one in found if isinstance(one, RenderedLink)} == {
        f"etc/systemd/system/multi-user.target.wants/{one.path.rpartition('/')[2]}"
        for one in found
        if isinstance(one, RenderedFile)
    }
    return {one.path.rpartition("/")[2]: one.content.decode() for one in found if isinstance(one, RenderedFile)}


def test_they_do_nothing_in_another_boot() -> None:
    for content in units("/usr/local/bin/check").values():
        assert "\nConditionKernelCommandLine=terra.trial\n" in content


def test_nothing_that_hangs_in_a_start_holds_the_way_back_up() -> None:
    assert "\nAfter=" not in units()["terra-return.service"]
    assert "\nFailureAction=reboot\n" in units()["terra-return.service"], "which no user of the machine can inhibit"
    assert "timeout 900 systemctl is-system-running --wait" in units()["terra-return.service"]


def test_without_a_check_there_is_none() -> None:
    assert list(units()) == ["terra-return.service"]


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("--all", '"--all"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$HOME"'),
        ('a "b"', '"a \\x22b\\x22"'),
        ("back\\slash", '"back\\x5cslash"'),
        ("two\nlines", '"two\\x0alines"'),
        ("", '""'),
        ("ä;b", '"ä;b"'),
    ],
)
def test_the_words_of_the_check_are_those_of_the_file(word: str, written: str) -> None:
    line = next(one for one in units("/opt/my check", word)["terra-check.service"].splitlines() if one.startswith("ExecStart="))
    assert line == f'ExecStart=":/opt/my check" {written}'
