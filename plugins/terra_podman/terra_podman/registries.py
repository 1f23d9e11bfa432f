"""registries.conf, version 2: which registry is where, which mirrors it has, and which one is blocked.

The format is that of containers-registries.conf(5). Keys that this page does not know are left to the tools that do, as those
tools do it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import Factory, frozen

from terra_core.config.structure import path_of_key
from terra_core.config.values import ImageReference, parse_image_reference, shown
from terra_core.errors import ConfigError, TerraError
from terra_core.system.reading import decoded, read_regular

SYSTEM = Path("/etc/containers/registries.conf")
FILES = "containers-auth.json"
"""The entry of ``credential-helpers`` that stands for the files of credentials."""

_MOST_BYTES = 4 << 20
_USES = ("all", "digest-only", "tag-only")
_VERSION_2 = "write unqualified-search-registries = [...], and a [[registry]] with its location for each registry"


@frozen(kw_only=True)
class Mirror:
    """A ``[[registry.mirror]]``.

    :param location: what takes the place of the registry's prefix.
    :param insecure: whether it may do without TLS.
    :param use: its ``pull-from-mirror``.
    """

    location: str
    insecure: bool = False
    use: str = "all"


@frozen(kw_only=True)
class Entry:
    """A ``[[registry]]``.

    :param source: the file that has it.
    :param prefix: the beginning of the names that it is about.
    :param location: what takes its place; nothing does when empty.
    :param insecure: whether that may do without TLS.
    :param blocked: whether it may not be used.
    :param mirrors: what is asked before it, in this order.
    :param by_digest_only: whether mirrors are asked for digests alone.
    """

    source: Path
    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    by_digest_only: bool = False


@frozen(kw_only=True)
class Place:
    """Where an image may be had.

    :param reference: its name there.
    :param insecure: whether that registry may do without TLS.
    """

    reference: ImageReference
    insecure: bool = False


@frozen(kw_only=True)
class Registries:
    """All of it.

    :param entries: by their prefixes.
    :param search: the registries that a name without one is looked for at; ``None`` where no file says so.
    :param aliases: the whole names of short ones.
    :param helpers: where credentials are looked for: :data:`FILES`, or the names of credential helpers.
    :param source: the file that says ``search``.
    """

    entries: Mapping[str, Entry] = Factory(dict)
    search: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = Factory(dict)
    helpers: tuple[str, ...] = (FILES,)
    source: Path = SYSTEM

    def entry(self, reference: ImageReference) -> Entry | None:
        """Return what is said of an image's registry: the entry with the longest prefix that fits."""
        name = whole(reference)
        fitting = [entry for entry in self.entries.values() if _fit(name, entry.prefix) is not None]
        return max(fitting, key=lambda entry: len(entry.prefix), default=None)

    def places(self, reference: ImageReference) -> Sequence[Place]:
        """Return where an image may be pulled from: its mirrors in their order, and last the registry itself.

        :raises TerraError: when it may not be pulled at all, or when an entry makes no name of it.
        """
        self.check_whole(reference)
        entry = self.entry(reference)
        if entry is None:
            return [Place(reference=reference)]
        refuse_blocked(reference, entry)
        mirrors = [
            Place(reference=_moved(reference, entry, mirror.location), insecure=mirror.insecure)
            for mirror in entry.mirrors
            if _serves(mirror, entry, reference)
        ]
        itself = Place(reference=_moved(reference, entry, entry.location), insecure=entry.insecure)
        refuse_blocked(reference, self.entry(itself.reference))
        return [*(place for place in mirrors if not self._blocks(place.reference)), itself]

    def _blocks(self, reference: ImageReference) -> bool:
        entry = self.entry(reference)
        return entry is not None and entry.blocked

    def check_whole(self, reference: ImageReference) -> None:
        """Refuse a name without a registry that podman would look for elsewhere than Terra does, which is at docker.io.

        :raises TerraError: with the whole names.
        """
        if reference.registry != "docker.io" or reference.text.startswith("docker.io/"):
            return
        ours = f"docker.io/{reference.path}"
        short = reference.text.partition("@")[0]
        tag = short[len(short.rpartition(":")[0]) :] if ":" in short.rpartition("/")[2] else ""
        short = short.removesuffix(tag)
        if short in self.aliases:
            others = [self.aliases[short]]
        else:
            names = (f"{registry}/{short}" for registry in self.search or ())
            others = [f"docker.io/{reference.path}" if name == f"docker.io/{short}" else name for name in names]
        if others and others != [ours]:
            end = reference.text.removeprefix(short)
            podmans = " or ".join(others)
            raise TerraError(
                f"{reference}: names no registry, and {self.source} has podman look for it as {podmans}, not as {ours}",
                hint=f"write the whole name: {' or '.join(f'{other}{end}' for other in dict.fromkeys([*others, ours]))}",
            )


def read_registries() -> Registries:
    """Read the file and those of the directories beside it, each taking the place of what those before it said.

    :raises ConfigError: with every problem of the first file that has some.
    """
    merged = Registries()
    for path, needed in _files():
        try:
            content = read_regular(path, _MOST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            if needed:
                raise ConfigError([f"{path}: is not there, and CONTAINERS_REGISTRIES_CONF names it"]) from None
            continue
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
        merged = _merged(merged, parse_registries(content, path), path)
    return merged


def parse_registries(content: bytes, path: Path) -> Registries:
    """Read one file.

    :raises ConfigError: with every problem, by file and key.
    """
    try:
        raw = tomllib.loads(decoded(content))
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"{path}: is no TOML: {error}"]) from None
    reader = _Reader(path)
    found = reader.registries(raw)
    if reader.problems:
        raise ConfigError(reader.problems)
    return found


def whole(reference: ImageReference) -> str:
    """Return a name with its registry and its tag or digest."""
    name = f"{reference.registry}/{reference.path}"
    return f"{name}@{reference.digest}" if reference.digest else f"{name}:{reference.tag}"


def refuse_blocked(reference: ImageReference, entry: Entry | None) -> None:
    """Refuse an image of a registry that is blocked.

    :raises TerraError: naming the file.
    """
    if entry is not None and entry.blocked:
        raise TerraError(
            f"{reference}: the registry {entry.prefix} is blocked in {entry.source}",
            hint='take an image of another registry, or "blocked = true" out of that file',
        )


def _files() -> Iterator[tuple[Path, bool]]:
    """Return the files in the order in which they count, and whether each has to be there."""
    home = os.environ.get("HOME", "/root")
    own = Path(home, ".config/containers/registries.conf")
    named = os.environ.get("CONTAINERS_REGISTRIES_CONF")
    yield Path(named) if named else own if own.exists() else SYSTEM, bool(named)
    for directory in (Path(f"{SYSTEM}.d"), Path(f"{own}.d")):
        yield from ((path, False) for path in sorted(directory.rglob("*.conf")))


def _merged(before: Registries, later: Registries, path: Path) -> Registries:
    return Registries(
        entries={**before.entries, **later.entries},
        search=before.search if later.search is None else later.search,
        aliases={**before.aliases, **later.aliases},
        helpers=later.helpers or before.helpers,
        source=before.source if later.search is None and not later.aliases else path,
    )


def _fit(name: str, prefix: str) -> int | None:
    """Return how much of a name a prefix stands for; nothing when it does not fit."""
    if prefix.startswith("*."):
        at = name.find(prefix[1:])
        end = at + len(prefix) - 1
        fits = at > 0 and "/" not in name[:at]
    else:
        end, fits = len(prefix), name.startswith(prefix)
    return end if fits and (end == len(name) or name[end] in ":/@") else None


def _serves(mirror: Mirror, entry: Entry, reference: ImageReference) -> bool:
    """Return whether a mirror is asked for an image."""
    use = "digest-only" if entry.by_digest_only else mirror.use
    return use == "all" or (use == "digest-only") == bool(reference.digest)


def _moved(reference: ImageReference, entry: Entry, location: str) -> ImageReference:
    """Return the name that an image has at a location.

    :raises TerraError: when it is none.
    """
    if not location:
        return reference
    name = whole(reference)
    moved = location + name[_fit(name, entry.prefix) or 0 :]
    try:
        return parse_image_reference(moved)
    except ValueError as error:
        raise TerraError(f"{reference}: {entry.source} makes another name of it: {error}") from None


class _Reader:
    """Reads one file, and collects what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self._path = path

    def registries(self, raw: Mapping[str, object]) -> Registries:
        if "registries" in raw:
            self._problem("registries", f"is version 1 of this file, which is not read; {_VERSION_2}")
            return Registries()
        entries = [self._entry(table, f"registry[{at}]") for at, table in enumerate(self._tables(raw, "registry"))]
        search = self._texts(raw, "unqualified-search-registries")
        return Registries(
            entries={entry.prefix: entry for entry in entries},
            search=None if search is None else tuple(self._location(one, "unqualified-search-registries") for one in search),
            aliases=self._aliases(raw),
            helpers=tuple(self._texts(raw, "credential-helpers") or ()),
            source=self._path,
        )

    def _entry(self, raw: Mapping[str, object], where: str) -> Entry:
        location = self._location(self._text(raw, "location", where), f"{where}.location")
        prefix = self._location(self._text(raw, "prefix", where), f"{where}.prefix") or location
        if not prefix:
            self._problem(where, "has neither a location nor a prefix")
        elif not location and not prefix.startswith("*."):
            self._problem(f"{where}.location", 'is missing, which it may be only beside a prefix such as "*.example.com"')
        if prefix[:2] != "*." and "*" in prefix:
            self._problem(f"{where}.prefix", f'expected a star in front only, as in "*.example.com", got {shown(prefix)}')
        by_digest = self._flag(raw, "mirror-by-digest-only", where)
        mirrors = [
            self._mirror(table, f"{where}.mirror[{at}]", by_digest)
            for at, table in enumerate(self._tables(raw, "mirror", f"{where}."))
        ]
        return Entry(
            source=self._path,
            prefix=prefix,
            location=location,
            insecure=self._flag(raw, "insecure", where),
            blocked=self._flag(raw, "blocked", where),
            mirrors=tuple(mirrors),
            by_digest_only=by_digest,
        )

    def _mirror(self, raw: Mapping[str, object], where: str, by_digest: bool) -> Mirror:
        location, use = self._text(raw, "location", where), self._text(raw, "pull-from-mirror", where)
        if not location:
            self._problem(f"{where}.location", "is missing")
        if use and use not in _USES:
            self._problem(f"{where}.pull-from-mirror", f"expected one of {', '.join(_USES)}, got {shown(use)}")
        if use and by_digest:
            self._problem(f"{where}.pull-from-mirror", "cannot stand beside the registry's mirror-by-digest-only: take one out")
        return Mirror(
            location=self._location(location, f"{where}.location"),
            insecure=self._flag(raw, "insecure", where),
            use=use or "all",
        )

    def _aliases(self, raw: Mapping[str, object]) -> Mapping[str, str]:
        table = raw.get("aliases", {})
        if not isinstance(table, dict):
            self._problem("aliases", f"expected a table, got {shown(table)}")
            return {}
        for name, target in table.items():
            if not isinstance(target, str):
                self._problem(f"aliases.{path_of_key(name)}", f"expected the whole name of an image, got {shown(target)}")
        return {name: target for name, target in table.items() if isinstance(target, str) and target}

    def _location(self, text: str, where: str) -> str:
        if text.startswith(("http://", "https://")):
            self._problem(where, f"expected a host without http:// or https://, got {shown(text)}")
        return text.rstrip("/")

    def _tables(self, raw: Mapping[str, object], key: str, above: str = "") -> Iterable[Mapping[str, object]]:
        tables = raw.get(key, [])
        if isinstance(tables, list) and all(isinstance(table, dict) for table in tables):
            return tables
        header = f"[[registry.{key}]]" if above else f"[[{key}]]"
        self._problem(f"{above}{key}", f"expected tables, each under {header}, got {shown(tables)}")
        return []

    def _texts(self, raw: Mapping[str, object], key: str) -> list[str] | None:
        texts = raw.get(key)
        if texts is None or (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
            return texts
        self._problem(key, f"expected a list of strings, got {shown(texts)}")
        return None

    def _text(self, raw: Mapping[str, object], key: str, where: str) -> str:
        text = raw.get(key, "")
        if isinstance(text, str):
            return text
        self._problem(f"{where}.{key}", f"expected a string, got {shown(text)}")
        return ""

    def _flag(self, raw: Mapping[str, object], key: str, where: str) -> bool:
        flag = raw.get(key, False)
        if isinstance(flag, bool):
            return flag
        self._problem(f"{where}.{key}", f"expected true or false, got {shown(flag)}")
        return False

    def _problem(self, where: str, text: str) -> None:
        self.problems.append(f"{self._path}: {where}: {text}")

