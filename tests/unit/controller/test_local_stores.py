"""Hosts with stores of their own: each works on its own machines alone, whatever it does, and any of them answers for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, frozen
from sqlalchemy import Engine, func, insert, select, update

from terra_core.config.controller import Controller
from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.config.problems import DocumentError
from terra_core.config.values import Hostname
from terra_core.controller import homes
from terra_core.controller.api import Context, make_api
from terra_core.controller.database import controllers, golden_volumes, nodes, report_tokens
from terra_core.controller.giving_up import forget_host
from terra_core.controller.golden_rows import GoldenRows
from terra_core.controller.happening import Kind, Stage
from terra_core.controller.homes import check_home, mark_home, mark_of
from terra_core.controller.hosts import HostRows
from terra_core.controller.keeping import Keeper
from terra_core.controller.leading import Sole
from terra_core.controller.machines import Machines
from terra_core.controller.mark import marked
from terra_core.controller.observing import Observer
from terra_core.controller.passing import Membership
from terra_core.controller.placing import Placing
from terra_core.controller.records import Record
from terra_core.controller.report_tokens import ReportTokens
from terra_core.controller.store import Store
from terra_core.errors import ConflictError, TerraError, UnavailableError
from terra_core.service.operations import Operations
from terra_core.system.progress import silent
from tests.unit.controller.fakes import Site, World, make_site, node_document, node_table
from tests.unit.controller.test_passing import TOKENS, Both, Got, announce, ask, events_of
from tests.unit.service.serving_lab import serving

MACS = {f"cm-0{number}": f"02:00:00:00:00:0{number}" for number in range(10)}


class Following(Sole):
    """The standing of a host for what is one for the site: not its."""

    held = False
    serves_until = 0.0


@frozen
class Member(Site):
    """A host.

    :param name: its name.
    """

    name: str

    def make(self, hostname: str) -> Mapping[str, Any]:
        """Provision a machine here."""
        return self.provision(hostname=hostname, mac=MACS[hostname])

    def names(self) -> list[str]:
        """Return its own machines."""
        return [record.hostname for record in self.store.every()]


def member(site: Site, name: str, engine: Engine, *, leads: bool) -> Member:
    """Make a host of a site."""
    store = Store(engine, host=name)
    config = evolve(site.services.config, name=Hostname(name), local_store=True)
    services = evolve(site.services, store=store, config=config, lead=Sole() if leads else Following())
    return Member(site.world, site.paths, services, Machines(services), site.operations, name)


@pytest.fixture
def sites(tmp_path: Path, site: Site) -> Iterator[tuple[Site, Site]]:
    """Return the parts of two hosts, each with a directory of its own."""
    other = make_site(tmp_path / "other", World(clones=True))
    site.world.clones = True
    yield make_site(tmp_path / "one", World(clones=True)), other
    other.operations.stop()


@pytest.fixture
def two(sites: tuple[Site, Site]) -> tuple[Member, Member]:
    """Return two hosts on one database; the first one leads."""
    engine = sites[0].store.engine
    return member(sites[0], "a", engine, leads=True), member(sites[1], "b", engine, leads=False)


def everything(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """Return what the database says of the machines of host b."""
    with engine.begin() as connection:
        of_nodes = connection.execute(select(nodes).where(nodes.c.host == "b")).all()
        of_golden = connection.execute(select(golden_volumes).where(golden_volumes.c.host == "b")).all()
        tokens = connection.execute(select(report_tokens).where(report_tokens.c.hostname == "cm-02")).all()
    found = {"nodes": of_nodes, "golden": of_golden, "tokens": tokens}
    return {name: [tuple(row) for row in rows] for name, rows in found.items()}


def test_each_host_knows_all_machines_and_works_on_its_own(two: tuple[Member, Member]) -> None:
    a, b = two
    assert a.make("cm-01")["host"] == "a"
    b.make("cm-02")
    assert (a.names(), b.names()) == (["cm-01"], ["cm-02"])
    assert [record.hostname for record in a.store.everywhere()] == ["cm-01", "cm-02"]
    assert [boot.hostname for boot in a.store.bootable()] == ["cm-01"]
    assert [record.hostname for record in a.store.named(["cm-01", "cm-02"])] == ["cm-01"]
    with pytest.raises(ConflictError, match="the host name cm-02 belongs to cm-02"):
        a.make("cm-02")
    with pytest.raises(ConflictError, match="the MAC address"):
        a.machines.reserve(node_document(hostname="cm-03", mac=MACS["cm-02"]))
    assert [golden.layout for golden in a.store.golden.every()] != [golden.layout for golden in b.store.golden.every()]
    assert {host for _, host in a.store.golden.everywhere()} == {"a", "b"}


@pytest.mark.parametrize(
    "asked",
    [
        lambda a: a.store.get("cm-02"),
        lambda a: a.machines.begin_delete("cm-02"),
        lambda a: a.machines.require_idle("cm-02"),
        lambda a: a.machines.upgrading.require_way_back("cm-02"),
        lambda a: a.machines.altering.plan(node_document(hostname="cm-02", mac=MACS["cm-02"])),
        lambda a: a.machines.connected(a.store.find_anywhere("cm-02")),
    ],
)
def test_nothing_is_done_here_to_a_machine_of_another_host(
    two: tuple[Member, Member], asked: Callable[[Member], object]
) -> None:
    a, b = two
    b.make("cm-02")
    before = everything(a.store.engine)
    with pytest.raises(UnavailableError, match=r"b has (the disks of cm-02|its disks)"):
        asked(a)
    assert everything(a.store.engine) == before


@pytest.mark.parametrize(
    "write",
    [
        lambda store, record: store.set_problem(record, "odd"),
        lambda store, record: store.restate(record, "deleting", "odd"),
        lambda store, record: store.put_back(evolve(record, digest="sha256:1")),
        lambda store, record: store.exchange(record, evolve(record, digest="sha256:1")),
        lambda store, record: store.forget(record),
    ],
)
def test_no_statement_changes_the_record_of_another_host(
    two: tuple[Member, Member], write: Callable[[Store, Record], object]
) -> None:
    a, b = two
    b.make("cm-02")
    before = everything(a.store.engine)
    write(a.store, b.store.get("cm-02"))
    assert everything(a.store.engine) == before
    assert b.names() == ["cm-02"]


def test_what_a_host_makes_that_was_given_up_meanwhile_fails_and_changes_nothing(two: tuple[Member, Member]) -> None:
    a, b = two
    b.make("cm-02")
    before = everything(a.store.engine)
    with pytest.raises(ConflictError, match="cm-02 was given up while a worked on it"):
        a.store.save(evolve(b.store.get("cm-02"), digest="sha256:1"))
    assert everything(a.store.engine) == before


def test_a_host_that_starts_and_looks_leaves_what_others_are_in_the_middle_of(two: tuple[Member, Member]) -> None:
    a, b = two
    b.make("cm-02")
    half_made = b.machines.reserve(node_document(hostname="cm-03", mac=MACS["cm-03"]))
    with b.store.engine.begin() as connection:
        connection.execute(update(golden_volumes).where(golden_volumes.c.host == "b").values(state="making", used=0))
    before, files = everything(a.store.engine), sorted(b.services.session.paths.root.rglob("*"))
    again = Machines(a.services)
    keeper = Keeper(again)
    keeper.begin()
    keeper.look()
    a.store.cut()
    keeper.look()
    again.take_up()
    again.finish_deletions()
    again.clean_up()
    again.goldens.remove_unused()
    again.renew_reports()
    again.upgrading.following.look()
    assert everything(a.store.engine) == before
    assert sorted(b.services.session.paths.root.rglob("*")) == files
    assert b.store.holds(half_made)
    assert a.world.exported == {}
    a.machines.upgrading.following.end()
    again.upgrading.following.end()


def test_who_is_connected_at_another_host_is_not_said_to_have_gone(two: tuple[Member, Member]) -> None:
    a, b = two
    a.make("cm-01")
    b.make("cm-02")
    for host, name in ((a, "cm-01"), (b, "cm-02")):
        data = {"connected": [host.store.get(name).targets[0].target.id]}
        host.store.happenings.record(name, 1, Kind.LOGIN, "is connected", data, stage=Stage.BOOTING)
        host.store.happenings.flush()
    observer = Observer(a.services, a.machines)
    observer.look()
    assert observer._seen is not None
    assert {machine for machine, _ in observer._seen} == {"cm-01"}


def test_reports_are_taken_by_the_host_of_the_machine(two: tuple[Member, Member]) -> None:
    a, b = two
    tokens = ReportTokens(b.store.engine, "b")
    b.make("cm-02")
    (secret,) = tokens.issue({("cm-02", 1): "place"}).values()
    here, there = ReportTokens(a.store.engine, "a"), ReportTokens(a.store.engine, "b")
    for one in (here, there):
        one.load()
    assert (here.recognise(secret.encode()), there.recognise(secret.encode()) is not None) == (None, True)


def test_one_host_has_the_boot_service_for_the_machines_of_all(two: tuple[Member, Member]) -> None:
    a, b = two
    b.make("cm-02")
    a.world.calls.clear()
    b.world.calls.clear()
    a.machines.start_boot(a.machines.session)
    b.machines.start_boot(b.machines.session)
    assert (a.world.known, "start_boot" in b.world.calls) == (("cm-02",), False)


def test_images_are_shown_and_pinned_for_all_hosts_and_removed_on_the_one_that_is_asked(two: tuple[Member, Member]) -> None:
    a, b = two
    b.make("cm-02")
    (shown,) = a.machines.goldens.shown()
    assert (shown["host"], shown["machines"]) == ("b", 1)
    assert a.machines.goldens.pin(shown["digest"], pinned=True)[0]["pinned"] is True
    assert b.store.golden.every()[0].pinned
    with pytest.raises(TerraError, match=r"a has nothing laid down of .*: b has"):
        a.machines.goldens.remove(shown["digest"])
    b.machines.goldens.pin(shown["digest"], pinned=False)
    assert b.machines.goldens.remove(shown["digest"])[0]["host"] == "b"
    assert GoldenRows(a.store.engine).everywhere() == []


@define
class Pair:
    """Two hosts that are served.

    :param both: where each answers.
    """

    a: Member
    b: Member
    both: Both

    def away(self, name: str, **values: object) -> None:
        """Let a host be silent."""
        self.both.row(name, **{"seen": time.time() - 60, **values})

    def ask(self, name: str, method: str, path: str, body: object = None) -> Got:
        """Ask a host."""
        return ask(self.both.ports[name], method, path, TOKENS[name], body)

    def follow(self, name: str, begun: Got) -> str:
        """Return how an operation has ended, as a host tells it."""
        assert begun.status == 202, begun.content
        return events_of(self.ask(name, "GET", f"/v1/operations/{begun.json['operation']}/events"))[-1]


@pytest.fixture
def pair(two: tuple[Member, Member], sites: tuple[Site, Site]) -> Iterator[Pair]:
    """Serve both hosts."""
    both = Both(sites[0])
    with ExitStack() as stack:
        for host in two:
            own = announce(both, host.name, "", "working", local_store=1)
            operations = Operations(2, origin=host.name)
            stack.callback(operations.stop)
            context = Context(
                services=host.services, machines=host.machines, operations=operations, keeper=Keeper(host.machines)
            )
            api = make_api(context, TOKENS[host.name], Membership(own=own, passes=both.passes[host.name]))
            daemon = stack.enter_context(serving(api))
            both.row(host.name, url=f"http://127.0.0.1:{daemon.port}")
            both.ports[host.name] = daemon.port
        yield Pair(*two, both)


def test_any_host_makes_changes_shows_and_deletes_a_machine_of_any(pair: Pair) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        table = {**node_table("cm-01", MACS["cm-01"]), "host": other}
        begun = pair.ask(name, "POST", "/v1/nodes", table)
        assert begun.json["operation"].startswith(f"{other}.")
        assert pair.follow(name, begun) == "result"
        assert pair.ask(name, "GET", "/v1/nodes/cm-01").json["host"] == other
        assert [node["host"] for node in pair.ask(name, "GET", "/v1/nodes").json] == [other]
        status = pair.ask(name, "GET", "/v1/nodes/cm-01/status").json
        assert (status["trouble"], status["operation"]["id"]) == ("", begun.json["operation"])
        assert pair.ask(name, "POST", "/v1/nodes/cm-01/plan", table).json["action"] == "unchanged"
        moved = pair.ask(name, "POST", "/v1/nodes/cm-01/plan", {**table, "host": name}).json
        assert (moved["action"], [change["path"] for change in moved["changes"]]) == ("refused", ["host"])
        assert pair.ask(name, "PUT", "/v1/nodes/cm-01", {**table, "host": name}).status == 409
        assert pair.follow(name, pair.ask(name, "PUT", "/v1/nodes/cm-01", {**table, "kernel_arguments": ["quiet"]})) == "result"
        assert pair.ask(name, "DELETE", f"/v1/operations/{begun.json['operation']}").status == 202
        assert pair.follow(name, pair.ask(name, "DELETE", "/v1/nodes/cm-01")) == "result"
        assert pair.ask(other, "GET", "/v1/nodes").json == []
    assert pair.ask("a", "DELETE", "/v1/nodes/cm-01").status == 404
    assert pair.ask("a", "GET", "/v1/operations/c.none").status == pair.ask("a", "GET", "/v1/operations/b.none").status == 404
    assert pair.ask("a", "POST", "/v1/nodes", b"[").status == 400


def test_machines_that_are_asked_for_at_once_are_spread_over_the_hosts(pair: Pair) -> None:
    found: list[str] = []

    def make(hostname: str, *, put: bool) -> None:
        table = node_table(hostname, MACS[hostname])
        begun = pair.ask("a", "PUT", f"/v1/nodes/{hostname}", table) if put else pair.ask("a", "POST", "/v1/nodes", table)
        found.append(pair.follow("a", begun))

    with ThreadPoolExecutor(8) as pool:
        for at, name in enumerate(list(MACS)[:8]):
            pool.submit(make, name, put=at % 2 == 0)
    assert found == ["result"] * 8
    assert (len(pair.a.names()), len(pair.b.names())) == (4, 4)


def test_a_host_that_is_away_keeps_its_machines_and_nothing_else_waits(pair: Pair) -> None:
    for name, host in (("cm-01", "a"), ("cm-02", "b")):
        pair.follow("a", pair.ask("a", "POST", "/v1/nodes", {**node_table(name, MACS[name]), "host": host}))
    pair.away("b")
    for method, path, body in (
        ("DELETE", "/v1/nodes/cm-02", None),
        ("PUT", "/v1/nodes/cm-02", node_table("cm-02", MACS["cm-02"])),
        ("POST", "/v1/nodes/cm-02/plan", node_table("cm-02", MACS["cm-02"])),
        ("POST", "/v1/nodes/cm-02/rollback", {}),
    ):
        refused = pair.ask("a", method, path, body)
        assert (refused.status, refused.json["detail"]) == (503, "b has its disks, and does not answer: it is silent")
    problems = {node["hostname"]: node["problem"] for node in pair.ask("a", "GET", "/v1/nodes").json}
    assert problems == {"cm-01": "", "cm-02": "b has its disks, and is silent"}
    assert pair.ask("a", "GET", "/v1/nodes/cm-02").json["problem"] == "b has its disks, and is silent"
    assert pair.ask("a", "GET", "/v1/nodes/cm-02/status").json["trouble"] == "b has its disks, and does not answer"
    assert pair.ask("a", "GET", "/v1/nodes/cm-02/happenings").status == 200
    assert pair.ask("a", "GET", "/v1/operations/b.something").status == 503
    named = pair.ask("a", "POST", "/v1/nodes", {**node_table("cm-03", MACS["cm-03"]), "host": "b"})
    assert (named.status, "b is to have the disks of cm-03, and does not answer" in named.json["detail"]) == (503, True)
    assert pair.follow("a", pair.ask("a", "POST", "/v1/nodes", node_table("cm-03", MACS["cm-03"]))) == "result"
    assert pair.a.names() == ["cm-01", "cm-03"]
    pair.both.row("b", seen=time.time() + 3600, trouble="storage: tgtd is gone")
    assert pair.ask("a", "GET", "/v1/nodes/cm-02").json["problem"] == ""
    problems = {node["hostname"]: node["problem"] for node in pair.ask("a", "GET", "/v1/nodes").json}
    assert problems["cm-02"] == "storage: tgtd is gone"


def test_a_host_that_does_not_answer_is_chosen_once_at_most(pair: Pair) -> None:
    pair.follow("a", pair.ask("a", "POST", "/v1/nodes", {**node_table("cm-01", MACS["cm-01"]), "host": "a"}))
    pair.both.row("b", url="http://127.0.0.1:1")
    first = pair.ask("a", "POST", "/v1/nodes", node_table("cm-02", MACS["cm-02"]))
    assert (first.status, "b is to have its disks, and does not answer" in first.json["detail"]) == (503, True)
    assert pair.follow("a", pair.ask("a", "POST", "/v1/nodes", node_table("cm-02", MACS["cm-02"]))) == "result"
    assert pair.a.names() == ["cm-01", "cm-02"]


def test_a_host_is_chosen_by_its_machines_and_its_name_and_not_where_it_is_drained(pair: Pair) -> None:
    placing = Placing(HostRows(pair.both.engine), pair.a.store)
    assert [placing.choose(f"cm-0{at}", None).own.name for at in range(4)] == ["a", "b", "a", "b"]
    HostRows(pair.both.engine).drain("b")
    assert {placing.choose(f"x-0{at}", None).own.name for at in range(4)} == {"a"}
    with pytest.raises(ConflictError, match="b is drained, and takes no new machines"):
        placing.choose("cm-09", "b")
    with pytest.raises(DocumentError, match="expected one of the hosts that there are, a, b; got"):
        placing.choose("cm-09", "c")
    for name in ("a", "b"):
        pair.away(name)
    with pytest.raises(UnavailableError, match="no host is there that takes new machines"):
        placing.choose("cm-09", None)


def test_a_host_with_machines_is_forgotten_with_them_or_not_at_all(pair: Pair) -> None:
    for name, host in (("cm-01", "a"), ("cm-02", "b")):
        pair.follow("a", pair.ask("a", "POST", "/v1/nodes", {**node_table(name, MACS[name]), "host": host}))
    assert "it is working" in pair.ask("a", "DELETE", "/v1/hosts/b?with_machines=true").json["detail"]
    pair.away("b")
    refused = pair.ask("a", "DELETE", "/v1/hosts/b")
    assert (refused.status, refused.json["detail"]) == (409, "the host b alone has the disks of machines: cm-02")
    pair.a.world.published |= pair.b.world.published  # these files are in common
    with pair.both.engine.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(report_tokens).where(report_tokens.c.hostname == "cm-02"))
    forgotten = pair.ask("a", "DELETE", "/v1/hosts/b?with_machines=true")
    assert (forgotten.status, forgotten.json["machines"]) == (200, 1)
    assert everything(pair.both.engine) == {"nodes": [], "golden": [], "tokens": []}
    assert list(pair.a.world.published) == ["cm-01"]
    assert pair.follow("a", pair.ask("a", "POST", "/v1/nodes", node_table("cm-02", MACS["cm-02"]))) == "result"
    assert pair.a.names() == ["cm-01", "cm-02"]
    with pytest.raises(TerraError, match="no host is named 'b'"):
        forget_host(pair.a.machines, "b", with_machines=True)


def test_hosts_whose_boot_files_are_not_in_common_are_told_and_make_no_machine(pair: Pair) -> None:
    tree = pair.a.services.session.paths.tftp
    with pytest.raises(TerraError, match=f"{tree} is not in common with b, which writes boot files somewhere else"):
        pair.a.machines.common_tree.look()
    refused = pair.ask("a", "POST", "/v1/nodes", {**node_table("cm-01", MACS["cm-01"]), "host": "a"})
    assert (refused.status, "is not in common with b" in refused.json["detail"]) == (409, True)
    other = pair.b.services.session.paths.tftp
    other.symlink_to(tree)
    pair.b.machines.common_tree.look()
    pair.a.machines.common_tree.look()
    assert pair.follow("a", pair.ask("a", "POST", "/v1/nodes", {**node_table("cm-01", MACS["cm-01"]), "host": "a"})) == "result"
    (tree / ".hosts/b").unlink()
    pair.away("b")
    pair.a.machines.common_tree.look()
    keeper = Keeper(pair.a.machines)
    pair.both.row("b", seen=time.time() + 3600)
    keeper.begin()
    keeper.look()
    keeper.mend(silent)
    assert "is not in common with b" in pair.a.machines.troubles.services["tree"]
    assert pair.a.machines.troubles.of("cm-01") == "", "it boots all the same"
    pair.b.machines.common_tree.look()
    keeper.mend(silent)
    assert pair.a.machines.troubles.services == {}


@pytest.fixture
def home(tmp_path: Path, site: Site) -> Callable[..., str]:
    """Return what says why a directory is refused as the home of the host b; an empty text where it is taken."""

    def refused(*, name: str = "b", local: bool = True, used: bool = True) -> str:
        with site.store.engine.begin() as connection:
            try:
                check_home(connection, tmp_path / "volumes", "the database", name, local=local, used=used)
            except TerraError as error:
                return error.message
        return ""

    return refused


def test_a_directory_is_the_home_of_one_host_of_one_database(
    site: Site, home: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes, engine = tmp_path / "volumes", site.store.engine
    volumes.mkdir()
    assert home() == ""
    mark_home(volumes, engine, "b")
    assert marked(volumes).endswith(" b")
    assert home() == ""
    assert home(name="c") == f"{volumes}: the volumes there are those of the host b, and this is c"
    assert home(name="c", local=False) != ""
    Store(engine, host="b").reserve(node_document().value, node_document().raw, node_document().tables)
    assert home() == ""
    assert "machines of this database have their disks on hosts of their own: 1 on b" in home(name="c", local=False)
    volumes.rename(tmp_path / "elsewhere")
    volumes.mkdir()
    assert home() == f"the database says that b has the disks of 1 machines, and {volumes} has no mark of theirs"
    (volumes / "cm-01").mkdir()
    (volumes / "cm-01/0.lun").touch()
    monkeypatch.setattr(homes, "_others", lambda connection, name: True)
    assert "is the disk of a machine that is none of this host's" in home(name="c")
    assert home(local=False, name="b") != "", "others have stores of their own, too"
    other = make_site(tmp_path / "strange", World())
    mark_home(volumes, other.store.engine, "c")
    assert "is of machines that it does not know" in home(name="c")
    assert mark_of("1", "") == "1"


def test_a_store_without_a_directory_is_none_of_a_hosts_own(site: Site) -> None:
    with site.store.engine.begin() as connection:
        check_home(connection, None, "the database", "b", local=False, used=True)
        with pytest.raises(TerraError, match="its store has no directory here"):
            check_home(connection, None, "the database", "b", local=True, used=True)


def test_a_host_key_is_refused_where_there_is_nothing_to_choose(site: Site) -> None:
    table = {**node_table(), "host": "san-09"}
    with pytest.raises(DocumentError, match="no hosts beside it that have a store of their own"):
        site.machines.reserve(make_document(table, NetworkNode, source="node.toml"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "local_store is of several hosts"),
        ({"database": "postgresql://x", "failover": {"hosts": {}, "interface": "eth0"}}, "failover"),
    ],
)
def test_a_store_of_its_own_needs_a_server_and_nothing_that_moves(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(TerraError, match=said):
        make_document({"local_store": True, **keys}, Controller, source="controller.toml")
    made = make_document({"local_store": True, "database": "postgresql://x"}, Controller, source="controller.toml")
    assert made.value.local_store


def test_hosts_say_what_they_have(pair: Pair) -> None:
    pair.follow("a", pair.ask("a", "POST", "/v1/nodes", {**node_table("cm-02", MACS["cm-02"]), "host": "b"}))
    shown = {host["name"]: (host["local_store"], host["machines"]) for host in pair.ask("a", "GET", "/v1/hosts").json}
    assert shown == {"a": (True, 0), "b": (True, 1)}
    with pair.both.engine.begin() as connection:
        connection.execute(
            insert(controllers).values(
                name="c", identity="c", url="", portal="", store="file", version="1", state="stopped", started=0.0, seen=0.0
            )
        )
    assert "machines" not in next(host for host in pair.ask("a", "GET", "/v1/hosts").json if host["name"] == "c")
