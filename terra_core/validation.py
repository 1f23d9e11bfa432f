"""Finding all problems of any of Terra's files, and describing one as a JSON Schema.

A file is checked as far as that takes no other machine, no disk and no privilege: its keys and values, the plugins that it
selects, and of their tables those of the plugins that render the network, format disks and keep volumes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import attrs
from attrs import frozen

from terra_core.config.controller import Controller
from terra_core.config.loader import Document, make_document, read_table
from terra_core.config.node import DiskGroup, Node
from terra_core.config.problems import DocumentError
from terra_core.config.schema import Schema, schema_of
from terra_core.config.server import Server
from terra_core.config.structure import Problem
from terra_core.deploy import filesystem_of
from terra_core.errors import ConfigError, TerraError
from terra_core.hookspecs import ROLES, Network, Store
from terra_core.plugins import Plugins
from terra_core.selection import CONTROLLER, INSTALLED, SERVER, Use, check_selection

_MB = 1024 * 1024
_SOME_MB = 1024 * 1024
"""The size that is assumed for a disk whose size the file does not give."""


class FileKind(StrEnum):
    """What a file of Terra's says."""

    SERVER = "server"
    NODE = "node"
    CONTROLLER = "controller"


_MODELS: Mapping[FileKind, type[Server | Node | Controller]] = {
    FileKind.SERVER: Server,
    FileKind.NODE: Node,
    FileKind.CONTROLLER: Controller,
}
_USES: Mapping[FileKind, Use] = {
    FileKind.SERVER: SERVER,
    FileKind.NODE: INSTALLED,  # which takes all that provisioning takes
    FileKind.CONTROLLER: CONTROLLER,
}


@frozen(kw_only=True)
class Validated:
    """A file that was checked.

    :param source: its name.
    :param kind: what it is.
    :param problems: everything that is wrong with it; empty when nothing is.
    """

    source: str
    kind: FileKind
    problems: tuple[Problem, ...]

    @property
    def error(self) -> DocumentError:
        """The problems as the error that loading raises."""
        return DocumentError(self.source, self.problems)


def validate(source: str | Path, kind: FileKind | None = None, *, plugins: Plugins | None = None) -> Validated:
    """Find all that is wrong with a file.

    :param source: a path, an ``http://`` or ``https://`` URL, or ``-`` for standard input.
    :param kind: what it is; told by its keys when left out.
    :param plugins: the installed plugins; found when left out.
    :raises ConfigError: when it cannot be read, is not TOML, or nothing tells what it is.
    :raises PluginError: when a plugin that it selects cannot be loaded.
    """
    name, raw = read_table(source)
    found = _kind_of(raw, name) if kind is None else kind
    problems = dict.fromkeys(_problems(raw, name, found, plugins or Plugins.discover()))
    return Validated(source=name, kind=found, problems=tuple(problems))


def json_schema(kind: FileKind, *, plugins: Plugins | None = None) -> Schema:
    """Return the JSON Schema (draft 2020-12) of a file, as editors take it; a plugin's table may hold anything.

    :param plugins: the installed plugins, whose tables the file may have; found when left out.
    """
    model, models = _MODELS[kind], dict[str, Schema]()
    reference = schema_of(model, models)
    top = models[model.__name__]
    tables = {name: {"type": "object", "description": f"The table of the plugin {name}."} for name in sorted(_names(plugins))}
    top["properties"] = {**tables, **top["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{kind}.toml",
        **reference,
        "components": {"schemas": models},
    }


def _names(plugins: Plugins | None) -> frozenset[str]:
    return (plugins or Plugins.discover()).names


def _kind_of(raw: Mapping[str, object], source: str) -> FileKind:
    """Return the kind of a file by the keys that no other kind has, or else by its name."""
    keys = {kind: {field.name for field in attrs.fields(model)} for kind, model in _MODELS.items()}
    own = {kind: keys[kind] - set().union(*(keys[other] for other in keys if other is not kind)) for kind in keys}
    score = {kind: len(own[kind] & raw.keys()) for kind in keys}
    best = max(score.values())
    found = [kind for kind in keys if score[kind] == best]
    if best == 0 or len(found) > 1:
        found = [kind for kind in found if kind.value in PurePath(source).name]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{kind}.toml ({', '.join(sorted(own[kind]))})" for kind in keys)
    raise ConfigError([f"{source}: no key tells what it is; a file is told by the keys that it alone has: {known}"])


def _problems(raw: Mapping[str, object], source: str, kind: FileKind, plugins: Plugins) -> Iterator[Problem]:
    try:
        document = make_document(raw, _MODELS[kind], source=source, owners=plugins.names)
    except DocumentError as error:
        yield from error.found
        return
    value, use = document.value, _USES[kind]
    groups = value.groups if isinstance(value, Node) else ()
    beside = [group.filesystem for group in groups if group.filesystem]
    yield from _found_by(partial(check_selection, use, value.plugins, document.tables, source=source, beside=beside), source)
    chosen = {role: name for role, name in value.plugins.items() if role in use.roles}
    for role in chosen:
        yield from _found_by(partial(plugins.fill, ROLES[role], chosen, source=source), source)
    for group in groups:
        yield from _found_by(partial(_check_group, group, document, plugins), source)
    if isinstance(value, Server):
        yield from _found_by(partial(_render_network, document, plugins), source)
    elif isinstance(value, Controller):
        yield from _found_by(partial(_find_volumes, document, plugins), source)


def _found_by(check: Callable[[], object], source: str) -> Iterator[Problem]:
    try:
        check()
    except DocumentError as error:
        yield from error.found
    except ConfigError as error:
        yield from (Problem("", text.removeprefix(f"{source}: ")) for text in error.problems)


def _check_group(group: DiskGroup, document: Document[Any], plugins: Plugins) -> None:
    filesystem = filesystem_of(group, document.value, plugins, source=document.source)
    if filesystem.plugin not in document.tables:
        return
    try:
        filesystem.check_disks(group, [(disk.size or _SOME_MB) * _MB for disk in group.disk], document.session())
    except TerraError as error:  # other errors are about this machine, which may lack a program
        if isinstance(error, ConfigError):
            raise


def _render_network(document: Document[Any], plugins: Plugins) -> None:
    plugins.fill(Network, document.value.plugins, source=document.source).render_network(document.value, document.session())


def _find_volumes(document: Document[Any], plugins: Plugins) -> None:
    plugins.fill(Store, document.value.plugins, source=document.source).volume_directory(document.session())
