"""Signatures that a registry keeps beside an image: where cosign puts them, and whether one of them will do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from terra_core.errors import TerraError
from terra_core.image import Descriptor, Digest, ImageError, media
from terra_core.image.documents import read_descriptor
from terra_core.image.signature import BUNDLE_TYPES, PAYLOAD_TYPE, SIGNATURE_KEY, verify_bundle, verify_payload
from terra_core.image.structure import Node, read_document
from terra_docker.remote import Document, Remote

if TYPE_CHECKING:
    from terra_core.image.signature import PublicKey

_MOST = 32
"""Signatures of one image that are looked at."""
_REMEDY = "sign it with the private half of the key: cosign sign --key cosign.key IMAGE@DIGEST"


def require_signature(remote: Remote, named: Document, key: PublicKey) -> None:
    """Look for a valid signature of what a reference names, in either of cosign's forms.

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


def _found(remote: Remote, image: Digest) -> Iterator[_Signature]:
    tag = f"{image.algorithm}-{image.encoded}"
    listed = remote.look(f"manifests/{tag}.sig", tuple(sorted(media.MANIFESTS)))
    if listed is not None:
        yield from _layers(read_document(listed, f"{tag}.sig"))
    index = remote.look(f"referrers/{image}", (media.OCI_INDEX,)) or remote.look(f"manifests/{tag}", (media.OCI_INDEX,))
    if index is not None:
        for at, item in enumerate(read_document(index, f"the referrers of {image}")["manifests"].items()):
            if at < _MOST and item["artifactType"].value in BUNDLE_TYPES:
                manifest = read_descriptor(item)
                yield from _layers(read_document(_fetch(remote, manifest, "manifests"), str(manifest.digest)))


def _layers(manifest: Node) -> Iterator[_Signature]:
    for at, layer in enumerate(manifest["layers"].items()):
        if at < _MOST:
            yield _Signature(layer)


def _fetch(remote: Remote, descriptor: Descriptor, kind: str) -> bytes:
    return remote.fetch_described(descriptor, kind).content
