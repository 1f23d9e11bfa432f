"""An engine and registries of the lab, for the tests of this plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.network import Network
from terra_core.testing.tiny import write_tiny_root

BASE = "terra.test/base:1"


@pytest.fixture(scope="module")
def engine(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("base") / "root.tar"
    write_tiny_root(root)
    with Engine(tmp_path_factory.mktemp("engine"), network) as engine:
        engine.import_image(root, BASE, ['CMD ["/bin/sh"]'])
        yield engine


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Make an empty build context."""
    directory = tmp_path / "context"
    directory.mkdir()
    return directory
