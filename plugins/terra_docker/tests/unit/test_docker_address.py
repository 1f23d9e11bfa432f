"""Addresses of an engine that are refused before anything is asked there."""

from __future__ import annotations

import pytest

from terra_core.errors import TerraError
from terra_docker.engine import connect, connected
from terra_docker.settings import Docker


def refusal(settings: Docker) -> TerraError:
    with pytest.raises(TerraError) as caught, connected(settings):
        pass
    return caught.value


@pytest.mark.parametrize("address", ["tcp://user:s3cret@127.0.0.1:1", "http://user:s3cret@127.0.0.1:1/path"])
def test_a_password_is_not_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    for settings in (Docker(), Docker(engine=address)):
        error = refusal(settings)
        assert "a user name or a password in it" in error.message
        assert "s3cret" not in f"{error.message} {error.hint}"


def test_ssh_without_paramiko_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terra_docker.engine.find_spec", lambda name: None)
    error = refusal(Docker(engine="ssh://build.example"))
    assert error.message == (
        "the Docker Engine at ssh://build.example is reached by ssh, for which Python's package paramiko is missing"
    )
    assert "forward the socket" in error.hint


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:999999", "tcp://127.0.0.1:x", "tcp://[::1", "tcp://", "foo://x", "unix://"])
def test_what_is_no_address_is_no_defect(address: str) -> None:
    with pytest.raises(TerraError, match="Docker Engine"):
        connect(address, setting="engine")
