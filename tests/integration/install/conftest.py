"""One registry a module, with an image that is laid down in no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.network import Network
from lab.registry import Registry
from tests.integration.install.grounds import Ground, push


@pytest.fixture(scope="module")
def image(network: Network, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Push the image; return its reference."""
    return push(network, registry, tmp_path_factory.mktemp("image"))


@pytest.fixture
def ground(network: Network, image: str, tmp_path: Path) -> Ground:
    """Make the place of a test."""
    return Ground(network, image, tmp_path)
