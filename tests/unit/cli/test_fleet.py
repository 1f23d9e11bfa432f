"""Which machines are upgraded together, and what is said when words do not go together."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from terra_core.cli.fleet import batches_of
from terra_core.cli.upgrade import command

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
