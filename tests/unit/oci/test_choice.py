"""Which manifest is taken, among those that an index and its indexes list."""

from __future__ import annotations

import json

import pytest

from terra_core.errors import NotFoundError
from terra_core.oci import Descriptor, ImageError, media, this_platform
from terra_core.oci.choice import DEEPEST_INDEX, choose_manifest, require_platform
from terra_core.oci.digest import Digest
from terra_core.oci.documents import Platform
from terra_core.oci.structure import Node, read_document


def descriptor(number: int, kind: str = media.OCI_MANIFEST, platform: Platform | None = None) -> Descriptor:
    return Descriptor(kind, Digest("sha256", f"{number:064x}"), 1, platform=platform)


def index(*numbers: int, kind: str) -> Node:
    listed = [{"mediaType": kind, "digest": f"sha256:{number:064x}", "size": 1} for number in numbers]
    return read_document(json.dumps({"schemaVersion": 2, "manifests": listed}).encode(), "an index")


@pytest.mark.parametrize("depth", range(DEEPEST_INDEX + 2))
def test_indexes_are_followed_so_deep(depth: int) -> None:
    asked: list[str] = []

    def read(item: Descriptor) -> Node:
        asked.append(str(item.digest))
        left = depth - len(asked)
        return index(len(asked), kind=media.OCI_INDEX if left else media.OCI_MANIFEST)

    first = descriptor(0, media.OCI_INDEX if depth else media.OCI_MANIFEST)
    if depth > DEEPEST_INDEX:
        with pytest.raises(ImageError, match=f"the image has indexes nested more than {DEEPEST_INDEX} deep"):
            choose_manifest([first], read, "the image")
        return
    assert choose_manifest([first], read, "the image") == descriptor(depth)
    assert len(asked) == depth


def test_what_is_no_manifest_is_passed_over() -> None:
    def read(item: Descriptor) -> Node:
        raise AssertionError(item)

    other = descriptor(1, "application/vnd.example")
    assert choose_manifest([other, descriptor(2)], read, "it") == descriptor(2)
    with pytest.raises(ImageError, match=r"it has no image manifest, but application/vnd\.example"):
        choose_manifest([other], read, "it")
    with pytest.raises(ImageError, match="it has no image manifest, but nothing"):
        choose_manifest([], read, "it")


def test_another_platform_is_told() -> None:
    foreign = Platform("linux", "s390x\n\x1b[31m")
    with pytest.raises(NotFoundError, match=f"it was not built for {this_platform()}") as refused:
        choose_manifest([descriptor(1, platform=foreign)], lambda item: index(kind=""), "it")
    assert "s390x" in refused.value.hint
    assert "\x1b" not in refused.value.hint
    with pytest.raises(NotFoundError, match="it was not built for"):
        require_platform(foreign, "it")
    require_platform(this_platform(), "it")
