"""What engines and registries say when something fails, in words that tell what to do about it."""

from __future__ import annotations

import re

from attrs import frozen

from terra_core.config.values import ImageReference
from terra_core.errors import NotFoundError, TerraError
from terra_core.system.reading import lines_of

_PLAIN_HTTP = re.compile(r"server gave HTTP response to HTTPS client|first record does not look like a TLS handshake")
_CERTIFICATE = re.compile(r"x509: ([^\n\"]+)|tls: ([^\n\"]+)")
_NOT_THERE = re.compile(
    r"manifest unknown|name unknown|repository name not known|not found: manifest|status 404", re.IGNORECASE
)
_NOT_ALLOWED = re.compile(
    r"unauthorized|authentication required|no basic auth credentials|denied|forbidden|status 40[13]", re.IGNORECASE
)
_TOO_MANY = re.compile(r"toomanyrequests|too many requests|status 429", re.IGNORECASE)
_SILENT = re.compile(
    r"connection refused|no such host|no route to host|network is unreachable|i/o timeout|deadline exceeded"
    r"|Client\.Timeout|server misbehaving|name resolution",
    re.IGNORECASE,
)


@frozen(kw_only=True)
class Remedies:
    """What a user of an engine does where a registry refuses.

    :param login: the command that logs in, less the registry.
    :param certificates: the directory that has one for each registry, with its authority's certificate.
    :param without_tls: how to go there without TLS, should the registry have none.
    """

    login: str
    certificates: str
    without_tls: str


def registry_failure(doing: str, reference: ImageReference, said: str, remedies: Remedies) -> TerraError:
    """Return the error for what a registry said, as an engine passes it on.

    :param doing: what failed, such as ``pushing docker.io/library/debian:12``.
    :param reference: the image.
    :param said: the message, or the last lines of several.
    :param remedies: what to do about it.
    """
    registry = reference.registry
    if _PLAIN_HTTP.search(said):
        hint = f"to trust it, {remedies.without_tls}"
        return TerraError(f"{doing}: the registry {registry} speaks plain HTTP, not HTTPS", hint=hint)
    if _TOO_MANY.search(said):
        return TerraError(
            f"{doing}: the registry {registry} says that there were too many requests",
            hint=f"wait a while, or log in: {remedies.login} {registry}",
        )
    if _NOT_THERE.search(said):
        return NotFoundError(f"{doing}: the registry {registry} has no such image")
    if _NOT_ALLOWED.search(said):
        return TerraError(
            f"{doing}: the registry {registry} refused it: {_last_line(said)}", hint=f"log in: {remedies.login} {registry}"
        )
    certificate = _CERTIFICATE.search(said)
    if certificate and "not yet valid" in certificate[0]:
        return TerraError(
            f"{doing}: the certificate of the registry {registry} is not valid: {(certificate[1] or certificate[2]).strip()}",
            hint="is the clock of the engine's machine right? If it is, the registry needs a new certificate",
        )
    if certificate:
        return TerraError(
            f"{doing}: the certificate of the registry {registry} is not trusted: {(certificate[1] or certificate[2]).strip()}",
            hint=f"put its authority's certificate into {remedies.certificates}/{registry}/ca.crt",
        )
    if _SILENT.search(said):
        return TerraError(f"{doing}: the registry {registry} does not answer: {_last_line(said)}")
    return TerraError(f"{doing}: {_last_line(said)}")


def _last_line(said: str) -> str:
    """Return the last line, which is the one that says why."""
    return lines_of(said.strip())[-1] if said.strip() else "no reason was given"
