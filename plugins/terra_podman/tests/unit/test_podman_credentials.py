"""What ``podman login`` left, and in which order it is looked for."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_core.registry import Credentials
from terra_podman.credentials import stored_credentials


def packed(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def stored(repository: str, auth_file: str | None = None) -> str | None:
    """Return the password that is found."""
    found = stored_credentials(repository, auth_file=auth_file)
    return found.password if found else None


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home and a runtime directory that nothing in the environment points away from."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


RUNTIME, OWN, DOCKER, LEGACY = "run/containers/auth.json", ".config/containers/auth.json", ".docker/config.json", ".dockercfg"


def write(home: Path, place: str, content: object) -> Path:
    path = home / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_without_a_file_there_are_none(home: Path) -> None:
    assert stored("a.example/b") is None
    write(home, RUNTIME, "")
    write(home, OWN, {"auths": None})
    write(home, DOCKER, {})
    assert stored("a.example/b") is None


def test_the_first_file_that_has_some(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, LEGACY, {"https://a.example/v1/": packed("u:legacy")})
    assert stored("a.example/b") == "legacy"
    for place in (DOCKER, OWN, RUNTIME):
        write(home, place, {"auths": {"a.example": packed(f"u:{place}")}})
        assert stored("a.example/b") == place
    write(home, RUNTIME, {"auths": {"b.example": packed("u:other")}})
    assert stored("a.example/b") == OWN
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "elsewhere"))
    write(home, "elsewhere/config.json", {"auths": {"a.example": packed("u:docker")}})
    assert stored("a.example/b") == "docker", "as podman has it: no other file is read then"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write(home, "named", {"auths": {"a.example": packed("u:named")}})))
    assert stored("a.example/b") == "named"
    assert stored("a.example/b", str(write(home, "table", {"auths": {"a.example": packed("u:table")}}))) == "table"


def test_the_runtime_directory_of_a_user_who_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert stored("a.example/b") is None


def test_the_most_specific_key_counts(home: Path) -> None:
    keys = ("a.example", "a.example/team", "a.example/team/app", "a.example:5000")
    write(home, RUNTIME, {"auths": {key: packed(f"u:{key}") for key in keys}})
    assert stored("a.example/team/app") == "a.example/team/app"
    assert stored("a.example/team/other") == "a.example/team"
    assert stored("a.example/teams/app") == "a.example"
    assert stored("a.example:5000/team/app") == "a.example:5000"
    assert stored("b.example/team/app") is None
    assert stored("a.example") == "a.example"


@pytest.mark.parametrize(
    ("key", "repository", "found"),
    [
        ("https://index.docker.io/v1/", "docker.io/library/debian", True),
        ("docker.io", "docker.io/library/debian", True),
        ("docker.io/library", "docker.io/library/debian", True),
        ("registry-1.docker.io", "docker.io/library/debian", True),
        ("https://a.example/v1/", "a.example/b", True),
        ("http://a.example", "a.example/b", True),
        ("a.example/c", "a.example/b", False),
        ("evil.example/a.example", "a.example/b", False),
    ],
)
def test_keys_of_older_tools(home: Path, key: str, repository: str, found: bool) -> None:
    write(home, RUNTIME, {"auths": {key: packed("u:p")}})
    assert (stored(repository) == "p") is found


def test_passwords_and_tokens(home: Path) -> None:
    first = {**packed("user:pass:word\0"), "identityToken": "token"}
    write(home, RUNTIME, {"AUTHS": {"a": first, "b": packed("no colon"), "c": {}}})
    assert stored_credentials("a/x", auth_file=None) == Credentials("user", "pass:word", "token")
    assert stored("b/x") is None
    assert stored("c/x") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected an object at the top"),
        ({"auths": []}, "auths: expected an object"),
        ({"auths": {"a.example": "secret"}}, "auths.a.example: expected an object"),
        ({"auths": {"a.example": {"auth": "c2VjcmV0*"}}}, "auths.a.example.auth: is not base64 of a user and a password"),
        ({"auths": {"a.example": {"auth": 7}}}, "auths.a.example.auth: expected a string"),
        ({"credHelpers": {"a.example": "../evil"}}, "is no name of a credential helper"),
        ({"credHelpers": ["lab"]}, "credhelpers: expected an object"),
    ],
)
def test_what_cannot_be_read_is_named_and_not_shown(home: Path, content: object, message: str) -> None:
    path = write(home, RUNTIME, content)
    write(home, OWN, {"auths": {"a.example": packed("u:p")}})
    with pytest.raises(TerraError) as caught:
        stored("a.example/b")
    assert str(path) in caught.value.message
    assert message in caught.value.message
    assert "c2VjcmV0" not in str(caught.value)


def test_a_file_that_is_named_has_to_be_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TerraError, match=r"none: is not there, and \[podman\] auth_file names it") as caught:
        stored("a.example/b", str(home / "none"))
    assert caught.value.hint == f"make it: podman login --authfile {home / 'none'} a.example"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "none"))
    with pytest.raises(TerraError, match="and REGISTRY_AUTH_FILE names it"):
        stored("a.example/b")


def test_a_file_of_all_the_world_is_read_as_podman_reads_it(home: Path) -> None:
    write(home, RUNTIME, {"auths": {"a.example": packed("u:p")}}).chmod(0o644)
    assert stored("a.example/b") == "p"
