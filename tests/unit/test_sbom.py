"""Software bills of materials, from a dpkg database to documents; what a validator says of them is in tests/integration."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from terra_core.errors import ConfigError, TerraError
from terra_core.sbom import Format, creation_time, format_of, render
from terra_core.sbom.document import Sbom
from terra_core.sbom.dpkg import Package, read_packages

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
    """Return the packages of the status above."""
    return read_packages({"var/lib/dpkg/status": STATUS, "usr/lib/os-release": RELEASE})


def sbom() -> Sbom:
    """Return their SBOM."""
    created = creation_time("2026-01-01T01:00:00.5+01:00")
    return Sbom(image="a/b:1", digest=f"sha256:{'1' * 64}", created=created, packages=packages())


def test_installed_packages_are_listed_and_others_are_not() -> None:
    assert [(package.name, package.version, package.source, package.source_version) for package in packages()] == [
        ("libstdc++6", "12.2.0-14+deb12u1~x", "libstdc++6", "12.2.0-14+deb12u1~x"),
        ("zlib1g", "1:1.2.13.dfsg-1", "zlib", "1:1.2.13-1"),
    ]


def test_package_urls() -> None:
    assert [package.purl for package in packages()] == [
        "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1~x?arch=amd64&distro=debian-12",
        "pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1?arch=amd64&distro=debian-12",
    ]
    (alone,) = read_packages({"var/lib/dpkg/status.d/base": b"Package: base\nVersion: 2\nArchitecture: all\n"})
    assert alone.purl == "pkg:deb/base@2?arch=all"


@pytest.mark.parametrize("kind", Format)
def test_the_same_packages_are_the_same_bytes(kind: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    before = render(sbom(), kind)
    monkeypatch.setattr("uuid.uuid4", lambda: uuid.UUID(int=1))
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert render(sbom(), kind) == before


@pytest.mark.parametrize(
    "broken",
    [
        b"no field at all\n",
        b"Foo: a stanza without a package\n",
        b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n",
        b"Package:\nVersion: 1\n",
        b"Package: /\nVersion: 1\n",
        b"Package: without-version\n",
        b":\n: \n",
        b"\0\xff\xfe: \x80\n",
        b"Description: a\n b\x0bc\n \xe2\x80\xa8d\n",
        b"Package: long\nVersion: " + b"1 " * (1 << 20) + b"\n",
        b" continued: before anything\n",
        b"#\n",
    ],
)
def test_a_broken_stanza_hides_no_other_and_is_no_package(broken: bytes) -> None:
    text = STATUS + b"\n" + broken + b"\n" + STATUS.replace(b"zlib1g", b"another")
    found = read_packages({"var/lib/dpkg/status": text})
    assert [package.name for package in found] == ["another", "libstdc++6", "zlib1g"]


def test_a_signature_hides_no_package() -> None:
    text = b"-----BEGIN PGP SIGNED MESSAGE-----\n" + STATUS
    assert [package.name for package in read_packages({"var/lib/dpkg/status": text})] == ["libstdc++6", "zlib1g"]


def test_a_status_file_of_another_system_is_read_all_the_same() -> None:
    text = b"\xef\xbb\xbf" + STATUS.replace(b"\n", b"\r\n").replace(b"Version", b"VERSION")
    assert read_packages({"var/lib/dpkg/status": text, "usr/lib/os-release": RELEASE}) == packages()


def test_a_status_file_of_nothing_but_noise_has_no_packages() -> None:
    for text in (b"", b"\n" * 100_000, b"\0" * 100_000, b"-" * 100_000, b"a b " * 100_000, b"a:" * 100_000):
        assert read_packages({"var/lib/dpkg/status": text}) == ()


def test_more_packages_than_any_system_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terra_core.sbom.dpkg._MOST", 2)
    assert len(read_packages({"var/lib/dpkg/status": b"Package: a\nVersion: 1\n\n" * 2})) == 1
    with pytest.raises(TerraError, match="more than 2 packages"):
        read_packages({"var/lib/dpkg/status": b"Package: a\nVersion: 1\n\n" * 3})


@pytest.mark.parametrize("kind", Format)
def test_odd_packages_can_be_written(kind: Format) -> None:
    odd = b"Package: a/../\xff\x01@b?c#d\nVersion: 1 \x1b[31m/@?#\nArchitecture: \xc3\xa9 &=\nMaintainer: \n"
    found = read_packages({"var/lib/dpkg/status": odd, "etc/os-release": RELEASE})
    made = Sbom(image="a", digest=f"sha256:{'1' * 64}", created=creation_time(""), packages=found)
    parts = json.loads(render(made, kind))["components" if kind is Format.CYCLONEDX else "packages"]
    assert parts[-1]["name"] == "a/../\ufffd\x01@b?c#d"


@pytest.mark.parametrize(
    "label", ["", "yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
)
def test_a_creation_time_that_is_none_is_the_epoch(label: str) -> None:
    assert creation_time(label).isoformat() == "1970-01-01T00:00:00+00:00"


def test_cyclonedx() -> None:
    document = json.loads(render(sbom(), Format.CYCLONEDX))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert [part["name"] for part in document["components"]] == ["libstdc++6", "zlib1g"]
    assert document["components"][1]["purl"] == packages()[1].purl
    assert document["components"][1]["supplier"] == {"name": "Mark Brown <broonie@debian.org>"}
    assert document["components"][1]["properties"] == [
        {"name": "terra:source", "value": "zlib"},
        {"name": "terra:source-version", "value": "1:1.2.13-1"},
    ]
    assert document["metadata"]["timestamp"] == "2026-01-01T00:00:00+00:00"
    assert document["metadata"]["component"]["name"] == "a/b:1"
    assert document["metadata"]["tools"] == {"components": [{"name": "terra", "type": "application"}]}
    (relation,) = (one for one in document["dependencies"] if one["ref"] == sbom().digest)
    assert relation["dependsOn"] == [package.purl for package in packages()]
    assert "licenses" not in json.dumps(document)


def test_spdx() -> None:
    document = json.loads(render(sbom(), Format.SPDX))
    assert document["spdxVersion"] == "SPDX-2.3"
    assert document["creationInfo"]["created"] == "2026-01-01T00:00:00Z"
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
