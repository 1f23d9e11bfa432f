"""Any host answers: requests and reports that one passes on to who leads, and what is made of those that say so falsely."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import asdict, define, evolve, field
from sqlalchemy import Engine, delete, insert, select, update

from terra_core.client.connection import Client
from terra_core.config.controller import Tls
from terra_core.controller import passing
from terra_core.controller.api import Context, make_api
from terra_core.controller.authority import certify
from terra_core.controller.certificates import certificate_of
from terra_core.controller.database import audit, controllers, lead
from terra_core.controller.hosts import HostRows, Own
from terra_core.controller.keeping import Keeper
from terra_core.controller.leading import Sole
from terra_core.controller.machines import Machines
from terra_core.controller.passing import Exchanges, Membership, Outgoing
from terra_core.controller.peers import Mark, Passes, Peers, parse_mark
from terra_core.controller.report_service import Beside, make_report_api
from terra_core.controller.reports import REPORTS
from terra_core.errors import TerraError, UnavailableError
from terra_core.service.access import digest_of
from terra_core.service.application import BODY_LIMIT
from terra_core.service.operations import Operations
from terra_core.system.progress import silent
from terra_core.system.waiting import wait_until
from tests.unit.controller.fakes import Site, World, node_table
from tests.unit.controller.test_boot_report import REPORT
from tests.unit.controller.test_reports import place_in
from tests.unit.service.serving_lab import Served, serving

TOKENS = {"a": "the-token-of-host-a", "b": "the-token-of-host-b"}
BOOT = "0b0e7c4e-9d3c-4b5e-8f3e-1c1f9a0d2b6a"
Ask = Callable[..., "Got"]


class Waiting(Sole):
    """The standing of a host that does not lead."""

    held = False

    def require(self) -> None:
        """Refuse."""
        raise UnavailableError("b waits for the lead, which nobody has now")


@define
class Got:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The document."""
        return json.loads(self.content)


def ask(port: int, method: str, path: str, token: str, body: object = None, **headers: str) -> Got:
    """Ask a host."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, sent, {"Authorization": f"Bearer {token}", **given})
        answer = connection.getresponse()
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@define
class Both:
    """Host a, which leads, and host b, which waits; both are served.

    :param site: the parts of host a.
    :param own: what each says of itself.
    :param passes: what each shows.
    :param ports: where each answers.
    """

    site: Site
    own: dict[str, Own] = field(factory=dict)
    passes: dict[str, Passes] = field(factory=lambda: {"a": Passes(), "b": Passes()})
    ports: dict[str, int] = field(factory=dict)
    operations: Operations = field(factory=lambda: Operations(1))

    @property
    def engine(self) -> Engine:
        """The database."""
        return self.site.store.engine

    def a(self, method: str, path: str, token: str = TOKENS["a"], body: object = None, **headers: str) -> Got:
        """Ask host a."""
        return ask(self.ports["a"], method, path, token, body, **headers)

    def b(self, method: str, path: str, token: str = TOKENS["b"], body: object = None, **headers: str) -> Got:
        """Ask host b."""
        return ask(self.ports["b"], method, path, token, body, **headers)

    def give(self, name: str, role: str) -> str:
        """Make a token at host b; return its secret."""
        made = self.b("POST", "/v1/tokens", body={"name": name, "role": role})
        assert made.status == 201, made.content
        return str(made.json["token"])

    def changes(self) -> list[tuple[str, str, str, str]]:
        """Return who changed what, from where, and what became of it; without the making of tokens."""
        columns = (audit.c.who, audit.c.action, audit.c.address, audit.c.result)
        with self.engine.begin() as connection:
            rows = connection.execute(select(*columns).where(audit.c.refused == 0).order_by(audit.c.number)).all()
        return [(str(who), str(action), str(address), str(result)) for who, action, address, result in rows if who != "local"]

    def row(self, name: str, **values: object) -> None:
        """Change what a host says of itself."""
        with self.engine.begin() as connection:
            connection.execute(update(controllers).where(controllers.c.name == name).values(**values))

    def nobody_leads(self) -> None:
        """Let nobody lead."""
        with self.engine.begin() as connection:
            connection.execute(update(lead).values(identity="of nobody who is there"))


def announce(both: Both, name: str, url: str, state: str, **more: Any) -> Own:
    """Write the row of a host; HostRows would keep one for a file."""
    digests = {"pass_digest": both.passes[name].mark, "local_digest": both.passes[name].local}
    said: dict[str, Any] = {key: digest_of(secret.encode()) for key, secret in digests.items()}
    own = Own(name=name, identity=name * 8, url=url, portal="", store="file", version="1", **said, **more)
    with both.engine.begin() as connection:
        now = time.time()
        connection.execute(delete(controllers).where(controllers.c.name == name))
        connection.execute(insert(controllers).values(**asdict(own), state=state, started=now, seen=now + 3600))
    return own


@contextmanager
def host(both: Both, name: str, *, works: bool, tls: Tls | None = None) -> Iterator[Served]:
    """Serve a host."""
    site = both.site
    services = site.services if works else evolve(site.services, standing=Waiting())
    machines = site.machines if works else Machines(services)
    operations = site.operations if works else both.operations
    context = Context(services=services, machines=machines, operations=operations, keeper=Keeper(machines))
    own = announce(both, name, "", "working" if works else "waiting")
    membership = Membership(own=own, passes=both.passes[name])
    with serving(make_api(context, TOKENS[name], membership), tls=tls) as daemon:
        both.row(name, url=f"{'https' if tls else 'http'}://127.0.0.1:{daemon.port}")
        both.ports[name] = daemon.port
        yield daemon


@contextmanager
def serve_both(site: Site, tls: Tls | None = None) -> Iterator[Both]:
    """Serve both hosts."""
    both = Both(site)
    with ExitStack() as stack:
        stack.callback(both.operations.stop)
        stack.enter_context(host(both, "a", works=True, tls=tls))
        stack.enter_context(host(both, "b", works=False))
        with both.engine.begin() as connection:
            connection.execute(insert(lead).values(epoch=1, name="a", identity="a" * 8, seen=time.time()))
        yield both


@pytest.fixture
def both(site: Site) -> Iterator[Both]:
    """Serve both hosts by plain HTTP."""
    with serve_both(site) as both:
        yield both


def events_of(got: Got) -> list[str]:
    """Return the kinds of the events of an answer."""
    return [line.partition(":")[2].strip() for line in got.content.decode().splitlines() if line.startswith("event:")]


def test_a_change_is_made_by_who_leads_and_followed_through_who_waits(both: Both) -> None:
    ann = both.give("ann", "provision")
    begun = both.b("POST", "/v1/nodes", ann, node_table())
    assert (begun.status, both.operations.all()) == (202, [])
    operation = begun.json["operation"]
    followed = both.b("GET", f"/v1/operations/{operation}/events", ann)
    assert followed.headers["content-type"].startswith("text/event-stream")
    assert events_of(followed)[-1] == "result"
    assert b'"hostname": "cm-01"' in followed.content
    assert both.b("GET", f"/v1/operations/{operation}", ann).json["state"] == "done"
    assert [one["id"] for one in both.b("GET", "/v1/operations", ann).json] == [operation]
    assert both.b("GET", "/v1/nodes/cm-01/status", ann).json["trouble"] == "", "who leads knows who is connected"
    assert both.changes() == [("ann", "provision", "127.0.0.1 via b", "done")]


def test_the_token_of_a_host_counts_at_the_others_while_it_passes_requests_on_and_never_leaves_it(both: Both) -> None:
    assert both.a("GET", "/v1/nodes", TOKENS["b"]).status == 401
    assert both.a("GET", "/v1/nodes", both.passes["b"].local).status == 401, "without the mark of its host it opens nothing"
    assert both.a("GET", "/v1/nodes", both.passes["b"].mark).status == 401
    mark = str(Mark(name="b", secret=both.passes["b"].mark, address="192.0.2.7"))
    assert both.a("GET", "/v1/nodes", TOKENS["b"], terra_passed_on=mark).status == 401
    both.site.provision()
    deleting = both.b("DELETE", "/v1/nodes/cm-01?force=true")
    assert deleting.status == 202
    both.b("GET", f"/v1/operations/{deleting.json['operation']}/events")
    assert both.changes() == [("local/b", "delete", "127.0.0.1 via b", "done")]


def test_a_token_counts_at_once_at_who_leads_and_one_that_is_revoked_there_nowhere(both: Both) -> None:
    for name in ("ann", "ben", "cid"):
        secret = both.give(name, "provision")
        assert both.b("DELETE", "/v1/nodes/none", secret).status == 404, "it was made a moment ago, by the other one"
    assert both.a("DELETE", "/v1/tokens/cid").status == 200
    refused = both.b("DELETE", "/v1/nodes/none", secret)
    assert (refused.status, "was revoked" in refused.json["detail"]) == (401, True)


def test_refusals_and_what_is_not_there_come_back_as_they_are(both: Both) -> None:
    ann = both.give("ann", "provision")
    both.site.provision()
    taken = both.b("POST", "/v1/nodes", ann, node_table())
    assert (taken.status, taken.json["title"]) == (409, "ConflictError")
    assert taken.headers["content-type"] == "application/problem+json"
    assert both.b("POST", "/v1/nodes", ann, {"hostname": "x y"}).status == 422
    assert both.b("POST", "/v1/nodes", ann, b"{").status == 400
    assert both.b("GET", "/v1/operations/none/events", ann).status == 404
    stale = both.b("PUT", "/v1/nodes/cm-01?version=no-such", ann, node_table())
    assert stale.status == 409, "the query is passed on"


def test_a_plan_is_made_by_who_leads_or_where_that_one_does_not_answer_here(both: Both) -> None:
    ann = both.give("ann", "provision")
    both.site.provision()
    assert both.b("POST", "/v1/nodes/cm-01/plan", ann, node_table()).json["action"] == "unchanged"
    both.row("a", url="http://127.0.0.1:1")
    assert both.b("POST", "/v1/nodes/cm-01/plan", ann, node_table()).json["action"] == "unchanged"
    assert both.b("POST", "/v1/nodes/cm-01/plan", ann, b"{").status == 400


def test_whose_role_is_too_small_is_refused_before_anybody_is_asked(both: Both) -> None:
    both.row("a", url="http://127.0.0.1:1")
    refused = both.b("DELETE", "/v1/nodes/cm-01", both.give("ann", "read"))
    assert refused.status == 403


@pytest.mark.parametrize("mark", ["", "b", "b x 192.0.2.7", f"b {'x' * 43} 192.0.2.7", f"c {'x' * 43} 192.0.2.7", "b " * 9])
def test_who_says_to_be_a_host_and_is_none_is_refused_with_its_own_address(both: Both, mark: str) -> None:
    for asked in (both.a, both.b):
        for token in (TOKENS["a"], TOKENS["b"], both.give(f"ann{time.monotonic_ns()}", "admin")):
            refused = asked("DELETE", "/v1/nodes/cm-01", token, terra_passed_on=mark)
            assert (refused.status, "no host that is known here" in refused.json["detail"]) == (503, True)
    assert both.a("GET", "/healthz", terra_passed_on=mark).status == 200
    assert both.changes() == []


def test_a_mark_is_its_hosts_alone_and_ends_with_it(both: Both) -> None:
    rows = HostRows(both.engine)
    mark = Mark(name="b", secret=both.passes["b"].mark, address="192.0.2.7")
    peers = Peers(rows)
    assert peers.find(mark) is not None
    assert peers.find(evolve(mark, name="a")) is None
    assert peers.find(evolve(mark, secret=both.passes["b"].local)) is None
    both.row("b", state="stopped")
    assert Peers(rows).find(mark) is None
    both.row("b", state="waiting", seen=time.time() - 60)
    assert Peers(rows).find(mark) is None


def test_whoever_shows_false_marks_costs_a_look_a_second(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    class Rows(HostRows):
        def every(self) -> Any:
            looks.append(1)
            return super().every()

    peers = Peers(Rows(both.engine))
    for number in range(50):
        assert peers.find(Mark(name="b", secret=f"{number}" * 16, address="192.0.2.7")) is None
    assert len(looks) == 1


def test_false_marks_are_not_looked_for_again_at_once_while_the_database_is_away(both: Both) -> None:
    looks = []

    class Rows(HostRows):
        def every(self) -> Any:
            looks.append(1)
            if len(looks) == 1:
                raise UnavailableError("the database does not answer now")
            return super().every()

    peers = Peers(Rows(both.engine))
    mark = Mark(name="b", secret=both.passes["b"].mark, address="192.0.2.7")
    for _ in range(50):
        with pytest.raises(UnavailableError, match="the database does not answer now"):
            peers.find(mark)
    assert len(looks) == 1
    wait_until(lambda: _finds(peers, mark), seconds=5, what="the host to be found", interval=0.1)
    assert len(looks) == 2


def _finds(peers: Peers, mark: Mark) -> bool:
    try:
        return peers.find(mark) is not None
    except UnavailableError:
        return False


def test_false_marks_keep_nobody_waiting_while_the_database_does_not_answer(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = list[bytes](), threading.Event()

    def parse(header: bytes) -> Mark | None:
        asked.append(header)
        return parse_mark(header)

    def hang(rows: HostRows) -> Any:
        go_on.wait(60)
        raise UnavailableError("the database does not answer now")

    monkeypatch.setattr(HostRows, "every", hang)
    monkeypatch.setattr(passing, "parse_mark", parse)
    mark = str(Mark(name="b", secret="x" * 43, address="192.0.2.7"))
    with ThreadPoolExecutor(50) as pool:
        got = [pool.submit(both.a, "GET", "/v1/nodes", terra_passed_on=mark) for _ in range(50)]
        try:
            wait_until(lambda: len(asked) == len(got), seconds=20, what="all of them to be there")
            began = time.monotonic()
            for _ in range(3):
                assert both.a("DELETE", "/v1/nodes/none").status == 404
            assert time.monotonic() - began < 20
        finally:
            go_on.set()
    assert {one.result().status for one in got} == {503}


def test_marks_are_read_as_they_are_written_and_nothing_else_is() -> None:
    mark = Mark(name="san-02", secret=Passes().mark, address="2001:db8::7")
    assert parse_mark(str(mark).encode()) == mark
    assert str(evolve(mark, address="x\r\nHost: y z")).count(" ") == 2
    for wrong in (b"", b"a b c", f"{mark} more".encode(), b"\xff" * 40, str(mark).encode() + b"\n"):
        assert parse_mark(wrong) is None
    assert "terra_" not in repr(Passes()) + repr(mark)


def test_a_request_is_passed_on_once(both: Both) -> None:
    both.row("a", url=f"http://127.0.0.1:{both.ports['b']}")
    looped = both.b("POST", "/v1/mend", body={})
    assert (looped.status, "b has passed the request on to itself" in looped.json["detail"]) == (503, True)
    with both.engine.begin() as connection:  # a waits too, and takes b for the one that leads
        connection.execute(update(lead).values(identity="b" * 8))
    both.row("a", url=f"http://127.0.0.1:{both.ports['a']}")
    mark = str(Mark(name="a", secret=both.passes["a"].mark, address="192.0.2.7"))
    refused = both.b("POST", "/v1/mend", both.passes["a"].local, {}, terra_passed_on=mark)
    assert (refused.status, refused.json["detail"]) == (503, "b waits for the lead, which nobody has now")


def test_when_nobody_leads_what_is_known_here_is_answered(both: Both) -> None:
    both.site.provision()
    both.nobody_leads()
    refused = both.b("DELETE", "/v1/nodes/cm-01")
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert both.b("GET", "/v1/operations/x/events").status == 503
    assert [node["hostname"] for node in both.b("GET", "/v1/nodes").json] == ["cm-01"]
    assert "b waits" in both.b("GET", "/v1/nodes/cm-01/status").json["trouble"]


def test_when_who_leads_does_not_answer_what_is_known_here_is_answered(both: Both) -> None:
    both.site.provision()
    both.row("a", url="http://127.0.0.1:1")
    for method, path in (("DELETE", "/v1/nodes/cm-01"), ("GET", "/v1/operations/x")):
        refused = both.b(method, path)
        assert refused.status == 503
        assert "a has the lead, and does not answer: http://127.0.0.1:1: no controller" in refused.json["detail"]
    assert both.b("GET", "/v1/nodes/cm-01").json["hostname"] == "cm-01"
    assert [one["text"] for one in both.b("GET", "/v1/nodes/cm-01/happenings").json] == []


def test_a_body_has_the_same_limit_everywhere(both: Both) -> None:
    large = b'"' + b"x" * BODY_LIMIT + b'"'
    assert both.b("POST", "/v1/nodes", body=large).status == both.a("POST", "/v1/nodes", body=large).status == 413


def slow_operation(both: Both) -> tuple[str, threading.Event]:
    """Begin an operation at who leads, which ends when an event is set; return its id and the event."""
    ended = threading.Event()

    def work(_: object) -> dict[str, str]:
        ended.wait(30)
        return {"done": "yes"}

    return both.site.operations.start("wait", "cm-01", work).id, ended


def test_a_follower_that_goes_is_followed_no_longer(both: Both) -> None:
    operation, ended = slow_operation(both)
    threads = threading.active_count()
    followers = [Served(both.ports["b"]).asked(f"GET /v1/operations/{operation}/events", token=TOKENS["b"]) for _ in range(3)]
    for follower in followers:
        assert follower.recv(12) == b"HTTP/1.1 200"
        follower.close()
    bell = both.site.operations.get(operation)._bell
    wait_until(lambda: not bell._listeners, seconds=5, what="nobody to listen at who leads")
    ended.set()
    assert threading.active_count() <= threads + 8


def test_so_many_requests_are_passed_on_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "_MOST", 2)
    with serve_both(site) as both:
        operation, ended = slow_operation(both)
        followers = [
            Served(both.ports["b"]).asked(f"GET /v1/operations/{operation}/events", token=TOKENS["b"]) for _ in range(2)
        ]
        assert [follower.recv(12) for follower in followers] == [b"HTTP/1.1 200"] * 2
        refused = both.b("DELETE", "/v1/nodes/cm-01")
        assert (refused.status, refused.json["detail"]) == (503, "2 requests are being passed on to a already")
        assert both.b("GET", "/v1/nodes").status == 200
        ended.set()
        for follower in followers:
            follower.close()
        wait_until(lambda: both.b("DELETE", "/v1/nodes/cm-01").status == 404, seconds=5, what="room")


def test_a_host_that_hangs_holds_up_nobody_who_asks_another_one(both: Both, tmp_path: Path) -> None:
    exchanges = Exchanges(tmp_path / "none", 1)

    async def never() -> Any:
        await anyio.sleep_forever()

    async def asked(name: str, url: str) -> int:
        """Ask a host; return the status of its answer, or 503 where there was none."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        outgoing = Outgoing(
            host=name, url=url, method="GET", target="/v1/nodes", token=TOKENS["a"], headers={}, body=None
        )  # fmt: skip
        try:
            await exchanges.carry_out(outgoing, never, send, needed=True)
        except UnavailableError as error:
            sent.append({"status": 503, "reason": error.message})
        return int(sent[0]["status"])

    async def ask_both(listener: socket.socket) -> None:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, "b", url)
            connection, _ = await anyio.to_thread.run_sync(listener.accept)
            assert await asked("b", url) == 503, "it has as many as it may"
            assert await asked("a", f"http://127.0.0.1:{both.ports['a']}") == 200
            connection.close()
        assert exchanges._lanes == {}

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        anyio.run(ask_both, listener)


def test_hosts_know_each_other_by_the_authority_that_they_share(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERRA_CA", raising=False)
    certify(site.paths, [ip_address("127.0.0.1")])
    with serve_both(site, certificate_of(site.paths)) as both:
        assert both.b("DELETE", "/v1/nodes/none").status == 404
        site.paths.authority.rename(site.paths.authority.with_suffix(".away"))
        refused = both.b("DELETE", "/v1/nodes/none")
        assert (refused.status, "its certificate" in refused.json["detail"]) == (503, True)


def _request(connection: socket.socket) -> bytes:
    """Read a request."""
    found, length = b"", 0
    while b"\r\n\r\n" not in found or len(found.partition(b"\r\n\r\n")[2]) < length:
        found += connection.recv(65536)
        length = int(found.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
    return found


@contextmanager
def pretender(both: Both, answer: bytes) -> Iterator[list[bytes]]:
    """Let something else answer where the leader says that it does, always the same; yield what it was asked."""
    asked = list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        both.row("a", url=f"http://127.0.0.1:{listener.getsockname()[1]}")

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        asked.append(_request(connection))
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def test_nothing_of_a_client_is_passed_on_but_what_is_asked_for(both: Both) -> None:
    ann = both.give("ann", "provision")
    with pretender(both, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\nServer: x\r\n\r\n{}") as asked:
        more = {"Content_Type": "application/json", "X_Forwarded_For": "192.0.2.9", "Cookie": "a=b", "Accept": "text/html"}
        got = both.b("PUT", "/v1/nodes/a%20b?version=1%20x&y", ann, {"x": 1}, **more)
    assert (got.status, got.json) == (200, {})
    assert {"set-cookie"} & set(got.headers) == set()
    head, _, body = asked[0].decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    assert (first, body) == ("PUT /v1/nodes/a%20b?version=1%20x&y HTTP/1.1", '{"x": 1}')
    names = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
    assert set(names) == {"host", "accept-encoding", "content-length", "content-type", "authorization", "terra-passed-on"}
    assert names["authorization"] == f"Bearer {ann}"
    assert names["terra-passed-on"] == f"b {both.passes['b'].mark} 127.0.0.1"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nRetry-After: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 99999999\r\n\r\n" + b"x" * (17 * 1024 * 1024),
    ],
)
def test_what_does_not_answer_as_a_host_is_said_and_not_asked_again(both: Both, answer: bytes) -> None:
    with pretender(both, answer) as asked:
        refused = both.b("POST", "/v1/mend", body={})
        assert (refused.status, refused.json["detail"].startswith("a has the lead, and does not answer: ")) == (503, True)
        assert len(asked) == 1
        assert both.b("GET", "/v1/nodes").json == []


def test_a_stream_that_ends_before_the_work_does_ends_here_too(both: Both) -> None:
    began = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99\r\n\r\nevent: progress\r\n"
    with pretender(both, began):
        got = both.b("GET", "/v1/operations/x/events")
        assert (got.status, got.content) == (200, b"event: progress\r\n")
        client = Client(f"http://127.0.0.1:{both.ports['b']}", token=TOKENS["b"])
        with pytest.raises(TerraError, match="the connection ended before the work did"):
            client.follow("x", silent)


@pytest.fixture
def reporting(both: Both) -> Iterator[Both]:
    """Serve where machines report, at both hosts, with a machine."""
    both.site.provision()
    reports = {"a": both.site.machines.reports, "b": Machines(both.site.services).reports}
    rows, nowhere = HostRows(both.engine), Path("nowhere")
    with ExitStack() as stack:
        for name in ("a", "b"):
            own = Own(name=name, identity=name * 8, url="", portal="", store="", version="")
            works = name == "a"
            beside = Beside(own=own, rows=rows, works=lambda works=works: works, authority=nowhere)  # type: ignore[misc]
            daemon = stack.enter_context(serving(make_report_api(reports[name], beside)))
            both.ports[f"reports of {name}"] = daemon.port
            both.row(name, reports=f"http://127.0.0.1:{daemon.port}")
        yield both


def report(both: Both, name: str, token: str, **more: Any) -> int:
    """Report a boot to a host; return the status of its answer."""
    said = {**REPORT, "boot_id": BOOT, "uptime": 40.0, "state": "running", "failed": [], **more}
    return ask(both.ports[f"reports of {name}"], "POST", REPORTS, token, said).status


def test_a_report_to_who_waits_is_taken_by_who_leads(reporting: Both, world: World) -> None:
    secret = place_in(world)["token"]
    assert report(reporting, "b", secret) == 204
    assert reporting.site.store.happenings.boot("cm-01", 1).report["boot_id"] == BOOT
    assert report(reporting, "b", secret[:-1] + "x") == 401
    assert report(reporting, "b", "a token with blanks") == report(reporting, "b", "") == 401
    assert report(reporting, "b", secret, kernel="x" * 40_000) == 413
    reporting.row("a", reports=f"http://127.0.0.1:{reporting.ports['reports of b']}")
    assert report(reporting, "b", secret) == 503, "it is passed on once"
    reporting.nobody_leads()
    assert report(reporting, "b", secret) == 503
