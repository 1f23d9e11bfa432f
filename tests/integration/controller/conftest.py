"""One site a module: an engine, a registry and a controller in a network of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.site import Site
from tests.integration.controller.sites import MANY, MUCH, SYSTEM, Ground
from tests.unit.oci.making import layer, tar


@pytest.fixture(scope="module")
def ground(state: str | None) -> Iterator[Ground]:
    """Start the module's site, outside pytest's own directory, which the boot service's user may not pass."""
    with tempfile.TemporaryDirectory(prefix="terra-controller-") as directory:
        work = Path(directory)
        work.chmod(0o755)
        with Site(work / "build", work / "root", label="controller", database=state) as site:
            yield Ground(site, work)


@pytest.fixture(scope="module")
def small(ground: Ground) -> str:
    """Return the reference of an image that is laid down in no time."""
    return ground.push("small", SYSTEM)


@pytest.fixture(scope="module")
def slow(ground: Ground) -> str:
    """Return the reference of an image that takes seconds to lay down."""
    return ground.push("slow", SYSTEM, MANY)


@pytest.fixture(scope="module")
def big(ground: Ground) -> str:
    """Return the reference of an image of 100 MB."""
    return ground.push("big", SYSTEM, layer(tar(*MUCH), "plain"))
