"""Text that others wrote, as a terminal and a log may have it.

A message can hold what a server, a registry, an image or a file said, and a terminal obeys escape sequences whoever wrote them.
Text is escaped where it leaves Terra, so that code which makes a message need not do it.
"""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;:]{0,40}m")


def printable(text: str) -> str:
    """Return ``text`` with an escape in place of every character that is not printable, but line feeds and tabs.

    That covers the control characters of ECMA-48, Unicode's marks that change the direction of text, and bytes that are not
    UTF-8. Colours are removed.
    """
    if all(line.isprintable() for line in text.split("\n")):
        return text
    return _escaped(_COLOURS.sub("", text.replace("\r\n", "\n")), "\n\t")


def one_line(text: str) -> str:
    """Return ``text`` with an escape in place of every character that is not printable, line feeds, tabs and colours too."""
    return text if text.isprintable() else _escaped(text, "")


def joined(text: str) -> str:
    """Return a text of several lines, such as an error and its hint, as :func:`one_line` does, with semicolons between."""
    return one_line("; ".join(filter(None, map(str.strip, text.split("\n")))))


def _escaped(text: str, kept: str) -> str:
    return "".join(
        letter if letter.isprintable() or letter in kept else letter.encode("unicode_escape").decode() for letter in text
    )
