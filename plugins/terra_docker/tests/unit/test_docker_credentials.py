"""What ``docker login`` left."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_core.registry import Credentials
from terra_docker.credentials import stored_credentials

PACKED = base64.b64encode(b"user:pass:word").decode()
FOUND = Credentials("user", "pass:word")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home directory that nothing in the environment points away from."""
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    return tmp_path


def write(home: Path, config: object) -> None:
    """Write config.json."""
    (home / ".docker/config.json").write_text(config if isinstance(config, str) else json.dumps(config))


def test_without_a_file_there_are_none(home: Path) -> None:
    assert stored_credentials("docker.io") is None
    write(home, {"HttpHeaders": {"X": "y"}, "auths": {}})
    assert stored_credentials("docker.io") is None


@pytest.mark.parametrize(
    ("key", "registry", "found"),
    [
        ("https://index.docker.io/v1/", "docker.io", True),
        ("index.docker.io", "docker.io", True),
        ("docker.io", "docker.io", False),
        ("10.0.10.3:5000", "10.0.10.3:5000", True),
        ("https://10.0.10.3:5000", "10.0.10.3:5000", True),
        ("http://10.0.10.3:5000/v1/", "10.0.10.3:5000", True),
        ("10.0.10.3", "10.0.10.3:5000", False),
        ("10.0.10.3:5000", "10.0.10.3", False),
        ("evil.example/10.0.10.3:5000", "10.0.10.3:5000", False),
    ],
)
def test_a_registry_is_told_its_own_credentials(home: Path, key: str, registry: str, found: bool) -> None:
    write(home, {"auths": {key: {"auth": PACKED}}})
    assert (stored_credentials(registry) == FOUND) is found


def test_the_file_of_an_editor(home: Path) -> None:
    config = json.dumps({"auths": {"a": {"username": "user", "password": "pass:word"}}}, indent=1)
    (home / ".docker/config.json").write_bytes(b"\xef\xbb\xbf" + config.replace("\n", "\r\n").encode())
    assert stored_credentials("a") == FOUND
    (home / ".docker/config.json").write_bytes(config.encode("utf-16"))
    with pytest.raises(TerraError, match=r"config.json: is UTF-16"):
        stored_credentials("a")


def test_what_is_no_file_is_not_read(home: Path) -> None:
    os.mkfifo(home / ".docker/config.json")
    with pytest.raises(TerraError, match=r"config.json: the credentials of docker login cannot be read: it is a FIFO"):
        stored_credentials("a")


@pytest.mark.parametrize("token", ["s3cret\n", "s3cret\r\nX: y", "s3crét"])
def test_a_token_that_no_header_can_have_is_not_shown(home: Path, token: str) -> None:
    write(home, {"auths": {"a": {"registrytoken": token}}})
    with pytest.raises(TerraError, match=r"registrytoken: is no token that can be sent") as caught:
        stored_credentials("a")
    assert "s3cr" not in f"{caught.value} {caught.value.hint}"


def test_half_a_character_is_replaced_as_docker_does(home: Path) -> None:
    write(home, '{"auths": {"a": {"username": "\\ud800u", "password": "\\ud83d\\ude00"}}}')
    found = stored_credentials("a")
    assert found == Credentials("\ufffdu", "\U0001f600")
    assert found.basic.startswith("Basic ")


def test_docker_config_names_another_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "elsewhere").mkdir()
    (home / "elsewhere/config.json").write_text(json.dumps({"auths": {"a": {"username": "user", "password": "pass:word"}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "elsewhere"))
    assert stored_credentials("a") == FOUND


def test_tokens(home: Path) -> None:
    write(home, {"auths": {"a": {"identitytoken": "i"}, "b": {"registrytoken": "r"}, "c": {}}})
    assert stored_credentials("a") == Credentials(identity_token="i")
    assert stored_credentials("b") == Credentials(registry_token="r")
    assert stored_credentials("c") is None


@pytest.mark.parametrize(
    "config",
    [
        "", "[]", "{", '{"auths": []}', '{"auths": {"a": {"auth": "!"}}}', '{"auths": {"a": 1}}',
        '{"auths": {"a": {"auth": 1}}}',
        '{"credsStore": "../../bin/sh"}', '{"credsStore": "a b"}', '{"credHelpers": {"a": "-x"}}',
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_named(home: Path, config: str) -> None:
    write(home, config)
    with pytest.raises(TerraError, match=r"config\.json"):
        stored_credentials("a")


@pytest.mark.parametrize(
    "config",
    [
        '{"auths": {"a": {"auth": "!"}}, "auths": {"a": {"auth": "%s"}}}',
        '\ufeff{"auths": {"a": {"auth": "%s"}}}',
        '{"AUTHS": {"a": {"Auth": "%s", "Email": null}}, "x": 1}',
        '{"auths": {"a": {"auth": "%s", "username": "other", "password": "other"}}, "HttpHeaders": {"X": 1}}',
        '{"auths": {"b": null, "a": {"auth": "%s"}}}',
    ],
)
def test_a_file_is_read_as_docker_reads_it(home: Path, config: str) -> None:
    write(home, config % PACKED)
    assert stored_credentials("a") == FOUND
    write(home, config % f"{PACKED[:4]}\\r\\n{PACKED[4:]}")
    assert stored_credentials("a") == FOUND
    assert stored_credentials("b") is None


def test_a_password_need_not_be_utf8(home: Path) -> None:
    packed = base64.b64encode(b"user:p\xe4ss\0").decode()
    write(home, {"auths": {"a": {"auth": packed}}})
    found = stored_credentials("a")
    assert found is not None
    assert found.basic == "Basic " + base64.b64encode(b"user:p\xe4ss").decode()
