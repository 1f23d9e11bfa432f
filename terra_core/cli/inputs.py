"""The files of machines that a command is given: files, directories, URLs and standard input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from terra_core.config.fetch import shown_source
from terra_core.config.loader import Document, read_table
from terra_core.config.node import NetworkNode
from terra_core.documents import make
from terra_core.errors import ConfigError, InterruptedWork, TerraError
from terra_core.plugins import Plugins
from terra_core.system.files import resolved
from terra_core.validation import FileKind, kind_of


@frozen
class Inputs:
    """What was read.

    :param documents: the files that are right, by host name.
    :param wrong: the others, by name, each with what is wrong.
    :param others: files of a directory that are of another kind, and left alone.
    """

    documents: Mapping[str, Document[NetworkNode]]
    wrong: Mapping[str, TerraError]
    others: Sequence[str]


def read_inputs(sources: Sequence[str], plugins: Plugins | None = None) -> Inputs:
    """Read every file, and find all that is wrong with any of them.

    :param sources: files, directories, whose files NAME.toml are read, URLs, or ``-`` for standard input.
    :raises ConfigError: when two files are of one machine or of one address: which of them is meant cannot be told.
    """
    plugins = plugins or Plugins.discover()
    found: list[Document[NetworkNode]] = []
    wrong: dict[str, TerraError] = {}
    others: list[str] = []
    for source, listed in dict(_each(sources, wrong)).items():
        try:
            name, raw = read_table(source)
            if listed and not _is_node(raw, name):
                others.append(name)
            else:
                found.append(make(raw, NetworkNode, source=name, plugins=plugins))
        except InterruptedWork:
            raise
        except TerraError as error:
            wrong[shown_source(source)] = error
    _refuse_twice(found)
    return Inputs({document.value.hostname: document for document in found}, wrong, others)


def _each(sources: Sequence[str], wrong: dict[str, TerraError]) -> Iterator[tuple[str, bool]]:
    """Yield every file once, and whether it is one of a directory."""
    seen: set[Path] = set()
    for source in sources:
        place = Path(source)
        if source in ("", "-") or "://" in source:  # an empty path would be the directory that one is in
            yield source, False
            continue
        try:
            listed = sorted(place.glob("*.toml")) if place.is_dir() else None
        except OSError as error:
            wrong[source] = TerraError(f"{source}: cannot be read: {error.strerror}")
            continue
        if listed == []:
            wrong[source] = ConfigError([f"{source}: has no file NAME.toml"])
        for path in [place] if listed is None else listed:
            if path.name.startswith(".") and listed is not None:
                continue
            try:
                file = resolved(path)
            except OSError as error:
                wrong[str(path)] = TerraError(f"{path}: cannot be read: {error.strerror}")
                continue
            if listed is not None and file.exists() and not file.is_file():  # one that is named may be the end of a pipe
                wrong[str(path)] = ConfigError([f"{path}: is no regular file"])
                continue
            if file not in seen:
                seen.add(file)
                yield str(path), listed is not None


def _is_node(raw: Mapping[str, object], name: str) -> bool:
    with suppress(ConfigError):
        return kind_of(raw, name) is FileKind.NODE
    return False


def _refuse_twice(documents: Sequence[Document[NetworkNode]]) -> None:
    problems = []
    for what, key in (("the host name", "hostname"), ("the MAC address", "mac")):
        sources: defaultdict[str, list[str]] = defaultdict(list)
        for document in documents:
            sources[getattr(document.value, key)].append(document.source)
        for value, named in sources.items():
            if len(named) > 1:
                problems.append(f"{' and '.join(named)}: have {what} {value} both: leave one of them out")
    if problems:
        raise ConfigError(problems)
