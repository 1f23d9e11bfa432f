"""From server.toml to an image: what is rendered, the build, the push."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath

from attrs import evolve, frozen

from terra_core.config.loader import Document
from terra_core.config.problems import DocumentError
from terra_core.config.server import Server
from terra_core.config.structure import Problem
from terra_core.config.values import ImageReference, parse_userland
from terra_core.dockerfile import (
    NAME,
    CopyStep,
    component_tools,
    copy_steps,
    is_continued,
    write_dockerfile,
    write_overlay,
    wrong_with,
)
from terra_core.documents import settled
from terra_core.errors import PluginError, TerraError
from terra_core.hookspecs import Builder, BuildRequest, BuiltImage, Network, Registry, RenderedFile, RenderedLink
from terra_core.identity import render_identity
from terra_core.images import push_built
from terra_core.plugins import Plugins
from terra_core.selection import SERVER
from terra_core.system.progress import Report, silent
from terra_core.system.reading import read_regular

_DIRECTORY = ".terra"
_MOST_BYTES = 16 * 1024 * 1024


@frozen(kw_only=True)
class Rendered:
    """What Terra adds to the user's context for a build.

    :param dockerfile: the Dockerfile.
    :param files: the files of the machine.
    :param links: the symbolic links of the machine.
    :param directory: their directory in the context, a name that the user's context does not have.
    :param tools: files that only the build itself uses.
    """

    dockerfile: str
    files: tuple[RenderedFile, ...]
    directory: str
    tools: tuple[CopyStep, ...] = ()
    links: tuple[RenderedLink, ...] = ()

    @property
    def steps(self) -> list[CopyStep]:
        """Return the COPY instructions of the build."""
        return [*self.tools, *copy_steps([*self.files, *self.links], self.directory)]


@frozen(kw_only=True)
class Created:
    """An image that was made.

    :param reference: its name.
    :param id: the digest of its configuration.
    :param size: its size in bytes.
    :param digest: the digest of its manifest in the registry, if it was pushed.
    :param epoch: the latest time in its own layers when it is pushed; ``None`` leaves all times as they are.
    :param base_layers: the digests of the uncompressed layers that came with its base.
    """

    reference: ImageReference
    id: str
    size: int
    digest: str | None = None
    epoch: int | None = None
    base_layers: tuple[str, ...] = ()

    @property
    def pinned(self) -> str | None:
        """Its name with its digest, which stays what it is whatever becomes of the tag; if it was pushed."""
        return f"{self.reference}@{self.digest}" if self.digest else None


def create_image(
    document: Document[Server],
    *,
    context: Path | None = None,
    userland: str | None = None,
    push: bool = False,
    no_cache: bool = False,
    report: Report = silent,
    plugins: Plugins | None = None,
) -> Created:
    """Build the image of a server.toml, and push it when asked to.

    :param document: the file.
    :param context: the directory that the userland's ADD and COPY see; it is only read. None sees nothing.
    :param userland: Dockerfile lines in place of the file's own.
    :param push: whether to push it once it is built.
    :param no_cache: whether every step runs again.
    :param report: takes progress events, and may raise to end the work.
    :param plugins: the installed plugins; found when left out.
    :raises TerraError: nothing is pushed then, and what a failed build made is gone.
    """
    plugins = plugins or Plugins.discover()
    document = settled(document, SERVER, plugins, document.value.plugins)
    builder = plugins.fill(Builder, document.value.plugins, source=document.source)
    rendered = render_build(document, context=context, userland=userland, report=report, plugins=plugins)
    check_rendered(document, rendered, report=report, plugins=plugins)
    with tempfile.TemporaryDirectory(prefix="terra-create-") as work:
        overlay, empty = Path(work, "overlay"), Path(work, "empty")
        overlay.mkdir()
        empty.mkdir()
        write_overlay(overlay, rendered.directory, rendered.dockerfile, rendered.steps)
        build = BuildRequest(
            context=context or empty,
            overlay=overlay,
            dockerfile=f"{rendered.directory}/{NAME}",
            reference=document.value.image,
            no_cache=no_cache,
            labels=image_labels(document),
            base=document.value.os,
            components=document.value.components,
        )
        built = builder.build_image(build, document.session(report))
    created = Created(
        reference=document.value.image, id=built.id, size=built.size, epoch=built.epoch, base_layers=built.base_layers
    )
    return push_image(document, created, report=report, plugins=plugins) if push else created


def push_image(
    document: Document[Server], created: Created, *, report: Report = silent, plugins: Plugins | None = None
) -> Created:
    """Push an image that :func:`create_image` made.

    :param report: takes progress events, and may raise to end the work.
    :param plugins: the installed plugins; found when left out.
    :returns: the same, with the digest of its manifest in the registry.
    :raises TerraError: as the registry said it.
    """
    server, plugins = document.value, plugins or Plugins.discover()
    builder = plugins.fill(Builder, server.plugins, source=document.source)
    registry = plugins.fill(Registry, server.plugins, source=document.source)
    built = BuiltImage(
        reference=created.reference,
        id=created.id,
        size=created.size,
        epoch=created.epoch,
        base_layers=created.base_layers,
    )
    session = document.session(report)
    digest = push_built(built, created.reference, (server.os,), builder=builder, registry=registry, session=session)
    return evolve(created, digest=digest)


def image_labels(document: Document[Server]) -> Mapping[str, str]:
    """Return the labels of a machine's image: https://specs.opencontainers.org/image-spec/annotations/, and Terra's own.

    ``terra.server.sha256`` is the hash of what server.toml says, in whatever order it says it, comments aside.
    """
    server = document.value
    content = json.dumps(document.raw, sort_keys=True, default=str).encode()
    return {
        "org.opencontainers.image.title": server.hostname,
        "org.opencontainers.image.version": server.version,
        "terra.create.version": metadata.version("terra-core"),
        "terra.server.sha256": hashlib.sha256(content).hexdigest(),
    }


def render_build(
    document: Document[Server],
    *,
    context: Path | None = None,
    userland: str | None = None,
    report: Report = silent,
    plugins: Plugins | None = None,
) -> Rendered:
    """Render the Dockerfile and the files of a server.toml; nothing is written, and no engine is asked.

    A file that the context has at a rendered file's path takes its place, with the rendered one's owner and mode.

    :raises TerraError: as for :func:`create_image`.
    """
    plugins = plugins or Plugins.discover()
    document = settled(document, SERVER, plugins, document.value.plugins)
    server = _with_userland(document, userland)
    network = plugins.fill(Network, server.plugins, source=document.source)
    answer = network.render_network(server, document.session(report))
    rendered = [*render_identity(server), *_checked(answer, network)]
    _check_distinct(rendered, network)
    files = [piece for piece in rendered if isinstance(piece, RenderedFile)]
    links = [piece for piece in rendered if isinstance(piece, RenderedLink)]
    if context is not None:
        files = [_from_context(file, context) for file in files]
    directory = _free_name(context)
    tools = component_tools(server, directory)
    dockerfile = write_dockerfile(server, copy_steps([*files, *links], directory), tools)
    return Rendered(dockerfile=dockerfile, files=tuple(files), links=tuple(links), directory=directory, tools=tuple(tools))


def check_rendered(
    document: Document[Server], rendered: Rendered, *, report: Report = silent, plugins: Plugins | None = None
) -> None:
    """Check the rendered files with the programs that read them in the machine, where this machine has those.

    :raises TerraError: with what it said.
    """
    network = (plugins or Plugins.discover()).fill(Network, document.value.plugins, source=document.source)
    network.check_network(rendered.files, document.session(report))


def _with_userland(document: Document[Server], userland: str | None) -> Server:
    try:
        server = document.value if userland is None else evolve(document.value, userland=parse_userland(userland))
    except ValueError as error:
        raise DocumentError(document.source, [Problem("userland", str(error))]) from error
    if is_continued(server.userland):
        text = 'its last line ends in "\\" and would take in the line that Terra writes after it'
        raise DocumentError(document.source, [Problem("userland", text)])
    return server


def _checked(answer: Sequence[RenderedFile | RenderedLink], network: Network) -> Iterator[RenderedFile | RenderedLink]:
    for piece in answer:
        if fault := wrong_with(piece):
            raise PluginError(f"plugin {network.plugin!r} rendered what no image can have: {fault}")
        yield piece


def _check_distinct(files: Sequence[RenderedFile | RenderedLink], network: Network) -> None:
    paths: set[str] = set()
    for file in files:
        if file.path in paths:
            raise PluginError(f"plugin {network.plugin!r} rendered /{file.path}, which is rendered already")
        paths.add(file.path)
    directories = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    if both := sorted(paths & directories):
        raise PluginError(f"plugin {network.plugin!r} rendered /{both[0]}, which is the directory of a rendered file")


def _from_context(file: RenderedFile, context: Path) -> RenderedFile:
    place = context / file.path
    if not os.path.lexists(place):
        return file
    try:
        # Not Path.resolve, for which a link to itself is no error of the system's.
        if not Path(os.path.realpath(place, strict=True)).is_relative_to(os.path.realpath(context, strict=True)):
            raise TerraError(f"{place}: leads out of the build's context, so it cannot take the place of the rendered file")
        return evolve(file, content=read_regular(place, _MOST_BYTES))
    except OSError as error:
        raise TerraError(f"{place}: cannot take the place of the rendered file: {error.strerror}") from error


def _free_name(context: Path | None) -> str:
    names = itertools.chain([_DIRECTORY], (f"{_DIRECTORY}-{number}" for number in itertools.count(1)))
    return next(name for name in names if context is None or not os.path.lexists(context / name))
