"""Finding all problems of any of Terra's files, and describing one as a JSON Schema.

A file is checked as far as that takes no other machine, no disk and no privilege: its keys and values, the plugins that it
selects and their tables, what the network plugin renders, and whether the filesystem plugins can do what the groups ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import attrs
from attrs import frozen

from terra_core.config.controller import Controller
from terra_core.config.loader import Document, read_table, tables_of
from terra_core.config.node import DiskGroup, Node
from terra_core.config.problems import DocumentError
from terra_core.config.schema import Schema, schema_of
from terra_core.config.server import Server
from terra_core.config.structure import Problem, StructureError, structure
from terra_core.config.values import PluginName
from terra_core.documents import make, settle
from terra_core.errors import ConfigError, InterruptedWork, PluginError, TerraError
from terra_core.hookspecs import ROLES, Filesystem, Network, Role
from terra_core.plugins import Plugins, filesystem_of
from terra_core.selection import CONTROLLER, INSTALLED, SERVER, Use

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
    :raises TerraError: when it cannot be fetched.
    """
    name, raw = read_table(source)
    found = kind_of(raw, name) if kind is None else kind
    problems = dict.fromkeys(_problems(raw, name, found, plugins or Plugins.discover()))
    return Validated(source=name, kind=found, problems=tuple(problems))


def json_schema(kind: FileKind, *, plugins: Plugins | None = None) -> Schema:
    """Return the JSON Schema (draft 2020-12) of a file, as editors take it, with the tables of the installed plugins.

    :param plugins: the installed plugins; found when left out. The file may have the table of each that fills a role whose
        plugin has its table there.
    """
    plugins = plugins or Plugins.discover()
    model, models = _MODELS[kind], dict[str, Schema]()
    reference = schema_of(model, models)
    tables = {name: _table_schema(name, models, plugins) for name in plugins.installed if _may_have(kind, name, plugins)}
    top = models[model.__name__]
    top["properties"] = {**tables, **top["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{kind}.toml",
        **reference,
        "components": {"schemas": models},
    }


def _may_have(kind: FileKind, name: str, plugins: Plugins) -> bool:
    """Return whether a file of a kind may have the table of a plugin; one that cannot be loaded may have any."""
    try:
        return plugins.settings(name) is not None and any(_fills(ROLES[role], name, plugins) for role in _USES[kind].tables)
    except PluginError:
        return True


def _table_schema(name: str, models: dict[str, Schema], plugins: Plugins) -> Schema:
    own: dict[str, Schema] = {}
    try:
        reference = schema_of(plugins.settings(name), own, prefix=f"{name}.")
    except (PluginError, TypeError) as error:  # the plugin cannot be used, or has types that nothing can describe
        return {"type": "object", "description": f"The table of the plugin {name}, which is not known: {error}"}
    models.update(own)
    return {"description": f"The table of the plugin {name}.", **reference}


def kind_of(raw: Mapping[str, object], source: str) -> FileKind:
    """Return the kind of a file by the keys that no other kind has, or else by its name.

    :param raw: the file, as parsed.
    :param source: its name.
    :raises ConfigError: when neither tells.
    """
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
    what = "neither a key nor its name tells what it is: say its kind (--kind), or have a key that it alone has"
    raise ConfigError([f"{source}: {what}: {known}"])


def _problems(raw: Mapping[str, object], source: str, kind: FileKind, plugins: Plugins) -> Iterator[Problem]:
    """Find everything; what one part has wrong keeps no other part from being looked at."""
    document: Document[Server | Node | Controller] | None = None
    try:
        document = make(raw, _MODELS[kind], source=source, plugins=plugins)
    except DocumentError as error:
        yield from error.found
    use = _USES[kind]
    tables = document.tables if document else tables_of(raw, _MODELS[kind], plugins.names)
    groups = document.value.groups if document and isinstance(document.value, Node) else ()
    try:
        chosen = structure(raw.get("plugins", {}), Mapping[str, PluginName])  # type: ignore[type-abstract]  # the converter knows it
    except StructureError:  # it is said above
        return
    beside: list[str] = [group.filesystem for group in groups if group.filesystem]
    if document is None and kind is FileKind.NODE:  # a table may be of a group that could not be read
        with suppress(PluginError):
            beside += [name for name in tables if _fills(Filesystem, name, plugins)]
    yield from settle(tables, use, plugins, chosen, beside=beside)[1]
    for role in (role for role in chosen if role in use.roles):
        yield from _found_by(partial(plugins.fill, ROLES[role], {role: chosen[role]}, source=source), source, f"plugins.{role}")
    if document is None:
        return
    for at, group in enumerate(groups):
        yield from _found_by(partial(_check_group, group, document, plugins), source, f"groups[{at}].filesystem")
    if isinstance(document.value, Node):
        yield from document.value.upgrade.refused()
    if isinstance(document.value, Server):
        yield from _found_by(partial(_render_network, document, plugins), source, "plugins.network")


def _fills(role: type[Role], name: str, plugins: Plugins) -> bool:
    return role.needed() <= plugins.hooks_of(name)


def _found_by(check: Callable[[], object], source: str, path: str) -> Iterator[Problem]:
    """Find the problems that a check of the file tells.

    :param path: the key that selects the plugin which the check asks.
    """
    try:
        check()
    except DocumentError as error:
        yield from error.found
    except ConfigError as error:
        yield from (Problem("", text.removeprefix(f"{source}: ")) for text in error.problems)
    except PluginError as error:
        yield Problem(path, "; ".join(filter(None, (error.message, error.hint))))


def _check_group(group: DiskGroup, document: Document[Any], plugins: Plugins) -> None:
    filesystem = filesystem_of(group, document.value, plugins, source=document.source)
    try:
        filesystem.check_disks(group, [(disk.size or _SOME_MB) * _MB for disk in group.disk], document.session())
    except TerraError as error:  # other errors are about this machine, which may lack a program
        if isinstance(error, ConfigError | PluginError | InterruptedWork):
            raise


def _render_network(document: Document[Any], plugins: Plugins) -> None:
    plugins.fill(Network, document.value.plugins, source=document.source).render_network(document.value, document.session())
