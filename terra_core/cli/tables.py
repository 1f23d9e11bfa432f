"""Tables on standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from terra_core.cli.terminal import echo
from terra_core.system.text import one_line

_GAP = 3


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print left-aligned columns under their names; on a terminal that is too narrow for them, each row as a block of lines.

    :param head: the columns' names.
    :param rows: a cell for each column.
    """
    lines = [head, *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    if sum(widths) + _GAP * (len(widths) - 1) > _columns():
        _print_blocks(lines)
        return
    gap = " " * _GAP
    # At once: each call writes, and there may be ten thousand lines.
    echo("\n".join(gap.join(map(str.ljust, line, widths)).rstrip() for line in lines))


def _print_blocks(lines: Sequence[Sequence[str]]) -> None:
    head, *rows = lines
    width = max(map(len, head))
    for number, row in enumerate(rows):
        if number:
            echo("")
        for name, cell in zip(head, row, strict=True):
            echo(f"{name.ljust(width)}{' ' * _GAP}{cell}".rstrip())


def _columns() -> float:
    """Return the width of the terminal; infinity where the output goes elsewhere."""
    if not sys.stdout.isatty():
        return float("inf")
    try:
        return int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return float("inf")
