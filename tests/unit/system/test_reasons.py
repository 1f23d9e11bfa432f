"""Why a connection failed."""

from __future__ import annotations

import socket
from http.client import RemoteDisconnected

import pytest
import requests
from docker.errors import DockerException

from terra_core.system.reasons import reason_of


def refused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_what_requests_says_of_a_port_that_nobody_has() -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get(f"http://127.0.0.1:{refused_port()}/", timeout=5)
    assert reason_of(caught.value) == "Connection refused"


def test_what_requests_says_of_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get("http://nodes.example/", timeout=5)
    assert reason_of(caught.value) == "the name cannot be resolved: Name or service not known"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DockerException("Error", ConnectionResetError(104, "Connection reset by peer")), "Connection reset by peer"),
        (OSError(113, "No route to host"), "No route to host"),
        (FileNotFoundError(2, "No such file or directory", "/run/docker.sock"), "/run/docker.sock: No such file or directory"),
        (RemoteDisconnected("Remote end closed connection without response"), "Remote end closed connection without response"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("no port"), "no port"),
    ],
)
def test_the_reason_at_the_bottom(error: BaseException, expected: str) -> None:
    assert reason_of(error) == expected


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        ("http://me:secret@127.0.0.1:99999", "the address of the proxy in the environment is none"),
        ("ftp://me:secret@127.0.0.1", "the address of the proxy in the environment is none"),
        ("socks5://me:secret@127.0.0.1:1", "the address of the proxy in the environment is none, or of a kind that Terra"),
        ("http://me:secret@127.0.0.1:1", "the proxy of the environment: Connection refused"),
    ],
)
def test_a_proxy_is_named_without_its_password(proxy: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(requests.RequestException) as caught:
        requests.get("https://nodes.invalid/", timeout=5)
    assert reason_of(caught.value).startswith(expected)
