"""A software bill of materials (SBOM): the packages of an image, from its dpkg(1) database, as CycloneDX or SPDX in JSON.

Licences are not guessed. The same image gives the same bytes: they name neither the machine nor the time of writing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from terra_core.config.loader import Document
from terra_core.config.server import Server
from terra_core.errors import ConfigError, TerraError
from terra_core.hookspecs import Builder
from terra_core.image.lookup import read_files
from terra_core.plugins import Plugins
from terra_core.sbom.cyclonedx import render_cyclonedx
from terra_core.sbom.document import Sbom
from terra_core.sbom.dpkg import STATUS, is_wanted, read_packages
from terra_core.sbom.spdx import render_spdx
from terra_core.system.progress import Report, silent
from terra_core.system.workspace import workspace

_YOUNG_SECONDS = 60.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Format(StrEnum):
    """How an SBOM is written."""

    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"


def render(sbom: Sbom, kind: Format) -> bytes:
    """Return the document."""
    return render_spdx(sbom) if kind is Format.SPDX else render_cyclonedx(sbom)


def format_of(path: Path, said: str | None) -> Format:
    """Return the format of a file: the one asked for, or else that of its name: ``.spdx.json``, ``.cdx.json``, ``.json``.

    :param said: the value of ``--sbom-format``; None when it was left out.
    :raises ConfigError: when neither says one.
    """
    if said is not None:
        return Format(said)
    name = path.name.lower()
    if name.endswith((".spdx.json", ".spdx")):
        return Format.SPDX
    if name.endswith(".json"):
        return Format.CYCLONEDX
    raise ConfigError([f"--sbom: {path}: its name ends neither in .cdx.json, .spdx.json nor .json: say --sbom-format as well"])


def make_sbom(
    image: str, document: Document[Server], *, report: Report = silent, plugins: Plugins | None = None
) -> Sbom:
    """Read the packages of an image that was built, without running anything of it.

    :param image: its id.
    :param document: what it was built from.
    :param report: takes progress events, and may raise to end the work.
    :param plugins: the installed plugins; found when left out.
    :raises TerraError: when it has no dpkg database.
    """
    server, session = document.value, document.session(report)
    builder = (plugins or Plugins.discover()).fill(Builder, server.plugins, source=document.source)
    with workspace("terra-sbom-", grace=_YOUNG_SECONDS) as work, builder.save_image(image, work, session) as source:
        created = creation_time(source.config.labels.get("org.opencontainers.image.created", ""))
        files = read_files(source, is_wanted)
    packages = read_packages(files)
    if not packages:
        raise TerraError(f"{server.image}: has no packages in its dpkg database", hint=f"it has no /{STATUS}, or an empty one")
    return Sbom(image=str(server.image), digest=image, created=created, packages=packages)


def creation_time(label: str) -> datetime:
    """Return the time that an image's label says (RFC 3339), to the second; the epoch when it says none, or no time."""
    try:
        time = datetime.fromisoformat(label)
        return time.replace(microsecond=0, tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return _EPOCH
