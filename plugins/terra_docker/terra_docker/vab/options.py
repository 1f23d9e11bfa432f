"""Options of ``vab``, as values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from terra_docker.settings import Docker

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def engine_settings(ctx: click.Context, builder: str = "auto") -> Docker:
    """Return the ``[docker]`` table that the options stand for.

    :param builder: what builds.
    :raises ConfigError: when the address of the engine is none.
    """
    from terra_core.config.problems import DocumentError
    from terra_docker.settings import BuilderKind, Docker

    settings = Docker(engine=ctx.obj["engine"], builder=BuilderKind(builder))
    problems = list(settings.problems())
    if problems:
        raise DocumentError("--engine", problems)
    return settings


def read_arguments(ctx: click.Context, option: click.Parameter, words: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE``, repeated; the last one of a key counts."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise click.BadParameter(f"expected KEY=VALUE, got {word!r}", ctx=ctx, param=option)
        found[name] = value
    return found


def read_duration(ctx: click.Context, option: click.Parameter, word: str) -> int:
    """Parse a number with a unit, ``90m``, ``24h``, ``7d``, ``2w``, and return it in seconds."""
    found = _DURATION.fullmatch(word)
    if found is None:
        raise click.BadParameter(f'expected a duration, such as "24h" or "7d", got {word!r}', ctx=ctx, param=option)
    return int(found[1]) * _SECONDS[found[2]]
