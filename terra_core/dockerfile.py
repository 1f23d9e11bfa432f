"""The Dockerfile of a machine's image: https://docs.docker.com/reference/dockerfile/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path, PurePosixPath

import attrs
from attrs import frozen

from terra_core.config.server import Server
from terra_core.config.values import shown
from terra_core.hookspecs import RenderedFile, RenderedLink
from terra_core.system.reading import lines_of

NAME = "Dockerfile"
_ROOT = "root:root"
_TOOLS = ".terra-components"
_PATH = re.compile(r"(?:[A-Za-z0-9._@+-]+/)*[A-Za-z0-9._@+-]+")
_OWNER = re.compile(r"[a-z_][a-z0-9_-]{0,31}:[a-z_][a-z0-9_-]{0,31}")
_TARGET = re.compile(r"[A-Za-z0-9._@+:/-]{1,4095}")
"""The characters of a link's target; it may lead anywhere, since nothing here follows it (symlink(7))."""
_KINDS = {"path": str, "content": bytes, "mode": int, "owner": str, "target": str}
"""The types of the attributes of a rendered file or link, checked because a plugin may return anything."""
_CONTINUED = re.compile(r"\\\s*\Z")


Rendered = RenderedFile | RenderedLink


@frozen
class CopyStep:
    """Rendered files and links that one COPY instruction brings into the image.

    A directory is copied, not single files: that way a file takes the place of a symbolic link of its name, instead of being
    written to where the link points, and the directory that is there already keeps its owner and mode.

    :param source: a directory of the build's context.
    :param target: the directory in the image, with slashes at both ends.
    :param owner: whom the files belong to.
    :param files: the files and links, by their path below ``source``.
    """

    source: str
    target: str
    owner: str
    files: tuple[tuple[str, Rendered], ...]

    def __str__(self) -> str:
        chown = "" if self.owner == _ROOT else f"--chown={self.owner} "
        return f"COPY {chown}{self.source}/ {self.target}"


def wrong_with(piece: Rendered) -> str:
    """Return why a rendered file or link cannot be part of an image, or an empty string; only what is allowed gets in."""
    for field in attrs.fields(type(piece)):
        value, kind = getattr(piece, field.name), _KINDS[field.name]
        if not isinstance(value, kind) or isinstance(value, bool):
            return f"the {field.name} of a file is {type(value).__name__}, where {kind.__name__} is expected"
    if not _PATH.fullmatch(piece.path) or {".", ".."} & set(piece.path.split("/")):
        return f"its path is {shown(piece.path)}, where a relative one of plain characters is expected"
    if isinstance(piece, RenderedLink):
        expected = "a path of plain characters is expected"
        return "" if _TARGET.fullmatch(piece.target) else f"{piece.path} points to {shown(piece.target)}, where {expected}"
    if not _OWNER.fullmatch(piece.owner):
        return f'the owner of {piece.path} is {shown(piece.owner)}, where "user:group" is expected'
    if piece.mode & ~0o7777:
        return f"the mode of {piece.path} is {piece.mode:#o}, where permission bits are expected"
    return ""


def copy_steps(files: Sequence[Rendered], directory: str) -> list[CopyStep]:
    """Arrange files into as few COPY instructions as their directories and owners allow.

    A file of root, whatever its group, is put into its directory. A file of another user is put there with its directory, which
    then belongs to that user, as ``.ssh`` has to.

    :param files: files and links without faults; a link belongs to root.
    :param directory: the directory of the context that holds them.
    """
    groups: dict[tuple[str, str], list[tuple[str, Rendered]]] = {}
    for file in files:
        path, owner = PurePosixPath(file.path), _owner_of(file)
        base = path.parent if _is_roots(owner) else path.parent.parent
        groups.setdefault((str(base), owner), []).append((str(path.relative_to(base)), file))
    return [
        CopyStep(f"{directory}/{number}", "/" if base == "." else f"/{base}/", owner, tuple(members))
        for number, ((base, owner), members) in enumerate(groups.items())
    ]


def component_tools(server: Server, directory: str) -> list[CopyStep]:
    """Return what a build with components needs: the program that enables their units; see docs/decisions/0011.

    :param directory: the directory of the context that holds it.
    """
    if not server.components:
        return []
    script = resources.files(__package__).joinpath("components.sh").read_bytes()
    return copy_steps([RenderedFile(path=f"{_TOOLS}/units", content=script)], f"{directory}/components")


def write_dockerfile(server: Server, steps: Sequence[CopyStep], tools: Sequence[CopyStep] = ()) -> str:
    """Write the Dockerfile: nothing of server.toml but the userland is more than a word in it.

    :param steps: those that bring the machine's files.
    :param tools: those of :func:`component_tools`.

    The first line is a comment, after which parser directives have no effect: the userland cannot make the engine fetch a
    frontend.
    """
    userland = server.userland if not server.userland or server.userland.endswith("\n") else f"{server.userland}\n"
    labels = {"terra.hostname": server.hostname, "terra.version": server.version, "terra.os": str(server.os)}
    return "".join(
        [
            "# Made by Terra.\n",
            f"FROM {server.os}\n",
            *(f"{line}\n" for line in _component_steps(server, tools)),
            *(f"{step}\n" for step in steps),
            userland,
            f"LABEL {' '.join(f'{key}={json.dumps(value)}' for key, value in labels.items())}\n",
            f"CMD {json.dumps([server.init])}\n",
        ]
    )


def _component_steps(server: Server, tools: Sequence[CopyStep]) -> Iterator[str]:
    if server.components:
        yield from map(str, tools)
        yield f"RUN sh /{_TOOLS}/units remember"
        yield from (f"COPY --from={component} / /" for component in server.components)
        yield f"RUN sh /{_TOOLS}/units enable"


def is_continued(userland: str) -> bool:
    """Return whether the userland's last instruction continues on the following line, which is not the userland's."""
    lines = [line for line in lines_of(userland) if line.strip() and not line.lstrip().startswith("#")]
    return bool(lines and _CONTINUED.search(lines[-1]))


def write_overlay(overlay: Path, directory: str, dockerfile: str, steps: Sequence[CopyStep]) -> None:
    """Write the Dockerfile and the rendered files and links, as they are to lie over the user's context.

    :param overlay: an empty directory.
    :param directory: the directory in it that they go to.
    """
    (overlay / directory).mkdir(mode=0o755)
    (overlay / directory / NAME).write_text(dockerfile)
    for path, piece in _placed(overlay, steps):
        for parent in reversed(path.relative_to(overlay).parents):
            (overlay / parent).mkdir(mode=0o755 if _is_roots(_owner_of(piece)) else 0o700, exist_ok=True)
        if isinstance(piece, RenderedLink):
            path.symlink_to(piece.target)
        else:
            path.write_bytes(piece.content)
            path.chmod(piece.mode)


def _placed(overlay: Path, steps: Sequence[CopyStep]) -> Iterator[tuple[Path, Rendered]]:
    for step in steps:
        for name, piece in step.files:
            yield overlay / step.source / name, piece


def _owner_of(piece: Rendered) -> str:
    return piece.owner if isinstance(piece, RenderedFile) else _ROOT


def _is_roots(owner: str) -> bool:
    return owner.partition(":")[0] == "root"
