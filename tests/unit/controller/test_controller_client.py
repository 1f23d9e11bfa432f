"""The client of a controller, against the API itself on loopback: what it gives is typed, and so is what it raises."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest
from cattrs import unstructure

from terra_core.client.answers import GroupShown, InfoShown, NodeProvisioned, NodeShown, as_json, read_answer
from terra_core.client.controller import ControllerClient
from terra_core.config.structure import StructureError
from terra_core.controller.api import make_api
from terra_core.errors import ConfigError, ConflictError, InterruptedWork, NotFoundError, TerraError
from terra_core.system.progress import Event
from tests.unit.controller.fakes import Site, World, node_document
from tests.unit.service.serving_lab import PATIENCE, TOKEN, serving
from tests.unit.test_client import Daemon, daemon, send

__all__ = ["daemon"]
OTHER = "54:b2:03:07:f1:d2"


@pytest.fixture
def client(site: Site) -> Iterator[ControllerClient]:
    """Yield a client of the site's own API."""
    with serving(make_api(site.context, TOKEN)) as served:
        yield ControllerClient(f"127.0.0.1:{served.port}", token=TOKEN)


def test_a_machine_comes_and_goes_as_objects(client: ControllerClient, site: Site) -> None:
    heard: list[Event] = []
    made = client.provision(node_document(storage=True), heard.append)
    assert type(made) is NodeProvisioned
    assert [type(group) for group in made.disk_groups] == [GroupShown, GroupShown]
    assert {event.step for event in heard} >= {"pull", "export", "publish"}
    (listed,) = client.nodes()
    assert listed == client.node("cm-01")
    assert listed == NodeShown(
        **attrs.asdict(made, recurse=False),
        state="ready",
        problem="",
        since=listed.since,
        digest=site.store.get("cm-01").digest,
        addresses=(),
    )
    assert client.info().nodes == {"ready": 1}
    assert [(one.kind, one.subject, one.state) for one in client.operations()] == [("provision", "cm-01", "done")]
    client.delete("cm-01", heard.append)
    assert client.nodes() == ()
    assert site.left() == []


def test_an_installed_boot_image_says_its_files(client: ControllerClient) -> None:
    done = client.install_boot_image("docker.io/stellarproject/pxe:v11")
    assert done.image == "docker.io/stellarproject/pxe:v11"
    assert done.digest.startswith("sha256:")


def test_what_the_controller_refuses_is_raised_as_its_kind(client: ControllerClient) -> None:
    client.provision(node_document())
    with pytest.raises(ConflictError, match="cm-01"):
        client.provision(node_document(hostname="cm-02"))
    with pytest.raises(NotFoundError):
        client.node("cm-03")
    with pytest.raises(NotFoundError):
        client.delete("cm-03")
    document = node_document(mac=OTHER, hostname="cm-04")
    with pytest.raises(ConfigError, match="nobody") as caught:
        client.provision(attrs.evolve(document, raw={**document.raw, "nobody": 1}))
    assert caught.value.exit_code == 2


def test_a_report_that_raises_ends_the_work_and_undoes_it(client: ControllerClient, site: Site, world: World) -> None:
    told, asked = threading.Event(), threading.Event()

    def report(event: Event) -> None:
        told.set()
        raise InterruptedWork("enough")

    def before(hook: str) -> None:
        if hook == "pull_image" and not asked.is_set():
            asked.set()
            assert told.wait(PATIENCE)

    world.before = before
    with pytest.raises(InterruptedWork):
        client.provision(node_document(), report)
    assert site.left() == []


def test_many_threads_ask_one_client(client: ControllerClient) -> None:
    documents = [node_document(hostname=f"cm-{number:02}", mac=f"54:b2:03:07:f1:{number:02x}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(client.provision, documents))
    assert [one.hostname for one in made] == [document.value.hostname for document in documents]
    assert {one.hostname for one in client.nodes()} == {one.hostname for one in made}


@pytest.mark.parametrize("name", ["", ".", "..", "../info", "a/b", "a?b", "a b", "%2e%2e"])
def test_a_name_leads_to_no_other_route(client: ControllerClient, name: str) -> None:
    with pytest.raises(NotFoundError):
        client.node(name)
    for ask in (client.forget_host, client.drain_host, client.resume_host, client.unfence_host, client.revoke_token):
        with pytest.raises((NotFoundError, ConflictError)):  # of unfencing where nobody is fenced
            ask(name)



def test_the_json_of_an_answer_is_that_of_the_api(client: ControllerClient, site: Site) -> None:
    client.provision(node_document(storage=True))
    plain = client._client
    assert json.dumps([as_json(node) for node in client.nodes()]) == json.dumps(plain.get("/v1/nodes"))
    assert json.dumps(as_json(client.info())) == json.dumps(plain.get("/v1/info"))
    site.machines.troubles.note("storage", "tgtd is gone")
    assert as_json(client.info())["problems"] == {"storage": "tgtd is gone"}
    assert json.dumps(as_json(client.info())) == json.dumps(plain.get("/v1/info"))


def test_what_a_later_controller_says_beside_is_left_out() -> None:
    info = InfoShown(address="a", port=1, gateway=None, portal="b", root="/", nodes={}, plugins={"boot": "tftp"})
    assert read_answer({**unstructure(info), "more": {"of": "it"}}, InfoShown) == info
    with pytest.raises(StructureError):
        read_answer({"address": "a"}, InfoShown)


def test_more_machines_are_an_answer_than_a_person_may_write_into_a_file(daemon: Daemon) -> None:
    node = {"hostname": "a", "mac": "b", "image": "c", "disk_groups": [], "initiator_iqn": ""}
    node |= {"state": "ready", "problem": "", "since": "", "digest": "", "addresses": []}
    daemon.respond = lambda request: send(request, 200, [node] * 5000)
    assert len(ControllerClient(f"127.0.0.1:{daemon.port}", token=TOKEN).nodes()) == 5000


@pytest.mark.parametrize("body", [{}, [], {"nodes": 1}, None, 1, "x", [{"hostname": 1}]])
def test_an_answer_of_something_else_is_an_error_with_its_address(daemon: Daemon, body: object) -> None:
    daemon.respond = lambda request: send(request, 200, body)
    client = ControllerClient(f"127.0.0.1:{daemon.port}", token=TOKEN)
    for ask in (client.info, lambda: client.node("a"), lambda: client.delete("a"), lambda: client.provision(node_document())):
        with pytest.raises(TerraError, match=f"127.0.0.1:{daemon.port}"):
            ask()
