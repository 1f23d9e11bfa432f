"""Manual pages of click commands, see man(7): ``python -m terra_core.cli.manual DIRECTORY NAME=MODULE:COMMAND...``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import click

_SECTION = 8


def pages(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page: of a command, and of its subcommands.

    :param name: what it is called, such as ``terra``.
    """
    yield from _pages(click.Context(command, info_name=name), [name])


def _pages(ctx: click.Context, path: list[str]) -> Iterator[tuple[str, str]]:
    command = ctx.command
    below = []
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            if found is not None and not found.hidden:
                below.append((name, found))
    yield "-".join(path), _page(ctx, path, below)
    for name, found in below:
        yield from _pages(click.Context(found, info_name=name, parent=ctx), [*path, name])


def _page(ctx: click.Context, path: list[str], below: list[tuple[str, click.Command]]) -> str:
    command, title = ctx.command, "-".join(path)
    said = (command.help or "").strip()
    lines = [
        f'.TH {_text(title.upper())} {_SECTION} "" "terra {_text(version("terra-core"))}" "Terra"',
        ".SH NAME",
        f"{_text(title)} \\- {_text(command.get_short_help_str(200).rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_text(' '.join(path))}",
        _text(" ".join(command.collect_usage_pieces(ctx))),
        ".SH DESCRIPTION",
        *_paragraphs(said),
    ]
    options = [record for one in command.get_params(ctx) if (record := one.get_help_record(ctx)) is not None]
    for heading, rows in (
        ("OPTIONS", options),
        ("COMMANDS", [(name, found.get_short_help_str(200)) for name, found in below]),
    ):
        if rows:
            lines.append(f".SH {heading}")
            for term, text in rows:
                lines += [".TP", f".B {_text(term)}", *_paragraphs(text)]
    others = ["-".join(path[:-1])] if len(path) > 1 else ["-".join([*path, name]) for name, _ in below]
    if others:
        lines += [".SH SEE ALSO", ",\n".join(f".BR {_text(other)} ({_SECTION})" for other in others).replace(",\n", " ,\n")]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    for at, paragraph in enumerate(text.replace("\b\n", "").split("\n\n")):
        if at:
            yield ".PP"
        yield _text(" ".join(paragraph.split())) or "."


def _text(words: str) -> str:
    """Escape what would be a request or a special character."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def write_pages(directory: Path, named: list[str]) -> None:
    """Write the pages of commands.

    :param named: a name, and where its command is, such as ``terra=terra_core.cli:terra``.
    """
    for one in named:
        name, _, where = one.partition("=")
        module, _, attribute = where.partition(":")
        for title, text in pages(getattr(import_module(module), attribute), name):
            (directory / f"{title}.{_SECTION}").write_text(text)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]), sys.argv[2:])
