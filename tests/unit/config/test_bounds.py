"""A file of any size is checked in no time: what has no bound is not looked at, and nothing is compared with everything."""

from __future__ import annotations

from typing import Any

import pytest

from terra_core.config.loader import make_document
from terra_core.config.node import Node
from terra_core.config.structure import StructureError, structure
from terra_core.errors import ConfigError

PLAIN = {"hostname": "cm-01", "image": "docker.io/crosbymichael/cm-01:v5"}


class Counted(str):
    """A word that counts how often it is compared or looked up."""

    looks = 0

    def __eq__(self, other: object) -> bool:
        Counted.looks += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        Counted.looks += 1
        return str.__hash__(self)


def group(at: int, subvolumes: int) -> dict[str, Any]:
    """Return a group of one disk."""
    own = [{"name": f"s{number}", "path": f"/data/{at}/{number}"} for number in range(subvolumes)]
    return {"label": "os" if at == 0 else f"g{at}", "disk": [{"device": f"/dev/d{at}", "size": 1}], "subvolumes": own}


def problems(**more: object) -> list[str]:
    """Return what is wrong with a node.toml."""
    try:
        make_document({**PLAIN, **more}, Node, source="node.toml")
    except ConfigError as error:
        return list(error.problems)
    return []


def test_as_much_as_a_machine_may_have_is_taken() -> None:
    assert problems(groups=[group(at, 256) for at in range(64)]) == []


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ([group(at, 0) for at in range(65)], "node.toml: groups: expected at most 64, got 65"),
        ([group(0, 257)], "node.toml: groups[0].subvolumes: expected at most 256, got 257"),
        ([{**group(0, 0), "options": ["noatime"] * 33}], "node.toml: groups[0].options: expected at most 32, got 33"),
        (
            [{"label": "os", "disk": [{"device": f"/dev/d{at}"} for at in range(65)]}],
            "node.toml: groups[0].disk: expected at most 64, got 65",
        ),
        ([group(at, 0) for at in range(9000)], "node.toml: groups: expected at most 4096, got 9000"),
    ],
)
def test_more_than_any_machine_has_is_refused(groups: list[dict[str, Any]], problem: str) -> None:
    assert problem in problems(groups=groups)


def test_no_group_is_looked_at_for_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr("terra_core.config.node.Label", Counted)
    for count in (16, 32, 64):
        made = make_document({**PLAIN, "groups": [group(at, 8) for at in range(count)]}, Node, source="x").value
        for one in made.groups:
            for subvolume in one.subvolumes:
                object.__setattr__(subvolume, "name", Counted(subvolume.name))
        Counted.looks = 0
        assert list(made.problems()) == []
        looks.append(Counted.looks)
    assert looks[2] <= 2.5 * looks[1] <= 2.5 * 2.5 * looks[0]


def test_as_many_problems_are_shown_as_a_person_reads() -> None:
    said = problems(groups=[{"label": "os", "disk": [{"device": at} for at in range(64)]} for _ in range(10)])
    assert len(said) == 101
    assert said[-1].startswith("node.toml: and ")


def test_lists_and_tables_within_plugins_tables_are_bounded_too() -> None:
    from terra_core.config.values import PluginName

    with pytest.raises(StructureError, match="expected at most 4096, got 5000"):
        structure(["a"] * 5000, tuple[str, ...])
    with pytest.raises(StructureError, match="expected at most 4096, got 5000"):
        structure({f"a{at}": "b" for at in range(5000)}, dict[str, PluginName])
