"""Software bills of materials, judged by the libraries of those who wrote the formats."""

from __future__ import annotations

import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from terra_core.sbom import Format, creation_time, render
from terra_core.sbom.document import Sbom
from terra_core.sbom.dpkg import read_packages
from terra_core.system.process import run


def sbom() -> Sbom:
    """Return the SBOM of this very machine, and of a package with every kind of character that names and versions have."""
    odd = b"\n\nPackage: odd++.name-2\nVersion: 2:1.0~rc1+b1-3\nArchitecture: all\nMaintainer: \xc3\x89va <a@b>\n"
    machine = Path("/var/lib/dpkg/status").read_bytes()
    packages = read_packages({"var/lib/dpkg/status": machine + odd, "etc/os-release": Path("/etc/os-release").read_bytes()})
    created = creation_time("2026-01-01T00:00:00Z")
    return Sbom(image="example/a:1", digest=f"sha256:{'ab' * 32}", created=created, packages=packages)


def test_cyclonedx_is_valid_by_its_strict_schema() -> None:
    found = JsonStrictValidator(SchemaVersion.V1_5).validate_str(render(sbom(), Format.CYCLONEDX).decode())
    assert found is None, found


def test_spdx_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "bom.spdx.json"
    path.write_bytes(render(sbom(), Format.SPDX))
    assert validate_full_spdx_document(parse_file(str(path))) == []


def test_every_installed_package_of_this_machine_is_in_it() -> None:
    listed = run(["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version} ${Architecture}\\n"]).text
    installed = {tuple(line.split()[1:]) for line in listed.splitlines() if line.startswith("installed ")}
    found = {(package.name, package.version, package.architecture) for package in sbom().packages} - {
        ("odd++.name-2", "2:1.0~rc1+b1-3", "all")
    }
    assert found == installed
    assert json.loads(render(sbom(), Format.CYCLONEDX))["components"]
