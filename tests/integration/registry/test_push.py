"""Pushing an image of any builder: what is sent, what is taken over, and what is never tagged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from attrs import evolve

from terra_core.config.values import parse_image_reference
from terra_core.errors import TerraError
from terra_core.oci import ImageError, Layout
from terra_core.oci.layout import StoredImage
from terra_core.registry.pull import pulled
from terra_core.registry.push import check_push, push_image
from terra_core.system.progress import Event, silent
from terra_core.system.workspace import IMAGE_PREFIX, roomy
from terra_core.testing.faulty_registry import Asked, FaultyRegistry, faulty_registry
from tests.integration.registry.reach import Reach
from tests.unit.oci.making import LayoutMaker, file, layer, tar

BASE, OWN = tar(file(b"base", data=b"base" * 5000)), tar(file(b"own"))


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    """Start a registry that takes what is sent."""

    def take(asked: Asked) -> bool:
        path = unquote(asked.path)
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        if asked.command == "POST":
            asked.say(202, more={"Location": "/v2/image/blobs/uploads/1"})
        elif asked.command == "PUT":
            names = [] if "digest=" in path else [path.rpartition("/")[2]]
            asked.registry.put(body, asked.headers["Content-Type"], *names)
            asked.say(201)
        elif asked.command == "DELETE":
            asked.say(204)
        return asked.command in ("POST", "PUT", "DELETE")

    with faulty_registry() as registry:
        registry.faults.append(take)
        yield registry


def image(place: Path, *layers: bytes) -> StoredImage:
    maker = LayoutMaker(place)
    maker.image([layer(one, "plain") for one in layers])
    return Layout(maker.path).image()


def push(registry: FaultyRegistry, image: StoredImage, tag: str = "1", *bases: str) -> str:
    reference = parse_image_reference(f"{registry.address}/image:{tag}")
    others = [parse_image_reference(f"{registry.address}/image:{base}") for base in bases]
    return push_image(reference, image, Reach().access(registry.address), silent, bases=others)


def sent(registry: FaultyRegistry) -> list[str]:
    """Return the digests of the blobs that were sent."""
    return [found[1] for method, path, _ in registry.requests if method == "PUT" and (found := re.search("digest=(.*)", path))]


def test_what_is_pushed_comes_back(registry: FaultyRegistry, tmp_path: Path) -> None:
    before = set(roomy().glob(f"{IMAGE_PREFIX}*"))
    digest = push(registry, image(tmp_path / "image", BASE, OWN))
    reference = parse_image_reference(registry.name)
    with pulled(reference, tmp_path / "pulled", Reach().access(registry.address), silent) as found:
        assert str(found.digest) == digest
    there = Layout(tmp_path / "pulled")
    for blob in there.image().manifest.layers:
        assert blob.media_type.endswith("+gzip")
        there.verify(blob)
    assert set(roomy().glob(f"{IMAGE_PREFIX}*")) <= before, "no directory of its own stays"


def test_layers_that_the_base_has_in_the_registry_are_not_sent_again(registry: FaultyRegistry, tmp_path: Path) -> None:
    base = registry.image([BASE], "base")
    theirs = json.loads(registry.content[base["digest"]][0])["layers"][0]["digest"]
    push(registry, image(tmp_path / "image", BASE, OWN), "1", "base")
    layers = [one["digest"] for one in json.loads(registry.content["1"][0])["layers"]]
    assert layers[0] == theirs
    assert theirs not in {unquote(one) for one in sent(registry)}
    assert len(sent(registry)) == 2, "the other layer and the configuration"


def test_a_layer_that_is_not_what_the_configuration_says_gets_no_tag(registry: FaultyRegistry, tmp_path: Path) -> None:
    wrong = image(tmp_path / "image", BASE, OWN)
    wrong = evolve(wrong, config=evolve(wrong.config, diff_ids=wrong.config.diff_ids[::-1]))
    with pytest.raises(ImageError, match=r"^pushing .*where the configuration says"):
        push(registry, wrong)
    assert "1" not in registry.content


def test_a_registry_is_asked_before_anything_is_made_ready(registry: FaultyRegistry) -> None:
    events: list[Event] = []
    reference = parse_image_reference(registry.name)
    check_push(reference, Reach().access(registry.address), events.append)
    assert [event.step for event in events] == ["ask"]
    registry.fault("", lambda asked: asked.say(403))
    with pytest.raises(TerraError, match=r"^pushing .*refused it"):
        check_push(reference, Reach().access(registry.address), silent)
    with pytest.raises(TerraError, match="under a tag"):
        check_push(evolve(reference, digest=f"sha256:{'0' * 64}"), Reach().access(registry.address), silent)
