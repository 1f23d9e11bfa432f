"""The images that a build stands on: what Podman's storage has, or what it pulls by its own configuration."""

from __future__ import annotations

import hashlib
from contextlib import closing, suppress
from typing import Any

from terra_core.building.failures import registry_failure
from terra_core.building.output import plain
from terra_core.building.request import base_labels, check_platforms, doing
from terra_core.config.values import ImageReference
from terra_core.errors import CommandError, TerraError
from terra_core.hookspecs import BuildRequest
from terra_core.oci.structure import DOCUMENT_BYTES, read_document
from terra_core.system.progress import Event, Report
from terra_core.system.reading import read_regular
from terra_podman.program import Program, last_words
from terra_podman.progress import REMEDIES

_PULL_SECONDS = 4 * 3600


def labels_of_base(podman: Program, build: BuildRequest, report: Report) -> dict[str, str]:
    """Return the labels that name the base; one that came from no registry has no digest.

    :raises TerraError: when a component is for another machine than the base: its programs would be copied all the same.
    """
    base = build.base
    if base is None:
        return {}
    inspected = {image: _inspected(podman, build, image, report) for image in (base, *build.components)}
    check_platforms(build, {image: f"{said['Os']}/{said['Architecture']}" for image, said in inspected.items()})
    return base_labels(base, _digest_in_registry(podman, inspected[base], f"{base.registry}/{base.path}"))


def _inspected(podman: Program, build: BuildRequest, image: ImageReference, report: Report) -> dict[str, Any]:
    """Return what podman says of an image, which it pulls when it does not have it."""
    there = podman.image(str(image))
    if there is None:
        _pull(podman, build, image, report)
        there = podman.image(str(image))
    if there is None:
        raise TerraError(f"{doing(build)}: podman pulled {image}, and does not have it")
    return there


def _pull(podman: Program, build: BuildRequest, image: ImageReference, report: Report) -> None:
    lines = podman.lines("pull", *podman.authentication, str(image), timeout=_PULL_SECONDS)
    try:
        with closing(lines):
            for line in lines:
                if said := plain(line).strip():
                    report(Event("build", said))
    except CommandError as error:
        raise registry_failure(f"{doing(build)}: pulling {image}", image, last_words(error), REMEDIES) from error


def _digest_in_registry(podman: Program, inspected: dict[str, Any], name: str) -> str:
    """Return the digest that an image has in its registry; nothing for one that was made or loaded here.

    Podman gives every image a digest, and one that has several (of a registry, of the file that it came from) has them all
    under each of its names. The manifest that is kept with what came from a registry has compressed layers, and its own digest.
    """
    for manifest in podman.storage.glob(f"*-images/{inspected['Id']}/manifest"):
        with suppress(OSError, TerraError, ValueError):
            content = read_regular(manifest, DOCUMENT_BYTES)
            layers = list(read_document(content, str(manifest), unique=False)["layers"].items())
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            compressed = layers and all(layer["mediaType"].text().endswith(("gzip", "zstd")) for layer in layers)
            if compressed and f"{name}@{digest}" in (inspected.get("RepoDigests") or ()):
                return digest
    return ""
