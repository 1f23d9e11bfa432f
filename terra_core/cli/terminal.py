"""Text for people: everything that Terra prints as text goes through here."""

from __future__ import annotations

import click

from terra_core.system.text import printable


def echo(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print text, on standard output or standard error, with nothing in it that a terminal would obey.

    :param text: may hold what others wrote.
    :param nl: whether the line is ended.
    :param err: whether it goes to standard error.
    """
    click.echo(printable(text), nl=nl, err=err)  # noqa: TID251  # the one place
