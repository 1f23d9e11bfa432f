"""A new plugin: a package that can be installed, fills a role, and passes the conformance kit."""

from __future__ import annotations

import keyword
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path

from attrs import fields

from terra_core.config.controller import Controller
from terra_core.config.node import Node
from terra_core.config.server import Server
from terra_core.config.values import parse_plugin_name
from terra_core.errors import ConfigError, ConflictError, TerraError
from terra_core.hookspecs import CONTRACT, ROLES
from terra_core.plugins import Plugins
from terra_core.system.files import write_file
from terra_core.system.undo import Undo

_SUFFIX = ".in"
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_TAKEN = frozenset({"core", "orbit", *(field.name for model in (Server, Node, Controller) for field in fields(model))})
"""Names that a plugin cannot have: those of Terra's own packages, and keys of the files that its table would be in."""


def new_plugin(name: str, role: str, place: Path, *, plugins: Plugins | None = None) -> tuple[Path, ...]:
    """Write a package with a plugin.

    :param name: the plugin's name, which is the name of its table too, such as ``paper``.
    :param role: the role that it fills.
    :param place: the directory that gets the package, as ``terra-NAME``.
    :param plugins: what is installed; found when left out.
    :returns: the files that were written.
    :raises ConfigError: when the name is none, or the role.
    :raises ConflictError: when the name or the directory is taken.
    :raises TerraError: when it cannot be written; nothing of it is left then.
    """
    package = _package(name)
    _check(name, role, package, plugins or Plugins.discover())
    directory = place / f"terra-{name}"
    words = {
        "name": name,
        "distribution": f"terra-{name}",
        "package": package,
        "class": "".join(part.capitalize() for part in re.split(r"[-_]", name)),
        "mark": name.replace("-", "_").upper(),
        "role": role,
        "contract": str(CONTRACT),
        "core": metadata.version("terra-core"),
    }
    for other in (directory, *place.glob("terra[-_]*")):
        if os.path.lexists(other) and other.name.replace("-", "_") == package:
            raise ConflictError(f"{other}: is there already", hint="choose another name or --directory")
    written = []
    try:
        with Undo() as undo:
            directory.mkdir(parents=True)
            undo.callback(shutil.rmtree, directory)
            for path, text in _rendered(role, words):
                target = directory / path
                target.parent.mkdir(parents=True, exist_ok=True)
                write_file(target, text.encode())
                written.append(target)
            undo.pop_all()
    except OSError as error:
        raise TerraError(f"{error.filename or directory}: {error.strerror or error}") from error
    return tuple(sorted(written))


def _package(name: str) -> str:
    """Return the Python package of a plugin, which is the same for my-store and my_store."""
    return f"terra_{name.replace('-', '_')}"


def _check(name: str, role: str, package: str, plugins: Plugins) -> None:
    try:
        parse_plugin_name(name)
    except ValueError as error:
        raise ConfigError([f"NAME: {error}"]) from None
    if role not in ROLES:
        raise ConfigError([f"--role: {role!r} is no role (roles: {', '.join(ROLES)})"])
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name in _TAKEN:
        taken = "is a word of Terra's own or of Python's, or ends or repeats in - or _"
        raise ConfigError([f"NAME: {name!r} {taken}: choose another, such as paper or my-store"])
    if name.startswith(("terra-", "terra_")):
        raise ConfigError([f"NAME: {name!r} would be the package terra-{name}: leave out {name[:6]}, {name[6:]} will do"])
    for one in plugins.installed.values():
        if _package(one.name) == package:
            raise ConflictError(f"{one} is installed, as the Python package {package}", hint="choose another name")


def _rendered(role: str, words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    root = resources.files(__package__)
    for directory in (root / "common", root / role):
        for path, text in _files(directory):
            yield _filled(path.removesuffix(_SUFFIX), words), _filled(text, words)


def _files(directory: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield f"{prefix}{entry.name}", entry.read_text(encoding="utf-8")


def _filled(text: str, words: Mapping[str, str]) -> str:
    def word(found: re.Match[str]) -> str:
        if found[1] not in words:
            raise TerraError(f"a scaffold asks for {found[0]}, which nobody knows")
        return words[found[1]]

    return re.sub(r"@([a-z]+)@", word, text)
