"""Pushing an image of the engine to its registry, with the times of its build rewritten.

The engine has a push of its own, which takes an image as it is, the times of its build included, and knows registries and
credentials of its own. What is uploaded here is the same whenever and wherever it was built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress

import requests
from attrs import evolve, frozen
from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound

from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.errors import InterruptedWork, NotFoundError, TerraError
from terra_core.oci import Descriptor, Layout, media
from terra_core.registry import RegistryAccess
from terra_core.registry.progress import explained
from terra_core.registry.remote import Remote
from terra_core.registry.transport import Transport
from terra_core.registry.upload import Repository, upload_image
from terra_core.system.progress import Event, Report
from terra_core.system.reasons import reason_of
from terra_docker.build import LABEL, labelled_base, labelled_epoch
from terra_docker.engine import connected, goes_without_tls
from terra_docker.save import Saving, save_image
from terra_docker.scratch import scratch
from terra_docker.settings import Docker


@frozen(kw_only=True)
class Origin:
    """What an image was built from.

    :param epoch: no time of its own layers is later than this, in seconds since 1970; ``None`` leaves all as they are.
    :param bases: the images that it stands on, whose layers stay as they are.
    """

    epoch: int | None = None
    bases: Sequence[str] = ()


def push_image(reference: ImageReference, settings: Docker, access: RegistryAccess, report: Report) -> str:
    """Push an image of the engine that has its name; an image that was built here says by its labels what it was built from.

    :returns: the digest of the manifest that the registry took.
    :raises TerraError: as the registry or the engine said it.
    """
    check_name(reference)
    with connected(settings) as client:
        try:
            found = client.inspect_image(str(reference))  # type: ignore[no-untyped-call]  # the stubs leave it out
        except ImageNotFound as error:
            raise NotFoundError(f"pushing {reference}: the engine has no such image") from error
        except (DockerException, requests.RequestException) as error:
            raise TerraError(f"pushing {reference}: the engine went away: {reason_of(error)}") from error
        labels = found["Config"].get("Labels") or {}
        origin = Origin()
        if LABEL in labels:
            base = labelled_base(labels)
            origin = Origin(epoch=labelled_epoch(labels), bases=(base,) if base else ())
        return push(client, found["Id"], reference, origin, access, report)


def check_name(reference: ImageReference) -> None:
    """Refuse a name that nothing can be pushed under."""
    if not reference.tag or reference.digest:
        raise TerraError(f"{reference}: an image is pushed under a tag, and this names a digest")


def push(
    client: APIClient,
    image: str,
    reference: ImageReference,
    origin: Origin,
    access: RegistryAccess,
    report: Report,
) -> str:
    """Push an image of the engine.

    :param image: its id.
    :param access: how registries are reached; those that the engine goes to without TLS may do without it here too.
    :returns: the digest of the manifest that the registry took.
    :raises TerraError: as the registry or the engine said it.
    """
    with explained(f"pushing {reference}"), engine_at_hand(), scratch() as work:
        report(Event("ask", f"asking {reference.registry} whether {reference} may come"))
        if goes_without_tls(client, reference.registry):
            access = access.without_tls(reference.registry)
        bases = [base for base in _references(origin.bases) if base.registry == reference.registry]
        with closing(Transport(access)) as transport:
            repository = Repository(reference, {base.path for base in bases}, transport)
            repository.reach()
            kept = layers_of(client, origin.bases)
            known = {
                diff_id: layer
                for other in (*bases, reference)  # the latter is the image of that name before this one
                for diff_id, layer in _layers_there(other, repository, transport)
                if diff_id in kept
            }
            saving = Saving(epoch=origin.epoch, kept=kept, known=known, compress=True)
            save_image(client, image, work, saving, report)
            return upload_image(Layout(work), repository, {str(layer.digest) for layer in known.values()}, report)


@contextmanager
def engine_at_hand() -> Iterator[None]:
    """Say that it was the engine that failed, in a block that asks nobody else by the same library."""
    try:
        yield
    except (DockerException, requests.RequestException) as error:
        raise TerraError(f"the engine went away: {reason_of(error)}") from error


def layers_of(client: APIClient, images: Iterable[str]) -> set[str]:
    """The digests of the uncompressed layers of images that the engine has."""
    layers: set[str] = set()
    for name in images:
        with suppress(APIError):  # named by an argument, or known to BuildKit alone
            found = client.inspect_image(name)  # type: ignore[no-untyped-call]  # the stubs leave it out
            layers |= set(found["RootFS"].get("Layers") or ())
    return layers


def _references(names: Iterable[str]) -> Iterator[ImageReference]:
    for name in names:
        with suppress(ValueError):
            yield parse_image_reference(name)


def _layers_there(other: ImageReference, repository: Repository, transport: Transport) -> Iterator[tuple[str, Descriptor]]:
    """The layers of another image, as its registry has them, that the repository has or can take over: none of them has to
    be compressed again, and machines find that they have them.
    """
    try:
        found = Remote(other, transport).find(lambda document: None)
        for diff_id, layer in zip(found.config.diff_ids, found.manifest.layers, strict=True):
            is_public = "nondistributable" not in layer.media_type and "foreign" not in layer.media_type
            if is_public and (repository.has(layer) or repository.take_over(layer, other.path)):
                yield str(diff_id), evolve(layer, media_type=media.OCI_LAYERS[media.LAYERS[layer.media_type]])
    except InterruptedWork:
        raise
    except TerraError:  # it is not there, or not for us to read: its layers are sent like all others
        return
