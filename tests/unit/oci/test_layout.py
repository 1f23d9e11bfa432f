"""Layouts on disk: finding an image in one, and every way in which its documents can be wrong."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from terra_core.errors import NotFoundError, TerraError
from terra_core.oci import ImageError, Layout, Platform, is_digest, media, parse_digest, this_platform
from terra_core.oci.documents import Manifest
from tests.unit.oci.making import LayoutMaker, file, make_special, sha256, tar

LAYER = tar(file(b"f"))
HERE = {"os": this_platform().os, "architecture": this_platform().architecture}
ELSEWHERE = {"os": "linux", "architecture": "s390x"}


@pytest.fixture
def maker(tmp_path: Path) -> LayoutMaker:
    return LayoutMaker(tmp_path / "layout")


def read(maker: LayoutMaker, reference: str | None = None) -> Manifest:
    layout = Layout(maker.path)
    return layout.manifest(layout.resolve(reference))


@pytest.mark.parametrize("docker", [False, True])
def test_an_image_is_found_by_name_by_digest_and_alone(maker: LayoutMaker, docker: bool) -> None:
    descriptor = maker.image([LAYER], "v1", docker=docker)
    layout = Layout(maker.path)
    for reference in (None, "v1", descriptor["digest"]):
        found = layout.resolve(reference)
        assert str(found.digest) == descriptor["digest"]
    manifest = layout.manifest(found)
    config = layout.config(manifest)
    assert [str(digest) for digest in config.diff_ids] == [sha256(LAYER)]
    assert (config.os, config.architecture, config.cmd, config.env) == ("linux", HERE["architecture"], ("/bin/sh",), ())
    assert config.labels == {"a": "b"}
    assert len(manifest.layers) == 1


@pytest.mark.parametrize("kind", ["block", "character", "fifo", "socket"])
def test_a_blob_that_is_no_file_is_looked_at_and_not_opened(maker: LayoutMaker, kind: str) -> None:
    descriptor = maker.image([LAYER])
    place = maker.place(descriptor["digest"])
    place.unlink()
    loop = make_special(place, kind)
    with pytest.raises(ImageError, match="no regular file"):
        read(maker)
    assert not loop.exists()


def test_a_name_that_is_not_there_says_which_are(maker: LayoutMaker) -> None:
    maker.image([LAYER], "v1")
    with pytest.raises(NotFoundError, match="v2") as caught:
        read(maker, "v2")
    assert "v1" in caught.value.hint


def test_an_empty_layout_says_so(maker: LayoutMaker) -> None:
    with pytest.raises(NotFoundError, match="not there"):
        read(maker)


def test_several_images_ask_for_a_name(maker: LayoutMaker) -> None:
    first, second = maker.image([LAYER], "v1"), maker.image([tar()], "v2")
    maker.index([first, second])
    with pytest.raises(TerraError, match="several") as caught:
        read(maker)
    assert "v1" in caught.value.hint
    assert "v2" in caught.value.hint
    assert read(maker, "v2") != read(maker, "v1")


def index(maker: LayoutMaker, *entries: dict[str, Any], media_type: str = media.OCI_INDEX) -> dict[str, Any]:
    return maker.document({"schemaVersion": 2, "manifests": list(entries)}, media_type)


@pytest.mark.parametrize("media_type", [media.OCI_INDEX, media.DOCKER_INDEX])
def test_an_index_gives_the_image_for_this_platform(maker: LayoutMaker, media_type: str) -> None:
    right = {**maker.image([LAYER]), "platform": HERE}
    wrong = {**maker.image([tar()]), "platform": ELSEWHERE}
    attestation = {**maker.image([tar(file(b"a"))]), "platform": {"os": "unknown", "architecture": "unknown"}}
    maker.index([index(maker, wrong, attestation, right, media_type=media_type)])
    assert str(Layout(maker.path).resolve().digest) == right["digest"]


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("listed", [media.OCI_INDEX, media.DOCKER_INDEX])
@pytest.mark.parametrize("said", [media.OCI_INDEX, media.DOCKER_INDEX])
def test_of_dockers_and_ocis_names_either_will_do(maker: LayoutMaker, docker: bool, listed: str, said: str) -> None:
    inner = {**maker.image([LAYER], docker=docker), "platform": HERE}
    other = {**inner, "mediaType": media.OCI_MANIFEST if docker else media.DOCKER_MANIFEST}
    maker.index([maker.document({"schemaVersion": 2, "mediaType": said, "manifests": [other]}, listed)])
    assert len(read(maker).layers) == 1


def test_an_image_for_another_platform_is_refused(maker: LayoutMaker) -> None:
    maker.index([index(maker, {**maker.image([LAYER]), "platform": ELSEWHERE})])
    with pytest.raises(NotFoundError, match="not built for") as caught:
        read(maker)
    assert "linux/s390x" in caught.value.hint


def test_a_digest_is_found_inside_indexes(maker: LayoutMaker) -> None:
    inner = maker.image([LAYER])
    maker.index([index(maker, index(maker, inner))])
    assert str(Layout(maker.path).resolve(inner["digest"]).digest) == inner["digest"]


def test_the_platform_is_named_as_images_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine, architecture in (("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")):
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        assert this_platform() == Platform("linux", architecture)


def test_indexes_do_not_nest_for_ever(maker: LayoutMaker) -> None:
    descriptor = maker.image([LAYER])
    for _ in range(10):
        descriptor = index(maker, descriptor)
    maker.index([descriptor])
    with pytest.raises(ImageError, match="nested"):
        read(maker)
    with pytest.raises(ImageError, match="inside each other"):
        read(maker, "sha256:" + "0" * 64)


def test_an_index_that_names_itself_is_refused(maker: LayoutMaker) -> None:
    """Check an index with a false digest, since no document can hold its own: it is found out as soon as it is read."""
    digest = "sha256:" + "1" * 64
    content = json.dumps({
        "schemaVersion": 2, "manifests": [{"mediaType": media.OCI_INDEX, "digest": digest, "size": 500}],
    }).ljust(500).encode()  # fmt: skip
    maker.place(digest).write_bytes(content)
    maker.index([{"mediaType": media.OCI_INDEX, "digest": digest, "size": 500}])
    with pytest.raises(ImageError, match="another digest"):
        read(maker)


MANIFEST: dict[str, Any] = {"schemaVersion": 2, "config": {}, "layers": []}
BLOB = {"mediaType": media.OCI_CONFIG, "digest": sha256(b"{}"), "size": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schemaVersion": 1}, "schemaVersion 1"),
        ({"schemaVersion": True}, "schemaVersion"),
        ({"schemaVersion": None}, "schemaVersion"),
        ({"manifests": []}, "manifests"),
        ({"mediaType": media.OCI_INDEX}, "says"),
        ({"mediaType": 7}, r"mediaType: expected a string, found int"),
        ({"config": None}, r"config: expected an object, found nothing"),
        ({"config": {**BLOB, "size": -1}}, r"config\.size"),
        ({"config": {**BLOB, "size": True}}, r"config\.size"),
        ({"config": {**BLOB, "size": "2"}}, r"config\.size: expected a size in bytes, found str"),
        ({"config": {**BLOB, "size": 1 << 70}}, r"config\.size"),
        ({"config": {**BLOB, "digest": "sha256:../../etc/passwd"}}, r"config\.digest"),
        ({"config": {**BLOB, "digest": "sha256:" + "A" * 64}}, "digest"),
        ({"config": {**BLOB, "digest": "sha256:" + "a" * 64 + "\n"}}, "digest"),
        ({"config": {**BLOB, "digest": "md5:" + "a" * 32}}, "digest"),
        ({"config": {**BLOB, "mediaType": "application/vnd.oci.empty.v1+json"}}, "no image of an operating system"),
        ({"layers": {}}, "layers: expected a list"),
        ({"layers": [7]}, r"layers\[0\]: expected an object"),
        ({"layers": [{**BLOB, "mediaType": "text/plain"}]}, r"layers\[0\]: unknown media type 'text/plain'"),
        ({"layers": [{**BLOB, "mediaType": "application/vnd.oci.image.layer.v1.tar"}] * 600}, "600 layers"),
        ({"annotations": {"a": 1}}, r"annotations\.a: expected a string"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(maker: LayoutMaker, change: dict[str, Any], message: str) -> None:
    maker.index([maker.document({**MANIFEST, "config": BLOB, **change}, media.OCI_MANIFEST)])
    with pytest.raises(ImageError, match=message):
        read(maker)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"[" * 100_000, b'{"a": ' + b"9" * 10_000 + b"}", b"\xff{}"],
    ids=["empty", "list", "cut", "twice", "nan", "deep", "long-number", "no-text"],
)
def test_what_is_no_strict_json_is_refused(maker: LayoutMaker, content: bytes) -> None:
    (maker.path / "index.json").write_bytes(content)
    with pytest.raises(ImageError, match=r"index\.json"):
        read(maker)


def test_a_document_beyond_four_megabytes_is_refused(maker: LayoutMaker) -> None:
    descriptor = maker.image([LAYER])
    maker.index([{**descriptor, "size": (4 << 20) + 1}])
    with pytest.raises(ImageError, match="more than"):
        read(maker)
    (maker.path / "index.json").write_bytes(b" " * ((4 << 20) + 1))
    with pytest.raises(ImageError, match="more than"):
        read(maker)


def test_a_configuration_has_to_fit_the_manifest(maker: LayoutMaker) -> None:
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": maker.blob(LAYER), "size": len(LAYER)}
    value = {"schemaVersion": 2, "config": maker.document(config, media.OCI_CONFIG), "layers": [layer]}
    maker.index([maker.document(value, media.OCI_MANIFEST)])
    with pytest.raises(ImageError, match="1 layers, but 0 diff_ids"):
        Layout(maker.path).config(read(maker))


@pytest.mark.parametrize("lie", ["missing", "longer", "shorter", "changed", "symlink", "fifo", "directory"])
def test_a_blob_that_is_not_what_it_should_be_is_refused(maker: LayoutMaker, tmp_path: Path, lie: str) -> None:
    descriptor = maker.image([LAYER])
    place = maker.place(descriptor["digest"])
    content = place.read_bytes()
    place.unlink()
    if lie == "longer":
        place.write_bytes(content + b" ")
    elif lie == "shorter":
        place.write_bytes(content[:-1])
    elif lie == "changed":
        place.write_bytes(content.replace(b"latest", b"LATEST").replace(b"layers", b"lAyers"))
    elif lie == "symlink":
        (tmp_path / "content").write_bytes(content)
        place.symlink_to(tmp_path / "content")
    elif lie == "fifo":
        os.mkfifo(place)
    elif lie == "directory":
        place.mkdir()
    with pytest.raises(TerraError):
        read(maker)


def test_a_link_in_the_way_to_a_blob_is_refused(maker: LayoutMaker, tmp_path: Path) -> None:
    maker.image([LAYER])
    (maker.path / "blobs").rename(tmp_path / "elsewhere")
    (maker.path / "blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TerraError):
        read(maker)


@pytest.mark.parametrize("version", [None, 1, "2.0.0"])
def test_another_layout_version_is_refused(maker: LayoutMaker, version: object) -> None:
    (maker.path / "oci-layout").write_text(json.dumps({"imageLayoutVersion": version}))
    with pytest.raises(ImageError):
        Layout(maker.path)


def test_a_directory_that_is_no_layout_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no OCI image layout"):
        Layout(tmp_path)
    with pytest.raises(NotFoundError, match="no OCI image layout"):
        Layout(tmp_path / "nowhere")


def test_digests_of_both_algorithms() -> None:
    assert str(parse_digest("sha512:" + "0" * 128)) == "sha512:" + "0" * 128
    assert is_digest("sha256:" + "0" * 64)
    assert not is_digest("sha256:" + "0" * 63)
    assert not is_digest("latest")
