"""Signatures that a registry keeps beside an image: where cosign puts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from terra_core.errors import NotFoundError
from terra_core.oci import Descriptor, Digest, ImageError, media
from terra_core.oci.documents import read_descriptor
from terra_core.oci.signature import ARTIFACT_TYPE, BUNDLE_TYPES, PAYLOAD_TYPE, FoundSignature
from terra_core.oci.structure import Node, read_document
from terra_core.registry.remote import Remote

_MOST = 32
"""The most signatures of one image that are looked at."""
_FORMS = frozenset({*BUNDLE_TYPES, ARTIFACT_TYPE})
_FOREIGN = {"application/vnd.cncf.notary.signature": "notation"}


def find_signatures(remote: Remote, image: Digest) -> list[FoundSignature]:
    """Fetch what may be a signature of an image, in any of cosign's forms.

    :raises TerraError: as the registry said it.
    """
    return list(_found(remote, image))


def _read(remote: Remote, node: Node) -> FoundSignature:
    """Fetch a blob that is said to hold a signature; what is wrong with one is no reason against the next."""
    try:
        blob = read_descriptor(node)
        if blob.media_type != PAYLOAD_TYPE and blob.media_type not in BUNDLE_TYPES:
            return FoundSignature(media_type=blob.media_type)  # of no use, and maybe large
        content = _fetch(remote, blob, "blobs")
    except (ImageError, NotFoundError) as error:
        return FoundSignature(problem=error.message)
    return FoundSignature(media_type=blob.media_type, content=content, annotations=dict(blob.annotations))


def _found(remote: Remote, image: Digest) -> Iterator[FoundSignature]:
    tag = f"{image.algorithm}-{image.encoded}"
    listed = remote.look(f"manifests/{tag}.sig", tuple(sorted(media.MANIFESTS)))
    if listed is not None:
        yield from (_read(remote, node) for node in _layers(read_document(listed, f"{tag}.sig")))
    seen: set[str] = set()
    # A registry may have got the referrers interface after the signature, which is then under the tag only.
    for place in (f"referrers/{image}", f"manifests/{tag}"):
        content = remote.look(place, (media.OCI_INDEX,))
        if content is not None:
            yield from _referring(remote, _listed(content, f"the referrers of {image}"), seen)


def _listed(content: bytes, where: str) -> Sequence[Node]:
    """Return the entries of an index; a registry that has no such interface may answer with anything."""
    with suppress(ImageError):
        return tuple(read_document(content, where)["manifests"].items())
    return ()


def _referring(remote: Remote, listed: Sequence[Node], seen: set[str]) -> Iterator[FoundSignature]:
    """Return the signatures among what refers to an image.

    :param seen: digests of what was looked at before.
    """
    for item in listed:
        kind = item["artifactType"].value
        if kind in _FOREIGN:
            yield FoundSignature(problem=f"a signature of {_FOREIGN[str(kind)]}, whose form is not read")
        if len(seen) >= _MOST or (kind and kind not in _FORMS) or str(item["digest"].value) in seen:
            continue
        seen.add(str(item["digest"].value))
        try:
            described = read_descriptor(item)
            manifest = read_document(_fetch(remote, described, "manifests"), str(described.digest))
            fitting = bool(kind) or (manifest["artifactType"].value or manifest["config"]["mediaType"].value) in _FORMS
            layers = tuple(_layers(manifest)) if fitting else ()
        except (ImageError, NotFoundError) as error:  # the next one may be right
            yield FoundSignature(problem=error.message)
        else:
            yield from (_read(remote, node) for node in layers)


def _layers(manifest: Node) -> Iterator[Node]:
    for at, layer in enumerate(manifest["layers"].items()):
        if at < _MOST:
            yield layer


def _fetch(remote: Remote, descriptor: Descriptor, kind: str) -> bytes:
    return remote.fetch_described(descriptor, kind).content
