"""Bills of materials, from a dpkg database to documents; what a validator says of them is in tests/integration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from terra_core.bill import Bill, Format, Package, format_of, read_packages
from terra_core.errors import ConfigError

STATUS = b"""\
Package: zlib1g
Status: install ok installed
Maintainer: Mark Brown <broonie@debian.org>
Architecture: amd64
Source: zlib (1:1.2.13-1)
Version: 1:1.2.13.dfsg-1
Description: a library
 with a long
 text: and a colon

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libstdc++6
Status: hold ok installed
Architecture: amd64
Version: 12.2.0-14+deb12u1~x
"""
RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


def packages() -> tuple[Package, ...]:
    """The packages of the status above."""
    return read_packages({"var/lib/dpkg/status": STATUS, "usr/lib/os-release": RELEASE})


def bill() -> Bill:
    """Their bill."""
    return Bill(image="a/b:1", digest=f"sha256:{'1' * 64}", created="2026-01-01T00:00:00Z", packages=packages())


def test_installed_packages_are_listed_and_others_are_not() -> None:
    assert [(package.name, package.version, package.source) for package in packages()] == [
        ("libstdc++6", "12.2.0-14+deb12u1~x", "libstdc++6"),
        ("zlib1g", "1:1.2.13.dfsg-1", "zlib"),
    ]


def test_package_urls() -> None:
    assert [package.purl for package in packages()] == [
        "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1~x?arch=amd64&distro=debian-12",
        "pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1?arch=amd64&distro=debian-12",
    ]
    (alone,) = read_packages({"var/lib/dpkg/status.d/base": b"Package: base\nVersion: 2\nArchitecture: all\n"})
    assert alone.purl == "pkg:deb/base@2?arch=all"


def test_the_same_packages_are_the_same_bytes() -> None:
    for kind in Format:
        assert bill().render(kind) == bill().render(kind)


def test_cyclonedx() -> None:
    document = json.loads(bill().render(Format.CYCLONEDX))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert [part["name"] for part in document["components"]] == ["libstdc++6", "zlib1g"]
    assert "licenses" not in json.dumps(document)


def test_spdx() -> None:
    document = json.loads(bill().render(Format.SPDX))
    assert document["spdxVersion"] == "SPDX-2.3"
    assert [part["name"] for part in document["packages"]] == ["a/b:1", "libstdc++6", "zlib1g"]
    assert len({part["SPDXID"] for part in document["packages"]}) == 3
    assert {part["licenseConcluded"] for part in document["packages"]} == {"NOASSERTION"}


@pytest.mark.parametrize(
    ("name", "said", "kind"),
    [
        ("bom.json", None, Format.CYCLONEDX),
        ("bom.cdx.json", None, Format.CYCLONEDX),
        ("bom.SPDX.json", None, Format.SPDX),
        ("bom.txt", "spdx", Format.SPDX),
        ("bom.spdx.json", "cyclonedx", Format.CYCLONEDX),
    ],
)
def test_the_format_is_the_one_asked_for_or_that_of_the_name(name: str, said: str | None, kind: Format) -> None:
    assert format_of(Path(name), said) is kind


def test_a_name_that_tells_no_format() -> None:
    with pytest.raises(ConfigError, match="--sbom-format"):
        format_of(Path("bom.txt"), None)
