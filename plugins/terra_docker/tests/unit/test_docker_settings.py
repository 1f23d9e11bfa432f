"""The ``[docker]`` table."""

from __future__ import annotations

import pytest

from terra_core.config.session import Session
from terra_core.errors import ConfigError
from terra_docker.access import registry_access
from terra_docker.settings import Docker


def settings(**table: object) -> Docker:
    """Return the settings of a table."""
    return Session(source="server.toml", tables={"docker": table}).settings("docker", Docker)


def test_nothing_is_insecure_by_default() -> None:
    assert settings() == Docker(insecure=(), mirrors={}, engine=None)


@pytest.mark.parametrize(
    ("registry", "trusted"),
    [
        ("10.0.10.3:5000", True),
        ("10.0.10.3", False),
        ("10.0.10.3:5001", False),
        ("docker.io", False),
        ("registry.local", True),
        ("Registry.Local", True),
        ("evil.registry.local", False),
    ],
)
def test_a_registry_is_trusted_by_its_whole_name(registry: str, trusted: bool) -> None:
    table = settings(insecure=["10.0.10.3:5000", "registry.local"])
    assert registry_access(table).trusts(registry) is trusted


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"insecure": ["http://a"]}, 'docker.insecure[0]: expected a host and port, such as "10.0.10.3:5000", got "http://a"'),
        ({"insecure": "a"}, 'docker.insecure: expected a list, got "a"'),
        ({"insecure": ["a b"]}, 'docker.insecure[0]: expected a host and port, such as "10.0.10.3:5000", got "a b"'),
        ({"insecure": ["--x"]}, 'docker.insecure[0]: expected a host and port, such as "10.0.10.3:5000", got "--x"'),
        ({"engine": "/run/x"}, 'docker.engine: expected an address, such as "unix:///run/docker.sock", got "/run/x"'),
        (
            {"mirrors": {"docker.io": ["http://a"]}},
            'docker.mirrors."docker.io"[0]: expected a host and port, such as "10.0.10.3:5000", got "http://a"',
        ),
        (
            {"mirrors": {"a/b": []}},
            'docker.mirrors."a/b": expected a host and port, such as "10.0.10.3:5000", got "a/b"',
        ),
        ({"mirrors": {"docker.io": "a"}}, 'docker.mirrors."docker.io": expected a list, got "a"'),
        ({"builder": "fast"}, 'docker.builder: "fast" is not one of auto, classic, buildkit'),
        ({"secure": []}, "docker.secure: no such key here (known: builder, engine, insecure, mirrors)"),
    ],
)
def test_refused(table: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**table)
    assert caught.value.problems == (f"server.toml: {problem}",)


def test_what_is_wrong_with_one_key_hides_nothing_of_the_others() -> None:
    with pytest.raises(ConfigError) as caught:
        settings(mirrors={"docker.io": "a", "b": [5, "c d"]}, insecure=5, engine="/run/x", builder=7)
    said = [problem.split(":")[1].strip() for problem in caught.value.problems]
    assert said == [
        "docker.insecure",
        'docker.mirrors."docker.io"',
        "docker.mirrors.b[0]",
        "docker.builder",
        "docker.mirrors.b[1]",
        "docker.engine",
    ]
