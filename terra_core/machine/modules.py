"""Kernel modules of an image: which files a module needs, and in which order they are loaded.

What depmod(8) leaves beside the modules is read, see :data:`INDEX`. All of it comes from an image, so it is bounded and may say
anything.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from terra_core.errors import TerraError

INDEX = {"modules.dep": 4 << 20, "modules.softdep": 1 << 18, "modules.alias": 8 << 20, "modules.builtin": 1 << 18}
"""The files that :class:`ModuleIndex` is made of, with the most bytes that each may have."""
_FILE = re.compile(r"(?:[A-Za-z0-9_+.,~@-]+/)*([A-Za-z0-9_+.,~@-]+?)\.ko(?:\.(?:gz|xz|zst))?")
_MOST = 400
"""The most files that one boot may need; the drivers of a whole desktop are fewer."""


@frozen(kw_only=True)
class Module:
    """A module that is to be loaded.

    :param path: its file, relative to the directory of the kernel's modules.
    :param required: whether the machine can't do without; the others are tried, such as a driver for a newer processor.
    """

    path: str
    required: bool


@frozen(kw_only=True)
class ModuleIndex:
    """What depmod(8) says of a kernel's modules.

    :param files: the path of each module, by name.
    :param needed: the names of those that a module needs.
    :param wanted: the names or aliases of those that are loaded before a module where they are there.
    :param aliases: the modules that go by an alias.
    :param builtin: the modules that the kernel has built in.
    """

    files: Mapping[str, str]
    needed: Mapping[str, Sequence[str]]
    wanted: Mapping[str, Sequence[str]]
    aliases: Mapping[str, Sequence[str]]
    builtin: frozenset[str]

    @classmethod
    def parse(cls, files: Mapping[str, bytes]) -> ModuleIndex:
        """Read the files of :data:`INDEX`; one that is not there is empty, and a line that says nothing is passed over.

        :param files: their content by name.
        """
        paths, needed = _dependencies(files.get("modules.dep", b""))
        return cls(
            files=paths,
            needed=needed,
            wanted=_soft_dependencies(files.get("modules.softdep", b"")),
            aliases=_aliases(files.get("modules.alias", b"")),
            builtin=frozenset(name for line in _lines(files.get("modules.builtin", b"")) if (name := module_name(line))),
        )

    def to_load(self, names: Sequence[str]) -> tuple[Module, ...]:
        """Return the modules to load so that all of ``names`` are there, in order; none for what is built in.

        :raises TerraError: for a name that the kernel does not have, and for modules that need each other in a circle.
        """
        found: dict[str, bool] = {}
        for name in names:
            plain = name.replace("-", "_")
            if plain not in self.files and plain not in self.builtin:
                raise TerraError(f"the kernel of the image has no module {name}")
            self._add(plain, (), found, required=True)
        return tuple(Module(path=self.files[name], required=required) for name, required in found.items())

    def _add(self, name: str, above: tuple[str, ...], found: dict[str, bool], *, required: bool) -> None:
        """Add a module behind those that it needs."""
        if name in self.builtin or name not in self.files or found.get(name, False) or (name in found and not required):
            return
        if name in above:
            if not required:
                return
            raise TerraError(f"modules.dep of the image has a circle: {' needs '.join([*above[above.index(name) :], name])}")
        if len(found) + len(above) >= _MOST:
            raise TerraError(f"modules.dep of the image has module {(above or (name,))[0]} need more than {_MOST} others")
        for soft in self._soft(name):
            self._add(soft, (*above, name), found, required=False)
        for other in self.needed.get(name, ()):
            self._add(other, (*above, name), found, required=required)
        found[name] = required  # one that was wanted before keeps its place, behind those that it needs

    def _soft(self, name: str) -> Iterator[str]:
        for wanted in self.wanted.get(name, ()):
            yield from (wanted,) if wanted in self.files else self.aliases.get(wanted, ())


def module_name(path: str) -> str:
    """Return the name of the module in a file, by its path; empty when it is no module's."""
    found = _FILE.fullmatch(path)
    return found[1].replace("-", "_") if found and ".." not in path.split("/") else ""


def _dependencies(content: bytes) -> tuple[dict[str, str], dict[str, list[str]]]:
    files, needed = {}, {}
    for line in _lines(content):
        path, _, others = line.partition(":")
        name = module_name(path)
        if not name:
            continue
        files[name] = path
        # depmod lists all that are needed, and what is to be loaded first comes last.
        names = [module_name(other) for other in reversed(others.split())]
        needed[name] = [other for other in names if other]
    return files, needed


def _soft_dependencies(content: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in _lines(content):
        words = line.split()
        if len(words) < 3 or words[0] != "softdep":
            continue
        before = False
        for word in words[2:]:
            if word in ("pre:", "post:"):
                before = word == "pre:"
            elif before:
                found[words[1].replace("-", "_")].append(word.replace("-", "_"))
    return dict(found)


def _aliases(content: bytes) -> dict[str, list[str]]:
    """Return the aliases that are names; those that are patterns are for hardware."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in _lines(content):
        words = line.split()
        if len(words) == 3 and words[0] == "alias" and not any(character in words[1] for character in "*?["):
            found[words[1].replace("-", "_")].append(words[2].replace("-", "_"))
    return dict(found)


def _lines(content: bytes) -> Iterator[str]:
    yield from (line for line in content.decode(errors="replace").split("\n") if line and not line.startswith("#"))
