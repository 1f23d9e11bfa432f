"""The units by which a machine decides on a version, as the component that has them brings them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from iso.recipe import Recipe
from terra_core.cli.starting import main
from terra_core.upgrade.decision import WATCHDOG
from terra_core.upgrade.health import UNIT
from terra_core.upgrade.trial import tried_by
from terra_core.versions.record import PLACE

ISO = Path(__file__).parents[3] / "iso"
UNITS = ISO / "machine/files/usr/lib/systemd/system"
TRIAL, SETTLE = UNITS / "terra-trial.service", UNITS / "terra-settle.service"
SCRIPT = Path(__file__).parents[3] / "terra_core/machine/scripts/terra"


def test_the_base_image_has_them() -> None:
    (component,) = Recipe.load(ISO / "terraos").components()
    assert component.name == "machine"
    assert (component.path / "files" / UNIT).resolve() == TRIAL


def test_nothing_in_a_start_can_leave_the_decision_out() -> None:
    for target in ("sysinit", "emergency"):
        assert (UNITS / f"{target}.target.wants" / TRIAL.name).resolve() == TRIAL
    assert "[Install]" not in TRIAL.read_text(), "no preset turns it off"
    assert {"DefaultDependencies=no", "IgnoreOnIsolate=yes", "FailureAction=reboot"} <= set(TRIAL.read_text().splitlines())


def test_a_trial_is_known_by_one_word() -> None:
    assert tried_by("boot=terra terra.try=os.1 version=os.1") == "os.1"
    assert "ConditionKernelCommandLine=terra.try" in TRIAL.read_text()
    assert "ConditionKernelCommandLine=!terra.try" in SETTLE.read_text()
    assert "terra_word terra.try" in SCRIPT.read_text()


def test_other_starts_of_an_installed_machine_are_looked_at() -> None:
    assert (UNITS / "multi-user.target.wants" / SETTLE.name).resolve() == SETTLE
    assert f"ConditionPathExists=/{PLACE}/record.json" in SETTLE.read_text()
    assert re.search(r"^ExecStart=-", SETTLE.read_text(), re.MULTILINE), "it is no failure of the machine"


@pytest.mark.parametrize("unit", [TRIAL, SETTLE], ids=lambda path: path.stem)
def test_what_they_decide_is_on_the_console(unit: Path) -> None:
    assert "StandardOutput=journal+console" in unit.read_text().splitlines()


@pytest.mark.parametrize("unit", [TRIAL, SETTLE], ids=lambda path: path.stem)
def test_what_they_run_is_there(unit: Path) -> None:
    found = re.search(r"^ExecStart=-?(/usr/lib/terra/\w+)/bin/python3 -IB -m (\S+) (\w+)$", unit.read_text(), re.MULTILINE)
    assert found
    assert found[1] == f"/usr/lib/terra/{Recipe.load(ISO / 'machine').name}"
    assert importlib.util.find_spec(found[2])
    assert f'["{found[3]}"]' in Path(str(importlib.util.find_spec(found[2]).origin)).read_text()  # type: ignore[union-attr]


def test_the_watchdog_is_given_back_where_it_was_taken() -> None:
    directory, name = str(WATCHDOG.parent).removeprefix("/run/"), WATCHDOG.name
    assert f'"$terra_run/{directory}/{name}"' in SCRIPT.read_text()


def test_a_word_that_is_neither_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["other"]) == 2
    assert capsys.readouterr().err == "expected decide or settle\n"
