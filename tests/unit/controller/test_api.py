"""The API as a client of whatever intent sees it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from litestar.testing import TestClient

from terra_core.client.answers import InfoShown, NodeShown
from terra_core.config.node import NetworkNode
from terra_core.config.structure import structure
from terra_core.controller.api import make_api
from terra_core.controller.store import State
from terra_core.hookspecs import Connected
from terra_core.service.answers import Begun, OperationShown, ProblemDocument
from terra_core.service.application import BODY_LIMIT
from tests.unit.controller.fakes import Site, World, node_table
from tests.unit.service.openapi import operations, problems_of

TOKEN = "a-token-of-the-tests"
PRIVATE_KEY = Ed25519PrivateKey.generate()
PUBLIC_KEY = PRIVATE_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
ROUTES = [
    ("GET", "/v1/nodes/cm-01/status"), ("GET", "/v1/nodes/cm-01/happenings"),
    ("GET", "/v1/nodes"), ("GET", "/v1/nodes/cm-01"), ("POST", "/v1/nodes"), ("DELETE", "/v1/nodes/cm-01"), ("POST", "/v1/pxe"),
    ("GET", "/v1/info"), ("GET", "/v1/operations"), ("GET", "/v1/operations/x"), ("GET", "/v1/operations/x/events"),
    ("DELETE", "/v1/operations/x"), ("GET", "/metrics"), ("GET", "/schema/openapi.json"), ("GET", "/schema"),
    ("GET", "/schema/x"), ("GET", "/v1/audit"), ("GET", "/v1/tokens"), ("POST", "/v1/tokens"), ("DELETE", "/v1/tokens/x"),
    ("GET", "/v1/hosts"), ("DELETE", "/v1/hosts/x"), ("POST", "/v1/hosts/x/drain"), ("POST", "/v1/hosts/x/resume"),
    ("POST", "/v1/hosts/x/unfence"),
    ("GET", "/v1/images"), ("POST", "/v1/images/x/pin"), ("DELETE", "/v1/images/x"), ("POST", "/v1/mend"),
    ("PUT", "/v1/nodes/cm-01"), ("POST", "/v1/nodes/cm-01/plan"), ("POST", "/v1/nodes/cm-01/upgrade"),
    ("POST", "/v1/nodes/cm-01/upgrade/plan"), ("POST", "/v1/nodes/cm-01/rollback"),
]  # fmt: skip
STRAY = [
    ("GET", "/"), ("PUT", "/v1/nodes"), ("OPTIONS", "/v1/nodes"), ("GET", "/nothing/here"), ("GET", "/healthz/../v1/nodes"),
    ("GET", "//healthz"), ("GET", "/healthz/x"), ("GET", "/healthz%2f"), ("TRACE", "/"),
]  # fmt: skip


@pytest.fixture
def client(site: Site) -> Iterator[TestClient[Any]]:
    """Yield a client with the token."""
    with TestClient(make_api(site.context, TOKEN)) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


@pytest.fixture
def stranger(site: Site) -> Iterator[TestClient[Any]]:
    """Yield a client without it."""
    with TestClient(make_api(site.context, TOKEN)) as client:
        yield client


def outcome(client: TestClient[Any], begun: Any) -> tuple[str, Any]:
    """Return the last event of the operation that an answer names."""
    assert begun.status_code == 202, begun.text
    events = client.get(f"/v1/operations/{begun.json()['operation']}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    last = events.text.replace("\r\n", "\n").strip().split("\n\n")[-1].splitlines()
    fields = dict(line.split(": ", 1) for line in last)
    return fields["event"], json.loads(fields["data"])


def problem(answer: Any, status: int) -> dict[str, Any]:
    """Return the problem document of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert "Traceback" not in answer.text
    return found


def test_every_route_is_in_the_list_of_these_tests(site: Site) -> None:
    application = make_api(site.context, TOKEN)
    paths = {(method, route.path) for route in application.routes for method in getattr(route, "methods", ())}
    ours = {(method, path) for method, path in paths if method != "OPTIONS" and path != "/healthz"}
    assert len(ours) == len(ROUTES), sorted(ours)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN},
     {"Authorization": f"Bearer{TOKEN}"}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"},
     {"Authorization": "Bearer \xff\xfe".encode("latin-1")}],
)  # fmt: skip
def test_nothing_is_served_without_the_token(stranger: TestClient[Any], site: Site, headers: dict[str, str]) -> None:
    for method, path in (*ROUTES, *STRAY):
        answer = stranger.request(method, path, headers=headers, content=b"{}" if method == "POST" else None)
        document = problem(answer, 401)
        assert "TERRA_TOKEN" in document["hint"]
        wrong = len(headers.get("Authorization", "").split()) == 2
        assert document["detail"] == ("the token is not the one of this API" if wrong else "this API needs its token")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text
    assert site.store.all() == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR "])
def test_the_scheme_of_the_token_is_taken_in_any_case(stranger: TestClient[Any], scheme: str) -> None:
    assert stranger.get("/v1/nodes", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200


def test_readiness_needs_no_token(stranger: TestClient[Any]) -> None:
    answer = stranger.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_no_token_costs_no_reading_of_the_body(stranger: TestClient[Any]) -> None:
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        for _ in range(50):
            read += 1
            yield bytes(1024 * 1024)

    problem(stranger.post("/v1/nodes", content=body()), 401)


def test_a_machine_comes_and_goes(client: TestClient[Any], world: World) -> None:
    kind, shown = outcome(client, client.post("/v1/nodes", json=node_table()))
    assert kind == "result"
    assert shown["hostname"] == "cm-01"
    assert list(shown) == ["hostname", "mac", "image", "disk_groups", "initiator_iqn"]
    listed = client.get("/v1/nodes/cm-01").json()
    assert {**listed, "since": "", "digest": ""} == (
        {**shown, "state": "ready", "problem": "", "since": "", "digest": "", "addresses": []}
    )
    assert listed["digest"].startswith("sha256:")
    assert listed["since"].endswith("Z")
    assert client.get("/v1/nodes").json() == [listed]
    assert outcome(client, client.delete("/v1/nodes/cm-01")) == ("result", {"hostname": "cm-01"})
    assert client.get("/v1/nodes").json() == []
    problem(client.get("/v1/nodes/cm-01"), 404)
    assert world.exported == {}


def test_a_file_is_planned_and_applied_and_the_second_time_does_nothing(client: TestClient[Any], world: World) -> None:
    path, table = "/v1/nodes/cm-01", node_table()
    plan = client.post(f"{path}/plan", json=table)
    assert plan.status_code == 200
    assert (plan.json()["action"], plan.json()["version"]) == ("create", "absent")
    kind, shown = outcome(client, client.put(f"{path}?version=absent", json=table))
    assert (kind, shown["hostname"]) == ("result", "cm-01")
    problem(client.put(f"{path}?version=absent", json=table), 409)
    changed = {**table, "kernel_arguments": ["debug"]}
    plan = client.post(f"{path}/plan", json=changed)
    assert [change["path"] for change in plan.json()["changes"]] == ["kernel_arguments"]
    for _ in range(2):
        assert outcome(client, client.put(path, json=changed)) == ("result", shown)
    problem(client.put(f"{path}?version={plan.json()['version']}", json=table), 409)
    refused = problem(client.put(path, json={**table, "image": "example/other:1"}), 409)
    assert "cm-01 is not changed: image: is changed by terra upgrade" in refused["detail"]
    wrong = problem(client.put("/v1/nodes/cm-02", json=table), 422)
    assert "hostname: is cm-01, and the request is about cm-02" in wrong["detail"]
    log = client.get("/v1/audit").json()
    assert {row["action"] for row in log} == {"provision", "apply", "apply node"}, "a plan changes nothing"


@pytest.mark.parametrize(
    ("change", "next_boot"),
    [
        ({"kernel_arguments": ["debug"]}, True),
        ({"mac": "54:b2:03:07:f1:d9"}, True),
        ({"groups": [{**node_table()["groups"][0], "mbr": True}]}, False),
    ],
)
def test_a_change_says_whether_it_counts_from_the_next_boot_on(
    client: TestClient[Any], change: dict[str, Any], next_boot: bool
) -> None:
    for table in (node_table(), {**node_table(), **change}):
        assert outcome(client, client.put("/v1/nodes/cm-01", json=table))[0] == "result"
    happenings = client.get("/v1/nodes/cm-01/happenings").json()
    said = [(one["text"], one["data"]) for one in happenings if one["data"]]
    assert said == [
        ("provision begins", {"step": "begun", "next_boot": False}),
        ("provision is done", {"step": "done", "next_boot": False}),
        ("change begins", {"step": "begun", "next_boot": next_boot}),
        ("change is done", {"step": "done", "next_boot": next_boot}),
    ]


def test_events_say_what_is_going_on(client: TestClient[Any]) -> None:
    begun = client.post("/v1/nodes", json=node_table()).json()["operation"]
    text = client.get(f"/v1/operations/{begun}/events").text
    steps = [json.loads(line[6:])["step"] for line in text.splitlines() if line.startswith('data: {"step"')]
    assert [step for at, step in enumerate(steps) if step not in steps[:at]][-3:] == ["sync", "export", "publish"]
    assert client.get(f"/v1/operations/{begun}").json()["state"] == "done"
    assert [one["id"] for one in client.get("/v1/operations").json()] == [begun]


def test_a_conflict_names_the_holder(client: TestClient[Any]) -> None:
    outcome(client, client.post("/v1/nodes", json=node_table()))
    for taken in (node_table(), node_table(hostname="cm-02", mac="54-B2-03-07-F1-D1")):
        document = problem(client.post("/v1/nodes", json=taken), 409)
        assert "belongs to cm-01 (54:b2:03:07:f1:d1), which is ready" in document["detail"]
        assert document["hint"].endswith("terra delete cm-01")


def test_a_failure_is_told_and_undone(client: TestClient[Any], site: Site, world: World) -> None:
    world.fail |= {"publish_boot"}
    kind, document = outcome(client, client.post("/v1/nodes", json=node_table()))
    assert (kind, document["detail"]) == ("problem", "publish_boot failed, as it should")
    assert site.left() == []


def test_every_problem_of_a_body_is_told_at_once(client: TestClient[Any], site: Site) -> None:
    table = {**node_table(hostname="-x", mac="xx"), "colour": "red"}
    document = problem(client.post("/v1/nodes", json=table), 422)
    assert [text.split(": ")[:2] for text in document["problems"]] == [
        ["node.toml", "hostname"], ["node.toml", "mac"], ["node.toml", "colour"]
    ]  # fmt: skip
    assert site.left() == []


@pytest.mark.parametrize("named", ["there", "not there", "fifo", "/dev/ptmx", "/etc"])
def test_a_key_that_a_client_sends_names_no_file_of_the_controller(
    client: TestClient[Any], site: Site, tmp_path: Path, named: str
) -> None:
    path = Path(named) if named.startswith("/") else tmp_path / named
    if named == "there":
        path.write_text(PUBLIC_KEY)
    elif named == "fifo":
        os.mkfifo(path)
    document = problem(client.post("/v1/nodes", json={**node_table(), "trust": {"key": str(path)}}), 422)
    assert document["problems"] == ['node.toml: trust.key: expected a public key itself (PEM, "-----BEGIN PUBLIC KEY-----")'], (
        "and nothing is told of the file"
    )
    assert site.left() == []


def test_a_key_itself_is_taken(client: TestClient[Any], world: World) -> None:
    body = {**node_table(), "trust": {"key": PUBLIC_KEY}}
    assert outcome(client, client.post("/v1/nodes", json=body))[0] == "problem", "nobody has signed it"
    world.signed_by.append(PRIVATE_KEY)
    assert outcome(client, client.post("/v1/nodes", json=body))[0] == "result"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"groups": [{"label": f"g{at}", "disk": [], "subvolumes": []} for at in range(9000)]}, "groups: expected at most"),
        ({"groups": [{"label": "os", "disk": [{}] * 100_000}]}, "groups[0].disk: expected at most"),
        ({"groups": [0] * 200_000}, "groups: expected at most"),
        ({"plugins": {f"a{at}": "b" for at in range(50_000)}}, "plugins: expected at most"),
        ({f"a{at}": 0 for at in range(50_000)}, "expected at most"),
    ],
)
def test_what_no_machine_has_is_not_looked_at(client: TestClient[Any], site: Site, more: dict[str, Any], said: str) -> None:
    answer = client.post("/v1/nodes", json={**node_table(), **more})
    document = problem(answer, 422)
    assert any(text.startswith(f"node.toml: {said}") for text in document["problems"]), document
    assert len(answer.content) < 100_000
    assert site.left() == []


def test_what_provisioning_needs_is_asked_for(client: TestClient[Any]) -> None:
    table = node_table()
    del table["mac"]
    del table["groups"][0]["disk"][0]["size"]
    document = problem(client.post("/v1/nodes", json=table), 422)
    assert [text.split(": ")[1] for text in document["problems"]] == ["groups[0].disk[0].size", "mac"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422), (b"null", 422), (b"[]", 422), (b'"text"', 422), (b"1", 422), (b"{}", 422), (b"true", 422),
        (b'{"image": 6}', 422), (b'{"image": null}', 422), (b'{"image": "a", "x": 1}', 422), (b'{"hostname": {"a": []}}', 422),
        (b"{", 400), (b"not json", 400), (b"hostname = 'x'", 400), (b'{"a": 1} {', 400), (b"\xff\xfe\x00", 400),
        (b"[" * 100_000, 422), (b"[" * 100_000 + b"]" * 100_000, 422), (b'{"groups":' * 50_000 + b"1" + b"}" * 50_000, 422),
        (b'{"image": "' + b"x" * 900_000 + b'"}', 422), (b'{"image": ' + b"9" * 5000 + b"}", 400),
        (b'{"image": "a\\u0000b"}', 422), (b'{"image": "a\\nb"}', 422), (b'{"image": "-a"}', 422), (b'{"image": "$(id)"}', 422),
    ],
)  # fmt: skip
def test_a_body_that_is_not_right_is_refused(client: TestClient[Any], site: Site, body: bytes, status: int) -> None:
    for path in ("/v1/nodes", "/v1/pxe"):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        document = problem(answer, status)
        assert document["title"] in ("ConfigError", "RequestError"), "a defect is not an answer"
        assert len(answer.content) < 10_000, "what was wrong is not sent back in full"
    assert site.left() == []
    assert site.operations.all() == []


def test_a_plugins_table_of_any_depth_is_kept_or_refused(client: TestClient[Any], site: Site) -> None:
    for depth in (10, 100, 300, 600, 900, 2000):
        nested = f'{{"a":{"[" * depth}{"]" * depth}}}'
        body = json.dumps({**node_table(), "fake": 0}).replace('"fake": 0', f'"fake": {nested}')
        answer = client.post("/v1/nodes", content=body)
        if answer.status_code == 202:
            assert outcome(client, answer)[0] == "result"
            assert client.get("/v1/nodes").status_code == 200
            assert outcome(client, client.delete("/v1/nodes/cm-01"))[0] == "result"
        else:
            assert problem(answer, 422)["detail"] == "the body is nested too deeply"
        assert site.left() == []


def test_a_body_of_another_type_is_no_json(client: TestClient[Any], site: Site) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        problem(client.post("/v1/nodes", content=b"hostname=x", headers={"Content-Type": kind}), 400)
    assert site.left() == []


@pytest.mark.parametrize("path", ["/v1/nodes", "/v1/pxe"])
def test_a_body_of_50_mb_is_refused_without_being_read(client: TestClient[Any], path: str) -> None:
    document = problem(client.post(path, content=b"x", headers={"Content-Length": str(50 * 1024 * 1024)}), 413)
    assert document["title"] == "RequestError"


@pytest.mark.parametrize("path", ["/v1/nodes", "/v1/pxe"])
def test_a_body_of_50_mb_that_does_not_say_so_is_refused_at_the_limit(client: TestClient[Any], path: str) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"image": "'
        for _ in range(50):
            yield b"x" * 1024 * 1024

    problem(client.post(path, content=body()), 413)


def test_a_body_at_the_limit_is_read(client: TestClient[Any]) -> None:
    body = b'{"image": "'.ljust(BODY_LIMIT - 2, b"x") + b'"}'
    problem(client.post("/v1/pxe", content=body), 422)


def test_a_machine_that_is_not_there(client: TestClient[Any]) -> None:
    for hostname in ("cm-02", "%2e%2e", "..%2f..%2fetc", "%00", "a%0ab", "x" * 5000, "%ff", "%27%20or%201=1"):
        for method in ("GET", "DELETE"):
            problem(client.request(method, f"/v1/nodes/{hostname}"), 404)


def test_an_operation_that_is_not_there(client: TestClient[Any]) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        assert problem(client.request(method, f"/v1/operations/x{path}"), 404)["detail"] == "no operation 'x'"


def test_a_path_and_a_method_that_are_not_there(client: TestClient[Any]) -> None:
    problem(client.get("/v2/nodes"), 404)
    for method, path, allowed in (
        ("PUT", "/v1/nodes", "GET, OPTIONS, POST"),
        ("TRACE", "/v1/nodes/cm-01", "DELETE, GET, OPTIONS, PUT"),
    ):
        answer = client.request(method, path)
        problem(answer, 405)
        assert answer.headers["allow"] == allowed
        assert client.options(path).headers["allow"] == allowed


def test_an_operation_can_be_cancelled(client: TestClient[Any], site: Site, world: World) -> None:
    begun: list[str] = []

    def cancel(hook: str) -> None:
        if hook == "prepare_disks":
            (operation,) = site.operations.all()
            begun.append(client.delete(f"/v1/operations/{operation.id}").json()["id"])

    world.before = cancel
    kind, document = outcome(client, client.post("/v1/nodes", json=node_table()))
    assert (kind, document["title"], document["status"]) == ("problem", "InterruptedWork", 409)
    assert len(begun) == 1
    assert site.left() == []


def test_boot_loaders_are_installed(client: TestClient[Any]) -> None:
    kind, result = outcome(client, client.post("/v1/pxe", json={"image": "docker.io/stellarproject/pxe:v11"}))
    assert kind == "result"
    assert result["image"] == "docker.io/stellarproject/pxe:v11"
    assert result["digest"].startswith("sha256:")


def test_the_controller_says_what_it_is(client: TestClient[Any], site: Site) -> None:
    outcome(client, client.post("/v1/nodes", json=node_table()))
    assert client.get("/v1/info").json() == {
        "address": "127.0.0.1",
        "port": 9000,
        "gateway": None,
        "portal": "127.0.0.1",
        "root": str(site.paths.root),
        "nodes": {"ready": 1},
        "plugins": {"registry": "fake", "filesystem": "fake", "store": "fake", "storage": "fake", "boot": "fake"},
    }


def test_metrics_count_machines_and_operations(client: TestClient[Any], site: Site) -> None:
    outcome(client, client.post("/v1/nodes", json=node_table()))
    site.begin(hostname="cm-02", mac="02:00:00:00:00:02")
    site.store.set_problem(site.store.get("cm-01"), "no disk")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'terra_nodes{state="failed"} 1.0' in lines
    assert 'terra_nodes{state="provisioning"} 1.0' in lines
    assert 'terra_operations{kind="provision",state="done"} 1.0' in lines


def _pattern(path: str) -> str:
    names = {"tokens": "{name}", "hosts": "{name}", "images": "{digest}"}
    name = next((name for part, name in names.items() if part in path), "{identity}")
    return path.replace("cm-01", "{hostname}").replace("/x", f"/{name}")


def test_the_api_describes_itself(client: TestClient[Any]) -> None:
    document = client.get("/schema/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert document["info"]["title"] == "Terra controller"
    assert problems_of(document) == []
    described = {(method.upper(), path) for method, path, _ in operations(document)}
    asked = {(method, _pattern(path)) for method, path in ROUTES}
    assert described == {("GET", "/healthz"), *((method, path) for method, path in asked if path.startswith("/v1/"))}
    summaries = {(method, path): operation["summary"] for method, path, operation in operations(document)}
    assert summaries["get", "/v1/nodes"] == "List every machine with its state"


def test_the_description_of_a_node_is_that_of_its_file(client: TestClient[Any]) -> None:
    document = client.get("/schema/openapi.json").json()
    schemas = document["components"]["schemas"]
    body = document["paths"]["/v1/nodes"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    node = schemas[body["$ref"].rpartition("/")[2]]
    assert set(node["properties"]) == {field.name for field in attrs.fields(NetworkNode)}
    assert set(node["required"]) == {"hostname", "image", "mac", "groups"}
    assert node["additionalProperties"]["type"] == "object", "the table of a plugin"
    assert schemas["NetworkGroup"]["properties"]["type"]["enum"][:2] == ["single", "raid0"]
    assert schemas["NetworkGroup"]["additionalProperties"] is False
    assert schemas["PxeRequest"]["properties"]["image"]["description"] == "the pxe image to install"


def test_answers_are_what_their_description_says(client: TestClient[Any]) -> None:
    outcome(client, client.post("/v1/nodes", json=node_table(storage=True)))
    (listed,) = client.get("/v1/nodes").json()
    assert structure(listed, NodeShown).state == "ready"
    assert client.get("/v1/nodes/cm-01").json() == listed
    assert structure(client.get("/v1/info").json(), InfoShown).nodes == {"ready": 1}
    (operation,) = client.get("/v1/operations").json()
    assert structure(operation, OperationShown) == structure(
        client.get(f"/v1/operations/{operation['id']}").json(), OperationShown
    )
    assert structure(client.delete("/v1/nodes/cm-01").json(), Begun).operation
    assert structure(client.get("/v1/nodes/cm-02").json(), ProblemDocument).status == 404
    assert structure(client.post("/v1/nodes", json={}).json(), ProblemDocument).problems


def test_a_defect_shows_nothing_of_the_inside(client: TestClient[Any], site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object) -> None:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(type(site.store), "everywhere", broken)
    answer = client.get("/v1/nodes")
    assert problem(answer, 500)["title"] == "Defect"
    assert "secret" not in answer.text


def test_a_delete_waits_for_no_pull(client: TestClient[Any], site: Site, world: World) -> None:
    site.provision(hostname="cm-03", mac="02:00:00:00:00:03")
    go_on = threading.Event()

    def before(hook: str) -> None:
        if hook == "pull_image":
            go_on.wait(30)

    world.before = before
    begun = [
        client.post("/v1/nodes", json=node_table(hostname=f"cm-0{at}", mac=f"02:00:00:00:00:0{at}")) for at in (1, 2)
    ]  # as many as there are jobs
    assert outcome(client, client.delete("/v1/nodes/cm-03")) == ("result", {"hostname": "cm-03"})
    assert [client.get(f"/v1/operations/{one.json()['operation']}").json()["state"] for one in begun] == ["running"] * 2
    go_on.set()
    assert [outcome(client, one)[0] for one in begun] == ["result"] * 2


def test_a_machine_that_is_logged_in_is_deleted_by_force_alone(client: TestClient[Any], site: Site, world: World) -> None:
    site.provision()
    (kept,) = site.store.get("cm-01").targets
    stranger = Connected(name="iqn.2020.com.example:stranger")
    world.connected = {kept.target.id: (Connected(name=kept.target.client, address="10.0.10.20"), stranger)}
    for path in ("/v1/nodes/cm-01", "/v1/nodes/cm-01?force=false"):
        document = problem(client.delete(path), 409)
        assert document["detail"] == (
            f"cm-01 is logged in to its disks: {kept.target.client} from 10.0.10.20, "
            "iqn.2020.com.example:stranger from an unknown address"
        )
        assert "terra delete --force cm-01" in document["hint"]
    problem(client.delete("/v1/nodes/cm-01?force=perhaps"), 400)
    assert site.store.get("cm-01").state is State.READY
    assert outcome(client, client.delete("/v1/nodes/cm-01?force=true")) == ("result", {"hostname": "cm-01"})
    assert site.left() == []
    problem(client.delete("/v1/nodes/cm-01?force=true"), 404)


def test_a_machine_is_deleted_unasked_when_only_others_are_logged_in(
    client: TestClient[Any], site: Site, world: World
) -> None:
    site.provision()
    (kept,) = site.store.get("cm-01").targets
    world.connected = {kept.target.id + 1: (Connected(name="x", address="10.0.10.20"),)}
    assert outcome(client, client.delete("/v1/nodes/cm-01"))[0] == "result"


def test_a_storage_service_that_does_not_say_who_is_logged_in_keeps_a_machine(
    client: TestClient[Any], site: Site, world: World
) -> None:
    site.provision()
    world.fail.add("find_connected")
    assert "find_connected failed" in problem(client.delete("/v1/nodes/cm-01"), 500)["detail"]
    assert outcome(client, client.delete("/v1/nodes/cm-01?force=true"))[0] == "result"


def test_a_service_that_does_not_answer_is_shown_with_every_machine(client: TestClient[Any], site: Site) -> None:
    site.provision()
    site.machines.troubles.note("storage", "tgtd hangs")
    (shown,) = client.get("/v1/nodes").json()
    assert (shown["state"], shown["problem"]) == ("ready", "tgtd hangs")
    assert client.get("/v1/info").json()["problems"] == {"storage": "tgtd hangs"}
    answer = client.get("/healthz", headers={"Authorization": ""})
    assert (answer.status_code, answer.json()) == (200, {"status": "degraded", "degraded": ["storage"]})
    site.machines.troubles.note("storage", "")
    assert client.get("/v1/nodes").json()[0]["problem"] == ""
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_machine_of_a_killed_controller_is_shown_as_what_it_is(client: TestClient[Any], site: Site) -> None:
    site.begin()
    (shown,) = client.get("/v1/nodes").json()
    assert (shown["state"], shown["disk_groups"], shown["initiator_iqn"]) == (State.PROVISIONING.value, [], "")
