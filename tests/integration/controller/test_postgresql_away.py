"""The database server is killed and comes back: no request is answered wrongly, no machine notices, all goes on by itself."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lab.network import CONTROLLER
from lab.postgresql import Postgresql
from terra_core.config.controller import API_PORT
from terra_core.system.waiting import wait_until
from tests.integration.controller.kills import PXE
from tests.integration.controller.sites import Ground
from tftp_lab.clients import fetch

OTHER = "52:54:00:00:00:02"
READ = ("/v1/nodes", "/v1/nodes/cm-01", "/v1/nodes/cm-01/status", "/v1/nodes/cm-01/happenings", "/v1/images", "/v1/audit")
ROUNDS = 8
AWAY = "the database does not answer now"
DEGRADED = {"status": "degraded", "degraded": ["database"]}
_GROUP = {"label": "os", "disk": [{"device": "/dev/sda", "size": 256}]}


@pytest.fixture(scope="module")
def state(postgresql: Postgresql) -> str:
    """Have the module's controller keep its state in the server that is killed here."""
    return postgresql.make("state")


@pytest.fixture(scope="module", autouse=True)
def _boot_loaders(ground: Ground) -> None:
    """Install boot loaders, without which the doctor finds that no machine can boot."""
    ground.terra("pxe", ground.push("pxe", PXE))


@pytest.fixture(autouse=True)
def _clean(ground: Ground) -> Iterator[None]:
    yield
    ground.clear()


def ask(ground: Ground, method: str, path: str, body: object = None) -> tuple[int, Any, http.client.HTTPMessage]:
    """Return status, document and header of an answer, whatever it is; its text where it is no JSON."""
    connection = http.client.HTTPConnection(CONTROLLER, API_PORT, timeout=60)
    connection.sock = ground.site.network.connect(CONTROLLER, API_PORT, timeout=60)
    headers = {"Authorization": f"Bearer {ground.site.environment()['TERRA_TOKEN']}"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        document = json.loads(content) if "json" in answer.headers["Content-Type"] else content.decode()
        return answer.status, document, answer.headers
    finally:
        connection.close()


@contextmanager
def asking(ground: Ground, wrong: list[str]) -> Iterator[Counter[int]]:
    """Ask for all that can be read, in threads, while a block lasts; note what is neither right nor a 503 that says why."""
    right = {path: _lasting(ask(ground, "GET", path)[1]) for path in READ[:2]}
    ended, seen = threading.Event(), Counter[int]()

    def go_on(path: str) -> None:
        while not ended.is_set():
            status, document, header = ask(ground, "GET", path)
            seen[status] += 1
            if status == 200 and path in right and _lasting(document) != right[path]:
                wrong.append(f"{path}: {document}")
            if status == 503 and (document["title"], AWAY in document["detail"]) != ("UnavailableError", True):
                wrong.append(f"{path}: {document}")
            if status == 503 and header["Retry-After"] != "5":
                wrong.append(f"{path}: {header.items()}")
            if status not in (200, 503):
                wrong.append(f"{path}: {status} {document}")

    threads = [threading.Thread(target=go_on, args=(path,)) for path in READ]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join(90)


def _lasting(document: Any) -> object:  # JSON
    """Return what does not change of machines while nobody does anything."""
    rows = document if isinstance(document, list) else [document]
    return [(row["hostname"], row["mac"], row["image"], row["initiator_iqn"]) for row in rows]


def further(seen: Counter[int], status: int) -> None:
    """Wait until there are some more answers of a status."""
    former = seen[status]
    wait_until(lambda: seen[status] > former + 20, seconds=60, what=f"answers {status}")


def services(ground: Ground) -> set[tuple[str, int]]:
    return {(one.name, one.pid) for one in ground.site.network.processes() if one.name in ("tgtd", "dnsmasq", "terra")}


def healthz(ground: Ground) -> Any:  # JSON
    return ask(ground, "GET", "/healthz")[1]


def doctor(ground: Ground, *words: str) -> dict[str, Any]:
    done = ground.terra("doctor", "--root", ground.site.root, "-o", "json", *words, accept=(0, 1))
    found: dict[str, Any] = json.loads(done.text)
    return found


@contextmanager
def killed(postgresql: Postgresql) -> Iterator[None]:
    postgresql.kill()
    try:
        yield
    finally:
        postgresql.start()


def test_no_request_is_answered_wrongly_and_no_machine_notices(ground: Ground, small: str, postgresql: Postgresql) -> None:
    shown = ground.provision(small)
    iqn, initiator = shown["disk_groups"][0]["target"]["iqn"], shown["initiator_iqn"]
    before, targets, wrong = services(ground), ground.targets(), list[str]()
    secret = ground.secrets()[initiator]
    node = {"hostname": "cm-02", "mac": OTHER, "image": small, "groups": [_GROUP]}
    for _ in range(3):
        with asking(ground, wrong) as seen:
            further(seen, 200)
            with killed(postgresql):
                further(seen, 503)
                for method, path, body in (
                    ("POST", "/v1/nodes", node),
                    ("DELETE", "/v1/nodes/cm-01?force=true", None),
                    ("PUT", "/v1/nodes/cm-02", node),
                    ("POST", "/v1/tokens", {"name": "ci", "role": "read"}),
                ):
                    status, document, _ = ask(ground, method, path, body)
                    assert (status, document["title"]) == (503, "UnavailableError"), document
                wait_until(lambda: healthz(ground) == DEGRADED, seconds=30, what="it to be said")
                assert ground.may_log_in(initiator, iqn, secret)
                with ground.site.network.inside():
                    assert fetch(CONTROLLER, "nodes/cm-01/vmlinuz") == b"a kernel " * 1000
                assert ask(ground, "GET", "/v1/nodes", None)[0] == 503
                said = ground.terra("list", accept=(1,)).stderr.decode()
                assert AWAY in said
                assert "look at its server; the controller goes on by itself when that answers again" in said
                (off,) = [one for one in doctor(ground)["off"] if one["part"] == "database"]
                assert "cannot be read" in off["problem"]
                status, text, _ = ask(ground, "GET", "/metrics")
                assert status == 200
                assert 'terra_service_up{service="database"} 0.0' in text
                assert "terra_nodes{" not in text
            wait_until(lambda: healthz(ground) == {"status": "ok"}, seconds=30, what="it to be over")
            further(seen, 200)
    assert wrong == []
    assert services(ground) == before
    assert ground.targets() == targets
    assert [(row["hostname"], row["problem"]) for row in ground.nodes()] == [("cm-01", "")]
    assert doctor(ground)["off"] == []
    log = ground.site.log.read_text()
    assert "Traceback" not in log
    assert "defect" not in log
    assert log.count("the database does not answer; machines keep their disks") == 3, "each time is said once"
    assert ground.provision(small, "cm-02", OTHER)["hostname"] == "cm-02"


def states(ground: Ground) -> set[str]:
    return {row["state"] for row in ground.nodes()}


def test_what_was_under_way_is_finished_or_undone_when_it_is_back(
    ground: Ground, small: str, slow: str, postgresql: Postgresql
) -> None:
    random, before = Random(20261126), services(ground)  # noqa: S311  # no secret
    kept = ground.provision(small)
    for number in range(ROUNDS):
        host, mac = f"cm-1{number}", f"52:54:00:00:01:{number:02x}"
        node = ground.node(slow if number % 2 else small, host, mac)
        work: tuple[str, str | Path] = ("provision", node)
        if number % 4 == 2:
            ground.terra("provision", node)
            work = ("delete", host)
        if number % 4 == 0:
            ground.terra("provision", node)
            changed = ground.path(node.name)
            changed.write_text('kernel_arguments = ["quiet"]\n' + node.read_text())
            work = ("apply", changed)
        begun = ground.start(*work)
        threading.Event().wait(random.uniform(0.2, 2.0))
        with killed(postgresql):
            threading.Event().wait(random.uniform(0.1, 1.0))
        code = begun.wait(120)
        assert code in (0, 1), begun.log.read_text()
        assert "Traceback" not in begun.log.read_text()
        what = f"all to be well after {work}, and the work to be at its end"
        wait_until(lambda: doctor(ground)["off"] == [] and states(ground) <= {"ready"}, seconds=90, what=what)
        nodes = {row["hostname"] for row in ground.nodes()}
        if code == 0 and work[0] != "delete":
            assert host in nodes
        if code == 0 and work[0] == "delete":
            assert host not in nodes
        if host in nodes:
            ground.terra("delete", "--force", host)
    assert services(ground) == before
    assert ground.may_log_in(kept["initiator_iqn"], kept["disk_groups"][0]["target"]["iqn"])
    log = ground.site.log.read_text()
    assert "Traceback" not in log


def test_fixing_waits_for_the_server_too(ground: Ground, small: str, postgresql: Postgresql) -> None:
    ground.provision(small)
    (kernel,) = ground.site.paths.tftp.glob("pxelinux.cfg/01-*")
    text = kernel.read_text()
    with killed(postgresql):
        kernel.unlink()
        done = ground.terra("doctor", "--fix", "--root", ground.site.root, accept=(1,))
        assert AWAY in done.stderr.decode()
    fixed = doctor(ground, "--fix")
    assert fixed["off"] == []
    assert kernel.read_text() == text
