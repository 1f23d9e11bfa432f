"""A client that a program made of the controller's OpenAPI document: it reads answers and problems as they are."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from terra_core.client.connection import Client
from terra_core.controller.api import make_api
from terra_core.system.process import Argument, run
from tests.unit.controller.fakes import Site, World, make_site, node_table
from tests.unit.service.serving_lab import TOKEN, serving

PACKAGE = "terra_controller_client"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Yield the parts of a controller around a plugin that stores nothing."""
    site = make_site(tmp_path / "root", World())
    yield site
    site.operations.stop()
    site.store.close()


def module(name: str) -> ModuleType:
    """Return a module of the generated package."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def test_a_generated_client_works(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    with serving(make_api(site.context, TOKEN)) as daemon:
        url = f"http://127.0.0.1:{daemon.port}"
        document = tmp_path / "openapi.json"
        document.write_text(json.dumps(Client(url, token=TOKEN).get("/schema/openapi.json")))
        settings = tmp_path / "settings.yaml"
        settings.write_text("post_hooks: []\n")
        generate: list[Argument] = [Path(sys.executable).with_name("openapi-python-client"), "generate", "--fail-on-warning"]
        generate += ["--path", document, "--config", settings, "--meta", "none", "--output-path", tmp_path / PACKAGE]
        made = run(generate, accept=range(256))
        assert made.code == 0, made.text + made.stderr.decode()
        client = module("client").AuthenticatedClient(base_url=url, token=TOKEN)
        site.provision()
        (node,) = module("api.default.list_nodes").sync(client=client)
        assert (node.hostname, node.state) == ("cm-01", "ready")
        models = module("models")
        body = models.SentNode.from_dict({**node_table(), "hostname": "-x"})
        refused = module("api.default.provision_node").sync_detailed(client=client, body=body)
        assert refused.status_code == 422
        assert isinstance(refused.parsed, models.ProblemDocument)
        assert [text.split(": ")[1] for text in refused.parsed.problems] == ["hostname"]
        wrong = module("client").AuthenticatedClient(base_url=url, token="wrong")
        assert module("api.default.list_nodes").sync(client=wrong).title == "Unauthorized"
