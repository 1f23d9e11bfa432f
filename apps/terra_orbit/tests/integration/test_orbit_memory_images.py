"""The memory of a container in an image, on a real engine and through a real registry.

CRIU does not run on every kernel: the files that it would have written are made here, and put where the engine keeps them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.engine import Engine
from lab.network import CONTROLLER
from lab.registry import Registry
from orbit_lab.agent import Agent
from terra_core.errors import TerraError
from terra_core.system.process import run
from terra_orbit.agent.checkpoints import Checkpoints
from terra_orbit.agent.engine import Engine as AgentsEngine
from terra_orbit.agent.images import Images
from terra_orbit.agent.memory import layer_of

REF = f"{CONTROLLER}:5000/stored/live:1"
FILES = {"pages-1.img": bytes(range(256)) * 4000, "core-1.img": b"registers", "descriptors.json": b"[]"}


@pytest.fixture
def own(engine: Engine) -> Iterator[AgentsEngine]:
    """Yield the engine, as an agent sees it."""
    own = AgentsEngine(engine.host, "test")
    yield own
    own.close()


@pytest.fixture
def checkpoints(own: AgentsEngine, tmp_path: Path) -> Checkpoints:
    """Return the memory of the engine's containers."""
    return Checkpoints(own, Images(own), tmp_path / "memory")


def place_of(own: AgentsEngine, engine_id: str) -> Path:
    """Return the directory where the engine keeps a container's checkpoint for Orbit."""
    return Path(own.information()["DockerRootDir"]) / "containers" / engine_id / "checkpoints" / "orbit"


def contained(agent: Agent) -> list[Any]:
    """Return the containers that the engine has."""
    with closing(agent.engine.client()) as client:
        found: list[Any] = client.api.containers(all=True)
        return found


def store(own: AgentsEngine, engine_id: str) -> None:
    """Write the files that CRIU would have stored."""
    place = place_of(own, engine_id)
    place.mkdir(parents=True)
    for name, content in FILES.items():
        (place / name).write_bytes(content)


@contextmanager
def stored(agent: Agent, own: AgentsEngine, checkpoints: Checkpoints, vhost: Path) -> Iterator[str]:
    """Yield the id of an image that holds a container's files and memory; the container is gone, and the image at the end."""
    agent.ob("create", vhost)
    agent.ob("exec", "one", "sh", "-c", "echo kept > /state")
    agent.ob("checkpoint", "--ref", REF, "one")
    (found,) = contained(agent)
    store(own, found["Id"])
    files = Images(own).find(REF)
    assert files is not None
    image = checkpoints.add(files, found["Id"], REF)
    shutil.rmtree(place_of(own, found["Id"]))
    agent.ob("delete", "-t", "0", "one")
    try:
        yield image
    finally:
        agent.clear()
        with closing(agent.engine.client()) as client:
            client.images.remove(REF, force=True)


def test_memory_goes_through_a_registry_and_is_what_it_was(
    agent: Agent, own: AgentsEngine, checkpoints: Checkpoints, registry: Registry, vhost: Path
) -> None:
    with stored(agent, own, checkpoints, vhost) as image, closing(agent.engine.client()) as client:
        client.images.push(REF)
        client.images.remove(REF)
        assert Images(own).find(image) is None
        client.images.pull(REF)
        again = Images(own).find(REF)
        assert again is not None
        assert again["Id"] == image
        assert layer_of(again) == again["RootFS"]["Layers"][-1]
        made = own.create("arrives", {"Image": checkpoints.base(again), "Labels": {}})
        try:
            checkpoints.put(image, made)
            assert checkpoints.pending(made)
            place = place_of(own, made)
            assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES
            assert place.stat().st_mode & 0o077 == 0
            checkpoints.forget(made)
            assert not checkpoints.pending(made)
        finally:
            own.remove(made)
        layers = run(agent.host.command(["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{REF}"])).text
        assert layers.count("rootfs.diff.tar") == len(again["RootFS"]["Layers"])


def test_without_live_its_programs_start_anew_on_its_files(
    agent: Agent, own: AgentsEngine, checkpoints: Checkpoints, vhost: Path
) -> None:
    with stored(agent, own, checkpoints, vhost):
        agent.ob("restore", "--id", "two", REF)
        assert agent.ob("exec", "two", "cat", "/state").text == "kept\n"
        assert agent.ob("exec", "two", "ls", "-a", "/").text.split().count(".orbit") == 0


def test_what_cannot_go_on_is_refused_and_leaves_nothing(
    agent: Agent, own: AgentsEngine, checkpoints: Checkpoints, vhost: Path
) -> None:
    with stored(agent, own, checkpoints, vhost):
        refused = agent.ob("restore", "--live", REF, accept=[1])
        assert b"its memory cannot be stored or brought back on this machine" in refused.stderr
        assert agent.rows() == []
        assert agent.left() == []


def test_a_refusal_leaves_the_container_running_untouched(agent: Agent, vhost: Path) -> None:
    agent.ob("create", vhost)
    before = agent.get("one")
    for words in (["checkpoint", "--live", "--ref", REF], ["migrate", "--live", "--to", "127.0.0.1", "--ref", REF]):
        agent.ob(*words, "one", accept=[1])
        after = agent.get("one")
        for key in ("pid", "addresses", "status", "problem", "restarts", "networks"):
            assert after[key] == before[key]


def test_an_engine_that_stores_no_memory_says_so_and_the_container_goes_on(
    agent: Agent, own: AgentsEngine, checkpoints: Checkpoints, vhost: Path
) -> None:
    agent.ob("create", vhost)
    before = agent.get("one")
    (found,) = contained(agent)
    with pytest.raises(TerraError, match="experimental"):
        checkpoints.take(found["Id"])
    assert not checkpoints.pending(found["Id"])
    assert agent.get("one")["pid"] == before["pid"]


def test_one_that_cannot_go_on_from_its_memory_starts_anew(agent: Agent, own: AgentsEngine, vhost: Path) -> None:
    agent.ob("create", vhost)
    agent.ob("stop", "-t", "0", "one")
    (found,) = contained(agent)
    store(own, found["Id"])
    agent.ob("start", "one")
    assert agent.get("one")["status"] == "running"
    assert not place_of(own, found["Id"]).exists()
    assert "starts anew" in agent.log.read_text()
