"""Options and arguments that several commands have: JSON in the two forms that users of such tools know, and paths."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

Command = Callable[..., Any]


class NamedPath(click.Path):
    """A path that says something: an empty one, as of a variable that is not set, would be the directory that one is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what :class:`click.Path` does.

        :raises click.BadParameter: for an empty text.
        """
        if value == "":
            self.fail("It is empty.", param, ctx)
        return super().convert(value, param, ctx)


def json_option(said: str = "Print JSON.", *, otherwise: str = "table") -> Callable[[Command], Command]:
    """Give a command the options ``--json`` and ``-o json``, which mean the same: its parameter ``json_wanted``.

    :param said: the help of ``--json``.
    :param otherwise: the word of ``-o`` for what the command prints without them.
    """

    def with_options(command: Command) -> Command:
        @wraps(command)
        def called(*args: Any, json_wanted: bool, form: str, **words: Any) -> Any:
            return command(*args, json_wanted=json_wanted or form == "json", **words)

        form = click.option(
            "-o", "form", type=click.Choice((otherwise, "json")), default=otherwise, help="How to print it; json is as --json."
        )
        return click.option("--json", "json_wanted", is_flag=True, help=said)(form(called))

    return with_options
