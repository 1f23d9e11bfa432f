"""Signatures that a registry keeps beside an image: where cosign puts them, and whether one of them will do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from terra_core.errors import NotFoundError, TerraError
from terra_core.oci import Descriptor, Digest, ImageError, media
from terra_core.oci.documents import read_descriptor
from terra_core.oci.signature import ARTIFACT_TYPE, BUNDLE_TYPES, PAYLOAD_TYPE, SIGNATURE_KEY, verify_bundle, verify_payload
from terra_core.oci.structure import Node, read_document
from terra_core.registry.remote import Document, Remote

if TYPE_CHECKING:
    from terra_core.oci.signature import PublicKey

_MOST = 32
"""Signatures of one image that are looked at."""
_FORMS = frozenset({*BUNDLE_TYPES, ARTIFACT_TYPE})
_FOREIGN = {"application/vnd.cncf.notary.signature": "notation"}
_REMEDY = "sign it with the private half of the key: cosign sign --key cosign.key IMAGE@DIGEST"


def require_signature(remote: Remote, named: Document, key: PublicKey) -> None:
    """Look for a valid signature of what a reference names, in any of cosign's forms.

    :param named: the manifest or index, and its bytes.
    :raises TerraError: when there is none.
    """
    refused: list[str] = []
    image = named.descriptor.digest
    for found in _found(remote, image):
        try:
            found.verify(remote, named, key)
        except ImageError as error:
            refused.append(error.message)
        else:
            return
    if not refused:
        raise TerraError(f"{image} is not signed, and [trust] asks for a signature", hint=_REMEDY)
    reasons = "; ".join(dict.fromkeys(refused))
    raise ImageError(f"{image} has no valid signature of the key that [trust] names: {reasons}", hint=_REMEDY)


class _Signature:
    """A blob that holds a signature, or is said to.

    :param node: its descriptor, not read yet: what is wrong with one signature is no reason against the next.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def verify(self, remote: Remote, named: Document, key: PublicKey) -> None:
        """Fetch it, and verify it.

        :raises ImageError: when it is none of this image and this key.
        """
        blob = read_descriptor(self._node)
        image = named.descriptor.digest
        if blob.media_type == PAYLOAD_TYPE:
            signature = blob.annotations.get(SIGNATURE_KEY)
            if signature is None:
                raise ImageError("a payload without a signature")
            verify_payload(_fetch(remote, blob, "blobs"), signature, image, key)
        elif blob.media_type in BUNDLE_TYPES:
            verify_bundle(_fetch(remote, blob, "blobs"), image, named.content, key)
        else:
            raise ImageError(f"a signature of a kind that is not known: {blob.media_type[:80]!r}")


class _Unread:
    """What is no signature that can be verified.

    :param reason: why.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def verify(self, remote: Remote, named: Document, key: PublicKey) -> None:
        """Refuse it.

        :raises ImageError: always.
        """
        raise ImageError(self._reason)


def _found(remote: Remote, image: Digest) -> Iterator[_Signature | _Unread]:
    tag = f"{image.algorithm}-{image.encoded}"
    listed = remote.look(f"manifests/{tag}.sig", tuple(sorted(media.MANIFESTS)))
    if listed is not None:
        yield from _layers(read_document(listed, f"{tag}.sig"))
    seen: set[str] = set()
    # A registry may have got its interface after the signature, which then stands under the tag alone.
    for place in (f"referrers/{image}", f"manifests/{tag}"):
        content = remote.look(place, (media.OCI_INDEX,))
        if content is not None:
            yield from _referring(remote, _listed(content, f"the referrers of {image}"), seen)


def _listed(content: bytes, where: str) -> Sequence[Node]:
    """The entries of an index; a registry that has no such interface may answer with anything."""
    with suppress(ImageError):
        return tuple(read_document(content, where)["manifests"].items())
    return ()


def _referring(remote: Remote, listed: Sequence[Node], seen: set[str]) -> Iterator[_Signature | _Unread]:
    """The signatures among what refers to an image.

    :param seen: digests of what was looked at before.
    """
    for item in listed:
        kind = item["artifactType"].value
        if kind in _FOREIGN:
            yield _Unread(f"a signature of {_FOREIGN[str(kind)]}, whose form is not read")
        if len(seen) >= _MOST or (kind and kind not in _FORMS) or str(item["digest"].value) in seen:
            continue
        seen.add(str(item["digest"].value))
        try:
            described = read_descriptor(item)
            manifest = read_document(_fetch(remote, described, "manifests"), str(described.digest))
            fitting = bool(kind) or (manifest["artifactType"].value or manifest["config"]["mediaType"].value) in _FORMS
            layers = tuple(_layers(manifest)) if fitting else ()
        except (ImageError, NotFoundError) as error:  # what is wrong with one is no reason against the next
            yield _Unread(error.message)
        else:
            yield from layers


def _layers(manifest: Node) -> Iterator[_Signature]:
    for at, layer in enumerate(manifest["layers"].items()):
        if at < _MOST:
            yield _Signature(layer)


def _fetch(remote: Remote, descriptor: Descriptor, kind: str) -> bytes:
    return remote.fetch_described(descriptor, kind).content
