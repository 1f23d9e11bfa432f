"""What the contract promises of the role ``registry``."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import Registry
from terra_core.oci import ImageSource, Layout, media, parse_digest, this_platform
from terra_core.oci.signature import BUNDLE_TYPES, PAYLOAD_TYPE, SIGNATURE_KEY, require_signature
from terra_core.system.progress import Event
from terra_core.testing.conformance import Conformance, die, everything, killed_after, killed_within
from terra_core.testing.faulty_registry import Asked, FaultyRegistry, faulty_registry
from terra_core.testing.images import MadeImage, read_all, tree

FIRST, BIG, LAST = (tree({name: hashlib.shake_128(name.encode()).digest(size)}) for name, size in (
    ("first", 1_000), ("big", 2_000_000), ("last", 50_000),
))  # fmt: skip
LAYERS = (FIRST, BIG, LAST)
_PATIENCE = 30.0
"""How long the registry keeps back what a test does not ask for; a plugin that waits for it has failed."""
_SILENT_PORT = 1


@define
class _Half:
    """Sends the first half of a blob, and the rest when it may."""

    content: bytes
    go_on: threading.Event = field(factory=threading.Event)
    waited_in_vain: bool = False

    def __call__(self, asked: Asked) -> None:
        if asked.command == "HEAD" or "Range" in asked.headers:
            asked.serve()
            return
        middle = len(self.content) // 2
        asked.begin(200, {"Content-Type": "application/octet-stream", "Content-Length": str(len(self.content))})
        asked.wfile.write(self.content[:middle])
        asked.wfile.flush()
        self.waited_in_vain = not self.go_on.wait(_PATIENCE)
        asked.wfile.write(self.content[middle:])


class RegistryConformance(Conformance[Registry]):
    """The promises of a plugin that moves images.

    It is asked for images of a registry on 127.0.0.1 that the kit starts, over plain HTTP: ``session.plain_http`` allows that.
    """

    _role = Registry

    @pytest.fixture
    def session(self, root: Path, surroundings: None) -> Session:
        """Return a session with a root of its own, whose registry may go without TLS."""
        return Session(source="test.toml", tables=self.tables, paths=Paths(root), plain_http=True)

    @pytest.fixture
    def served(self, surroundings: None) -> Iterator[FaultyRegistry]:
        """Return a registry with nothing in it."""
        with faulty_registry() as registry:
            yield registry

    @pytest.fixture
    def layout(self, tmp_path: Path) -> Path:
        """Return where an image is pulled to, which is not there yet."""
        return tmp_path / "layout"

    def use(self, role: Registry, session: Session) -> None:
        """Ask for an image where nobody answers: what is wrong with the table has to be said before that."""
        role.inspect_image(parse_image_reference(f"127.0.0.1:{_SILENT_PORT}/image:1"), session)

    def reference(self, served: FaultyRegistry, name: str = "1") -> ImageReference:
        """Return the name of an image of the registry, by its tag or its digest."""
        return parse_image_reference(f"{served.address}/image{'@' if ':' in name else ':'}{name}")

    def pull(self, role: Registry, session: Session, served: FaultyRegistry, layout: Path, name: str = "1") -> str:
        """Pull an image, check that all of it is in the layout as the registry has it, and return its digest."""
        with role.pull_image(self.reference(served, name), layout, session) as source:
            found = str(source.digest)
        there = Layout(layout)
        described = there.resolve(found)
        manifest = there.manifest(described)
        assert there.read(described) == served.content[found][0], "the bytes are the registry's own"
        for blob in (manifest.config, *manifest.layers):
            there.verify(blob)
        self.expect_no_wrong_blob(layout)
        return found

    def expect_no_wrong_blob(self, layout: Path) -> None:
        """Check that whatever is in the layout under a digest has it."""
        for blob in layout.glob("blobs/sha256/[0-9a-f]*"):
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, "it could be taken as complete"

    def layers(self, served: FaultyRegistry, name: str = "1") -> list[str]:
        """Return the digests of the layers of an image that the registry has."""
        return [str(layer["digest"]) for layer in json.loads(served.content[name][0])["layers"]]

    def index(self, served: FaultyRegistry, manifest: dict[str, Any], *names: str) -> dict[str, Any]:
        """Keep an index of an image for this machine and one for another; return its descriptor."""
        foreign = served.image([FIRST], architecture="s390x")
        listed = [(foreign, "s390x"), (manifest, this_platform().architecture)]
        return served.index(*({**one, "platform": {"os": "linux", "architecture": of}} for one, of in listed), names=names)

    def push(
        self, role: Registry, session: Session, served: FaultyRegistry, image: MadeImage, tag: str = "1", *bases: str
    ) -> str:
        """Push an image, and return the digest of its manifest."""
        return role.push_image(self.reference(served, tag), image, [self.reference(served, one) for one in bases], session)

    def sent(self, served: FaultyRegistry) -> int:
        """Return how many bytes of blobs were sent to the registry."""
        return sum(
            int(headers.get("content-length", 0))
            for method, path, headers in served.requests
            if method in ("PUT", "PATCH") and "/uploads/" in path
        )

    # Pulling

    @pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
    def test_a_pulled_image_is_the_registrys_own(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path, docker: bool
    ) -> None:
        manifest = served.image(LAYERS, "1", docker=docker)
        assert self.pull(role, session, served, layout) == manifest["digest"]
        assert self.pull(role, session, served, layout.with_name("by-digest"), manifest["digest"]) == manifest["digest"]

    def test_of_an_index_the_image_for_this_machine_is_pulled(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path
    ) -> None:
        manifest = served.image(LAYERS)
        index = self.index(served, manifest, "1")
        assert self.pull(role, session, served, layout) == manifest["digest"]
        there = Layout(layout)
        for name in (manifest["digest"], index["digest"]):
            assert str(there.image(name).digest) == manifest["digest"], "either digest finds it"
        assert self.pull(role, session, served, layout.with_name("by-digest"), index["digest"]) == manifest["digest"]

    def test_an_image_for_another_machine_is_refused(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path
    ) -> None:
        served.image([FIRST], "1", architecture="s390x")
        with pytest.raises(TerraError, match=re.escape(str(self.reference(served)))) as caught:
            self.pull(role, session, served, layout)
        assert "s390x" in str(caught.value), "the error says what it is for"

    def test_layers_can_be_read_while_they_come(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path
    ) -> None:
        served.image(LAYERS, "1")
        half = _Half(served.content[self.layers(served)[1]][0])
        served.fault(self.layers(served)[1], half)
        with role.pull_image(self.reference(served), layout, session) as source:
            assert not half.waited_in_vain, "entering ends when the documents are there"
            assert str(Layout(layout).image().digest) == str(source.digest), "the layout can be read at any time"
            with source.open_layer(source.manifest.layers[1]) as blob:
                read = blob.read(1000)
                assert 0 < len(read) <= 1000
                half.go_on.set()
                assert read + read_all(blob) == half.content
            with source.open_layer(source.manifest.layers[1]) as again:
                assert read_all(again) == half.content, "it may be opened again"
        assert not half.waited_in_vain

    def test_a_tag_is_looked_up_once(self, role: Registry, session: Session, served: FaultyRegistry, layout: Path) -> None:
        first = served.image([FIRST], "1")

        def move(asked: Asked) -> None:
            asked.serve()
            served.image([LAST], "1")

        served.fault("manifests/1", move, times=1)
        assert self.pull(role, session, served, layout) == first["digest"], "it is what the tag named at first"
        assert self.pull(role, session, served, layout) != first["digest"], "and another pull follows the tag"
        for found in (first["digest"], served.image([LAST])["digest"]):
            assert Layout(layout).image(found), "both are in the layout"

    def test_what_the_layout_has_is_not_fetched_again(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path
    ) -> None:
        served.image([BIG, FIRST], "1")
        served.image([BIG, LAST], "2")
        self.pull(role, session, served, layout)
        before = {path: path.stat().st_mtime_ns for path in layout.glob("blobs/*/*")}
        self.pull(role, session, served, layout)
        assert {path: path.stat().st_mtime_ns for path in layout.glob("blobs/*/*")} == before
        self.pull(role, session, served, layout, "2")
        assert len([one for one in served.requests if self.layers(served)[0] in one[1] and one[0] == "GET"]) == 1
        with (layout / "blobs/sha256" / parse_digest(self.layers(served)[0]).encoded).open("r+b") as file:
            file.truncate(1000)
        self.pull(role, session, served, layout)

    def test_only_the_layers_that_are_asked_for_are_fetched(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path
    ) -> None:
        if not role.brings("pull_layers"):
            return
        served.image([*LAYERS], "1")
        wanted = self.layers(served)[1]
        with (
            role.pull_layers(self.reference(served), [parse_digest(wanted)], layout, session) as source,
            source.open_layer(source.manifest.layers[1]) as blob,
        ):
            read_all(blob)
        asked = [path for method, path, _ in served.requests if method == "GET"]
        assert [one for one in self.layers(served) if any(one in path for path in asked)] == [wanted]
        self.expect_no_wrong_blob(layout)

    @pytest.mark.parametrize("what", ["manifest", "config", "layer"])
    def test_other_bytes_than_were_asked_for_are_refused(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path, what: str
    ) -> None:
        manifest = served.image(LAYERS)
        self.index(served, manifest, "1")
        document = json.loads(served.content[manifest["digest"]][0])
        wrong = {"manifest": manifest, "config": document["config"], "layer": document["layers"][1]}[what]["digest"]
        other = served.content[wrong][0][:-1] + b" "
        served.fault(wrong, lambda asked: asked.say(200, other))
        with pytest.raises(TerraError, match=re.escape(str(self.reference(served)))):
            self.pull(role, session, served, layout)
        self.expect_no_wrong_blob(layout)
        served.faults.clear()
        assert self.pull(role, session, served, layout) == manifest["digest"]

    @pytest.mark.parametrize("failure", [RuntimeError(), TerraError("enough"), KeyboardInterrupt()])
    def test_a_pull_ends_at_once_when_what_follows_fails(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path, failure: BaseException
    ) -> None:
        manifest = served.image(LAYERS, "1")
        half = _Half(served.content[self.layers(served)[1]][0])
        served.fault(self.layers(served)[1], half, times=1)
        with pytest.raises(type(failure)) as caught, role.pull_image(self.reference(served), layout, session):
            raise failure
        assert caught.value is failure
        assert not half.waited_in_vain, "nobody waits for layers that nobody wants"
        half.go_on.set()
        self.expect_no_wrong_blob(layout)
        assert self.pull(role, session, served, layout) == manifest["digest"]

    def test_who_listens_can_end_a_pull(self, role: Registry, session: Session, served: FaultyRegistry, layout: Path) -> None:
        manifest = served.image(LAYERS, "1")

        def stop(event: Event) -> None:
            raise InterruptedWork("asked to")

        with pytest.raises(InterruptedWork):
            self.pull(role, session.reporting_to(stop), served, layout)
        assert not list(layout.glob("blobs/*/*")), "nothing has come"
        assert self.pull(role, session, served, layout) == manifest["digest"]

    def test_what_a_killed_pull_left_is_never_taken_as_complete(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path
    ) -> None:
        manifest = served.image(LAYERS, "1")
        half = _Half(served.content[self.layers(served)[1]][0])
        served.fault(self.layers(served)[1], half, times=1)

        def half_way(source: ImageSource) -> None:
            with source.open_layer(source.manifest.layers[1]) as blob:
                assert blob.read(1000)

        killed_within(lambda: role.pull_image(self.reference(served), layout, session), half_way)
        half.go_on.set()
        self.expect_no_wrong_blob(layout)
        assert self.pull(role, session, served, layout) == manifest["digest"]

    def test_several_pulls_at_once_do_not_disturb_each_other(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path
    ) -> None:
        wanted = [served.image([BIG, tree({"file": b"%d" % at})], str(at))["digest"] for at in range(4)]
        places = [(layout if at < 2 else layout.with_name(f"other-{at}"), str(at)) for at in range(4)] * 2
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda one: self.pull(role, session, served, *one), places))
        assert found == wanted * 2

    @pytest.mark.parametrize("status", [403, 404])
    def test_what_the_registry_says_is_said(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path, status: int
    ) -> None:
        served.image([FIRST], "1")
        served.fault("manifests/", lambda asked: asked.say(status))
        name = re.escape(str(self.reference(served)))
        with pytest.raises(TerraError, match=name):
            self.pull(role, session, served, layout)
        with pytest.raises(TerraError, match=name):
            role.inspect_image(self.reference(served), session)
        assert not list(layout.glob("blobs/*/*")), "nothing has come"

    def test_a_registry_that_does_not_answer_is_named(self, role: Registry, session: Session, layout: Path) -> None:
        name = f"127.0.0.1:{_SILENT_PORT}"
        with (
            pytest.raises(TerraError, match=rf"{name} (?s:.*)[Cc]onnection refused"),
            role.pull_image(parse_image_reference(f"{name}/a:1"), layout, session),
        ):
            raise AssertionError("nobody is there")

    def test_nothing_comes_without_tls_unless_the_session_says_so(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path
    ) -> None:
        served.image([FIRST], "1")
        strict = evolve(session, plain_http=False)
        with pytest.raises(TerraError, match=re.escape(served.address)):
            self.pull(role, strict, served, layout)
        with pytest.raises(TerraError, match=re.escape(served.address)):
            role.inspect_image(self.reference(served), strict)
        assert served.asked_for("manifests/") == []

    # Asking

    def test_documents_are_those_of_the_reference_and_no_layer_is_fetched(
        self, role: Registry, session: Session, served: FaultyRegistry
    ) -> None:
        manifest = served.image(LAYERS)
        index = self.index(served, manifest, "1")
        for name, named in (("1", index), (index["digest"], index), (manifest["digest"], manifest)):
            found = role.inspect_image(self.reference(served, name), session)
            assert str(found.named) == named["digest"]
            assert found.content == served.content[named["digest"]][0]
            assert str(found.digest) == manifest["digest"]
            assert [str(layer.digest) for layer in found.manifest.layers] == self.layers(served, manifest["digest"])
            assert len(found.config.diff_ids) == len(LAYERS)
        assert not any(served.asked_for(layer) for layer in self.layers(served, manifest["digest"]))

    def test_an_image_that_nobody_signed_has_no_signature(
        self, role: Registry, session: Session, served: FaultyRegistry
    ) -> None:
        image = served.image([FIRST], "1")
        assert list(role.fetch_signatures(self.reference(served), parse_digest(image["digest"]), session)) == []

    @pytest.mark.parametrize("place", ["tag", "referrers", "referrers' tag"])
    def test_signatures_are_found_where_cosign_puts_them(
        self, role: Registry, session: Session, served: FaultyRegistry, place: str
    ) -> None:
        key, image = Ed25519PrivateKey.generate(), served.image([FIRST], "1")
        name = image["digest"].replace(":", "-")
        self.sign(served, image["digest"], key, place)
        digest = parse_digest(image["digest"])
        found = role.fetch_signatures(self.reference(served), digest, session)
        require_signature(found, digest, served.content["1"][0], key.public_key())
        assert len(found) == 1, f"of {name}"

    def test_a_signature_that_is_wrong_is_brought_and_hides_no_other(
        self, role: Registry, session: Session, served: FaultyRegistry
    ) -> None:
        key, image = Ed25519PrivateKey.generate(), served.image([FIRST], "1")
        self.sign(served, image["digest"], Ed25519PrivateKey.generate(), "tag")
        self.sign(served, image["digest"], key, "referrers")
        digest = parse_digest(image["digest"])
        found = role.fetch_signatures(self.reference(served), digest, session)
        require_signature(found, digest, served.content["1"][0], key.public_key())
        assert len(found) == 2, "whose they are is for core to find out"

    def sign(self, served: FaultyRegistry, image: str, key: Ed25519PrivateKey, place: str) -> None:
        """Keep a signature beside an image as cosign does.

        :param place: ``tag`` for a payload under a tag of its own; for a Sigstore bundle ``referrers`` or ``referrers' tag``.
        """
        tag = image.replace(":", "-")
        empty = served.put(b"{}", "application/vnd.oci.empty.v1+json")
        document = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": empty}
        if place == "tag":
            critical = {"type": "cosign container image signature", "image": {"docker-manifest-digest": image}}
            payload = json.dumps({"critical": {**critical, "identity": {"docker-reference": ""}}}).encode()
            layer = {**served.put(payload, PAYLOAD_TYPE), "annotations": {SIGNATURE_KEY: _base64(key.sign(payload))}}
            served.put(json.dumps({**document, "layers": [layer]}).encode(), media.OCI_MANIFEST, f"{tag}.sig")
            return
        kind = next(one for one in BUNDLE_TYPES if "v0.3" in one)
        bundle = served.put(_bundle(image, key), kind)
        subject = {"mediaType": media.OCI_MANIFEST, "digest": image, "size": len(served.content[image][0])}
        written = json.dumps({**document, "artifactType": kind, "layers": [bundle], "subject": subject}).encode()
        listed = {**served.put(written, media.OCI_MANIFEST), "artifactType": kind}
        served.index(listed, names=[f"referrers/{image}" if place == "referrers" else tag])

    # Pushing

    @pytest.mark.parametrize("kind", ["plain", "gzip"])
    def test_what_is_pushed_comes_back_and_gets_its_name_last(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path, kind: str
    ) -> None:
        image = MadeImage(LAYERS, kind)
        found = self.push(role, session, served, image)
        assert found == served.image_digest("1")
        assert self.pull(role, session, served, layout) == found
        there = Layout(layout).image(found)
        assert there.config_document == image.config_document, "its configuration goes as it is"
        assert there.config.diff_ids == image.config.diff_ids
        if kind == "gzip":
            assert [layer.digest for layer in there.manifest.layers] == [layer.digest for layer in image.manifest.layers]
        written = [(method, path) for method, path, _ in served.requests if method in ("PUT", "POST", "PATCH")]
        assert written[-1] == ("PUT", "/v2/image/manifests/1")
        assert [path for _, path in written].count("/v2/image/manifests/1") == 1

    def test_pushing_again_sends_nothing_again(self, role: Registry, session: Session, served: FaultyRegistry) -> None:
        first = self.push(role, session, served, MadeImage(LAYERS))
        served.requests.clear()
        assert self.push(role, session, served, MadeImage(LAYERS)) == first
        assert self.sent(served) == 0

    @pytest.mark.parametrize("other", ["base", "1"], ids=["of a base", "of the image before"])
    def test_the_form_of_a_layer_that_the_registry_has_is_taken(
        self, role: Registry, session: Session, served: FaultyRegistry, other: str
    ) -> None:
        theirs = served.put(gzip.compress(BIG, compresslevel=1, mtime=7), media.OCI_LAYERS["gzip"])
        config = served.put(MadeImage([BIG]).config_document, media.OCI_CONFIG)
        document = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": config, "layers": [theirs]}
        served.put(json.dumps(document).encode(), media.OCI_MANIFEST, other)
        self.push(role, session, served, MadeImage([BIG, LAST]), "1", *(["base"] if other == "base" else []))
        assert self.layers(served)[0] == theirs["digest"], "machines find that they have it"
        assert self.sent(served) < theirs["size"]

    def test_an_image_is_pushed_under_a_tag(self, role: Registry, session: Session, served: FaultyRegistry) -> None:
        wrong = self.reference(served, f"sha256:{'0' * 64}")
        with pytest.raises(TerraError, match=re.escape(str(wrong))):
            role.push_image(wrong, MadeImage([FIRST]), (), session)
        assert not [one for one in served.requests if one[0] in ("PUT", "PATCH")]

    @pytest.mark.parametrize("where", ["/blobs/uploads/", "/manifests/1"])
    def test_a_push_that_is_refused_leaves_the_name_as_it_was(
        self, role: Registry, session: Session, served: FaultyRegistry, where: str
    ) -> None:
        before = self.push(role, session, served, MadeImage([FIRST]))

        def refuse(asked: Asked) -> bool:
            if where not in asked.path or asked.command in ("GET", "HEAD"):
                return False
            asked.body()
            asked.say(403, b'{"errors": [{"code": "DENIED", "message": "quota is used up"}]}', "application/json")
            return True

        served.faults.append(refuse)
        with pytest.raises(TerraError, match=re.escape(str(self.reference(served)))) as caught:
            self.push(role, session, served, MadeImage([LAST]))
        assert "quota is used up" in str(caught.value), "what the registry says is said"
        assert served.image_digest("1") == before

    @pytest.mark.parametrize("failure", [RuntimeError(), InterruptedWork("asked to"), KeyboardInterrupt()])
    def test_a_push_whose_image_cannot_be_read_leaves_the_name_as_it_was(
        self, role: Registry, session: Session, served: FaultyRegistry, failure: BaseException
    ) -> None:
        before = self.push(role, session, served, MadeImage([FIRST]))
        with pytest.raises((type(failure), TerraError)):
            self.push(role, session, served, MadeImage(LAYERS, happens=_raising(failure)))
        assert served.image_digest("1") == before

    def test_after_a_kill_an_image_can_be_pushed(self, role: Registry, session: Session, served: FaultyRegistry) -> None:
        image = MadeImage(LAYERS, happens=die)
        killed_after(lambda: self.push(role, session, served, image))
        assert "1" not in served.content, "what is half there has no name"
        assert self.push(role, session, served, MadeImage(LAYERS)) == served.image_digest("1")

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_registry_that_would_not_take_it_says_so_before_the_push_or_by_it(
        self, role: Registry, session: Session, served: FaultyRegistry, status: int
    ) -> None:
        role.check_push(self.reference(served), session)
        assert served.content == {}, "asking leaves nothing"

        def refuse(asked: Asked) -> None:
            asked.body()
            asked.say(status)

        def push() -> None:
            role.check_push(self.reference(served), session)
            self.push(role, session, served, MadeImage([FIRST]))

        served.fault("", refuse)
        with pytest.raises(TerraError, match=re.escape(served.address)):
            push()
        assert served.content == {}

    def test_moving_images_leaves_nothing_of_the_controllers(
        self, role: Registry, session: Session, served: FaultyRegistry, layout: Path
    ) -> None:
        self.push(role, session, served, MadeImage(LAYERS))
        self.pull(role, session, served, layout)
        assert everything(session.paths.root) == {}


def _raising(failure: BaseException) -> Callable[[], None]:
    def happens() -> None:
        raise failure

    return happens


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bundle(image: str, key: Ed25519PrivateKey) -> bytes:
    """Return a Sigstore bundle with a DSSE envelope: https://docs.sigstore.dev/about/bundle/."""
    algorithm, _, encoded = image.partition(":")
    statement = json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {algorithm: encoded}}],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        }
    ).encode()
    kind = "application/vnd.in-toto+json"
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(statement), statement)
    envelope = {
        "payload": _base64(statement),
        "payloadType": kind,
        "signatures": [{"sig": _base64(key.sign(signed))}],
    }
    return json.dumps({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope}).encode()
