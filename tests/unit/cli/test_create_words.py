"""The words of ``terra create``."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from terra_core.cli.create import command


@pytest.mark.parametrize(
    "words",
    [
        ["--test", "none.toml"],
        ["--test", "--push", "none.toml"],
        ["none.toml", "--test"],
        ["--test=container", "none.toml"],
        ["--test", "container", "none.toml"],
    ],
)
def test_the_file_is_no_way_of_testing(words: list[str]) -> None:
    result = CliRunner().invoke(command, words)
    assert "none.toml: no such file" in str(result.exception)


def test_another_way_of_testing_is_refused() -> None:
    assert "'none' is not one of 'qemu', 'container'" in CliRunner().invoke(command, ["--test=none", "x.toml"]).output
