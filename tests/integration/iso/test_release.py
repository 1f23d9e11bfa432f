"""``make release`` with recipes whose root tars are there already: vab, the registry, release.json, and a second run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from docker import DockerClient

from iso.build import digest
from iso.origin import Origin
from iso.recipe import Recipe
from iso.release import Released, Wanted, release
from lab.engine import Engine
from lab.network import Network
from lab.registry import Registry
from terra_core.testing.tiny import write_tiny_root


@pytest.fixture(scope="module")
def engine(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("engine"), network) as engine:
        yield engine


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """Write the recipes of a system, and of a component that is laid over it."""
    found = tmp_path / "recipes"
    write(found / "base", 'packages = ["x"]\ncomponents = ["part"]\n[image]\nchanges = [\'CMD ["/sbin/init"]\']\n')
    write(found / "part", 'packages = ["y"]\nvariant = "extract"\n')
    return found


def write(path: Path, text: str) -> None:
    path.mkdir(parents=True)
    (path / "recipe.toml").write_text(text)


class Run:
    """Runs the release, and keeps what was said."""

    def __init__(self, recipes: Path, tmp_path: Path, engine: Engine, registry: Registry, network: Network) -> None:
        self.wanted = Wanted(repository=f"{registry.address}/terra", version="v12", push=True, http=True)
        self.manifest = tmp_path / "release.json"
        self._parts = (recipes, tmp_path / "images", engine, network)

    def __call__(self) -> tuple[list[Released], list[str]]:
        recipes, images, engine, network = self._parts
        images.mkdir(exist_ok=True)
        for name in ("base", "part"):
            recipe = Recipe.load(recipes / name)
            write_tiny_root(images / f"{name}-{digest(recipe, Origin.of(os.environ))}.tar")
        said: list[str] = []
        with network.inside():
            done = release(
                self.wanted, recipes=recipes, images=images, manifest=self.manifest, engine=engine.host, say=said.append
            )
        return done, said


@pytest.fixture
def made(recipes: Path, tmp_path: Path, engine: Engine, registry: Registry, network: Network) -> Run:
    return Run(recipes, tmp_path, engine, registry, network)


def test_every_image_is_built_pushed_and_listed_once(made: Run, recipes: Path, engine: Engine) -> None:
    done, said = made()
    assert [entry.image.rpartition("/")[2] for entry in done] == ["part:v12", "base:v12"]
    assert any("building" in line for line in said)
    listed = json.loads(made.manifest.read_text())["images"]
    assert [(entry["image"], entry["digest"], entry["size"]) for entry in listed] == [
        (entry.image, entry.digest, entry.size) for entry in done
    ]
    assert all(entry.digest.startswith("sha256:") and entry.size > 0 for entry in done)
    with closing(DockerClient(base_url=engine.host)) as client:
        assert client.images.get(done[1].image).attrs["Config"]["Cmd"] == ["/sbin/init"]

    again, said = made()
    assert again == done
    assert [line for line in said if "building" in line] == [], "a second run makes nothing"

    (recipes / "part" / "recipe.toml").write_text('packages = ["z"]\nvariant = "extract"\n')
    _, said = made()
    assert len([line for line in said if "building" in line]) == 2, "what a component changes, changes what it is laid over"


def test_a_release_json_of_somebody_else_is_not_believed(made: Run) -> None:
    made.manifest.write_text('{"images": [{"image": 1}]}')
    done, _ = made()
    assert len(done) == 2
