"""What the contract promises of a plugin that moves images, and of one that builds them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path

import docker
import pytest

from lab.engine import Engine
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.testing import BuilderConformance, RegistryConformance
from terra_docker import plugin


class TestRegistry(RegistryConformance):
    """Without an engine."""

    plugin = plugin
    name = "docker"


class TestBuilder(BuilderConformance):
    """On an engine of the lab."""

    plugin = plugin
    name = "docker"

    @pytest.fixture
    def session(self, root: Path, engine: Engine) -> Session:
        """Return a session whose engine is the lab's."""
        return Session(source="test.toml", tables={"docker": {"engine": engine.host}}, paths=Paths(root))

    def held(self, session: Session) -> Collection[str]:
        """Return the ids of the engine's images and containers."""
        settings = session.tables["docker"]
        assert isinstance(settings, dict)
        with closing(docker.APIClient(base_url=settings["engine"])) as client:
            return [one["Id"] for one in (*client.images(all=True), *client.containers(all=True))]
