"""Tables on standard output."""

from __future__ import annotations

from collections.abc import Sequence

from terra_core.cli.terminal import echo
from terra_core.system.text import one_line

_GAP = 3


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print left-aligned columns under their names.

    :param head: the columns' names.
    :param rows: a cell for each column.
    """
    lines = [head, *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    for line in lines:
        echo((" " * _GAP).join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
