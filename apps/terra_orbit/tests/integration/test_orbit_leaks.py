"""A hundred containers come and go, and nothing of them is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.leaks import difference, snapshot
from orbit_lab.agent import Agent
from terra_core.system.waiting import wait_until

CYCLES = 100


@pytest.mark.long
def test_nothing_is_left_of_a_hundred_containers(agent: Agent, vhost: Path) -> None:
    agent.ob("create", vhost)
    agent.ob("delete", "-t", "0", "one")
    links, before = agent.host.links(), snapshot()
    with agent.host.inside():
        client = agent.client()
        document = {
            "id": "one",
            "image": "tiny:1",
            "networks": [{"type": "bridge", "name": "ob1", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}],
        }
        for _ in range(CYCLES):
            client.follow(client.post("/v1/containers", document)["operation"], lambda event: None)
            client.follow(client.delete("/v1/containers/one?seconds=0")["operation"], lambda event: None)
    wait_until(lambda: agent.host.links() == links, seconds=60, what="the links to be gone")
    assert agent.left() == []

    def left() -> list[str]:
        return [line for line in difference(before, snapshot()) if "orbit" in line or str(agent.engine.host) in line]

    wait_until(lambda: not left(), seconds=60, what="nothing to be left")
    assert agent.daemon is not None
    assert len(list(Path(f"/proc/{agent.daemon.pid}/fd").iterdir())) < 100
