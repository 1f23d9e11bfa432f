"""The packages of an image, as its dpkg(1) database has them: deb822(5), in a file that anybody may have written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from attrs import frozen
from debian.deb822 import Packages
from packageurl import PackageURL

from terra_core.errors import TerraError
from terra_core.system.reading import lines_of, salvaged

STATUS = "var/lib/dpkg/status"
_DIRECTORY = "var/lib/dpkg/status.d/"
_RELEASES = ("etc/os-release", "usr/lib/os-release")
_FIELD = re.compile(r"(?i:package|status|version|architecture|source|maintainer)[ \t]*:")
_MOST = 100_000
"""The most packages that are read; all of Debian has fewer."""
_LINE_LENGTH = 4096
"""The longest line that is read; the longest field that is used here, a maintainer's, has 100 characters or so."""


@frozen(kw_only=True)
class Package:
    """An installed package.

    :param name: its name.
    :param version: its version, as dpkg writes it.
    :param architecture: such as ``amd64`` or ``all``.
    :param source: the name of its source package.
    :param source_version: the version of that.
    :param supplier: who maintains it.
    :param distribution: such as ``debian``; empty when the image does not say.
    :param release: such as ``debian-12``; empty when the image does not say.
    """

    name: str
    version: str
    architecture: str
    source: str
    source_version: str
    supplier: str
    distribution: str
    release: str

    @property
    def url(self) -> PackageURL:
        """Return its package URL, of the type ``deb`` (https://github.com/package-url/purl-spec)."""
        qualifiers = {key: value for key, value in (("arch", self.architecture), ("distro", self.release)) if value}
        return PackageURL("deb", self.distribution or None, self.name, self.version, qualifiers)

    @property
    def purl(self) -> str:
        """Return its package URL as text."""
        return self.url.to_string()


def is_wanted(path: str) -> bool:
    """Return whether :func:`read_packages` reads a file of an image.

    :param path: without a leading slash.
    """
    return path in (STATUS, *_RELEASES) or (path.startswith(_DIRECTORY) and not path.endswith(".md5sums"))


def read_packages(files: Mapping[str, bytes]) -> tuple[Package, ...]:
    """Return the installed packages, sorted by name.

    Anything but the stanza of an installed package is skipped: a list of what can be read is of more use than none.

    :param files: the dpkg database and os-release(5), by path without a leading slash.
    :raises TerraError: when there are more than any system has.
    """
    release = next((_os_release(salvaged(files[path])) for path in _RELEASES if path in files), {})
    distribution = release.get("ID", "")
    version = "-".join(part for part in (distribution, release.get("VERSION_ID", "")) if part) if distribution else ""
    texts = [salvaged(content) for path, content in files.items() if path not in _RELEASES]
    found: dict[str, Package] = {}
    for count, stanza in enumerate(chain.from_iterable(map(_stanzas, texts)), start=1):
        if count > _MOST:
            raise TerraError(f"the image's dpkg database has more than {_MOST} packages, which no system has")
        package = _package(stanza, distribution, version)
        if package is not None:
            found[package.purl] = package
    return tuple(package for _, package in sorted(found.items(), key=lambda item: (item[1].name, item[0])))


def _stanzas(text: str) -> Iterator[Packages]:
    """Yield each stanza for itself: a reader of them all stops at one that has no field.

    Each has only the lines of the fields that are used here: others may be long, many, or look like a signature, which would
    hide its content.
    """
    for block in re.split(r"\n[ \t\r]*\n", text):
        lines = [line for line in lines_of(block) if _FIELD.match(line) and len(line) <= _LINE_LENGTH]
        if lines:
            yield Packages(lines, strict={"whitespace-separates-paragraphs": False})


def _package(stanza: Packages, distribution: str, release: str) -> Package | None:
    """Return the package of a stanza; None when it is not installed. Those of status.d have no status."""
    installed = stanza.get("Status", "install ok installed").endswith(" installed")
    name, version = stanza.get("Package", ""), stanza.get("Version", "")
    if not installed or not name.strip("/") or not version:
        return None
    source, _, rest = stanza.get("Source", name).partition(" ")
    return Package(
        name=name,
        version=version,
        architecture=stanza.get("Architecture", ""),
        source=source,
        source_version=rest.strip(" ()") or version,
        supplier=stanza.get("Maintainer", ""),
        distribution=distribution,
        release=release,
    )


def _os_release(text: str) -> Mapping[str, str]:
    return dict(_assignments(lines_of(text)))


def _assignments(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        found = re.fullmatch(r"([A-Z_]+)=([\"']?)([A-Za-z0-9._ -]*)\2", line.strip())
        if found:
            yield found[1], found[3]
