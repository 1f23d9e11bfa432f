"""How long something has lasted, whatever is done to the clock of the host."""

from __future__ import annotations

from terra_core.controller.ages import Ages

HOUR = 3600.0
YEAR = 365 * 24 * HOUR


class Host:
    """A host with a clock that goes on, and a time of day that anybody may set."""

    def __init__(self) -> None:
        self.clock, self.today = 100.0, 1_800_000_000.0
        self.ages = Ages(lambda: self.clock, lambda: self.today)

    def wait(self, seconds: float) -> None:
        """Let time pass, with a look every few seconds."""
        for _ in range(int(seconds // 10)):
            self.clock += 10
            self.today += 10
            self.ages.look({"cm-01"})

    def age(self, since: float) -> float:
        return self.ages.of("cm-01", "phase", since)


def test_a_clock_that_is_set_makes_nothing_older_or_younger() -> None:
    host = Host()
    host.wait(100)
    began = host.today
    assert host.age(began) == 0
    for by in (30 * YEAR, -40 * YEAR, HOUR):
        host.today += by
        before = host.age(began)
        host.wait(60)
        assert host.age(began) - before == 60


def test_what_begins_while_the_clock_is_wrong_is_new() -> None:
    host = Host()
    host.wait(100)
    began = host.today
    host.today += 2 * HOUR  # a moment later, before the next look
    assert host.age(began) == 0
    host.wait(50)
    assert host.age(began) == 50
    assert host.age(host.today) == 0, "it came to another phase"


def test_what_was_there_before_is_as_old_as_the_time_of_day_says_and_not_less_than_nothing() -> None:
    host = Host()
    host.ages.look({"cm-01", "cm-02"})
    assert host.age(host.today - HOUR) == HOUR
    assert host.ages.of("cm-02", "phase", host.today + HOUR) == 0
    host.clock += 20 * 60  # another host has had the lead
    host.ages.look({"cm-01", "cm-02"})
    assert host.ages.of("cm-02", "boot", host.today - HOUR) == HOUR


def test_who_is_gone_is_forgotten() -> None:
    host = Host()
    host.wait(100)
    began = host.today
    assert host.age(began) == 0
    host.wait(30)
    host.ages.look({"cm-02"})
    assert host.age(began) == 0
