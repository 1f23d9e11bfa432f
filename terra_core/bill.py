"""A bill of materials: the packages of an image, from its dpkg(1) database, as CycloneDX 1.5 or SPDX 2.3 in JSON.

https://cyclonedx.org/docs/1.5/json/ and https://spdx.github.io/spdx-spec/v2.3/; packages are named by package URLs of the type
``deb`` (https://github.com/package-url/purl-spec). Licences are not guessed. The same image gives the same bytes: nothing in
them tells of the machine or the hour that they were written at.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from attrs import frozen

from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.errors import ConfigError, TerraError
from terra_core.hookspecs import Registry
from terra_core.image.lookup import read_files
from terra_core.plugins import Plugins
from terra_core.system.reading import lines_of, salvaged
from terra_core.system.workspace import workspace

_STATUS = "var/lib/dpkg/status"
_DIRECTORY = "var/lib/dpkg/status.d/"
_RELEASES = ("etc/os-release", "usr/lib/os-release")
_SPACE = uuid.UUID("9a1a41c4-5a4e-5c1f-8f0e-3c8f2b8d6f10")
_YOUNG_SECONDS = 60.0
_EPOCH = "1970-01-01T00:00:00Z"


class Format(StrEnum):
    """How a bill of materials is written."""

    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"


@frozen(kw_only=True)
class Package:
    """An installed package.

    :param name: its name.
    :param version: its version, as dpkg writes it.
    :param architecture: such as ``amd64`` or ``all``.
    :param source: the name of its source package.
    :param supplier: who maintains it.
    :param distribution: such as ``debian``; empty when the image does not say.
    :param release: such as ``debian-12``; empty when the image does not say.
    """

    name: str
    version: str
    architecture: str
    source: str
    supplier: str
    distribution: str
    release: str

    @property
    def purl(self) -> str:
        """Its package URL."""
        namespace = f"{self.distribution}/" if self.distribution else ""
        asked = {"arch": self.architecture, "distro": self.release}
        qualifiers = "&".join(f"{key}={quote(value, safe='-._~:')}" for key, value in sorted(asked.items()) if value)
        name, version = quote(self.name, safe="-._~"), quote(self.version, safe="-._~:")
        return f"pkg:deb/{namespace}{name}@{version}{f'?{qualifiers}' if qualifiers else ''}"


@frozen(kw_only=True)
class Bill:
    """A bill of materials.

    :param image: the image's name.
    :param digest: the digest of its configuration, which is its id.
    :param created: when the image was made, as RFC 3339 has it.
    :param packages: its packages, sorted.
    """

    image: str
    digest: str
    created: str
    packages: tuple[Package, ...]

    def render(self, kind: Format) -> bytes:
        """The document."""
        document = self._cyclonedx() if kind is Format.CYCLONEDX else self._spdx()
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()

    def _cyclonedx(self) -> Mapping[str, object]:
        subject = {"type": "container", "bom-ref": self.digest, "name": self.image, "version": self.digest}
        return {
            "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, self.digest)}",
            "version": 1,
            "metadata": {
                "timestamp": self.created,
                "tools": {"components": [{"type": "application", "name": "terra"}]},
                "component": subject,
            },
            "components": [
                {
                    "type": "library",
                    "bom-ref": package.purl,
                    **({"supplier": {"name": package.supplier}} if package.supplier else {}),
                    "name": package.name,
                    "version": package.version,
                    "purl": package.purl,
                    "properties": [{"name": "terra:source", "value": package.source}],
                }
                for package in self.packages
            ],
            "dependencies": [{"ref": self.digest, "dependsOn": [package.purl for package in self.packages]}],
        }

    def _spdx(self) -> Mapping[str, object]:
        image = {
            "SPDXID": "SPDXRef-Image",
            "name": self.image,
            "versionInfo": self.digest,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "primaryPackagePurpose": "CONTAINER",
            "checksums": [{"algorithm": "SHA256", "checksumValue": self.digest.rpartition(":")[2]}],
        }
        return {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": self.image,
            "documentNamespace": f"https://spdx.org/spdxdocs/terra-{uuid.uuid5(_SPACE, self.digest)}",
            "creationInfo": {"created": self.created, "creators": ["Tool: terra"]},
            "documentDescribes": ["SPDXRef-Image"],
            "packages": [image, *(_spdx_package(package) for package in self.packages)],
            "relationships": [
                _relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
                *(_relation("SPDXRef-Image", "CONTAINS", _spdx_id(package)) for package in self.packages),
            ],
        }


def _spdx_package(package: Package) -> Mapping[str, object]:
    return {
        "SPDXID": _spdx_id(package),
        "name": package.name,
        "versionInfo": package.version,
        **({"supplier": f"Organization: {package.supplier}"} if package.supplier else {}),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "sourceInfo": f"built from the source package {package.source}",
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl}
        ],
    }  # fmt: skip


def _spdx_id(package: Package) -> str:
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", f"{package.name}-{package.architecture}")
    return f"SPDXRef-deb-{plain}-{hashlib.sha256(package.purl.encode()).hexdigest()[:8]}"


def _relation(one: str, kind: str, other: str) -> Mapping[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def format_of(path: Path, said: str | None) -> Format:
    """The format of a file: the one that was asked for, or else by its name: ``.spdx.json``, ``.cdx.json``, ``.json``."""
    if said is not None:
        return Format(said)
    name = path.name.lower()
    if name.endswith((".spdx.json", ".spdx")):
        return Format.SPDX
    if name.endswith(".json"):
        return Format.CYCLONEDX
    raise ConfigError([f"--sbom: {path}: its name ends neither in .cdx.json, .spdx.json nor .json: say --sbom-format as well"])


def make_bill(image: str, server: Server, *, plugins: Plugins, session: Session) -> Bill:
    """Read the packages of an image that was built, without running anything of it.

    :param image: its id.
    :param server: what it was built from.
    :raises TerraError: when it has no dpkg database.
    """
    registry = plugins.fill(Registry, server.plugins, source=session.source)
    with workspace("terra-sbom-", grace=_YOUNG_SECONDS) as work:
        offer = registry.save_image(image, work, session)
        with offer as source:
            created = source.config.labels.get("org.opencontainers.image.created", _EPOCH)
            files = read_files(source, _is_wanted)
    packages = read_packages(files)
    if not packages:
        raise TerraError(f"{server.image}: has no packages in its dpkg database", hint=f"it has no /{_STATUS}, or an empty one")
    return Bill(image=str(server.image), digest=image, created=created, packages=packages)


def _is_wanted(path: str) -> bool:
    return path in (_STATUS, *_RELEASES) or (path.startswith(_DIRECTORY) and not path.endswith(".md5sums"))


def read_packages(files: Mapping[str, bytes]) -> tuple[Package, ...]:
    """The installed packages, sorted by name.

    :param files: the dpkg database and os-release(5), by path without a leading slash.
    """
    release = next((_os_release(salvaged(files[path])) for path in _RELEASES if path in files), {})
    distribution = release.get("ID", "")
    version = "-".join(part for part in (distribution, release.get("VERSION_ID", "")) if part) if distribution else ""
    texts = [salvaged(content) for path, content in files.items() if path not in _RELEASES]
    found = {
        package.purl: package
        for text in texts
        for stanza in _stanzas(text)
        if (package := _package(stanza, distribution, version)) is not None
    }
    return tuple(package for _, package in sorted(found.items(), key=lambda item: (item[1].name, item[0])))


def _package(stanza: Mapping[str, str], distribution: str, release: str) -> Package | None:
    """A package of a stanza; nothing for one that is not installed. Those of status.d have no status."""
    installed = stanza.get("Status", "install ok installed").endswith(" installed")
    if not installed or "Package" not in stanza or "Version" not in stanza:
        return None
    return Package(
        name=stanza["Package"],
        version=stanza["Version"],
        architecture=stanza.get("Architecture", ""),
        source=stanza.get("Source", stanza["Package"]).partition(" ")[0],
        supplier=stanza.get("Maintainer", ""),
        distribution=distribution,
        release=release,
    )


def _stanzas(text: str) -> Iterator[Mapping[str, str]]:
    """deb822(5): fields by name, without their continued lines."""
    for block in re.split(r"\n[ \t]*\n", text):
        fields = (line.partition(":") for line in lines_of(block) if line[:1] not in (" ", "\t", "#", ""))
        yield {name: value.strip() for name, colon, value in fields if colon}


def _os_release(text: str) -> Mapping[str, str]:
    return dict(_assignments(lines_of(text)))


def _assignments(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        found = re.fullmatch(r"([A-Z_]+)=([\"']?)([A-Za-z0-9._ -]*)\2", line.strip())
        if found:
            yield found[1], found[3]
