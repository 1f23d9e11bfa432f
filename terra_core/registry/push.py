"""Pushing an image: its layers compressed where they are not, and those taken over that the registry has already."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path

from attrs import evolve

from terra_core.config.values import ImageReference
from terra_core.errors import InterruptedWork, TerraError
from terra_core.oci import Descriptor, Digest, ImageError, media
from terra_core.oci.repacking import encoded, gzipped
from terra_core.oci.source import Blob, PortableImage
from terra_core.registry.access import RegistryAccess
from terra_core.registry.progress import explained
from terra_core.registry.remote import Remote
from terra_core.registry.transport import Transport
from terra_core.registry.upload import Part, Repository, upload
from terra_core.system.progress import Event, Report
from terra_core.system.workspace import image_workspace

_PIECE = 1 << 20


def check_push(reference: ImageReference, access: RegistryAccess, report: Report) -> None:
    """Check that a registry answers and accepts the credentials, before anything is made ready for it.

    :raises TerraError: when it does not, or when nothing can be pushed under that name.
    """
    check_name(reference)
    report(Event("ask", f"asking {reference.registry} whether {reference} may come"))
    with explained(f"pushing {reference}"), closing(Transport(access)) as transport:
        Repository(reference, (), transport).reach()


def check_name(reference: ImageReference) -> None:
    """Refuse a name that nothing can be pushed under."""
    if not reference.tag or reference.digest:
        raise TerraError(f"{reference}: an image is pushed under a tag, and this names a digest")


def push_image(
    reference: ImageReference,
    image: PortableImage,
    access: RegistryAccess,
    report: Report,
    *,
    bases: Sequence[ImageReference] = (),
) -> str:
    """Push an image under a name.

    A compressed layer is pushed unchanged. One that is not compressed is pushed in the form that the registry has of it, in a
    base or in the former image of this name, so that machines need not fetch it again; if it has none, it is compressed here.

    :param access: how registries are reached.
    :param bases: images that it stands on.
    :param report: gets events ``push``, counted in bytes.
    :returns: the digest of the manifest that the registry took.
    :raises TerraError: as the registry said it.
    """
    check_name(reference)
    with explained(f"pushing {reference}"), image_workspace() as work:
        here = [base for base in bases if base.registry == reference.registry]
        with closing(Transport(access)) as transport:
            repository = Repository(reference, {base.path for base in here}, transport)
            repository.reach()
            plain = {str(diff_id) for layer, diff_id in _zipped(image) if media.LAYERS[layer.media_type] == "plain"}
            known = {
                diff_id: layer
                for other in (*here, reference)  # the latter is the former image of this name
                for diff_id, layer in _layers_there(plain, other, repository, transport)
            }
            layers = list(_layers(image, known, work, report))
            config = _document(image.config_document, media.OCI_CONFIG)
            manifest = {
                "schemaVersion": 2,
                "mediaType": media.OCI_MANIFEST,
                "config": _described(config),
                "layers": [_described(layer) for layer in layers],
            }
            there = {str(layer.digest) for layer in known.values()}
            return upload(repository, [config, *layers], _document(encoded(manifest), media.OCI_MANIFEST), there, report)


def _layers(image: PortableImage, known: Mapping[str, Descriptor], work: Path, report: Report) -> Iterator[Part]:
    total = len(image.manifest.layers)
    for number, (layer, diff_id) in enumerate(_zipped(image)):
        kind = media.LAYERS[layer.media_type]
        opened = partial(image.open_layer, layer)
        if kind != "plain":
            yield Part(evolve(layer, media_type=media.OCI_LAYERS[kind]), opened)
        elif str(diff_id) in known:
            yield Part(known[str(diff_id)], opened)
        else:
            report(Event("save", "compress the layers", number, total, "layers"))
            yield _compressed(image, layer, diff_id, work / str(number))
    report(Event("save", "compress the layers", total, total, "layers"))


def _zipped(image: PortableImage) -> Iterator[tuple[Descriptor, Digest]]:
    return zip(image.manifest.layers, image.config.diff_ids, strict=True)


def _compressed(image: PortableImage, layer: Descriptor, diff_id: Digest, target: Path) -> Part:
    before, after = diff_id.hasher(), hashlib.sha256()

    def plain(blob: Blob) -> Iterator[bytes]:
        while piece := blob.read(_PIECE):
            before.update(piece)
            yield piece

    with image.open_layer(layer) as blob, target.open("wb") as file:
        for piece in gzipped(plain(blob)):
            after.update(piece)
            file.write(piece)
    if before.hexdigest() != diff_id.encoded:
        raise ImageError(f"a layer has the digest {before.hexdigest()}, where the configuration says {diff_id}")
    stored = Descriptor(media.OCI_LAYERS["gzip"], Digest("sha256", after.hexdigest()), target.stat().st_size)
    return Part(stored, lambda: target.open("rb"))


def _document(content: bytes, media_type: str) -> Part:
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    return Part(Descriptor(media_type, digest, len(content)), partial(BytesIO, content))


def _described(part: Part) -> dict[str, object]:
    blob = part.descriptor
    return {"mediaType": blob.media_type, "digest": str(blob.digest), "size": blob.size}


def _layers_there(
    wanted: Collection[str], other: ImageReference, repository: Repository, transport: Transport
) -> Iterator[tuple[str, Descriptor]]:
    """Return the layers of another image, as its registry has them, that the repository has or can take over: none of them has
    to be compressed again, and machines find that they have them.

    :param wanted: the digests of the uncompressed layers that are of use.
    """
    try:
        found = Remote(other, transport).find()
        for diff_id, layer in zip(found.config.diff_ids, found.manifest.layers, strict=True):
            is_public = "nondistributable" not in layer.media_type and "foreign" not in layer.media_type
            if str(diff_id) not in wanted or not is_public:
                continue
            if repository.has(layer) or repository.take_over(layer, other.path):
                yield str(diff_id), evolve(layer, media_type=media.OCI_LAYERS[media.LAYERS[layer.media_type]])
    except InterruptedWork:
        raise
    except TerraError:  # it does not exist or may not be read: its layers are sent like all others
        return
