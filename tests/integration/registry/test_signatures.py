"""Signed images in a real registry: whose signature is taken, and that nothing of another image is fetched."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab.network import Network
from lab.registry import Registry
from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import parse_image_reference
from terra_core.errors import TerraError
from terra_core.hookspecs import Registry as RegistryRole
from terra_core.images import Images
from terra_core.oci import media, this_platform
from terra_core.plugins import Plugins
from terra_core.testing.faulty_registry import FaultyRegistry, faulty_registry, layer

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
EMPTY = "application/vnd.oci.empty.v1+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
KEYS: dict[str, PrivateKey] = {
    "ecdsa": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa": rsa.generate_private_key(65537, 2048),
}
OURS = KEYS["ecdsa"]
OTHER = ec.generate_private_key(ec.SECP256R1())


def trust(key: PrivateKey = OURS) -> Trust:
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Trust(key=pem.decode())


def sign(content: bytes, key: PrivateKey = OURS) -> str:
    """Return a signature as cosign makes it, in base64."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        made = key.sign(content, ec.ECDSA(SHA256()))
    elif isinstance(key, rsa.RSAPrivateKey):
        made = key.sign(content, padding.PKCS1v15(), SHA256())
    else:
        made = key.sign(content)
    return base64.b64encode(made).decode()


class Repository:
    """A repository of the real registry, written to as cosign does."""

    def __init__(self, network: Network, registry: Registry, name: str) -> None:
        self.name = f"{registry.address}/{name}"
        self.image = ""
        self.manifest = b""
        self._url = f"http://{registry.address}/v2/{name}"
        self._network = network

    def blob(self, content: bytes, kind: str, **more: Any) -> dict[str, Any]:
        """Upload a blob; return its descriptor."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with self._network.inside():
            place = requests.post(f"{self._url}/blobs/uploads/", timeout=10).headers["Location"]
            requests.put(f"{place}&digest={digest}", data=content, timeout=10).raise_for_status()
        return {"mediaType": kind, "digest": digest, "size": len(content), **more}

    def document(self, name: str, document: dict[str, Any]) -> dict[str, Any]:
        """Upload a manifest under a tag; return its descriptor."""
        content = json.dumps(document).encode()
        with self._network.inside():
            headers = {"Content-Type": document["mediaType"]}
            requests.put(f"{self._url}/manifests/{name}", data=content, headers=headers, timeout=10).raise_for_status()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(content)}

    def push(self, *, index: bool = False) -> None:
        """Upload an image under the tag 1, and remember what the tag names."""
        content = layer("file", self.name.encode())
        config = {
            "architecture": this_platform().architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
        }
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": self.blob(json.dumps(config).encode(), media.OCI_CONFIG),
            "layers": [self.blob(content, "application/vnd.oci.image.layer.v1.tar")],
        }
        described = self.document("1", manifest)
        if index:
            listed = {**described, "platform": {"os": "linux", "architecture": this_platform().architecture}}
            manifest = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [listed]}
            described = self.document("1", manifest)
        self.image, self.manifest = described["digest"], json.dumps(manifest).encode()

    def payload(self, **critical: object) -> bytes:
        """Return the payload that cosign signs."""
        said = {
            "identity": {"docker-reference": self.name},
            "image": {"docker-manifest-digest": self.image},
            "type": "cosign container image signature",
        }
        return json.dumps({"critical": {**said, **critical}, "optional": None}).encode()

    def attach(self, *signatures: tuple[bytes, str | None], kind: str = PAYLOAD) -> None:
        """Store payloads with their signatures where ``cosign sign`` does."""
        layers = []
        for payload, signature in signatures:
            annotations = {} if signature is None else {"dev.cosignproject.cosign/signature": signature}
            layers.append(self.blob(payload, kind, annotations=annotations))
        config = self.blob(b'{"architecture": "", "os": ""}', media.OCI_CONFIG)
        document = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": config, "layers": layers}
        self.document(f"{self.image.replace(':', '-')}.sig", document)

    def attach_bundle(self, *bundles: bytes) -> None:
        """Store bundles where cosign 3 does, by the tag scheme: this registry has no referrers interface."""
        listed = []
        for at, bundle in enumerate(bundles):
            document = {
                "schemaVersion": 2,
                "mediaType": media.OCI_MANIFEST,
                "artifactType": BUNDLE,
                "config": self.blob(b"{}", EMPTY),
                "layers": [self.blob(bundle, BUNDLE)],
                "subject": {"mediaType": media.OCI_MANIFEST, "digest": self.image, "size": len(self.manifest)},
            }
            listed.append({**self.document(f"bundle-{at}", document), "artifactType": BUNDLE})
        index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": listed}
        self.document(self.image.replace(":", "-"), index)

    def statement(self, **more: object) -> bytes:
        """Return the statement that cosign 3 signs."""
        subject = [{"digest": {"sha256": self.image.removeprefix("sha256:")}}]
        said = {"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": SIGN, "predicate": {}}
        return json.dumps({**said, **more}).encode()


def envelope(statement: bytes, key: PrivateKey = OURS, kind: str = "application/vnd.in-toto+json") -> bytes:
    """Return a bundle with a signed envelope."""
    signed = f"DSSEv1 {len(kind)} {kind} {len(statement)} ".encode() + statement
    said = {
        "payload": base64.b64encode(statement).decode(),
        "payloadType": kind,
        "signatures": [{"sig": sign(signed, key)}],
    }
    material = {"publicKey": {"hint": "x"}, "tlogEntries": []}
    return json.dumps({"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": said}).encode()


@pytest.fixture
def repository(network: Network, registry: Registry, request: pytest.FixtureRequest) -> Repository:
    """Make a repository of the test's own, with an image in it."""
    repository = Repository(network, registry, "r" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12])
    repository.push()
    return repository


def images(address: str, *trusted: Trust) -> Images:
    """Return the images of a registry, as the default plugin brings them."""
    plugin = Plugins.discover().fill(RegistryRole, {}, source="test")
    return Images(plugin=plugin, session=Session(tables={"docker": {"insecure": [address]}}), trust=trusted)


def pull(network: Network, registry: Registry, repository: Repository, layout: Path, key: Trust | None = None) -> str:
    """Pull with a key that is trusted."""
    reference = parse_image_reference(f"{repository.name}:1")
    with network.inside(), images(registry.address, key or trust()).pull(reference, layout) as image:
        return str(image.digest)


@pytest.mark.parametrize("kind", KEYS)
def test_a_signature_by_the_key(
    network: Network, registry: Registry, repository: Repository, tmp_path: Path, kind: str
) -> None:
    payload = repository.payload()
    repository.attach((payload, sign(payload, OTHER)), (payload, sign(payload, KEYS[kind])))
    assert pull(network, registry, repository, tmp_path / "layout", trust(KEYS[kind])) == repository.image


def test_the_name_that_was_signed_is_not_looked_at(
    network: Network, registry: Registry, repository: Repository, tmp_path: Path
) -> None:
    payload = repository.payload(identity={"docker-reference": "elsewhere/before/it:was-copied"})
    repository.attach((payload, sign(payload)))
    assert pull(network, registry, repository, tmp_path / "layout") == repository.image


def test_a_signature_of_an_index_is_one_of_all_it_lists(
    network: Network, registry: Registry, repository: Repository, tmp_path: Path
) -> None:
    manifest = repository.image
    repository.push(index=True)
    payload = repository.payload()
    repository.attach((payload, sign(payload)))
    assert pull(network, registry, repository, tmp_path / "layout") == manifest != repository.image


def test_bundles(network: Network, registry: Registry, repository: Repository, tmp_path: Path) -> None:
    repository.attach_bundle(envelope(repository.statement(), OTHER), envelope(repository.statement()))
    assert pull(network, registry, repository, tmp_path / "layout") == repository.image
    message = {"messageDigest": {}, "signature": sign(repository.manifest)}
    repository.attach_bundle(json.dumps({"mediaType": BUNDLE, "messageSignature": message}).encode())
    assert pull(network, registry, repository, tmp_path / "layout") == repository.image


def refused(network: Network, registry: Registry, repository: Repository, directory: Path, why: str) -> None:
    """Expect that the image is refused before anything of a layer is asked for."""
    before = registry.log.read_text(errors="replace").count(f"GET /v2/{repository.name.partition('/')[2]}/blobs/")
    with pytest.raises(TerraError, match=why) as caught:
        pull(network, registry, repository, directory / "layout")
    assert caught.value.message.startswith(f"pulling {repository.name}:1: ")
    assert "cosign sign" in caught.value.hint
    assert not (directory / "layout").exists()
    layer = json.loads(repository.manifest)["layers"][0]["digest"]
    asked = registry.log.read_text(errors="replace").split(f"GET /v2/{repository.name.partition('/')[2]}/blobs/")[before + 1 :]
    assert asked
    assert not any(line.startswith(layer) for line in asked)


def test_no_signature(network: Network, registry: Registry, repository: Repository, tmp_path: Path) -> None:
    refused(network, registry, repository, tmp_path, f"{repository.image} is not signed")


def test_a_signature_of_the_manifest_is_none_of_an_index(
    network: Network, registry: Registry, repository: Repository, tmp_path: Path
) -> None:
    payload = repository.payload()
    repository.attach((payload, sign(payload)))
    repository.push(index=True)
    with pytest.raises(TerraError, match="is not signed"):
        pull(network, registry, repository, tmp_path / "layout")


@pytest.mark.parametrize(
    ("changed", "signature", "why"),
    [
        ({}, "other", "not by the key that is trusted"),
        ({}, "tampered", "not by the key that is trusted"),
        ({"image": {"docker-manifest-digest": f"sha256:{'0' * 64}"}}, "", "of another image"),
        ({"image": {}}, "", "expected a string"),
        ({"image": None}, "", "expected"),
        ({"type": "atomic container signature"}, "", "no image"),
        ({}, "!", "is not base64"),
        ({}, "AAAA", "not by the key that is trusted"),
        ({}, None, "without a signature"),
    ],
)
def test_what_is_no_signature(
    network: Network,
    registry: Registry,
    repository: Repository,
    tmp_path: Path,
    changed: dict[str, Any],
    signature: str,
    why: str,
) -> None:
    payload = repository.payload(**changed)
    made = {"": sign(payload), "other": sign(payload, OTHER), "tampered": sign(payload + b" ")}.get(signature, signature)
    repository.attach((payload, made))
    refused(network, registry, repository, tmp_path, why)


@pytest.mark.parametrize("payload", [b"", b"null", b"{", b'{"critical": 1}', b'{"critical": {}, "critical": {}}', b"\xff"])
def test_payloads_that_are_none(
    network: Network, registry: Registry, repository: Repository, tmp_path: Path, payload: bytes
) -> None:
    repository.attach((payload, sign(payload)))
    refused(network, registry, repository, tmp_path, "no valid signature")


def test_a_payload_of_another_kind(network: Network, registry: Registry, repository: Repository, tmp_path: Path) -> None:
    payload = repository.payload()
    repository.attach((payload, sign(payload)), kind="text/plain")
    refused(network, registry, repository, tmp_path, "of a kind that is not known")


def test_what_is_no_bundle(network: Network, registry: Registry, repository: Repository, tmp_path: Path) -> None:
    other = [{"digest": {"sha256": "0" * 64}}]
    for bundle, why in {
        envelope(repository.statement(), OTHER): "not by the key",
        envelope(repository.statement(subject=other)): "of another image",
        envelope(repository.statement(subject=[])): "of another image",
        envelope(repository.statement(predicateType="https://slsa.dev/provenance/v1")): "a statement about an image",
        envelope(repository.statement(), kind="text/plain"): "no statement",
        envelope(b"not JSON"): "not valid JSON",
        b"{}": "expected a string",
        json.dumps({"mediaType": BUNDLE}).encode(): "expected",
        json.dumps({"mediaType": "application/x"}).encode(): "version that is not known",
        envelope(repository.statement()).replace(b'"signatures": [', b'"signatures": [{"sig": "AAAA"}, '): "2 signatures",
    }.items():
        repository.attach_bundle(bundle)
        refused(network, registry, repository, tmp_path, why)


def test_a_bundle_that_the_referrers_interface_lists(tmp_path: Path) -> None:
    with faulty_registry() as registry:
        image = registry.image([layer("file", b"content")], "1")["digest"]
        subject = [{"digest": {"sha256": image.removeprefix("sha256:")}}]
        said = {"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": SIGN}
        bundle = registry.put(envelope(json.dumps(said).encode()), BUNDLE)
        manifest = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "artifactType": BUNDLE, "layers": [bundle]}
        listed = {**registry.put(json.dumps(manifest).encode(), media.OCI_MANIFEST), "artifactType": BUNDLE}
        index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [listed]}
        registry.fault("referrers/", lambda asked: asked.say(200, json.dumps(index).encode(), media.OCI_INDEX))
        reference = parse_image_reference(registry.name)
        with images(registry.address, trust()).pull(reference, tmp_path / "layout") as source:
            assert str(source.digest) == image
        other = images(registry.address, trust(OTHER))
        with pytest.raises(TerraError, match="not by the key"), other.pull(reference, tmp_path):
            pass


def referring(
    registry: FaultyRegistry, image: str, kind: str, key: PrivateKey, *, typed: bool, number: int = 0
) -> dict[str, Any]:
    """Return a manifest that refers to an image, with a signed payload, as cosign 2 writes it in its mode oci-1-1."""
    critical = {"type": "cosign container image signature", "image": {"docker-manifest-digest": image}, "number": number}
    payload = json.dumps({"critical": critical}).encode()
    signature = {"dev.cosignproject.cosign/signature": sign(payload, key)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": registry.put(b"{}", kind),
        "layers": [{**registry.put(payload, PAYLOAD), "annotations": signature}],
    }
    described = registry.put(json.dumps(manifest).encode(), media.OCI_MANIFEST)
    return {**described, "artifactType": kind} if typed else described


COSIGN_2 = "application/vnd.dev.cosign.artifact.sig.v1+json"


def told(
    registry: FaultyRegistry, tmp_path: Path, *listed: dict[str, Any], interface: list[dict[str, Any]] | None = None
) -> str:
    """Return the error of a pull for what is listed under the tag, and by the referrers interface if there is one."""
    image = registry.image([layer("file", b"content")], "1")["digest"]
    index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": list(listed)}
    registry.put(json.dumps(index).encode(), media.OCI_INDEX, image.replace(":", "-"))
    if interface is not None:
        answer = json.dumps({**index, "manifests": interface}).encode()
        registry.fault("referrers/", lambda asked: asked.say(200, answer, media.OCI_INDEX))
    try:
        with images(registry.address, trust()).pull(parse_image_reference(registry.name), tmp_path / "layout"):
            return ""
    except TerraError as error:
        return error.message


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("interface", [True, False])
def test_payloads_in_a_manifest_that_refers_to_the_image(tmp_path: Path, typed: bool, interface: bool) -> None:
    with faulty_registry() as registry:
        image = registry.image([layer("file", b"content")], "1")["digest"]
        ours = referring(registry, image, COSIGN_2, OURS, typed=typed)
        theirs = referring(registry, image, COSIGN_2, OTHER, typed=typed, number=1)
        more = [referring(registry, image, f"application/x-{number}", OURS, typed=True, number=number) for number in range(40)]
        listed = [*more, theirs, ours]
        if interface:
            assert told(registry, tmp_path, interface=listed) == ""
        else:
            assert told(registry, tmp_path, *listed) == ""
            # a registry that got its interface later, and lists nothing there
            assert told(registry, tmp_path, *listed, interface=[]) == ""
        assert "not by the key" in told(registry, tmp_path, theirs, interface=[theirs])
        broken = [{"artifactType": COSIGN_2, "digest": "x"}, {**theirs, "digest": f"sha256:{'0' * 64}"}, {**theirs, "size": 1}]
        assert told(registry, tmp_path, *broken, ours) == ""


def test_what_refers_to_an_image_and_is_no_signature(tmp_path: Path) -> None:
    with faulty_registry() as registry:
        image = registry.image([layer("file", b"content")], "1")["digest"]
        other = referring(registry, image, "application/spdx+json", OURS, typed=False)
        assert "is not signed" in told(registry, tmp_path, other)
        notation = {**other, "artifactType": "application/vnd.cncf.notary.signature"}
        assert "a signature of notation, whose form is not read" in told(registry, tmp_path, notation)


def test_trust_holds_for_what_is_in_the_layout_already(
    network: Network, registry: Registry, repository: Repository, tmp_path: Path
) -> None:
    payload = repository.payload()
    repository.attach((payload, sign(payload)))
    pull(network, registry, repository, tmp_path / "layout")
    with pytest.raises(TerraError, match="not by the key"):
        pull(network, registry, repository, tmp_path / "layout", trust(OTHER))
