"""The ``[trust]`` table."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from terra_core.config.controller import Controller
from terra_core.config.loader import make_document
from terra_core.errors import ConfigError

EC = ec.generate_private_key(ec.SECP256R1())


def public(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> str:
    """Return the public half, in PEM form."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def load(**table: object) -> Controller:
    """Return a controller.toml with this table."""
    return make_document({"trust": table}, Controller, source="controller.toml").value


def test_without_a_table_anybody_is_trusted() -> None:
    assert make_document({}, Controller, source="controller.toml").value.trust is None


@pytest.mark.parametrize(
    "key", [EC, ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)], ids=["ec", "ed25519", "rsa"]
)
def test_a_key_as_text_or_as_a_file(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    (tmp_path / "cosign.pub").write_text(public(key))
    for given in (public(key), f"\n{public(key)}\n", str(tmp_path / "cosign.pub")):
        trust = load(key=given).trust
        assert trust is not None
        assert trust.public_key == key.public_key()
        assert trust.pem.strip() == public(key).strip()


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "expected a public key as cosign writes it"),
        ("cosign.pub", "or the absolute path of one"),
        ("/nowhere/cosign.pub", "/nowhere/cosign.pub: cannot be read: No such file or directory"),
        ("/etc", "/etc: cannot be read: it is a directory, and no file"),
        ("/etc/hostname", "expected a public key"),
        ("/a\0b", "expected a public key"),
        (public(EC)[:-40], "expected a public key"),
        (EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), "expected a public key"),
        (public(ec.generate_private_key(ec.SECP384R1())), "expected a key for ECDSA P-256"),
        (public(rsa.generate_private_key(65537, 1024)), "RSA of at least 2048 bits"),  # noqa: S505  # that is the point
    ],
)
def test_what_is_no_key(key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(key=key)
    (said,) = caught.value.problems
    assert said.startswith("controller.toml: trust.key: ")
    assert problem in said
    assert "PRIVATE" not in said


@pytest.mark.parametrize("kind", ["FIFO", "socket", "device"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "key"
    if kind == "FIFO":
        os.mkfifo(place)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(place))
    else:
        place = Path("/dev/ptmx")
    with pytest.raises(ConfigError, match=r"cannot be read: it is a \w+, and no file"):
        load(key=str(place))


def test_unknown_keys_and_none() -> None:
    with pytest.raises(ConfigError, match=r"trust\.keys: no such key"):
        load(key=public(EC), keys=[])
    with pytest.raises(ConfigError, match=r"trust\.key: is required"):
        load()
