"""Tokens with roles, and the audit log, as clients of the API see them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.testing import TestClient
from sqlalchemy import select, update
from structlog.testing import capture_logs

from terra_core.controller import tokens as tokens_module
from terra_core.controller.access import ROLES
from terra_core.controller.api import make_api
from terra_core.controller.audit import AuditLog
from terra_core.controller.database import audit, tokens
from terra_core.controller.tokens import Tokens
from terra_core.errors import TerraError
from terra_core.service.access import OneToken, Role, TokenRefused, address_of, digest_of
from terra_core.service.audit import Change
from terra_core.system.waiting import wait_until
from tests.unit.controller.fakes import Site, World, node_table

OWN = "the-token-of-the-host-itself"
FAR = "testclient"
"""Where the client of these tests says that it is."""
Ask = Callable[..., Any]


@pytest.fixture
def ask(site: Site) -> Iterator[Ask]:
    """Return a function that asks the API with a token, or with that of the host."""
    with TestClient(make_api(site.context, OWN)) as client:

        def ask(method: str, path: str, token: str = OWN, **more: Any) -> Any:
            return client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)

        yield ask


def give(ask: Ask, name: str, role: str, **more: Any) -> str:
    """Make a token and return its secret."""
    answer = ask("POST", "/v1/tokens", json={"name": name, "role": role, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def entries(ask: Ask, query: str = "") -> list[dict[str, Any]]:
    """Return the audit log."""
    found: list[dict[str, Any]] = ask("GET", f"/v1/audit{query}").json()
    return found


def ended(ask: Ask, begun: Any) -> None:
    """Wait for the end of the operation that an answer speaks of."""
    assert begun.status_code == 202, begun.text
    ask("GET", f"/v1/operations/{begun.json()['operation']}/events")


def test_every_route_has_a_role(site: Site) -> None:
    application = make_api(site.context, OWN)
    there = {
        f"{method} {route.path_format}"
        for route in application.routes
        if isinstance(route, HTTPRoute) and route.path_format != "/healthz"
        for handler in route.route_handlers
        if isinstance(handler, HTTPRouteHandler)
        for method in handler.http_methods - {"OPTIONS"}
    }
    assert there == set(ROLES), "terra_core/controller/access.py has the role of every route"
    changing = {route: role for route, role in ROLES.items() if not route.startswith("GET ")}
    assert Role.READ not in changing.values(), "whoever may read only changes nothing"


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_do_what_the_table_says_and_nothing_more(ask: Ask, site: Site, role: Role) -> None:
    token = give(ask, "one", role.value)
    for route, wanted in ROLES.items():
        method, path = route.split(" ")
        if path.endswith("/events"):
            continue
        path = path.replace("{hostname}", "x").replace("{identity}", "x").replace("{name}", "other").replace("{path}", "x")
        answer = ask(method, path, token, **({"json": {}} if method == "POST" else {}))
        if role.covers(wanted):
            assert answer.status_code in (200, 202, 404, 405, 409, 422), (route, answer.text)
        else:
            document = answer.json()
            assert (answer.status_code, document["title"]) == (403, "ForbiddenError"), route
            assert document["detail"] == f"the token 'one' has the role {role.value}; this needs the role {wanted.value}"
            assert document["hint"].endswith(f"terra token create NAME --role {wanted.value}")
    assert site.store.all() == []


def test_a_role_that_is_too_small_costs_no_reading_of_the_body(ask: Ask) -> None:
    token, read = give(ask, "reader", "read"), 0

    def body() -> Iterator[bytes]:
        nonlocal read
        for _ in range(50):
            read += 1
            yield bytes(1024 * 1024)

    assert ask("POST", "/v1/nodes", token, content=body()).status_code == 403


def test_a_token_is_shown_once_and_kept_as_its_digest(ask: Ask, site: Site) -> None:
    secret = give(ask, "ci", "provision", days=30)
    assert secret.startswith("terra_")
    assert len(secret) >= 6 + 43, "256 bits"
    (shown,) = ask("GET", "/v1/tokens").json()
    assert (shown["name"], shown["role"], shown["revoked"]) == ("ci", "provision", "")
    assert shown["expires"] > shown["created"]
    assert "digest" not in shown
    with site.store.engine.begin() as connection:
        (row,) = connection.execute(select(tokens)).all()
    assert row.digest == digest_of(secret.encode())
    for file in site.paths.state.glob("terra.db*"):
        assert secret.encode() not in file.read_bytes()
    assert secret not in json.dumps(entries(ask))


def test_use_is_noted(ask: Ask) -> None:
    secret = give(ask, "ci", "read")
    assert ask("GET", "/v1/tokens").json()[0]["last_used"] == ""
    ask("GET", "/v1/nodes", secret)
    assert ask("GET", "/v1/tokens").json()[0]["last_used"] != ""


def test_a_revoked_token_opens_nothing_and_its_name_is_not_given_again(ask: Ask) -> None:
    secret = give(ask, "ci", "admin")
    assert ask("DELETE", "/v1/tokens/ci", secret).json()["revoked"] != "", "also by itself"
    for method, path in (("GET", "/v1/nodes"), ("GET", "/nothing"), ("DELETE", "/v1/tokens/ci")):
        answer = ask(method, path, secret)
        assert (answer.status_code, answer.json()["detail"]) == (401, "the token 'ci' was revoked")
        assert answer.headers["www-authenticate"] == "Bearer"
    again = ask("POST", "/v1/tokens", json={"name": "ci", "role": "read"})
    assert (again.status_code, again.json()["title"]) == (409, "ConflictError")
    assert "not given again" in again.json()["detail"]
    when = ask("GET", "/v1/tokens").json()[0]["revoked"]
    assert ask("DELETE", "/v1/tokens/ci").json()["revoked"] == when, "the second time changes nothing"


def test_a_revoked_token_opens_nothing_when_the_clock_is_set_back(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = give(ask, "ci", "admin")
    ask("DELETE", "/v1/tokens/ci")
    monkeypatch.setattr(tokens_module, "_now", lambda: "1970-01-02T00:00:00Z")
    assert ask("GET", "/v1/nodes", secret).status_code == 401


def test_a_token_ends_when_it_was_to(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = give(ask, "ci", "read", days=1)
    assert ask("GET", "/v1/nodes", secret).status_code == 200
    monkeypatch.setattr(tokens_module, "_now", lambda: "2999-01-01T00:00:00Z")
    answer = ask("GET", "/v1/nodes", secret)
    assert (answer.status_code, answer.json()["detail"]) == (401, "the token 'ci' has expired")
    assert "terra_" not in answer.text


def test_what_another_controller_revokes_is_seen_at_the_next_look(site: Site) -> None:
    one, other = Tokens(site.store.engine, OWN), Tokens(site.store.engine, "another-hosts-token")
    _, secret = one.create("ci", Role.READ)
    assert other.recognise(secret.encode()) is None
    other.look()
    caller = other.recognise(secret.encode())
    assert caller is not None
    assert (caller.name, caller.role) == ("ci", Role.READ)
    one.revoke("ci")
    other.look()
    with pytest.raises(TokenRefused):
        other.recognise(secret.encode())
    assert one.recognise(b"another-hosts-token") is None, "the token of a host is its own"


def test_what_another_controller_revokes_is_seen_although_nothing_can_be_written(site: Site) -> None:
    kept = Tokens(site.store.engine, OWN)
    _, secret = kept.create("ci", Role.READ)
    assert kept.recognise(secret.encode()) is not None
    with site.store.engine.begin() as connection:
        connection.execute(update(tokens).values(revoked="2026-01-01T00:00:00Z"))
        connection.exec_driver_sql("create trigger full before update on tokens begin select raise(abort, 'disk full'); end")
    with pytest.raises(TerraError, match="disk full"):
        kept.look()
    with pytest.raises(TokenRefused):
        kept.recognise(secret.encode())


def test_a_role_of_a_later_terra_may_do_the_least(site: Site) -> None:
    kept = Tokens(site.store.engine, OWN)
    _, secret = kept.create("ci", Role.ADMIN)
    with site.store.engine.begin() as connection:
        connection.execute(update(tokens).values(role="emperor"))
    kept.look()
    caller = kept.recognise(secret.encode())
    assert caller is not None
    assert caller.role is Role.READ


@pytest.mark.parametrize("name", ["", "local", "CI", "a b", "-a", "a/b", "../x", "a\n", "ü", "x" * 64, "a\x00"])
def test_names_that_are_none_are_refused(ask: Ask, name: str) -> None:
    answer = ask("POST", "/v1/tokens", json={"name": name, "role": "read"})
    assert answer.status_code == 422, answer.text
    assert ask("GET", "/v1/tokens").json() == []


@pytest.mark.parametrize(
    "more", [{"role": "root"}, {"role": None}, {"days": 0}, {"days": -1}, {"days": 10**9}, {"days": "9"}, {"x": 1}]
)
def test_other_values_that_are_none_are_refused(ask: Ask, more: dict[str, Any]) -> None:
    assert ask("POST", "/v1/tokens", json={"name": "a", "role": "read", **more}).status_code == 422
    assert ask("GET", "/v1/tokens").json() == []


def test_the_token_of_the_host_is_not_revoked_from_afar(ask: Ask) -> None:
    answer = ask("DELETE", "/v1/tokens/local")
    assert (answer.status_code, answer.json()["title"]) == (409, "ConflictError")
    assert ask("DELETE", "/v1/tokens/nobody").status_code == 404
    assert ask("GET", "/v1/nodes").status_code == 200


def test_one_name_is_given_once_however_many_ask(site: Site) -> None:
    kept, made = Tokens(site.store.engine, OWN), list[str]()

    def create() -> None:
        try:
            made.append(kept.create("ci", Role.READ)[1])
        except TerraError:
            return

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


@pytest.mark.parametrize(
    "given",
    [b"", b"x", b"\x00" * 100, b"\xff" * 50, b"' or 1=1 --", b"terra_", OWN.encode() + b"\x00", OWN.upper().encode()],
)
def test_hostile_tokens_are_nobodys(site: Site, given: bytes) -> None:
    kept = Tokens(site.store.engine, OWN)
    kept.create("ci", Role.READ)
    assert kept.recognise(given) is None
    assert OneToken(OWN).recognise(given) is None


def test_changes_are_in_the_audit_log_with_their_end(ask: Ask, world: World) -> None:
    secret = give(ask, "ann@laptop", "provision")
    ended(ask, ask("POST", "/v1/nodes", secret, json=node_table()))
    world.fail |= {"publish_boot"}
    ended(ask, ask("POST", "/v1/nodes", secret, json=node_table(hostname="cm-02", mac="02:00:00:00:00:02")))
    world.fail.clear()
    ended(ask, ask("DELETE", "/v1/nodes/cm-01"))
    shown = [(one["who"], one["role"], one["address"], one["action"], one["subject"], one["result"]) for one in entries(ask)]
    assert shown == [
        ("local", "admin", FAR, "create token", "ann@laptop", "done"),
        ("ann@laptop", "provision", FAR, "provision", "cm-01", "done"),
        ("ann@laptop", "provision", FAR, "provision", "cm-02", "failed: publish_boot failed, as it should"),
        ("local", "admin", FAR, "delete", "cm-01", "done"),
    ]
    assert [one["subject"] for one in entries(ask, "?host=cm-01")] == ["cm-01", "cm-01"]
    assert [one["action"] for one in entries(ask, "?limit=1")] == ["delete"]
    assert entries(ask)[0]["detail"] == "role provision"


def test_upgrades_rollbacks_and_cancellations_are_in_the_audit_log_with_their_machine(
    ask: Ask, site: Site, world: World
) -> None:
    def cancel(hook: str) -> None:
        if hook == "prepare_disks":
            (operation,) = site.operations.all()
            ask("DELETE", f"/v1/operations/{operation.id}")

    ask("POST", "/v1/nodes/cm-01/upgrade", json={"image": "docker.io/crosbymichael/cm-01:v6"})
    ask("POST", "/v1/nodes/cm-01/rollback", json={})
    world.before = cancel
    ended(ask, ask("POST", "/v1/nodes", json=node_table()))
    found = entries(ask, "?host=cm-01")
    assert [(one["action"], one["detail"].partition(" ")[0], one["result"]) for one in found] == [
        ("upgrade", "to", "refused: 404 Not Found"),
        ("rollback", "", "refused: 404 Not Found"),
        ("provision", "", "failed: provision of cm-01 was interrupted; all of it has been undone"),
        ("cancel", "provision", "done"),
    ]
    assert found[0]["detail"] == "to docker.io/crosbymichael/cm-01:v6"


def test_a_change_that_is_refused_is_in_the_audit_log_with_what_it_was_about(ask: Ask) -> None:
    ended(ask, ask("POST", "/v1/nodes", json=node_table()))
    ended(ask, ask("PUT", "/v1/nodes/cm-01", json={**node_table(), "kernel_arguments": ["quiet"]}))
    assert ask("POST", "/v1/nodes", json=node_table()).status_code == 409
    smaller = node_table()
    smaller["groups"][0]["disk"][0]["size"] = 9
    assert ask("PUT", "/v1/nodes/cm-01", json=smaller).status_code == 409
    assert ask("DELETE", "/v1/nodes/cm-07").status_code == 404
    assert ask("POST", "/v1/nodes/cm-01/upgrade", json={}).status_code == 422
    assert ask("POST", f"/v1/images/sha256:{64 * '0'}/pin", json={}).status_code == 422
    ended(ask, ask("DELETE", "/v1/nodes/cm-01?force=true"))
    shown = [(one["action"], one["subject"], one["detail"], one["result"][:12]) for one in entries(ask)]
    assert shown == [
        ("provision", "cm-01", "", "done"),
        ("apply", "cm-01", "kernel_arguments", "done"),
        ("provision", "cm-01", "", "refused: 409"),
        ("apply", "cm-01", "", "refused: 409"),
        ("delete", "cm-07", "", "refused: 404"),
        ("upgrade node", "cm-01", "", "refused: 422"),
        ("pin image", f"sha256:{64 * '0'}", "", "refused: 422"),
        ("delete", "cm-01", "by force", "done"),
    ]
    assert len(entries(ask, "?host=cm-01")) == 6


def test_a_change_is_written_down_before_anything_is_done(ask: Ask, site: Site, world: World) -> None:
    seen: list[tuple[str, str, str]] = []

    def look(hook: str) -> None:
        with site.store.engine.begin() as connection:
            seen.extend((row.action, row.method, row.result) for row in connection.execute(select(audit)))

    world.before = look
    ended(ask, ask("POST", "/v1/nodes", json=node_table()))
    assert seen[0][1:] == ("POST", "begun")


def test_looking_is_not_in_the_audit_log_and_what_was_refused_is_marked(ask: Ask) -> None:
    for path in ("/v1/nodes", "/v1/info", "/v1/tokens", "/v1/audit", "/metrics", "/nothing"):
        ask("GET", path)
    ask("POST", "/v1/nodes", json={"hostname": "secret-of-somebody"})
    ask("DELETE", "/v1/nodes/%1b%5b31mred%0a")
    refused, strange = entries(ask)
    assert (refused["refused"], refused["result"]) == (True, f"refused: 422 {HTTPStatus(422).phrase}")
    assert "secret" not in json.dumps(refused), "a body may hold anything"
    assert strange["path"].isprintable()
    assert (strange["result"], strange["refused"]) == ("refused: 404 Not Found", True)


def test_what_is_written_down_is_one_line_without_bytes_that_a_database_refuses(ask: Ask) -> None:
    assert ask("DELETE", "/v1/tokens/a%00b%0achange%1b%5bm").status_code == 404
    (entry,) = entries(ask)
    assert entry["subject"] == r"a\x00b\nchange\x1b[m"


def test_refusals_are_counted_and_flood_neither_audit_nor_log(site: Site) -> None:
    with capture_logs() as logs, TestClient(make_api(site.context, OWN)) as client:
        for number in range(300):
            client.get(f"/v1/nodes/{number}", headers={"Authorization": f"Bearer wrong-{number}"})
    rows = AuditLog(site.store.engine).newest(1000)
    assert [(row["result"], row["detail"], row["address"], row["who"], row["refused"]) for row in rows] == [
        ("refused: 401 Unauthorized", "300 times", FAR, "", True)
    ]
    assert len([line for line in logs if line["event"] == "refused"]) == 1
    assert "wrong-" not in json.dumps([rows, logs], default=str), "a token that is nearly right is a secret, too"


def test_refusals_push_no_change_out_and_both_are_kept_to_a_bound(site: Site) -> None:
    log = AuditLog(site.store.engine, most=10, refusals=5)
    for number in range(25):
        change(log, f"cm-{number}").ended("")
    for number in range(30):
        log.refused(403, "reader", "192.0.2.1", f"POST /{number}")
        log.look()
    rows = log.newest(1000)
    assert [row["subject"] for row in rows if not row["refused"]] == [f"cm-{number}" for number in range(15, 25)]
    assert [row["path"] for row in rows if row["refused"]] == [f"/{number}" for number in range(25, 30)]


def test_a_change_is_made_also_where_it_cannot_be_written_down(site: Site) -> None:
    log = AuditLog(site.store.engine)
    with site.store.engine.begin() as connection:
        audit.drop(connection)
    with capture_logs() as logs:
        change(log, "cm-01").ended("")
    assert {(line["event"], line["log_level"]) for line in logs} == {("audit log", "error"), ("change", "info")}


def test_a_long_text_is_cut(site: Site) -> None:
    log = AuditLog(site.store.engine)
    change(log, "x" * 5000).ended("y\n" * 5000)
    (row,) = log.newest(1)
    assert len(row["subject"]) == 200
    assert row["result"].startswith("failed: y\\ny")
    assert len(row["result"]) == 200


@pytest.mark.parametrize(
    ("client", "shown"),
    [(("192.0.2.1", 1), "192.0.2.1"), (("::ffff:192.0.2.1", 1), "192.0.2.1"), (("2001:db8::1", 1), "2001:db8::1"), (None, "")],
)
def test_where_a_request_came_from(client: object, shown: str) -> None:
    assert address_of({"client": client}) == shown


def test_what_was_not_written_yet_is_written_at_the_end(site: Site) -> None:
    with opened(site) as client:
        client.get("/v1/info", headers={"Authorization": "Bearer wrong"})
    wait_until(lambda: AuditLog(site.store.engine).newest(1), seconds=5, what="the refusal to be written")


@contextmanager
def opened(site: Site) -> Iterator[TestClient[Any]]:
    """Serve the API for the time of a block."""
    with TestClient(make_api(site.context, OWN)) as client:
        yield client


def change(log: AuditLog, subject: str) -> Change:
    """Return a change that was begun."""
    made = Change(
        who="ann", role="admin", address="", method="POST", path="/v1/nodes", action="provision", subject=subject, journal=log
    )
    made.begin()
    return made


def test_the_description_says_which_role_a_route_needs(ask: Ask) -> None:
    paths = ask("GET", "/schema/openapi.json").json()["paths"]
    assert paths["/v1/tokens"]["post"]["description"] == "Needs a token of the role admin."
    assert {"201", "401", "403", "409", "422", "default"} <= set(paths["/v1/tokens"]["post"]["responses"])
    assert "401" not in paths["/healthz"]["get"]["responses"]
    assert [one["name"] for one in paths["/v1/audit"]["get"]["parameters"]] == ["limit", "host"]


def test_the_file_of_an_earlier_controller_is_an_admins_token(tmp_path: Path, site: Site) -> None:
    caller = Tokens(site.store.engine, "a-token-that-a-user-made").recognise(b"a-token-that-a-user-made")
    assert caller is not None
    assert (caller.name, caller.role) == ("local", Role.ADMIN)
