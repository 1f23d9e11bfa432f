"""The credentials of ``docker login``, and of the credential helpers that it leaves them with."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.errors import TerraError
from terra_core.registry import Credentials, endpoint
from terra_core.system import process
from terra_core.testing.faulty_registry import Asked, FaultyRegistry, faulty_registry, layer
from terra_docker import plugin
from terra_docker.credentials import stored_credentials

BASIC = "Basic " + base64.b64encode(b"terra:secret").decode()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set up a user who is not logged in, and retries after a short pause."""
    monkeypatch.setattr(endpoint, "_FIRST_PAUSE", 0.01)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with faulty_registry() as registry:
        registry.image([layer("file", b"content")], "1")
        yield registry


def pull(registry: FaultyRegistry, layout: Path) -> None:
    session = Session(tables={"docker": {"insecure": [registry.address]}})
    with plugin.pull_image(parse_image_reference(registry.name), layout, session):
        pass


def test_a_credential_helper(registry: FaultyRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = tmp_path / "layout"
    helper = tmp_path / "docker-credential-lab"
    helper.write_text(f"""#!/bin/sh
[ "$1" = get ] && [ "$(cat)" = {registry.address} ] || {{ echo "credentials not found in native keychain"; exit 1; }}
echo '{{"ServerURL": "x", "Username": "terra", "Secret": "secret"}}'
""")
    helper.chmod(0o755)
    monkeypatch.setattr(process, "_SEARCH_PATH", f"{tmp_path}:{process._SEARCH_PATH}")

    def guard(asked: Asked) -> bool:
        if asked.headers.get("Authorization") == BASIC:
            return False
        asked.say(401, more={"WWW-Authenticate": 'Basic realm="terra"'})
        return True

    registry.faults.append(guard)
    for config in ({"credsStore": "lab"}, {"credHelpers": {registry.address: "lab"}}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        pull(registry, layout)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "nowhere"}))
    with pytest.raises(TerraError, match="docker-credential-nowhere"):
        pull(registry, layout)
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {"other": "lab"}}))
    with pytest.raises(TerraError, match="asks for a user and a password") as caught:
        pull(registry, layout)
    assert caught.value.hint == f"log in: docker login {registry.address}"


@pytest.mark.parametrize("config", ['{"credsStore": "desktop"}', "{", '{"auths": []}'], ids=["helper", "cut-off", "list"])
def test_credentials_that_cannot_be_had_are_needed_or_not(registry: FaultyRegistry, tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)

    def guard(asked: Asked) -> bool:
        if asked.path.startswith("/token"):
            asked.say(200, b'{"token": "good"}')
        elif asked.headers.get("Authorization") != "Bearer good":
            asked.say(401, more={"WWW-Authenticate": f'Bearer realm="http://{registry.address}/token",service="here"'})
        else:
            return False
        return True

    registry.faults.append(guard)
    pull(registry, tmp_path / "layout")
    registry.fault("/token", lambda asked: asked.say(401))
    with pytest.raises(TerraError, match=r"refused it: its token service .* answered 401; .*config\.json"):
        pull(registry, tmp_path / "refused")


def test_a_registry_without_a_helper_of_its_own(tmp_path: Path) -> None:
    """Check that an empty helper name means no helper, and takes precedence over the helper for all registries."""
    config = {"auths": {"a": {"username": "u", "password": "p"}}, "credHelpers": {"a": ""}, "credsStore": "nowhere"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert stored_credentials("a") == Credentials("u", "p")
    with pytest.raises(TerraError, match="docker-credential-nowhere"):
        stored_credentials("b")
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {"https://index.docker.io/v1/": "hub"}}))
    with pytest.raises(TerraError, match="docker-credential-hub"):
        stored_credentials("docker.io")
