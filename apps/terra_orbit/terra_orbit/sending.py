"""vhost.toml on its way to an agent: with the files that it names as text, so that the agent reads no path that a client sent.

The ``source`` of a bind mount stays a path of the agent's host: the engine mounts it, and nobody reads it for the client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, frozen

from terra_core.config.loader import Document
from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem, has, path_of_key
from terra_core.system.reading import decoded, read_regular
from terra_orbit.vhost import CONFIG_LIMIT, ConfigFile, Vhost


@frozen(kw_only=True)
class SentConfigFile(ConfigFile):
    """``[configs.NAME]`` as a client sends it: its text is in it."""

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        if has(self, "source") and self.source is not None:
            yield Problem("source", "is read where ob runs, and its text sent as content: a path means nothing to the agent")
        else:
            yield from super().problems()


@frozen(kw_only=True)
class SentVhost(Vhost):
    """vhost.toml as a client sends it: nothing in it is read as a path of the agent's host."""

    configs: Mapping[str, SentConfigFile] = Factory(dict)


def with_contents(document: Document[Vhost]) -> dict[str, Any]:
    """Return a vhost.toml as it can be sent: with the text of each file that ``[configs]`` names in place of its path.

    :raises ConfigError: when one of them is no text file, or cannot be read; names all of them.
    """
    raw, configs, problems = dict(document.raw), {}, []
    for name, config in document.value.configs.items():
        table: dict[str, Any] = dict(document.raw["configs"][name])  # type: ignore[index]  # that is where it is from
        if config.source is not None:
            try:
                table["content"] = decoded(read_regular(Path(config.source), CONFIG_LIMIT))
            except (OSError, ValueError) as error:
                said = error.strerror if isinstance(error, OSError) else error
                problems.append(Problem(f"configs.{path_of_key(name)}.source", f"{config.source}: cannot be read: {said}"))
            table.pop("source")
        configs[name] = table
    if problems:
        raise DocumentError(document.source, problems)
    return {**raw, "configs": configs} if configs else raw
