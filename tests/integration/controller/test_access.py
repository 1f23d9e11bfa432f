"""A controller with a certificate of its own, tokens with roles, and an API that is as its document says."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from lab.conversation import explore
from lab.network import CONTROLLER, GATEWAY
from lab.site import Site, terra_command
from terra_core.config.controller import API_PORT
from terra_core.service.tokens import read_token
from terra_core.system.process import Completed, run
from tests.integration.controller.sites import MAC, Ground

URL = f"https://{CONTROLLER}:{API_PORT}"


@pytest.fixture(scope="module")
def site(ground: Ground) -> Site:
    """Return the module's site after `terra controller init`, with its controller restarted."""
    words = ("--controller", CONTROLLER, "controller", "init", "--root", ground.site.root, "--name", "ctl.example")
    token = read_token(ground.site.paths.token)
    said = ground.terra(*words).text
    for line in ("certificate authority", f"export TERRA_CONTROLLER={URL}", "export TERRA_CA=", "export TERRA_TOKEN_FILE="):
        assert line in said
    assert f"certificate: for ctl.example, {CONTROLLER}," in said
    again = ground.terra(*words).text
    assert again.startswith("all of it is there, and nothing was changed\n")
    assert token not in said + again
    assert read_token(ground.site.paths.token) == token, "that of a controller which ran before is kept"
    ground.site.stop_controller()
    ground.site.start_controller()
    return ground.site


def elsewhere(site: Site, token: Path, *words: str, url: str = URL, accept: tuple[int, ...] = (0,)) -> Completed:
    """Run terra as on another machine that has the authority and a token."""
    environment = {"TERRA_CONTROLLER": url, "TERRA_CA": str(site.paths.authority), "TERRA_TOKEN_FILE": str(token)}
    return run(site.network.command([terra_command(), *words]), env=environment, accept=accept)


def told(completed: Completed) -> str:
    """Return what a command said on standard error."""
    return completed.stderr.decode()


def test_people_have_tokens_and_what_they_do_is_written_down(ground: Ground, site: Site, small: str) -> None:
    ci, reader = ground.path("ci.token"), ground.path("reader.token")
    ground.terra("token", "create", "ci", "--role", "provision", "--days", "30", "--output", ci)
    made = ground.terra("token", "create", "reader")
    reader.write_text(made.text)
    assert stat.S_IMODE(ci.stat().st_mode) == 0o600
    assert f"{ci}: is there already" in told(ground.terra("token", "create", "other", "--output", ci, accept=(1,)))
    node = str(ground.node(small, "cm-01", MAC))
    refused = told(elsewhere(site, reader, "provision", node, accept=(1,)))
    assert "the token 'reader' has the role read; this needs the role provision" in refused
    assert "terra token create NAME --role provision" in refused
    assert json.loads(elsewhere(site, ci, "provision", node).text)["hostname"] == "cm-01"
    assert "cm-01" in elsewhere(site, reader, "list").text
    assert "needs the role admin" in told(elsewhere(site, ci, "audit", accept=(1,)))
    shown = json.loads(ground.terra("audit", "--host", "cm-01", "-o", "json").text)
    assert [(one["who"], one["address"], one["action"], one["result"]) for one in shown] == [
        ("ci", GATEWAY, "provision", "done")
    ]
    assert "create token ci role provision" in ground.terra("audit", "-n", "3").text
    ground.terra("token", "revoke", "nobody", "ci", accept=(1,))
    assert "the token 'ci' was revoked" in told(elsewhere(site, ci, "delete", "cm-01", accept=(1,)))
    names = {one["name"]: bool(one["revoked"]) for one in json.loads(ground.terra("token", "list", "-o", "json").text)}
    assert names == {"ci": True, "reader": False}
    secrets = [read_token(path) for path in (ci, reader, site.paths.token)]
    database = ground.kept()
    assert b"reader" in database
    for secret in secrets:
        assert secret not in site.log.read_text()
        assert secret.encode() not in database
    ground.terra("delete", "cm-01")


def test_plain_http_is_not_answered(site: Site) -> None:
    said = told(elsewhere(site, site.paths.token, "list", url=f"http://{CONTROLLER}:{API_PORT}", accept=(1,)))
    assert said.startswith("Error: ")
    assert "does it answer by https:// only?" in said


def test_the_api_is_as_its_document_says(ground: Ground, site: Site, small: str) -> None:
    ground.provision(small, "terra-01")  # the machine that the document has as an example
    work = ground.path("schemathesis")
    work.mkdir()
    token = read_token(site.paths.token)
    found = explore(site.network.command, URL, token, work, authority=site.paths.authority)
    assert found.code == 0, found.text[-6000:]
    assert "Traceback" not in site.log.read_text()
