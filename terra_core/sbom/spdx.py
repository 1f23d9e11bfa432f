"""An SBOM as SPDX 2.3 in JSON, see https://spdx.github.io/spdx-spec/v2.3/.

Written here and not by spdx-tools, see docs/decisions/0052; the tests have spdx-tools judge it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from terra_core.sbom.document import Sbom
from terra_core.sbom.dpkg import Package

_UNKNOWN = {
    "downloadLocation": "NOASSERTION",
    "filesAnalyzed": False,
    "licenseConcluded": "NOASSERTION",
    "licenseDeclared": "NOASSERTION",
    "copyrightText": "NOASSERTION",
}


def render_spdx(sbom: Sbom) -> bytes:
    """Return the document."""
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": sbom.image,
        "documentNamespace": f"https://spdx.org/spdxdocs/terra-{sbom.identity}",
        "creationInfo": {"created": f"{sbom.created:%Y-%m-%dT%H:%M:%SZ}", "creators": ["Tool: terra"]},
        "documentDescribes": ["SPDXRef-Image"],
        "packages": [_image(sbom), *(_package(package) for package in sbom.packages)],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
            *(_relation("SPDXRef-Image", "CONTAINS", _identifier(package)) for package in sbom.packages),
        ],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _image(sbom: Sbom) -> Mapping[str, object]:
    return {
        "SPDXID": "SPDXRef-Image",
        "name": sbom.image,
        "versionInfo": sbom.digest,
        **_UNKNOWN,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": sbom.digest.rpartition(":")[2]}],
    }


def _package(package: Package) -> Mapping[str, object]:
    return {
        "SPDXID": _identifier(package),
        "name": package.name,
        "versionInfo": package.version,
        **({"supplier": f"Organization: {package.supplier}"} if package.supplier else {}),
        **_UNKNOWN,
        "sourceInfo": f"built from the source package {package.source} {package.source_version}",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl}
        ],
    }  # fmt: skip


def _identifier(package: Package) -> str:
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", f"{package.name}-{package.architecture}")
    return f"SPDXRef-deb-{plain}-{hashlib.sha256(package.purl.encode()).hexdigest()[:8]}"


def _relation(one: str, kind: str, other: str) -> Mapping[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
