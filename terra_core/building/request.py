"""What a request to build leaves open, and what of it no builder can do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from attrs import evolve

from terra_core.building.context import dockerfile_text, newest_time
from terra_core.building.instructions import Dockerfile, read_dockerfile
from terra_core.config.values import ImageReference, shown
from terra_core.errors import ConfigError, TerraError
from terra_core.hookspecs import BuildRequest

_MOST_DIGITS = 11
_BASE = "org.opencontainers.image.base"


def dated(build: BuildRequest) -> BuildRequest:
    """Return the build with its epoch: its own, SOURCE_DATE_EPOCH, or the time of the newest file of the context.

    :raises ConfigError: when the variable holds something else than seconds since 1970.
    """
    if build.epoch is not None:
        return build
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said is None:
        return evolve(build, epoch=newest_time(build))
    if not said.isascii() or not said.isdigit() or len(said) > _MOST_DIGITS:
        raise ConfigError([f"SOURCE_DATE_EPOCH: expected seconds since 1970, got {shown(said)}"])
    return evolve(build, epoch=int(said))


def doing(build: BuildRequest) -> str:
    """Return what a build is called in messages."""
    return f"building {build.reference}" if build.reference else f"building {build.context}"


def check_reference(build: BuildRequest) -> None:
    """Refuse a name that no image can be built under.

    :raises TerraError: when it names a digest.
    """
    if build.reference is not None and (not build.reference.tag or build.reference.digest):
        raise TerraError(f"{build.reference}: an image is built under a tag, and this names a digest")


def bases_of(build: BuildRequest) -> Sequence[str]:
    """Return the names of the images that a build stands on."""
    return [str(build.base)] if build.base is not None else dockerfile_of(build).bases


def dockerfile_of(build: BuildRequest) -> Dockerfile:
    """Return the Dockerfile of a build, read.

    :raises TerraError: when there is none, or when it can't be read.
    """
    text = dockerfile_text(build)
    if text is None:
        raise TerraError(f"{doing(build)}: there is no {build.dockerfile} in {build.context}")
    return read_dockerfile(text)


def check_stages(build: BuildRequest, dockerfile: Dockerfile) -> None:
    """Refuse a second image in the Dockerfile of a build that names its only base.

    :raises TerraError: naming the line's words.
    """
    begun = [step for step in dockerfile.instructions if step.name == "FROM"]
    if build.base is not None and len(begun) > 1:
        raise TerraError(
            f"{doing(build)}: FROM {shown(begun[1].words)} begins another image, which has nothing of what {build.base} and "
            "server.toml give it",
            hint='name the image by os = "...", or take single files of it by COPY --from=IMAGE',
        )


def base_labels(base: ImageReference | None, digest: str | None = None) -> dict[str, str]:
    """Return the labels that name the base of an image: https://specs.opencontainers.org/image-spec/annotations/.

    :param digest: the digest that the base has in its registry, if any.
    """
    digest = base.digest or digest if base else None
    return {f"{_BASE}.name": str(base), **({f"{_BASE}.digest": digest} if digest else {})} if base else {}


def check_platforms(build: BuildRequest, platforms: Mapping[ImageReference, str]) -> None:
    """Refuse a component that is for another machine than the base: a builder would copy its programs all the same.

    :param platforms: what the base and each component are built for, such as ``linux/amd64``.
    :raises TerraError: naming the component.
    """
    for component in build.components:
        if build.base is not None and platforms[component] != platforms[build.base]:
            said = f"{component} is built for {platforms[component]}, and {build.base} for {platforms[build.base]}"
            raise TerraError(f"{doing(build)}: {said}")
