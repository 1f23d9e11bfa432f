"""Signatures as cosign makes them with a key pair: which bytes are signed, and what they have to say.

Two forms are read: cosign's own (``specs/SIGNATURE_SPEC.md``: a payload in the simple signing format) and the Sigstore bundle
(``specs/BUNDLE_SPEC.md``: an in-toto statement in a DSSE envelope, or a signature of the manifest itself). As with cosign, a
signature is of a digest: the name that the payload gives is a claim of whoever signed, and is not looked at.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import field, frozen

from terra_core.errors import TerraError
from terra_core.oci.digest import Digest
from terra_core.oci.faults import ImageError
from terra_core.oci.structure import Node, read_document

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
"""The media type of a payload in cosign's own form."""
ARTIFACT_TYPE = "application/vnd.dev.cosign.artifact.sig.v1+json"
"""The type of a manifest with such payloads that refers to the image, as cosign 2 writes it in its mode ``oci-1-1``."""
SIGNATURE_KEY = "dev.cosignproject.cosign/signature"
"""The annotation of a payload's descriptor that holds its signature."""
BUNDLE_TYPES = frozenset(
    f"application/vnd.dev.sigstore.bundle{version}"
    for version in (".v0.3+json", "+json;version=0.3", "+json;version=0.2", "+json;version=0.1")
)
"""The media types of a Sigstore bundle."""

_COSIGN = "cosign container image signature"
_STATEMENT_TYPE = "application/vnd.in-toto+json"
_STATEMENTS = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})
_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
"""What says that a statement is the signature of an image: the same key may sign statements that say something else of it."""

_REMEDY = "sign it with the private half of the key: cosign sign --key cosign.key IMAGE@DIGEST"


@frozen(kw_only=True)
class FoundSignature:
    """What a registry has beside an image that may be a signature of it; nothing of it has been verified.

    :param media_type: what ``content`` is said to be: a payload in cosign's own form, or a Sigstore bundle.
    :param content: its bytes.
    :param annotations: those of its descriptor, in which cosign keeps the signature of a payload.
    :param problem: why it could not be read, where that is so: one that cannot be read is no reason against the others.
    """

    media_type: str = ""
    content: bytes = b""
    annotations: Mapping[str, str] = field(factory=dict)
    problem: str = ""

    def verify(self, image: Digest, manifest: bytes, key: PublicKey) -> None:
        """Verify that it is a signature of an image.

        :param image: the digest that has to be signed.
        :param manifest: the document that has this digest.
        :param key: whose signature it has to be.
        :raises ImageError: when it is not that key's, or not of that image.
        """
        if self.problem:
            raise ImageError(self.problem)
        if self.media_type == PAYLOAD_TYPE:
            signature = self.annotations.get(SIGNATURE_KEY)
            if signature is None:
                raise ImageError("a payload without a signature")
            verify_payload(self.content, signature, image, key)
        elif self.media_type in BUNDLE_TYPES:
            verify_bundle(self.content, image, manifest, key)
        else:
            raise ImageError(f"a signature of a kind that is not known: {self.media_type[:80]!r}")


def require_signature(found: Sequence[FoundSignature], image: Digest, manifest: bytes, key: PublicKey) -> None:
    """Require one valid signature of an image.

    :param found: what there is, in any order.
    :param image: the digest that has to be signed.
    :param manifest: the document that has this digest.
    :raises TerraError: when there is none.
    """
    refused: list[str] = []
    for signature in found:
        try:
            signature.verify(image, manifest, key)
        except ImageError as error:
            refused.append(error.message)
        else:
            return
    if not refused:
        raise TerraError(f"{image} is not signed, and [trust] asks for a signature", hint=_REMEDY)
    reasons = "; ".join(dict.fromkeys(refused))
    raise ImageError(f"{image} has no valid signature of the key that [trust] names: {reasons}", hint=_REMEDY)


def verify_payload(payload: bytes, signature: str, image: Digest, key: PublicKey) -> None:
    """Verify a signature of cosign's own form.

    :param payload: the bytes that were signed.
    :param signature: its signature in base64, as :data:`SIGNATURE_KEY` has it.
    :param image: the digest that has to be signed.
    :param key: whose signature it has to be.
    :raises ImageError: when it is not that key's, or not of that image.
    """
    _verify(_base64(signature, "the signature"), payload, key)
    critical = read_document(payload, "the signed payload")["critical"]
    kind = critical["type"].text()
    if kind != _COSIGN:
        raise ImageError(f"what is signed is {kind[:80]!r}, and no image")
    _same(critical["image"]["docker-manifest-digest"].text(), image)


def verify_bundle(bundle: bytes, image: Digest, manifest: bytes, key: PublicKey) -> None:
    """Verify a Sigstore bundle.

    :param bundle: the JSON document.
    :param image: the digest that has to be signed.
    :param manifest: the document that has this digest.
    :param key: whose signature it has to be.
    :raises ImageError: when it is not that key's, or not of that image.
    """
    document = read_document(bundle, "the bundle")
    if document["mediaType"].text() not in BUNDLE_TYPES:
        raise ImageError("the bundle is of a version that is not known")
    if document["dsseEnvelope"]:
        _verify_envelope(document["dsseEnvelope"], image, key)
    else:
        message = document["messageSignature"]
        _verify(_base64(message["signature"].text(), message.where), manifest, key)


def _verify_envelope(envelope: Node, image: Digest, key: PublicKey) -> None:
    """Dead Simple Signing Envelope, version 1: https://github.com/secure-systems-lab/dsse."""
    kind = envelope["payloadType"].text()
    payload = _base64(envelope["payload"].text(), f"{envelope.where}.payload")
    signatures = list(envelope["signatures"].items())
    if len(signatures) != 1:
        raise ImageError(f"{envelope.where}: {len(signatures)} signatures, where a bundle has one")
    signed = b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)
    _verify(_base64(signatures[0]["sig"].text(), signatures[0].where), signed, key)
    if kind != _STATEMENT_TYPE:
        raise ImageError(f"what is signed is {kind[:80]!r}, and no statement of an image")
    statement = read_document(payload, "the signed statement")
    if statement["_type"].text() not in _STATEMENTS or statement["predicateType"].text() != _PREDICATE:
        raise ImageError("what is signed is a statement about an image, not the image")
    said = [subject["digest"][image.algorithm] for subject in statement["subject"].items()]
    if image.encoded not in [digest.text() for digest in said if digest]:
        raise ImageError("the signature is of another image")


def _same(said: str, image: Digest) -> None:
    if said != str(image):
        raise ImageError(f"the signature is of another image, {said[:80]!r}")


def _base64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ImageError(f"{where}: is not base64") from None


def _verify(signature: bytes, signed: bytes, key: PublicKey) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            key.verify(signature, signed, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        raise ImageError("the signature is not by the key that is trusted") from None
