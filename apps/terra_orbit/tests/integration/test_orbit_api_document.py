"""The agent's API is as its document says."""

from __future__ import annotations

from pathlib import Path

from lab.conversation import explore
from orbit_lab.agent import Agent
from terra_orbit import API_PORT


def test_the_api_is_as_its_document_says(agent: Agent, tmp_path: Path) -> None:
    # No container is there: its log, asked for with follow, would be an answer without an end.
    found = explore(agent.host.command, f"http://{agent.address}:{API_PORT}", agent.token, tmp_path)
    assert found.code == 0, found.text[-6000:]
    assert "Traceback" not in agent.log.read_text()
