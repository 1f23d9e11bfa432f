"""Values of options, recognised as those of files are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from terra_core.errors import ConfigError

V = TypeVar("V")


def option_value(name: str, raw: object, parse: Callable[[object], V]) -> V | None:
    """Return what an option says.

    :param name: the option, for the error.
    :param raw: its text; ``None`` when it was not given.
    :param parse: from :mod:`terra_core.config.values`.
    :raises ConfigError: when the text is not what it has to be.
    """
    if raw is None:
        return None
    try:
        return parse(raw)
    except ValueError as error:
        raise ConfigError([f"{name}: {error}"]) from None
