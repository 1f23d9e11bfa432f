"""Images of a registry plugin that is broken, or worse: core finds out, whatever the plugin does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import ImageReference, parse_image_reference, pinned
from terra_core.errors import PluginError, TerraError
from terra_core.hookspecs import Builder, BuiltImage, FoundSignature, Registry
from terra_core.image.survey import survey
from terra_core.images import Images, push_built
from terra_core.oci import Digest, Layout
from terra_core.oci.layout import StoredImage
from terra_core.oci.signature import PAYLOAD_TYPE, SIGNATURE_KEY
from terra_core.oci.source import ImageDocuments, ImageSource, PortableImage
from tests.unit.oci.making import LayoutMaker, file, layer, tar

NAME = parse_image_reference("registry.example/image:1")
KEY = Ed25519PrivateKey.generate()
PUBLIC = Trust(key=KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
SESSION = Session()


def make(place: Path, *layers: bytes) -> StoredImage:
    maker = LayoutMaker(place)
    maker.image([layer(one, "plain") for one in layers])
    return Layout(maker.path).image()


def signature(image: Digest) -> FoundSignature:
    critical = {"type": "cosign container image signature", "image": {"docker-manifest-digest": str(image)}}
    payload = json.dumps({"critical": critical}).encode()
    made = base64.b64encode(KEY.sign(payload)).decode()
    return FoundSignature(media_type=PAYLOAD_TYPE, content=payload, annotations={SIGNATURE_KEY: made})


class Brought(Registry):
    """A registry plugin that holds to the contract; what is wrong with one is changed by a test.

    :param image: what it has under every name.
    """

    plugin = "brought"

    def __init__(self, image: StoredImage) -> None:
        self.image = image
        self.signatures: Sequence[FoundSignature] = [signature(image.digest)]
        self.pulled: list[ImageReference] = []
        self.bring: Callable[[Path], ImageSource] = self._bring

    def inspect_image(self, reference: ImageReference, session: Session) -> ImageDocuments:
        image = self.image
        content = image.layout.read(image.layout.resolve(str(image.digest)))
        return ImageDocuments(
            named=image.digest, digest=image.digest, manifest=image.manifest, config=image.config, content=content
        )

    def fetch_signatures(self, reference: ImageReference, digest: Digest, session: Session) -> Sequence[FoundSignature]:
        return self.signatures

    @contextmanager
    def pull_image(self, reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
        self.pulled.append(reference)
        yield self.bring(layout)

    def push_image(
        self, reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
    ) -> str:
        return "pushed"

    def _bring(self, layout: Path) -> ImageSource:
        layout.symlink_to(self.image.layout.path)
        return self.image


@pytest.fixture
def plugin(tmp_path: Path) -> Brought:
    return Brought(make(tmp_path / "image", tar(file(b"a"))))


@pytest.fixture
def other(tmp_path: Path) -> StoredImage:
    return make(tmp_path / "other", tar(file(b"another")))


def pull(plugin: Brought, place: Path, reference: ImageReference = NAME, *trust: Trust) -> ImageSource:
    with Images(plugin=plugin, session=SESSION, trust=trust).pull(reference, place / "layout") as image:
        return image


def instead(image: StoredImage) -> Callable[[Path], ImageSource]:
    def bring(layout: Path) -> ImageSource:
        layout.symlink_to(image.layout.path)
        return image

    return bring


def test_what_holds_to_the_contract_is_taken(plugin: Brought, tmp_path: Path) -> None:
    by_digest = pinned(NAME, str(plugin.image.digest))
    assert pull(plugin, tmp_path, by_digest, PUBLIC).digest == plugin.image.digest


def test_what_is_signed_is_pulled_by_the_digest_that_is_signed(plugin: Brought, tmp_path: Path) -> None:
    pull(plugin, tmp_path, NAME, PUBLIC)
    assert plugin.pulled == [pinned(NAME, str(plugin.image.digest))], "the tag may have moved"


def test_another_image_than_was_asked_for_by_digest(plugin: Brought, other: StoredImage, tmp_path: Path) -> None:
    plugin.bring = instead(other)
    with pytest.raises(PluginError, match=r"^pulling .*: plugin 'brought' brought no image that can be read"):
        pull(plugin, tmp_path, pinned(NAME, str(plugin.image.digest)))


def test_a_tag_that_moved_after_its_signature_was_looked_at(plugin: Brought, other: StoredImage, tmp_path: Path) -> None:
    plugin.bring = instead(other)
    with pytest.raises(PluginError, match="plugin 'brought' brought"):
        pull(plugin, tmp_path, NAME, PUBLIC)


def test_documents_that_are_not_those_in_the_layout(plugin: Brought, other: StoredImage, tmp_path: Path) -> None:
    def bring(layout: Path) -> ImageSource:
        layout.symlink_to(plugin.image.layout.path)
        return evolve(other, digest=plugin.image.digest)  # a manifest of one's own, under the right digest

    plugin.bring = bring
    image = pull(plugin, tmp_path, pinned(NAME, str(plugin.image.digest)))
    assert image.manifest == plugin.image.manifest
    assert image.config == plugin.image.config


def test_a_layout_whose_documents_were_changed(plugin: Brought, tmp_path: Path) -> None:
    image = plugin.image
    place = image.layout.path / "blobs/sha256" / image.digest.encoded
    place.write_bytes(place.read_bytes().replace(b"vnd.oci", b"vnd.oco", 1))
    with pytest.raises(PluginError, match="has another digest"):
        pull(plugin, tmp_path)


def test_a_layer_that_is_another(plugin: Brought, other: StoredImage, tmp_path: Path) -> None:
    def bring(layout: Path) -> ImageSource:
        layout.symlink_to(plugin.image.layout.path)

        class Bent:
            digest, manifest, config = plugin.image.digest, plugin.image.manifest, plugin.image.config

            def open_layer(self, _: object) -> object:
                return other.open_layer(other.manifest.layers[0])

        return Bent()  # type: ignore[return-value]  # what is wrong with it is the point

    plugin.bring = bring
    with pytest.raises(TerraError, match="digest"):
        survey(pull(plugin, tmp_path), {})


@pytest.mark.parametrize("found", ["none", "of another image", "not to be read"])
def test_nothing_is_pulled_without_a_signature(plugin: Brought, other: StoredImage, tmp_path: Path, found: str) -> None:
    said = {
        "none": [],
        "of another image": [signature(other.digest)],
        "not to be read": [FoundSignature(problem="a signature that is broken")],
    }
    plugin.signatures = said[found]
    with pytest.raises(TerraError, match=r"^pulling registry\.example/image:1: .*sign") as caught:
        pull(plugin, tmp_path, NAME, PUBLIC)
    assert "cosign sign" in caught.value.hint
    assert plugin.pulled == []


def test_every_one_of_several_has_to_sign(plugin: Brought, tmp_path: Path) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(TerraError, match="not by the key that is trusted"):
        pull(plugin, tmp_path, NAME, PUBLIC, Trust(key=other.decode()))
    assert plugin.pulled == []


@pytest.mark.parametrize("trust", [(), (PUBLIC,)])
def test_documents_under_a_digest_that_is_not_theirs(
    plugin: Brought, other: StoredImage, monkeypatch: pytest.MonkeyPatch, trust: tuple[Trust, ...]
) -> None:
    right = plugin.inspect_image(NAME, SESSION)
    monkeypatch.setattr(plugin, "inspect_image", lambda reference, session: evolve(right, named=other.digest))
    images = Images(plugin=plugin, session=SESSION, trust=trust)
    with pytest.raises(PluginError, match="which is not what"):
        images.inspect(NAME)
    monkeypatch.undo()
    with pytest.raises(PluginError, match="which is not what"):
        images.inspect(pinned(NAME, str(other.digest)))


def test_a_push_that_gives_no_digest(plugin: Brought) -> None:
    class Saved(Builder):
        plugin = "saved"

        @contextmanager
        def save_image(self, image: str, work: Path, session: Session) -> Iterator[PortableImage]:
            yield plugin.image

    built = BuiltImage(reference=NAME, id="x", size=0)
    with pytest.raises(PluginError, match=r"plugin 'brought' pushed .*, and gave no digest: \"pushed\""):
        push_built(built, NAME, (), builder=Saved(), registry=plugin, session=SESSION)
