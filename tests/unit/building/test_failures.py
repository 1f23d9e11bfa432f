"""What registries say, and what the user is told: the lines are those of real engines and registries."""

from __future__ import annotations

import pytest

from terra_core.building.failures import Remedies, registry_failure
from terra_core.config.values import parse_image_reference
from terra_core.errors import NotFoundError

REMEDIES = Remedies(login="docker login", certificates="/etc/docker/certs.d", without_tls="do this")
REFERENCE = parse_image_reference("registry.example:5000/a/b:1")


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ('Get "https://r/v2/": http: server gave HTTP response to HTTPS client', "speaks plain HTTP, not HTTPS", "do this"),
        ("denied: requested access to the resource is denied", "refused it: denied", "docker login registry.example:5000"),
        ("unauthorized: authentication required", "refused it: unauthorized", "docker login"),
        ("error parsing HTTP 403 response body: unexpected status 403", "refused it", "docker login"),
        ("dial tcp 10.0.0.1:5000: connect: connection refused", "does not answer: dial tcp", ""),
        ("dial tcp: lookup registry.example on 127.0.0.1:53: no such host", "does not answer", ""),
        ("net/http: request canceled (Client.Timeout exceeded while awaiting headers)", "does not answer", ""),
        ("x509: certificate signed by unknown authority", "is not trusted: certificate signed by", "ca.crt"),
        ("toomanyrequests: You have reached your pull rate limit.", "too many requests", "wait a while"),
        ("received unexpected HTTP status: 500 Internal Server Error", "500 Internal Server Error", ""),
        ("", "no reason was given", ""),
    ],
)
def test_plain_words(said: str, message: str, hint: str) -> None:
    error = registry_failure("pushing a/b:1", REFERENCE, said, REMEDIES)
    assert error.message.startswith("pushing a/b:1: ")
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    "said",
    [
        "manifest for registry.example:5000/a/b:1 not found: manifest unknown: manifest unknown",
        "name unknown: repository name not known to registry",
    ],
)
def test_not_there(said: str) -> None:
    error = registry_failure("pushing a/b:1", REFERENCE, said, REMEDIES)
    assert isinstance(error, NotFoundError)
    assert error.message == "pushing a/b:1: the registry registry.example:5000 has no such image"
