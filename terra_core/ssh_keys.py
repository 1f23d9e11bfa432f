"""Key pairs for sshd(8)."""

from __future__ import annotations

KINDS = ("rsa", "ecdsa", "ed25519")
"""The kinds of keys that today's sshd takes."""

_RSA_BITS = 3072
"""As ssh-keygen(1) makes them."""


def make_key_pair(kind: str) -> tuple[bytes, bytes]:
    """Make a key as ``ssh-keygen -N "" -t KIND`` does.

    :param kind: one of :data:`KINDS`.
    :returns: the content of the private and of the public file.
    """
    # Here, because most commands make no key.
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if kind == "rsa":
        key = rsa.generate_private_key(65537, _RSA_BITS)
    elif kind == "ecdsa":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
