"""The controller's own certificate authority, and the certificate by which its API is served (RFC 5280).

Three files in ``etc/terra/tls``: ``ca.pem``, which clients need; ``ca.key``, with which certificates are signed; and
``server.pem``, the key and the certificate of the API in one file, so that they are replaced together. Only root may read the
last two.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from terra_core.config.controller import Paths
from terra_core.controller.certificates import AUTHORITY_KEY, SERVER, Name
from terra_core.errors import TerraError, error_of_machine
from terra_core.system.files import replacing_in, sync_directory
from terra_core.system.locks import wait_for_lock
from terra_core.system.openat import directory_below, file_below

_AUTHORITY = "ca.pem"
_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 825
RENEWED_DAYS = 90
"""A certificate that ends sooner is replaced, at the start of the controller and by ``terra controller init``."""
_SKEW = timedelta(days=1)
"""Certificates are valid from a day before they are made: clocks of machines differ."""
_LOCK_SECONDS = 30.0
_MOST = 65536
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@frozen(kw_only=True)
class Certified:
    """The certificate of the API, as it is now.

    :param names: what it is for: host names and addresses.
    :param until: its end.
    :param authority_until: the end of the authority's.
    :param made: what was made or replaced just now, a line each; empty when all was there.
    """

    names: Sequence[str]
    until: datetime
    authority_until: datetime
    made: Sequence[str]


def certify(paths: Paths, names: Sequence[Name]) -> Certified:
    """Make the authority and the certificate where they are missing; renew a certificate that ends soon or lacks a name.

    What is there and right stays as it is.

    :param paths: where the controller keeps what it owns.
    :param names: what the certificate has to be for; what it is for already stays.
    :raises TerraError: when a file cannot be written, others may write where they are, or the authority's key is not there.
    """
    try:
        paths.etc.mkdir(parents=True, exist_ok=True, mode=0o755)
        _check_safe(paths.etc.stat(), paths.etc)
        with directory_below(paths.etc, paths.tls.name, make=0o755) as directory:
            _check_safe(os.fstat(directory), paths.tls)
            wait_for_lock(directory, seconds=_LOCK_SECONDS, what="another terra controller to make its certificate")
            return _certify(directory, paths, names)
    except OSError as error:
        raise error_of_machine(error) from error


def _certify(directory: int, paths: Paths, names: Sequence[Name]) -> Certified:
    made: list[str] = []
    authority = _authority(directory, paths, made)
    server, key = _read_pair(paths, SERVER)
    trusted = server is not None and key is not None and _is_pair(server, key) and _is_signed(server, authority)
    former = _names(server) if server is not None and trusted else []
    wanted = [*former, *(name for name in dict.fromkeys(names) if name not in former)]
    now = datetime.now(UTC)
    _check_valid(authority, now, paths)
    soon = min(now + timedelta(days=RENEWED_DAYS), authority.not_valid_after_utc)
    early = server is not None and server.not_valid_before_utc > now  # it was made while the clock was wrong
    if server is None or not trusted or early or wanted != former or server.not_valid_after_utc < soon:
        server = _renew(directory, paths, authority, wanted)
        made.append(f"{'a further' if former else 'a'} certificate: {paths.tls / SERVER}")
    sync_directory(paths.tls)
    return Certified(
        names=[str(name) for name in wanted],
        until=server.not_valid_after_utc,
        authority_until=authority.not_valid_after_utc,
        made=made,
    )


def _authority(directory: int, paths: Paths, made: list[str]) -> x509.Certificate:
    certificate = _read_certificate(paths, _AUTHORITY)
    if certificate is not None:
        return certificate
    key = _read_key(paths, AUTHORITY_KEY)  # a run that was killed between the two files left it
    if key is None:
        key = ec.generate_private_key(ec.SECP256R1())
        _write(directory, AUTHORITY_KEY, _pem(key), 0o600)
    said = f"Terra controller {socket.gethostname()}"[:64]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, said)])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _begun(subject, subject, key, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(directory, _AUTHORITY, certificate.public_bytes(Encoding.PEM), 0o644)
    made.append(f"a certificate authority: {paths.authority}")
    return certificate


def _renew(directory: int, paths: Paths, authority: x509.Certificate, names: Sequence[Name]) -> x509.Certificate:
    signing = _read_key(paths, AUTHORITY_KEY)
    place = paths.tls / AUTHORITY_KEY
    if signing is None:
        hint = (
            "put it back for this, or remove the whole directory, make another authority, and give its ca.pem to every client"
        )
        raise TerraError(f"{place}: the authority's key is not here, and a certificate has to be signed", hint=hint)
    if not _is_pair(authority, signing):
        raise TerraError(f"{place}: is not the key of {paths.authority}", hint="put the right one back")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Terra controller")])
    shown = [x509.DNSName(name) if isinstance(name, str) else x509.IPAddress(name) for name in names]
    certificate = (
        _begun(subject, authority.subject, key, _SERVER_DAYS, until=authority.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(shown), critical=False)
        .sign(signing, hashes.SHA256())
    )
    _write(directory, SERVER, _pem(key) + certificate.public_bytes(Encoding.PEM), 0o600)
    return certificate


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int, *, until: datetime | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    end = now + timedelta(days=days)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - _SKEW,
        not_valid_after=end if until is None else min(end, until),
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(certificate: x509.Certificate) -> list[Name]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    values = [name.value for name in found if isinstance(name, x509.DNSName | x509.IPAddress)]
    return [value for value in values if isinstance(value, str | IPv4Address | IPv6Address)]


def _is_signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # whatever is wrong with it, another one is made
        return False
    return True


def _is_pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    return certificate.public_key() == key.public_key()


def _read(paths: Paths, name: str) -> bytes | None:
    try:
        with file_below(paths.etc, f"{paths.tls.name}/{name}") as file:
            return file.read(_MOST)
    except FileNotFoundError:
        return None


def _read_certificate(paths: Paths, name: str) -> x509.Certificate | None:
    content = _read(paths, name)
    if content is None:
        return None
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError as error:
        raise TerraError(f"{paths.tls / name}: holds no certificate", hint="put it back, or remove it") from error


def _read_key(paths: Paths, name: str) -> ec.EllipticCurvePrivateKey | None:
    content = _read(paths, name)
    if content is None:
        return None
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        raise TerraError(f"{paths.tls / name}: holds no private key", hint="put it back, or remove it") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TerraError(
            f"{paths.tls / name}: is not a key that Terra made", hint="name files of your own in [tls] of controller.toml"
        )
    return key


def _read_pair(paths: Paths, name: str) -> tuple[x509.Certificate | None, ec.EllipticCurvePrivateKey | None]:
    """Return what a file of both holds; nothing where it is damaged, as another one is made then."""
    try:
        return _read_certificate(paths, name), _read_key(paths, name)
    except TerraError:
        return None, None


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(directory: int, name: str, content: bytes, mode: int) -> None:
    with replacing_in(directory, name, mode=mode) as file:
        file.write(content)


def _check_valid(authority: x509.Certificate, now: datetime, paths: Paths) -> None:
    """Refuse an authority that clients refuse by the clock of this machine: what it signs would not help them."""
    since, until = authority.not_valid_before_utc, authority.not_valid_after_utc
    if not since <= now < until:
        day = "%Y-%m-%d"
        hint = (
            f"set the clock where it is wrong; otherwise remove {paths.tls}, run terra controller init again, and give the new "
            f"{paths.authority.name} to every client"
        )
        raise TerraError(
            f"{paths.authority}: is valid from {since:{day}} to {until:{day}}, and the clock of this machine says {now:{day}}",
            hint=hint,
        )


def _check_safe(status: os.stat_result, path: Path) -> None:
    """Refuse a directory in which somebody else could put another file in the place of a key."""
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS_WRITE:
        raise TerraError(f"{path}: others than its owner may write there", hint=f"chown root {path} && chmod go-w {path}")
