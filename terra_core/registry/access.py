"""How registries are reached: credentials, mirrors, and which registries may be used without TLS."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from terra_core.config.values import ImageReference


@frozen
class Credentials:
    """The credentials for a registry.

    :param user: the name; empty where there is a token only.
    :param password: its password.
    :param identity_token: is exchanged for access tokens at the registry's token service.
    :param registry_token: is an access token itself.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """Return the value of an ``Authorization`` header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode(errors="surrogateescape")).decode()


@frozen
class Mirror:
    """A repository that has the images of another one.

    :param registry: ``host`` or ``host:port``.
    :param path: the repository there.
    """

    registry: str
    path: str


def _no_credentials(registry: str) -> None:
    return None


def _no_mirrors(reference: ImageReference) -> Sequence[Mirror]:
    return ()


def _give_credentials(registry: str) -> str:
    return f"give the credentials for {registry}"


def _allow_without_tls(registry: str) -> str:
    return f"list {registry} among the registries that may do without TLS"


@frozen(kw_only=True)
class RegistryAccess:
    """How registries are reached, as a plugin reads it from its own configuration.

    The callables may be called from several threads at one time. Proxies are those of the environment.

    :param credentials: returns what is stored for a registry, named as ``host`` or ``host:port``, or nothing. It is called only
        when the registry asks for credentials, and may raise :class:`~terra_core.errors.TerraError`.
    :param mirrors: returns the repositories that are asked before the one that a reference names, in this order.
    :param insecure: registries, as ``host`` or ``host:port``, that are spoken to by plain HTTP where they speak no TLS, and
        whose certificates are not checked.
    :param certificates: directories that have for a registry a directory of its name, with the certificates of further
        authorities in files ``*.crt``.
    :param login_hint: returns what a user does to log in to a registry, for the hint of an error.
    :param insecure_hint: returns what a user does to let a registry go without TLS, for the hint of an error.
    """

    credentials: Callable[[str], Credentials | None] = _no_credentials
    mirrors: Callable[[ImageReference], Sequence[Mirror]] = _no_mirrors
    insecure: Sequence[str] = ()
    certificates: Sequence[Path] = ()
    login_hint: Callable[[str], str] = _give_credentials
    insecure_hint: Callable[[str], str] = _allow_without_tls

    def trusts(self, registry: str) -> bool:
        """Return whether a registry, as ``host`` or ``host:port``, may be spoken to without TLS."""
        return registry.lower() in {listed.lower() for listed in self.insecure}

    def without_tls(self, registry: str) -> RegistryAccess:
        """Return the same, with one more registry that may be spoken to without TLS."""
        return evolve(self, insecure=(*self.insecure, registry))

    def certificate_hint(self, registry: str) -> str:
        """Return where the certificate of a registry's authority belongs, for the hint of an error."""
        if self.certificates:
            return f"put its authority's certificate into {self.certificates[0]}/{registry}/ca.crt"
        return "add its authority's certificate to those that this machine trusts"
