"""Whether a version on trial is healthy: what was seen, how long is waited, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest

from terra_core.config.node import Upgrades
from terra_core.config.values import Duration
from terra_core.system.unit_names import is_of_users_alone
from terra_core.upgrade import judge as judging
from terra_core.upgrade.health import (
    Network,
    Seen,
    expectation,
    expected,
    fault_of,
    first_words,
    network_of,
    read_json_list,
)
from terra_core.upgrade.judge import Questions, judge

UP = Seen(state="running", network=Network.ROUTE)
STARTING = Seen(state="starting", jobs=("slow.service",))
ROUTE = {"dst": "default", "gateway": "10.0.10.1", "dev": "eth0", "flags": []}
ADDRESSES = [{"ifname": "eth0", "addr_info": [{"local": "10.0.10.5", "scope": "global"}]}]


class Machine:
    """A machine that is seen in one way after another; each look takes seconds."""

    def __init__(self, seen: Sequence[Seen], *, check: str = "", rooms: Iterable[str] = (), each: float = 10) -> None:
        self.seen = list(seen)
        self.check_says = check
        self.rooms: Iterator[str] = iter(rooms)
        self.each = each
        self.now = 20.0
        self.checked: list[tuple[Sequence[str], float]] = []

    def look(self) -> Seen:
        self.now += self.each
        return self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]

    def check(self, words: Sequence[str], seconds: float) -> str:
        self.checked.append((words, seconds))
        return self.check_says

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def judged(self, upgrades: Upgrades | None = None, wanted: Network = Network.ROUTE) -> str:
        asked = Questions(
            look=self.look, check=self.check, room=lambda: next(self.rooms, ""), uptime=lambda: self.now, pause=self.pause
        )
        return judge(upgrades or Upgrades(), wanted, asked)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again without a pause."""
    monkeypatch.setattr(judging, "_INTERVAL", 0.001)


@pytest.mark.parametrize("state", ["", "initializing", "starting", "stopping", "offline", "unknown"])
def test_a_system_that_does_not_run_yet_may_come_up(state: str) -> None:
    fault = fault_of(Seen(state=state, jobs=("a.service", "b.mount")), Network.NONE)
    assert fault is not None
    assert not fault.final
    assert fault.reason == f"its system is {state or 'silent'}, and waits for a.service, b.mount"


@pytest.mark.parametrize(("state", "says"), [("degraded", "degraded"), ("maintenance", "asks for a person")])
def test_a_start_that_failed_is_not_waited_for(state: str, says: str) -> None:
    fault = fault_of(Seen(state=state, failed=("broken.service", "srv.mount")), Network.NONE)
    assert fault is not None
    assert fault.final
    assert says in fault.reason
    assert fault.reason.endswith(": these units failed: broken.service, srv.mount")


@pytest.mark.parametrize(
    ("failed", "theirs"),
    [
        (["user@1000.service"], True),
        (["user-runtime-dir@1000.service", "session-12.scope", "session-c3.scope"], True),
        (["user@1000.service", "app.service"], False),
        (["user@root.service"], False),
        (["xuser@1.service"], False),
        ([], False),
    ],
)
def test_what_a_user_can_let_fail_says_nothing_of_the_system(failed: list[str], theirs: bool) -> None:
    assert is_of_users_alone(failed) is theirs


def test_a_list_of_units_is_cut() -> None:
    fault = fault_of(Seen(state="degraded", failed=tuple(f"{number}.service" for number in range(100))), Network.NONE)
    assert fault is not None
    assert fault.reason.endswith("7.service and 92 more")


@pytest.mark.parametrize("wanted", Network)
@pytest.mark.parametrize("network", Network)
def test_a_machine_has_to_reach_as_far_as_before(network: Network, wanted: Network) -> None:
    order = [Network.NONE, Network.ADDRESS, Network.ROUTE]
    fault = fault_of(Seen(state="running", network=network), wanted)
    assert (fault is None) is (order.index(network) >= order.index(wanted))
    assert fault is None or not fault.final, "an address may come late"


@pytest.mark.parametrize(
    ("routes", "addresses", "network"),
    [
        ([ROUTE], ADDRESSES, Network.ROUTE),
        ([{**ROUTE, "flags": ["linkdown"]}], ADDRESSES, Network.ADDRESS),
        ([{**ROUTE, "type": "unreachable"}], [], Network.NONE),
        ([{"dst": "10.0.0.0/8"}], ADDRESSES, Network.ADDRESS),
        ([], [{"ifname": "eth0", "addr_info": [{"local": "fe80::1", "scope": "link"}]}], Network.NONE),
        ([], [], Network.NONE),
        ([None, 1, {"flags": 7}], [None, {"addr_info": 1}, {"addr_info": [1]}], Network.NONE),
    ],
)
def test_how_far_a_machine_reaches(routes: list[object], addresses: list[object], network: Network) -> None:
    assert network_of(routes, addresses) is network


@pytest.mark.parametrize("text", ["", "nonsense", "{}", "1", "[" * 5000])
def test_what_is_no_list_is_an_empty_one(text: str) -> None:
    assert read_json_list(text) == []


def test_columns_of_tables() -> None:
    lines = ["a.service loaded failed failed A unit", "", "b.mount"]
    assert first_words(lines) == ("a.service", "b.mount")
    assert first_words(lines, 2) == ("failed",)


@pytest.mark.parametrize("network", Network)
def test_what_is_expected_is_written_and_read(network: Network) -> None:
    assert expected(expectation(network)) is network


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"network": "moon"}', b"\xff", b"1"])
def test_a_route_is_expected_where_nobody_wrote_it_down(content: bytes | None) -> None:
    assert expected(content) is Network.ROUTE


def test_a_machine_that_comes_up_is_kept() -> None:
    machine = Machine([STARTING, Seen(state="running"), UP])
    assert machine.judged() == ""
    assert machine.now == 20 + 4 * 10 + 15, "it is looked at once more, after a while"


def test_the_check_gets_the_time_that_is_left() -> None:
    machine = Machine([STARTING, UP])
    assert machine.judged(Upgrades(check=("/bin/check", "-v"), timeout=Duration(300))) == ""
    assert machine.checked == [(("/bin/check", "-v"), 260)]
    late = Machine([UP], each=400)
    assert late.judged(Upgrades(check=("/bin/check",), timeout=Duration(300))) == ""
    assert late.checked[0][1] > 0


def test_a_check_that_says_no_is_the_reason() -> None:
    machine = Machine([UP], check="/bin/check: exit code 3\nthe database is empty")
    assert machine.judged(Upgrades(check=("/bin/check",))) == "/bin/check: exit code 3\nthe database is empty"


def test_a_system_that_never_comes_up_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine([STARTING])
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    reason = machine.judged(Upgrades(timeout=Duration(60)))
    assert reason == f"{machine.now:.0f} seconds after its start, its system is starting, and waits for slow.service"


def test_a_failed_unit_is_the_reason_at_once() -> None:
    machine = Machine([STARTING, Seen(state="degraded", failed=("broken.service",))])
    assert machine.judged(Upgrades(check=("/bin/check",))) == "its system is degraded: these units failed: broken.service"
    assert machine.checked == []


def test_what_fails_right_after_the_start_is_seen() -> None:
    machine = Machine([UP, Seen(state="degraded", failed=("crashing.service",))])
    assert "crashing.service" in machine.judged()


@pytest.mark.parametrize("rooms", [("full",), ("", "full")])
def test_a_full_disk_is_seen(rooms: tuple[str, ...]) -> None:
    assert Machine([UP], rooms=rooms).judged() == "full"
