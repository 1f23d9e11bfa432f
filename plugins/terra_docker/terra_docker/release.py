"""A list of images that are built and pushed together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import Factory, evolve, frozen

from terra_core.config.loader import load
from terra_core.config.structure import Problem
from terra_core.config.values import ImageReference
from terra_core.errors import InterruptedWork, TerraError
from terra_core.system.progress import Report
from terra_docker.assemble import Outputs, assemble, request
from terra_docker.settings import Docker


@frozen(kw_only=True)
class ReleaseImage:
    """An ``[[images]]`` entry.

    :param ref: the image's name, with its tag.
    :param context: the directory that ADD and COPY see, from the file's own directory.
    :param dockerfile: the directory with the Dockerfile, from there too; the context when left out.
    :param args: values for ARG.
    :param no_cache: whether every step runs again, as it has to for packages to be renewed.
    :param http: whether it may be pushed over plain HTTP.
    """

    ref: ImageReference
    context: str = "."
    dockerfile: str | None = None
    args: Mapping[str, str] = Factory(dict)
    no_cache: bool = False
    http: bool = False


@frozen(kw_only=True)
class Release:
    """The file.

    :param images: the images, in the order in which they are built.
    """

    images: tuple[ReleaseImage, ...]

    def problems(self) -> Iterator[Problem]:
        """Return what is wrong between the entries."""
        seen: set[str] = set()
        for at, image in enumerate(getattr(self, "images", ())):
            if image.ref.digest:
                yield Problem(f"images[{at}].ref", "an image is pushed under a tag, and this names a digest")
            if str(image.ref) in seen:
                yield Problem(f"images[{at}].ref", f"{image.ref} is there twice")
            seen.add(str(image.ref))


def load_release(path: Path) -> Sequence[ReleaseImage]:
    """Read a list, its directories as seen from the file.

    :raises ConfigError: with every problem of the file.
    """
    here = path.resolve().parent
    return [
        evolve(image, context=str(here / image.context), dockerfile=str(here / (image.dockerfile or image.context)))
        for image in load(path, Release).value.images
    ]


def build_release(images: Sequence[ReleaseImage], settings: Docker, report: Report) -> Iterator[str]:
    """Build and push every image; one that fails keeps none of the others back.

    :returns: each image's name with its digest, as soon as it is pushed.
    :raises TerraError: at the end, with all that went wrong.
    """
    failures = []
    for image in images:
        try:
            with request(Path(image.context), Path(image.dockerfile or image.context)) as prepared:
                build = prepared(reference=image.ref, arguments=image.args, no_cache=image.no_cache)
                done = assemble(build, Outputs(push=True, http=image.http), settings, report)
        except InterruptedWork:
            raise
        except TerraError as error:
            failures.append(str(error))
        else:
            yield f"{image.ref}@{done.digest}"
    if failures:
        raise TerraError("\n".join([f"{len(failures)} of {len(images)} images failed:", *failures]))
