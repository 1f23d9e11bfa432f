"""The agent's API is as its document says."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.conversation import explore
from orbit_lab.agent import Agent
from terra_core.errors import TerraError
from terra_orbit import API_PORT


def test_the_api_is_as_its_document_says(agent: Agent, tmp_path: Path) -> None:
    # No container is there: its log, asked for with follow, would be an answer without an end.
    found = explore(agent.host.command, f"http://{agent.address}:{API_PORT}", agent.token, tmp_path)
    assert found.code == 0, found.text[-6000:]
    assert "Traceback" not in agent.log.read_text()


@pytest.mark.parametrize(("identity", "message"), [("other", "id is other, and the container is web"), ({}, "id")])
def test_an_update_of_another_name_than_its_container_is_refused(agent: Agent, identity: object, message: str) -> None:
    with agent.host.inside(), pytest.raises(TerraError, match=message):
        agent.client().post("/v1/containers/web/update", {"id": identity, "image": "localhost/tiny:1"})
