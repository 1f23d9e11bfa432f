"""``[trust]``: whose images are taken, the same in node.toml and controller.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import frozen

from terra_core.config.structure import Problem
from terra_core.config.values import shown
from terra_core.system.reading import decoded, read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

_BEGIN = "-----BEGIN "
_LONGEST = 64 * 1024
_LEAST_RSA_BITS = 2048
_EXPECTED = 'a public key as cosign writes it (PEM, "-----BEGIN PUBLIC KEY-----"), or the absolute path of one'


@frozen(kw_only=True)
class Trust:
    """``[trust]``.

    :param key: a public key in PEM form (RFC 7468), or the absolute path of a file that has one. An image without a signature
        by its private half is refused.
    """

    key: str

    @property
    def pem(self) -> str:
        """The key itself, in PEM form.

        :raises ValueError: when the file cannot be read.
        """
        if self.key.lstrip().startswith(_BEGIN):
            return self.key
        if not self.key.startswith("/") or "\0" in self.key:
            raise ValueError(f"expected {_EXPECTED}, got {shown(self.key)}")
        try:
            return decoded(read_regular(Path(self.key), _LONGEST))
        except OSError as error:
            raise ValueError(f"{self.key}: cannot be read: {error.strerror}") from error
        except ValueError:
            raise ValueError(f"expected {_EXPECTED}; {self.key} is neither") from None

    @property
    def public_key(self) -> PublicKey:
        """The key, ready to verify signatures with.

        :raises ValueError: when it is no public key of a kind that is taken.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(self.pem.strip().encode())
        except (UnsupportedAlgorithm, ValueError) as error:
            if str(error).startswith(("expected", "/")):
                raise
            raise ValueError(f"expected {_EXPECTED}") from None
        return _of_known_kind(key)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the key."""
        try:
            _ = self.public_key
        except ValueError as error:
            yield Problem("key", str(error))


@frozen(kw_only=True)
class SentTrust(Trust):
    """``[trust]`` as a client sends it: the key itself, and never the name of a file, which would be one of the server's."""

    @property
    def pem(self) -> str:
        """The key itself, in PEM form.

        :raises ValueError: when it is anything else.
        """
        if not self.key.lstrip().startswith(_BEGIN):
            raise ValueError('expected a public key itself (PEM, "-----BEGIN PUBLIC KEY-----")')
        return self.key


def with_key(raw: Mapping[str, object], trust: Trust | None) -> Mapping[str, object]:
    """Return a parsed file with the key itself in place of the key's path, so that it can be sent to another machine and kept.

    :param raw: the file.
    :param trust: what its ``[trust]`` says, if it has one.
    """
    return raw if trust is None else {**raw, "trust": {"key": trust.pem}}


def _of_known_kind(key: object) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    right = (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1))
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS)
    )
    if not right:
        raise ValueError(f"expected a key for ECDSA P-256, Ed25519, or RSA of at least {_LEAST_RSA_BITS} bits")
    return cast("PublicKey", key)
