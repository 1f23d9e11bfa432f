"""The name of a file of systemd, which decides the order of reading."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import shown

_FILE = re.compile(r"[0-9]{2}-[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
_SUFFIXES = (".link", ".netdev", ".network")


@frozen(kw_only=True)
class File:
    """A file below ``/etc/systemd/network``.

    :param file: its name without the suffix, such as ``10-lan``. Files are read in the order of their names, and of those that
        match an interface the first one counts.
    """

    file: str

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the name."""
        if not has(self, "file"):
            return
        if not _FILE.fullmatch(self.file):
            expected = 'two digits, a hyphen and a name, such as "10-lan", which decide when the file is read'
            yield Problem("file", f"expected {expected}, got {shown(self.file)}")
        elif self.file.endswith(_SUFFIXES):
            yield Problem("file", f"expected a name without its suffix, got {shown(self.file)}")
