"""What ``vab build`` does: a build, and the outputs of the image."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO

from attrs import evolve, frozen
from docker import APIClient

from terra_core.building.ignore import IGNORE
from terra_core.building.request import bases_of, dated
from terra_core.errors import TerraError
from terra_core.hookspecs import BuildRequest, BuiltImage
from terra_core.oci.repacking import Repacking, repack
from terra_core.registry.push import check_name
from terra_core.system.progress import Report
from terra_core.system.undo import Undo
from terra_core.system.workspace import image_workspace
from terra_docker.access import registry_access
from terra_docker.build import built_image
from terra_docker.export import archive_file, check_directory, check_file, export_tree, write_archive
from terra_docker.push import push
from terra_docker.save import saved
from terra_docker.settings import Docker

_NAME = "Dockerfile"
_DIRECTORY = ".vab"


@frozen(kw_only=True)
class Outputs:
    """Where an image goes, besides its name in the engine.

    :param push: whether it is pushed.
    :param http: whether that may be done over plain HTTP.
    :param tree: the directory that its file system is written to.
    :param archive: the file, or the open stream, that an OCI archive is written to.
    """

    push: bool = False
    http: bool = False
    tree: Path | None = None
    archive: Path | BinaryIO | None = None


@frozen(kw_only=True)
class Assembled:
    """An image that was built.

    :param built: the image; it is in the engine if it has a name.
    :param digest: the digest of its manifest where it was pushed.
    """

    built: BuiltImage
    digest: str | None = None


@contextmanager
def request(context: Path, directory: Path | None) -> Iterator[Callable[..., BuildRequest]]:
    """Return what makes a :class:`BuildRequest` of a context and the directory of a Dockerfile, given the rest of it.

    A Dockerfile outside of the context is laid over it, in a directory that the context does not have.

    :raises TerraError: when there is no Dockerfile.
    """
    place = (directory or context) / _NAME
    if not place.is_file():
        raise TerraError(
            f"{place}: there is no Dockerfile", hint="name its directory by --dockerfile, or the context's by --context"
        )
    context = context.resolve()
    if place.resolve().is_relative_to(context):
        yield partial(BuildRequest, context=context, dockerfile=str(place.resolve().relative_to(context)))
        return
    with tempfile.TemporaryDirectory(prefix="vab-") as work:
        name = f"{_free_name(context)}/{_NAME}"
        target = Path(work, name)
        target.parent.mkdir(mode=0o755)
        shutil.copyfile(place, target)
        if (ignore := place.with_name(f"{_NAME}{IGNORE}")).is_file():
            shutil.copyfile(ignore, target.with_name(ignore.name))
        yield partial(BuildRequest, context=context, overlay=Path(work), dockerfile=name)


def _free_name(context: Path) -> str:
    names = chain([_DIRECTORY], (f"{_DIRECTORY}-{number}" for number in count(1)))
    return next(name for name in names if not os.path.lexists(context / name))


def assemble(build: BuildRequest, outputs: Outputs, settings: Docker, report: Report) -> Assembled:
    """Build an image, and put it where it is wanted.

    :raises TerraError: nothing is exported partially then, and nothing is pushed when the build failed.
    """
    if outputs.tree is not None:
        check_directory(outputs.tree)
    if isinstance(outputs.archive, Path):
        check_file(outputs.archive)
    if outputs.push and build.reference is not None:
        check_name(build.reference)
    build, digest = dated(build), None
    with built_image(build, settings, report, keep=build.reference is not None) as (client, built), Undo() as stack:
        save = _saver(client, built, stack, report)
        if outputs.tree is not None:
            export_tree(save(), outputs.tree, report)
        if isinstance(outputs.archive, Path):
            write_archive(save(), stack.enter_context(archive_file(outputs.archive)))
        elif outputs.archive is not None:
            write_archive(save(), outputs.archive)
        if outputs.push and build.reference is not None:
            digest = _push(client, build, built, outputs, settings, report)
    return Assembled(built=built, digest=digest)


def _push(
    client: APIClient, build: BuildRequest, built: BuiltImage, outputs: Outputs, settings: Docker, report: Report
) -> str | None:
    reference = build.reference
    if reference is None:
        return None
    access = evolve(registry_access(settings), insecure_hint=lambda registry: "say --http")
    if outputs.http:
        access = access.without_tls(reference.registry)
    return push(client, built, reference, bases_of(build), access, report)


def _saver(client: APIClient, built: BuiltImage, stack: ExitStack, report: Report) -> Callable[[], Path]:
    """Return what gives the image's layout, which is saved when that is called for the first time."""
    done: list[Path] = []

    def save() -> Path:
        if not done:
            work = stack.enter_context(image_workspace())
            name = built.reference.tag if built.reference else None
            repacking = Repacking(name=name, epoch=built.epoch, kept=built.base_layers, whole=True)
            with saved(client, built.id, work, report) as archive:
                repack(archive, work / "layout", repacking, report)
            done.append(work / "layout")
        return done[0]

    return save
