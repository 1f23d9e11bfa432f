"""Building on the engine, by whichever of its builders the Dockerfile needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound

from terra_core.building.failures import registry_failure
from terra_core.building.request import (
    base_labels,
    bases_of,
    check_platforms,
    check_reference,
    check_stages,
    dated,
    dockerfile_of,
    doing,
)  # fmt: skip
from terra_core.config.values import ImageReference
from terra_core.errors import TerraError
from terra_core.hookspecs import BuildRequest, BuiltImage
from terra_core.oci.timestamps import rfc3339
from terra_core.system.progress import Event, Report
from terra_core.system.reasons import reason_of
from terra_core.system.undo import undoing
from terra_docker.buildkit import BuildKit, find_buildkit
from terra_docker.classic import ClassicProgress, build_by_classic, refused
from terra_docker.engine import REMEDIES, connected
from terra_docker.leftovers import Leftovers
from terra_docker.settings import BuilderKind, Docker
from terra_docker.streams import records

LABEL = "terra.builder"
"""The label of every image that is built here: ``vab cron`` prunes no other."""

_CREATED = "org.opencontainers.image.created"


def build_image(build: BuildRequest, settings: Docker, report: Report) -> BuiltImage:
    """Build an image and give it its name.

    RUN steps have the network of the machine that the engine runs on.

    :raises TerraError: with the failed step and the end of the engine's output; nothing of the build is left then, nor when
        it is interrupted.
    """
    with built_image(build, settings, report, keep=True) as (_, built):
        return built


@contextmanager
def built_image(build: BuildRequest, settings: Docker, report: Report, *, keep: bool) -> Iterator[tuple[APIClient, BuiltImage]]:
    """Build an image as :func:`build_image` does; what is done with it as long as the block lasts is part of the build.

    :param keep: whether it stays when the block has ended well. It goes when the block fails, unless it has a name.
    :returns: the engine, and the image in it.
    """
    build = dated(build)
    check_reference(build)
    with connected(settings) as client:
        leftovers = Leftovers(client)
        try:
            built = _build(client, build, settings, leftovers, report)
            yield client, built
        except APIError as error:
            with undoing(error):
                leftovers.remove()
            raise refused(build, doing(build), error) from error
        except (DockerException, requests.RequestException) as error:
            with undoing(error):
                leftovers.remove()
            raise TerraError(f"{doing(build)}: the engine went away: {reason_of(error)}") from error
        except BaseException as error:
            with undoing(error):
                leftovers.remove()
            raise
        if not keep:
            leftovers.remove()


def _build(client: APIClient, build: BuildRequest, settings: Docker, leftovers: Leftovers, report: Report) -> BuiltImage:
    buildkit = _chosen(build, settings, client, report)
    labels = {
        LABEL: "terra-docker",
        _CREATED: rfc3339(build.epoch or 0),
        **_base_labels(client, build, leftovers, report),
        **build.labels,
    }
    if buildkit is not None:
        image = buildkit.build(build, labels, doing(build), report)
        leftovers.made(image)
    else:
        image = build_by_classic(client, build, labels, doing(build), leftovers, report)
    if build.reference is not None:
        client.tag(image, f"{build.reference.registry}/{build.reference.path}", build.reference.tag)
    size: int = client.inspect_image(image)["Size"]  # type: ignore[no-untyped-call]  # the stubs leave it out
    return BuiltImage(
        reference=build.reference,
        id=image,
        size=size,
        epoch=build.epoch,
        base_layers=tuple(sorted(layers_of(client, bases_of(build)))),
    )


def layers_of(client: APIClient, images: Iterable[str]) -> set[str]:
    """Return the digests of the uncompressed layers of images that the engine has."""
    layers: set[str] = set()
    for name in images:
        with suppress(APIError):  # named by an argument, or known to BuildKit alone
            found = client.inspect_image(name)  # type: ignore[no-untyped-call]  # the stubs leave it out
            layers |= set(found["RootFS"].get("Layers") or ())
    return layers


def _chosen(build: BuildRequest, settings: Docker, client: APIClient, report: Report) -> BuildKit | None:
    """BuildKit, or nothing for the classic builder.

    :raises TerraError: when the Dockerfile asks for what the builder can't do, or BuildKit is not to be had.
    """
    dockerfile = dockerfile_of(build)
    check_stages(build, dockerfile)
    needs = dockerfile.needs
    if settings.builder is BuilderKind.CLASSIC and needs:
        asked = f"{build.dockerfile} line {needs[0].line}: {needs[0].what} needs BuildKit"
        raise TerraError(
            f"{doing(build)}: {asked}, and the classic builder is asked for",
            hint='take vab --builder auto, or [docker] builder = "auto" in a file, or do without it',
        )
    if settings.builder is not BuilderKind.BUILDKIT and not needs:
        if dockerfile.syntax:
            report(Event("build", f"# syntax={dockerfile.syntax} has no meaning to the classic builder: nothing is fetched"))
        return None
    why = f"{build.dockerfile} line {needs[0].line}: {needs[0].what} needs BuildKit" if needs else "BuildKit is asked for"
    buildkit = find_buildkit(settings, client, f"{doing(build)}: {why}")
    if dockerfile.syntax:
        report(Event("build", f"# syntax={dockerfile.syntax} has the engine fetch that image and run it"))
    return buildkit


def _base_labels(client: APIClient, build: BuildRequest, leftovers: Leftovers, report: Report) -> dict[str, str]:
    """Return the labels that name the base; one that came from no registry has no digest.

    :raises TerraError: when a component is for another machine than the base: the engine would copy its programs all the same.
    """
    base = build.base
    if base is None:
        return {}
    progress = ClassicProgress(doing(build), leftovers, report)
    found = {image: _inspected(client, image, progress) for image in (base, *build.components)}
    check_platforms(build, {image: f"{said['Os']}/{said['Architecture']}" for image, said in found.items()})
    digests = {digest.rpartition("@")[::2] for digest in found[base].get("RepoDigests") or []}
    familiar = {f"{base.registry}/{base.path}", base.path.removeprefix("library/")}
    here = sorted(digest for name, digest in digests if name in familiar)
    return base_labels(base, next(iter(here), None))


def _inspected(client: APIClient, image: ImageReference, progress: ClassicProgress) -> dict[str, Any]:
    """Return what the engine says of an image, which it pulls when it does not have it."""
    try:
        found: dict[str, Any] = client.inspect_image(str(image))  # type: ignore[no-untyped-call]  # the stubs leave it out
    except ImageNotFound:
        _pull(client, image, progress)
        found = client.inspect_image(str(image))  # type: ignore[no-untyped-call]  # the stubs leave it out
    return found


def _pull(client: APIClient, image: ImageReference, progress: ClassicProgress) -> None:
    name = f"{image.registry}/{image.path}"
    try:
        with records(client, lambda: client.pull(name, tag=image.digest or image.tag, stream=True, decode=True)) as answer:
            for record in answer:
                progress.take(record)
    except APIError as error:
        said = str(error.explanation or error)
        raise registry_failure(f"{progress.doing}: pulling {image}", image, said, REMEDIES) from error
