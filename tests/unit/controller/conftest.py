"""A controller's parts around a plugin that lives in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.controller.fakes import Site, World, make_site


@pytest.fixture
def world() -> World:
    """Return what the fake plugin does."""
    return World()


@pytest.fixture
def site(tmp_path: Path, world: World) -> Iterator[Site]:
    """Yield a controller's parts; its operations end with the test."""
    site = make_site(tmp_path / "root", world)
    yield site
    site.operations.stop()
