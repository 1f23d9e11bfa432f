"""Images as builders keep them, repacked: what changes, what stays, and what is refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from attrs import evolve, frozen

from terra_core.oci import ImageError, Layout
from terra_core.oci.documents import Descriptor
from terra_core.oci.layout import StoredImage
from terra_core.oci.repacking import RepackedImage, Repacking, repack
from terra_core.system.progress import silent
from tests.unit.oci.making import LayoutMaker, file, layer, sha256, tar

EPOCH = 1_600_000_000
BASE = tar(file(b"base", mtime=EPOCH + 50))
OWN = tar(file(b"own", mtime=EPOCH + 100), file(b"old", mtime=EPOCH - 100))


@pytest.fixture
def image(tmp_path: Path) -> StoredImage:
    """Return a base's layer and one that a build added, neither compressed, as ``docker save`` writes them."""
    maker = LayoutMaker(tmp_path / "saved")
    maker.image([layer(BASE, "plain"), layer(OWN, "plain")])
    return Layout(maker.path).image()


def content(image: RepackedImage, layer: Descriptor) -> bytes:
    with image.open_layer(layer) as blob:
        pieces = []
        while piece := blob.read(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def times(stream: bytes) -> dict[str, float]:
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        return {member.name: member.mtime for member in archive}


def test_layers_of_the_build_get_no_later_time_and_those_of_the_base_stay(image: StoredImage, tmp_path: Path) -> None:
    repacked = repack(image, tmp_path / "new", Repacking(epoch=EPOCH, kept={sha256(BASE)}), silent)
    base, own = repacked.manifest.layers
    assert str(base.digest) == sha256(BASE)
    assert content(repacked, base) == BASE
    assert times(content(repacked, own)) == {"own": EPOCH, "old": EPOCH - 100}
    assert str(repacked.config.diff_ids[1]) == sha256(content(repacked, own)) != sha256(OWN)
    assert repacked.manifest.config.digest.matches(repacked.config_document)
    assert not (tmp_path / f"new/blobs/sha256/{base.digest.encoded}").exists(), "it is read from where it was"


def test_a_whole_layout_can_be_read_on_its_own(image: StoredImage, tmp_path: Path) -> None:
    repacking = Repacking(epoch=EPOCH, kept={sha256(BASE)}, whole=True, name="1")
    repacked = repack(image, tmp_path / "new", repacking, silent)
    there = Layout(tmp_path / "new").image("1")
    assert there.digest == repacked.digest
    for blob in there.manifest.layers:
        there.layout.verify(blob)


def test_the_same_image_gives_the_same_bytes_wherever(image: StoredImage, tmp_path: Path) -> None:
    made = [repack(image, tmp_path / name, Repacking(epoch=EPOCH, compress=True), silent).digest for name in ("one", "two")]
    assert made[0] == made[1]


def test_without_an_epoch_no_layer_is_written(image: StoredImage, tmp_path: Path) -> None:
    repacked = repack(image, tmp_path / "new", Repacking(compress=True), silent)
    assert repacked.manifest.layers == image.manifest.layers
    assert len(list((tmp_path / "new/blobs/sha256").iterdir())) == 2


def test_the_configuration_loses_what_tells_of_the_machine_that_built(image: StoredImage, tmp_path: Path) -> None:
    @frozen
    class Saved:
        """The image with a configuration as an engine writes it."""

        digest = image.digest
        manifest = image.manifest
        config = image.config
        open_layer = staticmethod(image.open_layer)

        @property
        def config_document(self) -> bytes:
            said = json.loads(image.config_document)
            said |= {"container": "abc", "docker_version": "20.10", "created": "2035-01-01T00:00:00.5Z"}
            said["config"] |= {"Hostname": "builder", "Image": "sha256:0"}
            said["history"] = [{"comment": comment} for comment in ("FROM 575c902ee84c", "FROM a.example/b:1", "by hand")]
            return json.dumps(said).encode()

    document = json.loads(repack(Saved(), tmp_path / "new", Repacking(epoch=EPOCH), silent).config_document)
    assert document["created"] == "2020-09-13T12:26:40Z"
    assert document["config"] == {"Cmd": ["/bin/sh"], "Labels": {"a": "b"}}
    assert not {"container", "docker_version"} & document.keys()
    assert document["history"] == [{}, {"comment": "FROM a.example/b:1"}, {"comment": "by hand"}]


def test_a_layer_that_is_another_is_refused(image: StoredImage, tmp_path: Path) -> None:
    config = evolve(image.config, diff_ids=image.config.diff_ids[::-1])
    with pytest.raises(ImageError, match="where the configuration says"):
        repack(evolve(image, config=config), tmp_path / "new", Repacking(epoch=EPOCH), silent)
