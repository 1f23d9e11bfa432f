"""Waiting for a host that is drained, as a client sees it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from attrs import define, evolve

from terra_core.client.answers import HostShown
from terra_core.client.connection import NobodyAnswersError
from terra_core.client.draining import wait_until_drained
from terra_core.errors import ConflictError, NotFoundError, TerraError, UnavailableError
from terra_core.service.answers import OperationShown
from terra_core.system.progress import Event
from terra_core.system.waiting import WaitedInVain

ONE = HostShown(
    name="a", state="draining", leads=True, url="", portal="", store="", version="", started="", seen="", drained=True
)
OTHER = evolve(ONE, name="b", state="waiting", leads=False, drained=False)


@define
class Client:
    """Answers one thing after the other, and the last one again and again."""

    answers: list[Sequence[HostShown] | TerraError]
    running: tuple[str, ...] = ()

    def hosts(self) -> Sequence[HostShown]:
        """Return the next answer."""
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, TerraError):
            raise answer
        return answer

    def operations(self) -> Sequence[OperationShown]:
        """Return those that are left, one fewer each time, and one that has ended."""
        running, self.running = self.running, self.running[1:]
        done = OperationShown(id="0", kind="delete", subject="cm-00", state="done")
        return [done, *(OperationShown(id=name, kind="provision", subject=name, state="running") for name in running)]


def test_it_says_what_is_finished_and_ends_when_another_host_works() -> None:
    gone = (evolve(ONE, state="drained", leads=False), OTHER)
    works = (gone[0], evolve(OTHER, state="working", leads=True))
    away = [UnavailableError("nobody leads"), NobodyAnswersError("no controller answers")]
    client = Client([*[(ONE, OTHER)] * 3, *away, gone, gone, works], ("cm-01", "cm-02"))
    said = list[Event]()
    assert wait_until_drained(client, "a", seconds=9, report=said.append, interval=0).name == "b"
    assert [event.text for event in said] == [
        "a finishes provision of cm-01, provision of cm-02",
        "a finishes provision of cm-02",
        "a stops its services, and gives the lead up",
        "it is asked again: nobody leads",
        "it is asked again: no controller answers",
        "a has given the lead up, and another host takes it",
    ]


def test_its_patience_ends_and_it_says_what_is_left() -> None:
    client = Client([(ONE, OTHER)], tuple(f"cm-{number:02}" for number in range(5)))
    with pytest.raises(WaitedInVain, match="a is not drained after 0 seconds: a finishes provision of cm-00") as caught:
        wait_until_drained(client, "a", seconds=0, interval=0)
    assert caught.value.message.endswith("provision of cm-02 and 2 more")
    assert "terra host resume a" in caught.value.hint


def test_who_lets_it_lead_again_or_forgets_it_ends_the_waiting() -> None:
    with pytest.raises(ConflictError, match="a is drained no longer"):
        wait_until_drained(Client([(evolve(ONE, drained=False), OTHER)]), "a", seconds=9)
    with pytest.raises(NotFoundError, match="a is not among the hosts any more"):
        wait_until_drained(Client([(OTHER,)]), "a", seconds=9)
