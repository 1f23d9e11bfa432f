"""How registries.conf and auth.json reach core's client of registries."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.registry import RegistryAccess
from terra_podman.routes import Route, access_of_push, route_of

DIGEST = f"sha256:{'0' * 64}"
TEXT = """
[[registry]]
prefix = "a.example/team"
location = "inner.example/a"
insecure = true
[[registry.mirror]]
location = "one.example/x"
insecure = true
[[registry.mirror]]
location = "one.example/y"
[[registry.mirror]]
location = "two.example"
insecure = true
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write registries.conf and auth.json."""
    (tmp_path / "registries.conf").write_text(TEXT)
    keys = ("a.example", "a.example/team", "inner.example/a/app", "inner.example", "one.example/y", "two.example")
    auths = {key: {"auth": base64.b64encode(f"user:{key}".encode()).decode()} for key in keys}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))


def route(*, plain_http: bool = False) -> Route:
    return route_of(parse_image_reference(f"a.example/team/app@{DIGEST}"), Session(plain_http=plain_http))[0]


def password(access: RegistryAccess, registry: str) -> str | None:
    found = access.credentials(registry)
    return found.password if found else None


def test_an_image_is_asked_for_where_it_is_and_at_its_mirrors() -> None:
    found = route()
    assert str(found.reference) == f"inner.example/a/app@{DIGEST}"
    mirrors = [(mirror.registry, mirror.path) for mirror in found.access.mirrors(found.reference)]
    assert mirrors == [("one.example", "x/app"), ("one.example", "y/app"), ("two.example", "app")]


def test_a_host_does_without_tls_where_all_that_is_there_may() -> None:
    access = route().access
    assert [access.trusts(name) for name in ("inner.example", "one.example", "two.example", "a.example")] == [
        True, False, True, False,
    ]  # fmt: skip
    access = route(plain_http=True).access
    assert not access.trusts("one.example"), "what the session allows is for the registry of the image alone"


def test_credentials_are_those_of_the_repository() -> None:
    access = route().access
    assert password(access, "inner.example") == "inner.example/a/app"
    assert password(access, "two.example") == "two.example"
    assert password(access, "three.example") is None


def test_a_push_goes_where_its_name_says() -> None:
    access = access_of_push(parse_image_reference("a.example/team/app:1"), Session())
    assert password(access, "a.example") == "a.example/team"
    assert access.trusts("a.example")
    assert list(access.mirrors(parse_image_reference("a.example/team/app:1"))) == []


def test_hints_are_those_of_podman() -> None:
    access = route().access
    assert access.login_hint("a.example") == "log in: podman login a.example"
    assert "/etc/containers/registries.conf.d/" in access.insecure_hint("a.example")
    assert access.certificate_hint("a.example").endswith("/etc/containers/certs.d/a.example/ca.crt")
