"""Files that may have the tables of the plugins that are installed: reading them, and settling who reads which table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import attrs
from attrs import evolve

from terra_core.config.loader import Document, make_document, read_table, received_document, tables_of
from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem, StructureError, path_of_key
from terra_core.errors import PluginError
from terra_core.plugins import Plugins
from terra_core.selection import Use, readers, selection_problems

M = TypeVar("M", bound=attrs.AttrsInstance)
_UNREAD = "nobody reads this table: the plugin has none"


def load(source: str | Path, model: type[M], *, plugins: Plugins | None = None) -> Document[M]:
    """Read a file; the tables of installed plugins may be in it, and are read by the models that the plugins have for them.

    :param source: a path, an ``http://`` or ``https://`` URL, or ``-`` for standard input.
    :param model: :class:`terra_core.config.server.Server`, :class:`terra_core.config.node.Node`,
        :class:`terra_core.config.controller.Controller`, or another frozen attrs class.
    :param plugins: the installed plugins; found when left out.
    :raises ConfigError: with every problem of the file.
    :raises TerraError: when it cannot be read at all.
    """
    name, raw = read_table(source)
    return make(raw, model, source=name, plugins=plugins or Plugins.discover())


def make(
    raw: Mapping[str, object], model: type[M], *, source: str, plugins: Plugins, sent: type[M] | None = None
) -> Document[M]:
    """Make ``model`` and the plugins' tables from a parsed document.

    :param sent: the subclass of ``model`` that has what a client may send, for what a client sent.
    :raises ConfigError: with every problem of the document.
    """
    made, problems = _structured(tables_of(raw, model, plugins.names), plugins)
    try:
        if sent:
            document = received_document(raw, sent, model, source=source, owners=plugins.names)
        else:
            document = make_document(raw, model, source=source, owners=plugins.names)
    except DocumentError as error:
        raise DocumentError(source, [*error.found, *problems]) from None
    if problems:
        raise DocumentError(source, problems)
    return evolve(document, tables={**document.tables, **_without_none(made)})


def settled(
    document: Document[M],
    use: Use,
    plugins: Plugins,
    chosen: Mapping[str, str],
    *,
    beside: Collection[str] = (),
) -> Document[M]:
    """Return a document whose selected plugins have all of their settings, those without a table the defaults.

    :param use: what the document is for.
    :param chosen: its ``[plugins]`` table, with what counts where it says nothing.
    :param beside: further plugins that it selects, such as those of single groups.
    :raises ConfigError: with every role that is decided elsewhere, every table that no one would read, and what is wrong in
        the tables of the selected plugins.
    """
    made, problems = settle(document.tables, use, plugins, chosen, beside=beside)
    if problems:
        raise DocumentError(document.source, problems)
    return evolve(document, tables={**document.tables, **made})


def settle(
    tables: Mapping[str, object], use: Use, plugins: Plugins, chosen: Mapping[str, str], *, beside: Collection[str] = ()
) -> tuple[dict[str, object], list[Problem]]:
    """Return the settings of the selected plugins, and what :func:`settled` refuses."""
    selected = {*readers(use, chosen).values(), *beside} & plugins.names
    made, wrong = _structured({name: tables.get(name, {}) for name in sorted(selected)}, plugins)
    none = [Problem(path_of_key(name), _UNREAD) for name in made if made[name] is None and name in tables]
    return _without_none(made), [*selection_problems(use, chosen, tables, beside), *none, *wrong]


def _structured(tables: Mapping[str, object], plugins: Plugins) -> tuple[dict[str, object], list[Problem]]:
    """Return the models that plugins have for their tables, made from these, or ``None`` where a plugin has no table.

    A plugin that cannot be loaded is left to whoever asks it, and tells the reason.
    """
    made: dict[str, object] = {}
    problems: list[Problem] = []
    for name, table in tables.items():
        with suppress(PluginError):
            try:
                made[name] = plugins.read_table(name, table)
            except StructureError as error:
                problems += [problem.below(path_of_key(name)) for problem in error.problems]
    return made, problems


def _without_none(made: Mapping[str, object]) -> dict[str, object]:
    return {name: table for name, table in made.items() if table is not None}
