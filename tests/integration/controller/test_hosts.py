"""Two hosts on one database and one store: one works, and the other one takes its place when it is killed or paused."""

from __future__ import annotations

import http.client
import json
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from sqlalchemy import create_engine, text

from iso.daemons import start, wait_ready
from lab.network import BRIDGE, CONTROLLER, ISCSI, Network
from lab.postgresql import Postgresql
from lab.site import CONFIG, START, Site, confined, terra_command
from terra_core.config.controller import API_PORT, Paths
from terra_core.service.tokens import read_token
from terra_core.system.process import Completed, Daemon, run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import MANY, MUCH, SYSTEM, Ground
from tests.unit.oci.making import layer, tar

TEN_SECONDS = 10.0
SECOND = "10.0.10.5"
"""The address of the second host."""


class Second:
    """A further host of a database: its network has the same portal, as if that had moved to it, and an address of its own.

    :param root: the controller's root.
    :param first: the first host, whose volumes and registry it reaches as well.
    :param config: controller.toml.
    :param portal: where its storage service answers: an address of its own where its volumes are its own, too, and boot files
        alone are in common.
    """

    def __init__(self, root: Path, first: Site, config: str, *, portal: str = ISCSI) -> None:
        self.network = Network("second", addresses=(SECOND, portal))
        self.root, self._first, self._config, self.portal = root, first, config, portal
        self.controller: Daemon | None = None
        self._resources = Undo()

    def __enter__(self) -> Self:
        with Undo() as resources:
            resources.enter_context(self.network)
            resources.enter_context(self._first.network.wire("second", self.network.name))
            self.network.ip("link", "set", "eth0", "master", BRIDGE, "up")
            paths = Paths(self.root)
            paths.etc.mkdir(parents=True)
            (paths.etc / "controller.toml").write_text(self._config)
            for name in ("iscsi", "tftp") if self.portal == ISCSI else ("tftp",):
                (self.root / name).symlink_to(self._first.root / name)
            resources.callback(self._stop_services)
            resources.callback(self.stop)
            self.start()
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def start(self) -> None:
        """Start its controller, and wait until it answers."""
        words = [{CONTROLLER: SECOND, ISCSI: self.portal}.get(word, word) for word in START]
        command = self.network.command([*confined(), terra_command(), *words, "--root", self.root])
        self.controller = start(command, log=self.root / "controller.log")
        wait_ready(self.controller, self._answers, seconds=60, what="the second controller to answer")

    def stop(self) -> None:
        """End its controller."""
        if self.controller is not None:
            self.controller.stop(30)

    def _stop_services(self) -> None:
        run(self.network.command([terra_command(), "controller", "--stop", "--root", self.root]), timeout=60)

    def _answers(self) -> bool:
        return ask(self.network, SECOND, self.root, "GET", "/healthz")[0] == 200

    def terra(self, *words: str | Path, accept: Sequence[int] = (0,)) -> Completed:
        """Run terra on it, with the token of its own."""
        env = {"TERRA_CONTROLLER": SECOND, "TERRA_TOKEN": read_token(Paths(self.root).token)}
        return run(self.network.command([terra_command(), *words]), timeout=120, accept=accept, env=env)


def ask(network: Network, address: str, root: Path, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Return status and document of an answer of the controller of a root, whatever it is."""
    connection = http.client.HTTPConnection(address, API_PORT, timeout=20)
    connection.sock = network.connect(address, API_PORT, timeout=20)
    try:
        headers = {"Authorization": f"Bearer {read_token(Paths(root).token)}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


class Both:
    """Both hosts.

    :param ground: the first one.
    :param second: the other one.
    :param url: of their database.
    """

    def __init__(self, ground: Ground, second: Second, url: str) -> None:
        self.ground, self.second, self._url = ground, second, url

    def first(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask the first host."""
        return ask(self.ground.site.network, CONTROLLER, self.ground.site.root, method, path, body)

    def other(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask the second host."""
        return ask(self.second.network, SECOND, self.second.root, method, path, body)

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        """Return all that the leader alone writes."""
        engine = create_engine(self._url)
        names = ("nodes", "golden_volumes", "hosts", "target_numbers", "happenings", "boots", "report_tokens", "lead")
        try:
            with engine.connect() as connection:
                found = {name: connection.execute(text(f"select * from {name}")).all() for name in names}  # noqa: S608
        finally:
            engine.dispose()
        found["lead"] = [(row.epoch, row.name) for row in found["lead"]]  # type: ignore[misc]  # without the time
        return {name: [tuple(map(repr, row)) for row in rows] for name, rows in found.items()}

    def files(self) -> Mapping[str, int]:
        """Return the volumes with their sizes."""
        return {str(path): path.stat().st_size for path in (self.ground.site.root / "iscsi").rglob("*") if path.is_file()}


T = TypeVar("T", bound=Both)


def states(answer: tuple[int, Any]) -> dict[str, tuple[str, bool]]:
    """Return the hosts of an answer to ``GET /v1/hosts``: what each does, and whether it leads."""
    status, hosts = answer
    assert status == 200, hosts
    return {host["name"]: (host["state"], host["leads"]) for host in hosts}


def wait_for_work(both: Both, name: str, *, of_second: bool) -> float:
    """Wait until a host works and says so; return how long that took, in seconds."""
    began, asked = time.monotonic(), both.other if of_second else both.first

    def works() -> bool:
        with suppress(OSError, http.client.HTTPException):
            return states(asked("GET", "/v1/hosts")).get(name) == ("working", True)
        return False

    wait_until(works, seconds=40, what=f"{name} to work", interval=0.2)
    return time.monotonic() - began


def lead_moves_to(both: Both, name: str, epoch: int) -> float:
    """Wait until a host has the lead in an epoch; return how long that took, in seconds."""
    began = time.monotonic()
    wait_until(lambda: both.rows()["lead"] == [(str(epoch), repr(name))], seconds=20, what=f"{name} to lead", interval=0.05)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def both(postgresql: Postgresql) -> Iterator[Both]:
    """Start both hosts; the first one leads."""
    with hosts_of(Both, postgresql.make("hosts")) as both:
        yield both


@contextmanager
def hosts_of(kind: type[T], url: str, more: str = "", *, portal: str = ISCSI) -> Iterator[T]:
    """Start both hosts of a database; the first one leads.

    :param more: further keys of controller.toml.
    :param portal: where the storage service of the second one answers; see :class:`Second`.
    """
    config = f'database = "{url}"\n{more}{CONFIG}'
    with tempfile.TemporaryDirectory(prefix="terra-hosts-") as directory:
        work = Path(directory)
        work.chmod(0o755)
        with Site(work / "build", work / "first", label="first", config=f'name = "san-01"\n{config}') as site:
            (site.root / "iscsi").mkdir(exist_ok=True)
            with Second(work / "second", site, f'name = "san-02"\n{config}', portal=portal) as second:
                yield kind(Ground(site, work), second, url)


def test_one_works_and_the_other_one_answers_as_well(both: Both) -> None:
    wait_until(lambda: "san-02" in states(both.first("GET", "/v1/hosts")), seconds=10, what="both hosts")
    expected = {"san-01": ("working", True), "san-02": ("waiting", False)}
    assert states(both.first("GET", "/v1/hosts")) == states(both.other("GET", "/v1/hosts")) == expected
    image = both.ground.push("small", SYSTEM)
    both.ground.provision(image)
    status, nodes = both.other("GET", "/v1/nodes")
    assert (status, [node["hostname"] for node in nodes]) == (200, ["cm-01"])
    assert nodes[0]["problem"] == ""
    listed = both.ground.terra("hosts", "-o", "wide").text.splitlines()
    assert [line.split()[:3] for line in listed] == [
        ["NAME", "STATE", "LEADS"], ["san-01", "working", "yes"], ["san-02", "waiting", "no"]
    ]  # fmt: skip
    assert "is working" in both.ground.terra("hosts", "--forget", "san-01", accept=(1,)).stderr.decode()
    names = {process.name for process in both.second.network.processes()}
    assert names & {"tgtd", "dnsmasq"} == set(), "who waits serves no machine"
    both.second.terra("delete", "cm-01")
    assert both.first("GET", "/v1/nodes") == both.other("GET", "/v1/nodes") == (200, [])


def test_terra_works_with_the_host_that_waits_as_with_the_other_one(both: Both) -> None:
    ground, second = both.ground, both.second
    secret = second.terra("token", "create", "ann", "--role", "provision").text.strip()
    node = ground.node(ground.push("small", SYSTEM))
    env = {"TERRA_CONTROLLER": SECOND, "TERRA_TOKEN": secret}
    made = run(ground.site.network.command([terra_command(), "provision", node]), timeout=120, env=env)
    assert json.loads(made.text)["hostname"] == "cm-01"
    assert "pull" in made.stderr.decode(), "its progress comes as it happens"
    second.terra("apply", node)
    assert "cm-01" in second.terra("list").text
    assert "lead" not in second.terra("status", "cm-01").text, "who leads is asked who is connected"
    assert "provision is done" in second.terra("logs", "cm-01").text
    (image,) = [one for one in json.loads(second.terra("images", "-o", "json").text) if one["machines"]]
    second.terra("images", "--pin", image["digest"])
    second.terra("images", "--unpin", image["digest"])
    second.terra("delete", "cm-01")
    assert "no machine" in second.terra("delete", "cm-01", accept=(1,)).stderr.decode().lower()
    log = [(one["who"], one["address"], one["action"], one["result"]) for one in both.first("GET", "/v1/audit?limit=50")[1]]
    by = f"{SECOND} via san-02"
    assert ("local/san-02", by, "delete", "done") in log
    (provisioned,) = [one for one in log if one[0] == "ann"]
    assert (provisioned[0], provisioned[1].split()[1:]) == ("ann", ["via", "san-02"])
    assert ("local", SECOND, "create token", "done") in log
    forged = {"Authorization": f"Bearer {secret}", "Terra-Passed-On": f"san-02 {'x' * 43} 192.0.2.7"}
    with ground.site.network.inside():
        connection = http.client.HTTPConnection(CONTROLLER, API_PORT, timeout=20)
        connection.request("DELETE", "/v1/nodes/cm-01", headers=forged)
        assert connection.getresponse().status == 503
        connection.close()


def test_what_it_costs_to_ask_the_host_that_waits(both: Both) -> None:
    def seconds(asked: Callable[..., tuple[int, Any]]) -> float:
        found = []
        for _ in range(30):
            began = time.monotonic()
            assert asked("GET", "/v1/operations")[0] == 200
            found.append(time.monotonic() - began)
        return statistics.median(found)

    direct, passed_on = seconds(both.first), seconds(both.other)
    print(f"\na request takes {direct * 1000:.0f} ms, and {passed_on * 1000:.0f} ms when it is passed on")  # noqa: T201  # a figure
    assert passed_on < direct + 0.5


def test_a_host_of_the_same_name_or_with_volumes_of_its_own_is_refused(both: Both) -> None:
    for name, own, said in (("san-02", False, "has the name 'san-02'"), ("san-03", True, "the volumes of this database are")):
        root = both.ground.path(name)
        Paths(root).etc.mkdir(parents=True)
        config = (both.second.root / "etc/terra/controller.toml").read_text().replace("san-02", name)
        (root / "etc/terra/controller.toml").write_text(config)
        if not own:
            (root / "iscsi").symlink_to(both.ground.site.root / "iscsi")
        words = ["--controller", "10.0.10.1", *START[3:], "--root", str(root)]
        for _ in range(2):
            assert said in both.ground.terra(*words, accept=(1,)).stderr.decode()


def test_a_leader_that_is_paused_in_the_middle_of_its_work_is_followed_and_changes_nothing_when_it_wakes_up(
    both: Both,
) -> None:
    ground, first = both.ground, both.ground.site.controller
    assert first is not None
    slow = ground.push("slow", SYSTEM, MANY, layer(tar(*MUCH), "plain"))
    provisioning = ground.start("provision", ground.node(slow))
    ground.wait_until_mounted()
    first.signal(signal.SIGSTOP)
    try:
        moved = lead_moves_to(both, "san-02", 2)
        wait_for_work(both, "san-02", of_second=True)
        wait_until(lambda: not both.rows()["nodes"], seconds=30, what="what was half-made to be taken away")
        wait_until(lambda: "'making'" not in str(both.rows()["golden_volumes"]), seconds=30, what="no golden volume to be made")
        before, files = both.rows(), both.files()
    finally:
        first.signal(signal.SIGCONT)
    assert first.wait(TEN_SECONDS) != 0
    provisioning.stop()
    assert (both.rows(), both.files()) == (before, files)
    assert moved < TEN_SECONDS
    assert b"and ends at once" in ground.site.log.read_bytes()
    print(f"\nthe leader was paused: the lead moved in {moved:.1f} s")  # noqa: T201  # a figure of the issue's


def test_the_woken_one_comes_back_as_one_that_waits_and_leads_again_when_the_other_one_is_killed(both: Both) -> None:
    both.ground.site.start_controller()
    wait_until(lambda: states(both.first("GET", "/v1/hosts"))["san-01"][0] == "waiting", seconds=10, what="san-01 to wait")
    assert both.first("DELETE", "/v1/nodes/cm-09")[0] == 404, "who leads says so"
    assert both.second.controller is not None
    seconds = []
    for epoch in (3, 5):
        both.second.controller.signal(signal.SIGKILL)
        seconds.append(lead_moves_to(both, "san-01", epoch))
        wait_for_work(both, "san-01", of_second=False)
        both.second.controller.wait(TEN_SECONDS)
        both.second.start()
        wait_until(lambda: states(both.other("GET", "/v1/hosts"))["san-02"][0] == "waiting", seconds=10, what="san-02 to wait")
        if epoch == 3:
            both.ground.site.stop_controller()
            lead_moves_to(both, "san-02", 4)
            wait_for_work(both, "san-02", of_second=True)
            both.ground.site.start_controller()
    assert max(seconds) < TEN_SECONDS
    print(f"\nthe leader was killed: the lead moved in {', '.join(f'{one:.1f}' for one in seconds)} s")  # noqa: T201
    image = both.ground.push("small", SYSTEM)
    both.ground.provision(image)
    assert [node["problem"] for node in both.other("GET", "/v1/nodes")[1]] == [""]
    both.ground.clear()


def test_a_drained_leader_finishes_what_it_does_and_the_other_one_serves_its_machines(both: Both) -> None:
    ground, second = both.ground, both.second
    small, slow = ground.push("small", SYSTEM), ground.push("slow", SYSTEM, MANY, layer(tar(*MUCH), "plain"))
    shown = ground.provision(small, "cm-02", "52:54:00:00:00:02")
    epoch = int(str(both.rows()["lead"][0][0]))
    provisioning = ground.start("provision", ground.node(slow))
    ground.wait_until_mounted()
    draining = Daemon(
        second.network.command([terra_command(), "host", "drain", "san-01"]),
        log=ground.path("drain.log"),
        env={"TERRA_CONTROLLER": SECOND, "TERRA_TOKEN": read_token(Paths(second.root).token)},
    )
    try:
        wait_until(lambda: states(both.other("GET", "/v1/hosts"))["san-01"] == ("draining", True), seconds=10, what="the drain")
        wait_until(lambda: both.other("DELETE", "/v1/nodes/cm-09")[0] == 503, seconds=10, what="no more work to be taken")
        assert provisioning.wait(120) == 0, "it was finished"
        began = time.monotonic()
        assert draining.wait(60) == 0
        moved = time.monotonic() - began
    finally:
        draining.stop()
        provisioning.stop()
    assert both.rows()["lead"] == [(str(epoch + 1), "'san-02'")]
    assert states(both.first("GET", "/v1/hosts")) == {"san-01": ("drained", False), "san-02": ("working", True)}
    said = draining.log.read_text()
    assert "san-01 finishes provision of cm-01" in said
    assert said.rstrip().splitlines()[-2:] == [
        "san-01 is drained: san-02 has the lead, and works", "san-02 alone may lead now"
    ]  # fmt: skip
    assert {process.name for process in ground.site.network.processes()} & {"tgtd", "dnsmasq"} == set()
    with second.network.inside():
        found = run(["iscsi-ls", "-i", shown["initiator_iqn"], f"iscsi://{ISCSI}"], timeout=20).text
    assert shown["disk_groups"][0]["target"]["iqn"] in found, "the same target, at the other host"
    assert ground.site.controller is not None
    ground.terra("delete", "cm-02")
    second.terra("delete", "cm-01")
    assert "no other host is there" in second.terra("host", "drain", "san-02", accept=(1,)).stderr.decode()
    ground.site.stop_controller()
    ground.site.start_controller()
    assert second.controller is not None
    assert states(both.first("GET", "/v1/hosts"))["san-01"] == ("drained", False), "a restart does not change it"
    ground.terra("host", "resume", "san-01")
    ground.terra("host", "drain", "san-02")
    assert states(both.first("GET", "/v1/hosts")) == {"san-01": ("working", True), "san-02": ("drained", False)}
    ground.terra("host", "resume", "san-02")
    ground.clear()
    print(f"\na leader was drained: {moved:.1f} s from the end of its work until the other one worked")  # noqa: T201  # a figure
