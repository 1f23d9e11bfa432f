"""Which machines are upgraded together, and what is said when words do not go together."""

from __future__ import annotations

from typing import cast

import pytest
from attrs import evolve
from click.testing import CliRunner

from terra_core.cli import fleet
from terra_core.cli.connection import said_of
from terra_core.cli.fleet import batches_of
from terra_core.cli.rollback import command as rollback
from terra_core.cli.upgrade import command
from terra_core.client.answers import NodeShown, UpgradeShown
from terra_core.client.controller import ControllerClient
from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.errors import InterruptedWork, TerraError
from terra_core.system.progress import Report

NAMES = [f"cm-{at:02}" for at in range(1, 12)]


@pytest.mark.parametrize(
    ("canary", "then", "sizes"),
    [(0, "100%", [11]), (2, "20%", [2, 2, 2, 2, 2, 1]), (2, "5", [2, 5, 4]), (1, "100%", [1, 10]), (1, "1%", [1] * 11)],
)
def test_canaries_come_first(canary: int, then: str, sizes: list[int]) -> None:
    batches = batches_of(NAMES, canary, then)
    assert [len(batch) for batch in batches] == sizes
    assert [name for batch in batches for name in batch] == NAMES


@pytest.mark.parametrize("then", ["0", "0%", "101%", "%", "a", "-1", "2.5%", ""])
def test_a_share_is_a_number_or_a_percentage(then: str) -> None:
    with pytest.raises(ValueError, match="expected a number of machines"):
        batches_of(NAMES, 2, then)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cm-01", "cm-02"], "terra upgrade cm-01 cm-02 --image IMAGE"),
        (["--image", "x/y:7"], "name them, or leave --image out for this machine"),
        (["cm-01", "--image", "x/y:7", "--root", "/mnt"], "--reboot are for this machine's own system"),
        (["cm-01", "--canary", "2"], "need --image IMAGE"),
        (["cm-01", "--image", "x/y:7", "--then", "20%"], "--then needs --canary"),
    ],
)
def test_words_for_this_machine_and_for_those_of_a_controller_are_not_mixed(words: list[str], said: str) -> None:
    found = CliRunner().invoke(command, words)
    assert found.exit_code == 2
    assert said in found.output


class Answering:
    """A controller that is asked again and again, and says the next thing each time."""

    def __init__(self, *answers: tuple[NodeShown, ...] | TerraError) -> None:
        self._answers = list(answers)

    def upgrade(self, name: str, image: ImageReference, report: Report) -> NodeShown:
        return shown(name, "waiting")

    def nodes(self) -> tuple[NodeShown, ...]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def shown(name: str, phase: str, image: str = "x/y:6", wanted: str = "x/y:7", digest: str = "sha256:1") -> NodeShown:
    upgrade = UpgradeShown(phase=phase, image=wanted, digest="sha256:2", since=0.0, reason="a reason", other="")
    return NodeShown(
        hostname=name, mac="02:00:00:00:00:01", image=image, initiator_iqn="", disk_groups=(), state="ready", problem="",
        since="", digest=digest, addresses=(), upgrade=upgrade,
    )  # fmt: skip


def carried_out(controller: Answering, wait: int, *batches: list[str]) -> int:
    order = fleet.Order(image=parse_image_reference("x/y:7"), only_plan=False, form="table", wait=wait, batches=batches)
    return fleet.carry_out(cast(ControllerClient, controller), order)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_PAUSE_SECONDS", 0.0)


def test_a_controller_that_is_started_again_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    away = TerraError("nobody answers")
    answers: list[tuple[NodeShown, ...] | TerraError] = [
        (shown("a", "trial", "x/y:7"),),
        away,
        away,
        (shown("a", "kept", "x/y:7", digest="sha256:2"),),
    ]
    assert carried_out(Answering(*answers), 60, ["a"]) == 0
    assert "a is upgraded, and is well" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((), "Error: a: it was deleted meanwhile"),
        ((shown("a", "returning"),), "Error: a goes back to x/y:6: a reason"),
        ((shown("a", "returning", "x/y:7"),), "Error: a goes back to x/y:7: a reason"),  # a tag that was moved
        ((shown("a", "left", "x/y:7"),), "Error: a goes back to x/y:7: a reason"),
        ((shown("a", "kept", "x/y:5", "x/y:5"),), "Error: a is not upgraded: to x/y:5: it was well"),
        ((shown("a", "restored"),), "Error: a is not upgraded: a backup was restored"),
    ],
)
def test_when_one_is_not_well_the_rest_is_not_begun(
    answer: tuple[NodeShown, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carried_out(Answering(answer), 60, ["a"], ["b", "c"]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "Error: 2 machines are not upgraded, as one before them is not well: b, c" in told


def test_a_machine_that_has_the_image_by_another_name_is_well_whatever_it_has_left(capsys: pytest.CaptureFixture[str]) -> None:
    class Unchanged(Answering):
        def upgrade(self, name: str, image: ImageReference, report: Report) -> NodeShown:
            return shown(name, "left", "x/y:6") if name == "a" else shown(name, "waiting", "x/y:6")

    kept = evolve(shown("b", "kept", "x/y:7", digest="sha256:2"), upgrade=None)  # and nothing is kept of the former one
    assert carried_out(Unchanged((kept,)), 60, ["a"], ["b"]) == 0
    told = capsys.readouterr().err
    assert "a has x/y:7 already" in told
    assert "b is upgraded, and is well" in told


@pytest.mark.parametrize(("answer", "said"), [((shown("a", "waiting"),), "made, and taken"), (TerraError("away"), "away")])
def test_what_is_not_upgraded_in_time_is_said(
    answer: tuple[NodeShown, ...] | TerraError, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carried_out(Answering(answer), 0, ["a"]) == 1
    told = capsys.readouterr().err
    assert "a: it is not upgraded yet, after 0 seconds: " in told
    assert said in told


def test_a_signal_while_it_is_waited_says_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InterruptedWork):
        carried_out(Answering(InterruptedWork("interrupted")), 60, ["b", "a"])
    assert "these machines go on with their upgrade by themselves; terra rollback a b ends it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("cm-01 has no version to go back to", "cm-01 has no version to go back to"),
        ("cm-01: is unknown", "cm-01: is unknown"),
        ("the disk is full", "cm-01: the disk is full"),
        ("cm-011 is away", "cm-01: cm-011 is away"),
    ],
)
def test_a_machine_is_named_once(said: str, shown: str) -> None:
    assert said_of("cm-01", TerraError(said)) == shown


def test_who_names_a_version_in_place_of_a_machine_is_told_how() -> None:
    found = CliRunner().invoke(rollback, ["os.1"])
    assert found.exit_code == 2
    assert "os.1 is a version: terra rollback --to os.1" in found.output
