"""What the programs of a build print."""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def plain(line: str) -> str:
    """Return a line as it would stand on paper, without what a carriage return overwrote, colours and control characters."""
    return _ESCAPE.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip()
