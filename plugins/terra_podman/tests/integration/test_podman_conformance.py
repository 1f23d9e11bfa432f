"""What the contract promises of a plugin that moves images, and of one that builds them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from lab.podman import PodmanStorage
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.testing import BuilderConformance, RegistryConformance
from terra_podman import plugin
from terra_podman.program import found
from terra_podman.settings import Podman


class TestRegistry(RegistryConformance):
    """Without podman, and with whatever registries.conf the machine has."""

    plugin = plugin
    name = "podman"


class TestBuilder(BuilderConformance):
    """In a storage of the lab's."""

    plugin = plugin
    name = "podman"

    @pytest.fixture
    def session(self, root: Path, podman: PodmanStorage) -> Session:
        """Return a session while the environment leads to the lab's storage."""
        return Session(source="test.toml", paths=Paths(root))

    def held(self, session: Session) -> Collection[str]:
        """Return the ids of the storage's images and containers."""
        program = found(Podman())
        listed = (("images", "--all"), ("ps", "--all", "--external"))
        return [name for words in listed for name in program.run(*words, "--quiet", "--no-trunc").text.split()]
