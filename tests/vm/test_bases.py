"""The base image of every release of Debian that Terra is made of, booted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import DockerClient

from iso.build import build
from iso.recipe import Recipe
from lab.engine import Engine
from lab.images import RECIPES, BaseImage, offer
from lab.network import Network
from lab.registry import Registry
from lab.shelf import Shelf
from terra_core.system.process import run

_BUILD = Path(__file__).parent.parent.parent / "build"
_TERRA = Path(sys.executable).parent / "terra"


@pytest.fixture(scope="module")
def engine(network: Network) -> Iterator[Engine]:
    with Shelf(_BUILD) as shelf, Engine(shelf.path / "engine", network) as engine:
        yield engine


# The other tests of this directory boot Debian 12 in every way there is.
@pytest.mark.parametrize("suite", [pytest.param("bookworm", marks=pytest.mark.long), "trixie"])
def test_it_comes_up_healthy(
    suite: str,
    engine: Engine,
    network: Network,
    registry: Registry,
    client: DockerClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUITE", suite)
    recipe = Recipe.load(RECIPES / "terraos")
    base = offer(BaseImage(recipe, build(recipe)), engine, registry.address, push=False)
    server = tmp_path / "server.toml"
    server.write_text(
        f'hostname = "{suite}"\nversion = "1"\nos = "{base}"\nrepo = "{registry.address}/tested"\n'
        '[netplan]\n  [[netplan.interfaces]]\n    name = "eth0"\n'
    )
    words = network.command([_TERRA, "create", "--test=qemu", server])
    done = run(words, env={"DOCKER_HOST": engine.host}, timeout=1500)
    assert "its system is running" in done.stderr.decode()
    image = f"{registry.address}/tested/{suite}:1"
    release = client.containers.run(image, ["cat", "/etc/os-release"], network_mode="none", remove=True)
    assert f"VERSION_CODENAME={suite}\n" in release.decode()
