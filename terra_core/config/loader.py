"""One loader for every file that Terra reads: from a path, a URL or standard input, as TOML, into a frozen model."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import attrs
import tomli
from attrs import frozen

from terra_core.config.controller import THIS_MACHINE, Paths
from terra_core.config.fetch import SIZE_LIMIT, fetch, shown_source
from terra_core.config.problems import DocumentError
from terra_core.config.session import Session
from terra_core.config.structure import Problem, StructureError, path_of_key, structure, too_many
from terra_core.config.values import PluginName
from terra_core.errors import ConfigError
from terra_core.system.progress import Report, silent
from terra_core.system.reading import decoded, lines_of

M = TypeVar("M", bound=attrs.AttrsInstance)
M_co = TypeVar("M_co", bound=attrs.AttrsInstance, covariant=True)

_MOST_KEYS = 256


@frozen
class Document(Generic[M_co]):
    """A file that was read and found right.

    :param value: what it says.
    :param source: the file's name, as errors give it.
    :param raw: what the TOML parser gave, with everything in it.
    :param tables: the top-level tables that belong to plugins, by the plugin's name: each as its plugin's model, or as parsed
        where nobody has made that yet.
    """

    value: M_co
    source: str
    raw: Mapping[str, object]
    tables: Mapping[str, object]

    def session(self, report: Report = silent, *, paths: Paths = THIS_MACHINE, plain_http: bool = False) -> Session:
        """Return the session of a run that is about this file, whose plugins find their tables there.

        :param report: takes progress events, and may raise to end the work.
        :param paths: where a controller keeps what it owns.
        :param plain_http: whether the registry of the image that the run is about may be talked to without TLS.
        """
        return Session(source=self.source, tables=self.tables, paths=paths, plain_http=plain_http, report=report)


def load(source: str | Path, model: type[M], *, owners: Collection[str] = ()) -> Document[M]:
    """Read a file and make ``model`` from it.

    :param source: a path, an ``http://`` or ``https://`` URL, or ``-`` for standard input.
    :param model: the frozen attrs class of the file.
    :param owners: the names of the installed plugins, each of which owns the top-level table of its name.
    :raises ConfigError: with every problem of the file.
    :raises TerraError: when it can't be read at all.
    """
    name, data = _read(str(source))
    return make_document(_parse(data, name), model, source=name, owners=owners)


def make_document(raw: Mapping[str, object], model: type[M], *, source: str, owners: Collection[str] = ()) -> Document[M]:
    """Make ``model`` from a parsed document, such as the body of a request.

    :raises ConfigError: with every problem of the document.
    """
    if problems := list(too_many("", raw, _MOST_KEYS)):
        raise DocumentError(source, problems)
    known = {attribute.name for attribute in attrs.fields(model)}
    tables = tables_of(raw, model, owners)
    strangers = [key for key in raw if key not in known and key not in tables]
    problems = [Problem(path_of_key(key), _stranger(known, owners)) for key in sorted(strangers)]
    try:
        value = structure({key: raw[key] for key in raw if key in known}, model)
    except StructureError as error:
        problems = [*error.problems, *problems]
    if problems:
        raise DocumentError(source, problems)
    return Document(value, source, raw, tables)


def tables_of(raw: Mapping[str, object], model: type[attrs.AttrsInstance], owners: Collection[str]) -> dict[str, object]:
    """Return the tables of a parsed document that belong to plugins, as parsed."""
    return {key: raw[key] for key in raw if key in owners and key not in attrs.fields_dict(model)}


def received_document(
    raw: Mapping[str, object], sent: type[M], model: type[M], *, source: str, owners: Collection[str] = ()
) -> Document[M]:
    """Make ``model`` from what a client sent; it is equal to one that was read from a file or a database.

    :param sent: the subclass of ``model`` that has what a client may send.
    :raises ConfigError: with every problem of the document.
    """
    make_document(raw, sent, source=source, owners=owners)
    return make_document(raw, model, source=source, owners=owners)


def read_table(source: str | Path) -> tuple[str, Mapping[str, object]]:
    """Return the name of a file and what is in it, as parsed, right or not.

    :raises ConfigError: when it cannot be read, or is not TOML.
    """
    name, data = _read(str(source))
    return name, _parse(data, name)


def selected_plugins(source: str | Path) -> Mapping[str, str]:
    """Return the ``[plugins]`` table of any of Terra's files, whatever else it says.

    :raises ConfigError: when the table is wrong.
    """
    name, data = _read(str(source))
    try:
        return structure(_parse(data, name).get("plugins", {}), Mapping[str, PluginName])  # type: ignore[type-abstract]  # the converter knows it
    except StructureError as error:
        raise DocumentError(name, [problem.below("plugins") for problem in error.problems]) from None


def _stranger(known: Collection[str], owners: Collection[str]) -> str:
    installed = ", ".join(sorted(owners)) or "none"
    return f"neither a key of this file ({', '.join(sorted(known))}) nor the table of an installed plugin ({installed})"


def _read(source: str) -> tuple[str, bytes]:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    if source == "-":
        name, data = "standard input", sys.stdin.buffer.read(SIZE_LIMIT + 1)
    elif scheme and scheme[1].lower() in ("http", "https"):
        name, data = fetch(source)
    elif not source:
        raise ConfigError(["the name of a file is empty, as that of a variable which is not set"])
    elif scheme:
        raise ConfigError([f"{shown_source(source)}: is neither a file nor an http:// or https:// URL"])
    else:
        name, data = source, _read_file(Path(source))
    if len(data) > SIZE_LIMIT:
        raise ConfigError([f"{name}: is larger than {SIZE_LIMIT // 1024} KiB, which no configuration of Terra's is"])
    return name, data


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error


def _parse(data: bytes, name: str) -> dict[str, object]:
    try:
        text = decoded(data)
    except ValueError as error:
        raise ConfigError([f"{name}: {error}"]) from None
    try:
        return tomli.loads(text)
    except ValueError as error:  # tomli's own errors, and Python's for a number of absurd length
        raise ConfigError([f"{name}: is not TOML: {error}{_unseen(text)}"]) from None
    except RecursionError:
        raise ConfigError([f"{name}: is nested too deeply"]) from None


def _unseen(text: str) -> str:
    """Return what no editor shows of a text that is not TOML; nothing when there is no such thing."""
    for number, line in enumerate(lines_of(text), 1):
        if line.startswith("\ufeff"):
            return f"; line {number} begins with a byte order mark, as where two files were joined: remove it"
        if "\r" in line:
            return f"; line {number} has a carriage return alone, where TOML ends a line by a line feed"
    return ""
