"""A machine reports its boots: what the controller makes of it, and that each boot finds a token of its own."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from terra_core.client.connection import Client
from terra_core.config.values import Hostname
from terra_core.controller.happening import Kind, Stage
from terra_core.controller.report_service import receiving
from terra_core.controller.reports import REPORTS
from terra_core.errors import ConfigError, ConflictError, NotFoundError, TerraError
from terra_core.service.serving import bind
from tests.unit.controller.fakes import Site, World, make_site
from tests.unit.controller.test_boot_report import REPORT
from tests.unit.service.serving_lab import is_ended

BOOTS = tuple(f"{number}b0e7c4e-9d3c-4b5e-8f3e-1c1f9a0d2b6a" for number in range(9))
HOST = Hostname("cm-01")


def place_in(world: World, hostname: str = HOST) -> dict[str, str]:
    """Return what the next boot of a machine is told."""
    unpacked = gzip.decompress(world.reports[Hostname(hostname)])
    said: dict[str, str] = json.loads(unpacked[unpacked.index(b"{") : unpacked.index(b"}") + 1])
    return said


def report(site: Site, secret: str, boot: str, *, uptime: float = 40.0, **more: Any) -> None:
    """Report a boot."""
    token = site.machines.reports.recognise(secret.encode())
    assert token is not None
    site.machines.reports.take(token, {**REPORT, "boot_id": boot, "uptime": uptime, "state": "running", "failed": [], **more})


def reported(site: Site, hostname: str = HOST) -> list[str]:
    """Return the boots that the machine is known to have reported."""
    record = site.store.get(hostname)
    site.store.happenings.flush()
    found = site.store.happenings.read(record.hostname, record.generation)
    return [happening.data["boot_id"] for happening in found if happening.kind is Kind.REPORT]


@pytest.fixture
def machine(site: Site) -> Site:
    """Return a site with a machine."""
    site.provision()
    return site


def test_a_machine_finds_where_to_report_in_its_boot_files(machine: Site, world: World) -> None:
    said = place_in(world)
    assert said["url"] == "http://127.0.0.1:9001/v1/reports"
    assert said["image"] == machine.store.get(HOST).digest
    assert machine.machines.reports.recognise(said["token"].encode()) is not None


def test_every_boot_gets_another_token(machine: Site, world: World) -> None:
    secrets = []
    for boot in BOOTS[:3]:
        secrets.append(place_in(world)["token"])
        report(machine, secrets[-1], boot)
        machine.machines.renew_reports()
    assert len({*secrets, place_in(world)["token"]}) == 4
    assert reported(machine) == list(BOOTS[:3])
    assert machine.machines.reports.recognise(secrets[0].encode()) is None


def test_a_report_that_is_sent_again_counts_once(machine: Site, world: World) -> None:
    secret = place_in(world)["token"]
    for _ in range(3):
        report(machine, secret, BOOTS[0])
        machine.machines.renew_reports()
    assert reported(machine) == [BOOTS[0]]


def test_a_token_that_was_used_is_good_for_no_later_boot(machine: Site, world: World) -> None:
    secret = place_in(world)["token"]
    report(machine, secret, BOOTS[0])
    machine.machines.renew_reports()
    machine.machines.reports.published([HOST], now=time.time() - 3600)
    with pytest.raises(ConflictError, match="another boot"):
        report(machine, secret, BOOTS[1], uptime=40)
    assert reported(machine) == [BOOTS[0]]


def test_a_boot_that_fetched_the_former_token_is_taken(machine: Site, world: World) -> None:
    former = place_in(world)["token"]
    report(machine, former, BOOTS[0])
    machine.machines.renew_reports()
    report(machine, former, BOOTS[1], uptime=600)
    assert reported(machine) == [BOOTS[0], BOOTS[1]]
    report(machine, place_in(world)["token"], BOOTS[2])
    assert machine.machines.reports.recognise(former.encode()) is None


def test_a_token_stays_good_while_another_one_cannot_be_put_there(machine: Site, world: World) -> None:
    secret = place_in(world)["token"]
    world.fail.add("publish_boot")
    report(machine, secret, BOOTS[0])
    machine.machines.renew_reports()
    assert place_in(world)["token"] == secret
    report(machine, secret, BOOTS[1], uptime=0)
    assert reported(machine) == [BOOTS[0], BOOTS[1]]
    assert machine.machines.reports.due() == [], "it is tried again later"


def test_a_controller_that_was_killed_gives_another_token_and_takes_both(machine: Site, world: World) -> None:
    former = place_in(world)["token"]
    report(machine, former, BOOTS[0])  # and it is killed before another one is in the boot files
    again = make_site(machine.paths.root, world)
    again.machines.recover()
    again.machines.renew_reports()
    assert place_in(world)["token"] != former
    report(again, former, BOOTS[1], uptime=600)
    report(again, place_in(world)["token"], BOOTS[2])
    assert reported(again) == list(BOOTS[:3])


def test_a_machine_that_lost_it_or_never_had_it_gets_it(machine: Site, world: World) -> None:
    machine.machines.recover()
    machine.machines.restore()
    assert machine.machines.reports.due() == [], "all is there"
    former = world.reports.pop(HOST)
    machine.machines.restore()
    machine.machines.renew_reports()
    assert world.reports[HOST] != former
    assert machine.machines.reports.recognise(place_in(world)["token"].encode()) is not None


def test_it_says_where_to_report_by_now(machine: Site, world: World) -> None:
    moved = make_site(machine.paths.root, world, report_port=9005)
    moved.machines.recover()
    moved.machines.renew_reports()
    assert place_in(world)["url"] == "http://127.0.0.1:9005/v1/reports"


def test_machines_that_go_are_forgotten(machine: Site, world: World) -> None:
    secret = place_in(world)["token"]
    report(machine, secret, BOOTS[0])
    machine.delete()
    machine.machines.renew_reports()
    assert machine.machines.reports.recognise(secret.encode()) is None
    assert world.reports == {}
    assert machine.machines.reports.due() == []


def test_a_machine_that_goes_while_it_reports_stays_gone(machine: Site, world: World) -> None:
    secret = place_in(world)["token"].encode()
    token = machine.machines.reports.recognise(secret)
    assert token is not None
    machine.delete()
    with pytest.raises(NotFoundError):
        machine.machines.reports.take(token, body())
    assert machine.machines.reports.recognise(secret) is None


@pytest.mark.parametrize("refused", ["insert on happenings", "update on boots", "update on report_tokens"])
def test_what_cannot_be_written_down_is_not_taken_and_counts_once(machine: Site, world: World, refused: str) -> None:
    """Have the database refuse any part of a report: it is kept as a whole, or the machine is told that it was not."""
    secret = place_in(world)["token"]
    machine.store.happenings.record(HOST, 1, Kind.DHCP, "asks")
    machine.store.happenings.flush()
    with machine.store.engine.begin() as connection:
        connection.exec_driver_sql(f"create trigger full before {refused} begin select raise(abort, 'the disk is full'); end")
    for _ in range(3):
        with pytest.raises(TerraError, match="full"):
            report(machine, secret, BOOTS[0])
    with machine.store.engine.begin() as connection:
        connection.exec_driver_sql("drop trigger full")
    assert reported(machine) == []
    for _ in range(2):
        report(machine, secret, BOOTS[0])
    assert reported(machine) == [BOOTS[0]]
    assert machine.store.happenings.boot(HOST, 1).stage is Stage.BOOTED


def test_what_the_database_refuses_of_others_takes_no_report_with_it(machine: Site, world: World) -> None:
    machine.store.happenings.record("cm-\ud800", 1, Kind.DHCP, "asks")
    report(machine, place_in(world)["token"], BOOTS[0])
    assert reported(machine) == [BOOTS[0]]


def test_a_report_of_a_machine_that_has_no_record_any_more_is_not_said_to_be_kept(machine: Site, world: World) -> None:
    secret = place_in(world)["token"]
    machine.store.forget(machine.store.get(HOST))
    with pytest.raises(NotFoundError):
        report(machine, secret, BOOTS[0])


def test_a_token_that_came_with_one_image_says_nothing_of_another(machine: Site, world: World) -> None:
    """Who fetches the boot files of a machine that is on trial has a token of the version that it goes back to."""
    said = place_in(world)
    report(machine, said["token"], BOOTS[0], image=f"sha256:{64 * 'b'}")
    machine.store.happenings.flush()
    assert machine.store.happenings.boot(HOST, 1).report["image"] == ""
    machine.machines.renew_reports()
    said = place_in(world)
    report(machine, said["token"], BOOTS[1], image=said["image"])
    machine.store.happenings.flush()
    assert machine.store.happenings.boot(HOST, 1).report["image"] == machine.store.get(HOST).digest


def test_what_no_machine_says_changes_nothing(machine: Site, world: World) -> None:
    secret = place_in(world)["token"]
    with pytest.raises(ConfigError):
        report(machine, secret, "x")
    report(machine, secret, BOOTS[0])
    assert reported(machine) == [BOOTS[0]]


@pytest.fixture
def served(machine: Site) -> Iterator[int]:
    """Yield the port at which machines report."""
    listener = bind("127.0.0.1", 0)
    with listener, receiving(machine.machines.reports, listener, None):
        yield listener.getsockname()[1]


def client(port: int, secret: str) -> Client:
    return Client(f"127.0.0.1:{port}", token=secret)


def body(boot: str = BOOTS[0], **more: object) -> dict[str, object]:
    return {**REPORT, "boot_id": boot, **more}


def test_a_machine_reports_over_the_network(machine: Site, world: World, served: int) -> None:
    client(served, place_in(world)["token"]).post(REPORTS, body())
    assert reported(machine) == [BOOTS[0]]


def test_others_are_refused(machine: Site, world: World, served: int) -> None:
    secret = place_in(world)["token"]
    for wrong in ("terra_none-of-these", "x" * 5000):
        with pytest.raises(TerraError, match="token"):
            client(served, wrong).post(REPORTS, body())
    for path in ("/metrics", "/schema/openapi.json", "/v1/nodes"):
        with pytest.raises(TerraError):
            client(served, secret).get(path)
    assert client(served, secret).get("/healthz") == {"status": "ok"}
    assert reported(machine) == []


def test_garbage_and_too_much_are_refused(machine: Site, world: World, served: int) -> None:
    secret = place_in(world)["token"]
    contents = (b"{", b'{"a": 1}', b"[" * 20_000, b"x" * 40_000, b"\xff")
    assert [status_of(served, secret, content) for content in contents] == [400, 422, 422, 413, 400]
    assert reported(machine) == []


def test_a_machine_that_reports_all_the_time_is_slowed_down(machine: Site, world: World, served: int) -> None:
    secret = place_in(world)["token"]
    statuses = [status_of(served, secret, json.dumps(body()).encode()) for _ in range(8)]
    assert statuses == [204] * 5 + [429] * 3


def status_of(port: int, secret: str, content: bytes) -> int:
    """Send a report; return the status of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nContent-Length: {len(content)}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\nConnection: close\r\n\r\n".encode() + content)
        status = int(connection.recv(12).split()[1])
        assert is_ended(connection)
    return status
