"""The controller's own authority and certificate: made once, renewed in time, out of reach of others."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from terra_core.client.connection import Client
from terra_core.config.controller import Controller, Paths
from terra_core.controller import authority, daemon
from terra_core.controller.authority import certify
from terra_core.controller.certificates import certificate_of, parse_name
from terra_core.controller.initialising import initialise
from terra_core.errors import TerraError
from terra_core.service import serving
from terra_core.service.serving import check_tls
from terra_core.system.waiting import wait_until
from tests.unit.service.serving_lab import TOKEN, served

NAMES = ("ctl.example", ip_address("127.0.0.1"), ip_address("2001:db8::3"))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Return an empty root."""
    return Paths(tmp_path / "root")


@pytest.fixture
def umask() -> Iterator[None]:
    """Set a umask that takes nothing away."""
    former = os.umask(0)
    yield
    os.umask(former)


def files(paths: Paths) -> dict[str, bytes]:
    """Return what is in the directory."""
    return {path.name: path.read_bytes() for path in paths.tls.iterdir()}


def test_what_is_made_is_right_and_out_of_reach(paths: Paths, umask: None) -> None:
    made = certify(paths, NAMES)
    assert len(made.made) == 2
    assert made.names == ["ctl.example", "127.0.0.1", "2001:db8::3"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (paths.tls, *paths.tls.iterdir())}
    assert modes == {"tls": 0o755, "ca.pem": 0o644, "ca.key": 0o600, "server.pem": 0o600}
    check_tls(certificate_of(paths))
    certificate = x509.load_pem_x509_certificate((paths.tls / "server.pem").read_bytes())
    root = x509.load_pem_x509_certificate(paths.authority.read_bytes())
    certificate.verify_directly_issued_by(root)
    limits = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert limits.critical
    assert (limits.value.ca, limits.value.path_length) == (True, 0)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc < datetime.now(UTC) - timedelta(hours=1), "for clocks that are slow"


def test_a_second_run_changes_nothing(paths: Paths) -> None:
    first = certify(paths, NAMES)
    there = files(paths)
    second = certify(paths, reversed_names := tuple(reversed(NAMES)))
    assert second.made == []
    assert set(second.names) == {str(name) for name in reversed_names}
    assert (files(paths), second.until) == (there, first.until)


def test_a_further_name_is_added_by_the_same_authority(paths: Paths) -> None:
    certify(paths, NAMES)
    there = files(paths)
    again = certify(paths, ["other.example"])
    assert [line.split(":")[0] for line in again.made] == ["a further certificate"]
    assert again.names == ["ctl.example", "127.0.0.1", "2001:db8::3", "other.example"]
    after = files(paths)
    assert {name for name in there if there[name] != after[name]} == {"server.pem"}


@pytest.mark.parametrize(("days", "renewed"), [(authority.RENEWED_DAYS - 1, True), (authority.RENEWED_DAYS + 2, False)])
def test_a_certificate_that_ends_soon_is_renewed(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, days: int, renewed: bool
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(authority, "_SERVER_DAYS", days)
        certify(paths, NAMES)
    again = certify(paths, NAMES)
    assert bool(again.made) is renewed
    assert certify(paths, NAMES).made == []


def test_near_the_end_of_the_authority_it_is_not_renewed_without_end(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority, "_AUTHORITY_DAYS", 5)
    first = certify(paths, NAMES)
    assert first.until == first.authority_until
    assert certify(paths, NAMES).made == []


class Shifted(datetime):
    """The clock of a machine, years off."""

    years = 0

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """Return the time by this clock."""
        found = datetime.now(tz)
        return found.replace(year=found.year + cls.years, day=min(found.day, 28))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Shifted]:
    """Return the clock that certificates are made by."""
    monkeypatch.setattr(authority, "datetime", Shifted)
    monkeypatch.setattr(Shifted, "years", 0)
    return Shifted


@pytest.mark.parametrize("years", [-50, -11, 2, 40])
def test_an_authority_that_was_made_by_a_wrong_clock_is_named(paths: Paths, clock: type[Shifted], years: int) -> None:
    clock.years = years
    certify(paths, NAMES)
    there = files(paths)
    clock.years = 0
    with pytest.raises(TerraError, match=r"ca\.pem: is valid from .* and the clock of this machine says") as caught:
        certify(paths, NAMES)
    assert "set the clock" in caught.value.hint
    assert files(paths) == there


def test_a_certificate_that_was_made_by_a_wrong_clock_is_replaced(paths: Paths, clock: type[Shifted]) -> None:
    certify(paths, NAMES)
    clock.years = 5
    certify(paths, NAMES)
    clock.years = 0
    assert [line.split(":")[0] for line in certify(paths, NAMES).made] == ["a further certificate"]
    certificate = x509.load_pem_x509_certificate((paths.tls / "server.pem").read_bytes())
    assert certificate.not_valid_before_utc < datetime.now(UTC) < certificate.not_valid_after_utc


@pytest.mark.parametrize("left", [("ca.key",), ("ca.key", "ca.pem")])
def test_what_an_init_that_ended_half_way_left_is_not_served_by_plain_http(paths: Paths, left: tuple[str, ...]) -> None:
    certify(paths, NAMES)
    for path in paths.tls.iterdir():
        if path.name not in left:
            path.unlink()
    tls = daemon._own_certificate(Controller(), paths)
    assert tls is not None
    check_tls(tls)
    assert certificate_of(Paths(paths.root / "other")) is None


@pytest.mark.parametrize("gone", ["ca.pem", "server.pem"])
def test_a_run_that_was_killed_is_finished_by_the_next(paths: Paths, gone: str) -> None:
    certify(paths, NAMES)
    key = (paths.tls / "ca.key").read_bytes()
    (paths.tls / gone).unlink()
    certify(paths, NAMES)
    assert (paths.tls / "ca.key").read_bytes() == key
    check_tls(certificate_of(paths))
    assert certify(paths, NAMES).made == []


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_a_damaged_certificate_is_made_anew_and_a_damaged_authority_is_named(paths: Paths, content: bytes) -> None:
    certify(paths, NAMES)
    (paths.tls / "server.pem").write_bytes(content)
    assert len(certify(paths, NAMES).made) == 1
    paths.authority.write_bytes(content)
    with pytest.raises(TerraError, match=r"ca\.pem: holds no certificate"):
        certify(paths, NAMES)
    assert paths.authority.read_bytes() == content


def test_the_key_of_the_authority_may_be_kept_elsewhere(paths: Paths) -> None:
    certify(paths, NAMES)
    (paths.tls / "ca.key").unlink()
    assert certify(paths, NAMES).made == []
    with pytest.raises(TerraError, match="the authority's key is not here") as caught:
        certify(paths, ["other.example"])
    assert "put it back" in caught.value.hint
    check_tls(certificate_of(paths))


@pytest.mark.parametrize("name", ["ca.pem", "ca.key", "server.pem"])
def test_no_link_is_followed(paths: Paths, tmp_path: Path, name: str) -> None:
    certify(paths, NAMES)
    there = files(paths)
    for made in paths.tls.iterdir():
        made.unlink()
    victim = tmp_path / "victim"
    victim.write_bytes(there[name])
    (paths.tls / name).symlink_to(victim)
    with pytest.raises(TerraError):
        certify(paths, ["other.example"])
    assert victim.read_bytes() == there[name]
    assert not list(paths.tls.glob(".*"))


def test_a_directory_that_is_a_link_is_refused(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    paths.etc.mkdir(parents=True)
    paths.tls.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TerraError, match="etc/terra/tls"):
        certify(paths, NAMES)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("which", ["etc", "tls"])
def test_a_directory_that_others_may_write_to_is_refused(paths: Paths, which: str) -> None:
    paths.tls.mkdir(parents=True)
    (paths.etc if which == "etc" else paths.tls).chmod(0o777)
    with pytest.raises(TerraError, match="others than its owner may write there"):
        certify(paths, NAMES)
    assert list(paths.tls.iterdir()) == []


@pytest.mark.parametrize("raw", ["", "a b", "0.0.0.0", "::", "fe80::1%eth0", "a..b", "*.example", "http://x", "x" * 300, "ü"])
def test_names_that_no_certificate_is_for(raw: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_name(raw)


def test_names_of_every_kind() -> None:
    assert parse_name("Ctl.Example.") == "ctl.example"
    assert parse_name("localhost") == "localhost"
    assert parse_name("[2001:db8::1]") == ip_address("2001:db8::1")


def test_init_says_what_it_made_and_what_is_there(paths: Paths) -> None:
    made = initialise(Controller(), paths, ["ctl.example"])
    assert [line.split(":")[0] for line in made.lines] == ["made", "made", "made", "certificate", "authority"]
    assert made.url == "https://ctl.example:9000"
    token = paths.token.read_text()
    assert token.startswith("terra_")
    assert stat.S_IMODE(paths.token.stat().st_mode) == 0o600
    again = initialise(Controller(), paths, [])
    assert again.lines[0] == "all of it is there, and nothing was changed"
    assert paths.token.read_text() == token
    assert token.strip() not in "".join((*made.lines, *again.lines))


def test_the_token_of_an_installation_that_is_there_stays(paths: Paths) -> None:
    paths.etc.mkdir(parents=True)
    paths.token.write_text("a-token-of-an-earlier-controller\n")
    initialise(Controller(), paths, [])
    assert paths.token.read_text() == "a-token-of-an-earlier-controller\n"


def test_a_client_trusts_the_authority_and_nobody_else(paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certify(paths, NAMES)
    other = Paths(tmp_path / "other")
    certify(other, NAMES)
    for name in ("REQUESTS_CA_BUNDLE", "TERRA_CA"):
        monkeypatch.delenv(name, raising=False)
    with served(tls=certificate_of(paths)) as daemon:
        url = f"https://127.0.0.1:{daemon.port}"
        with pytest.raises(TerraError, match="is not trusted") as caught:
            Client(url, token=TOKEN).get("/healthz")
        assert "TERRA_CA" in caught.value.hint
        monkeypatch.setenv("TERRA_CA", str(paths.authority))
        assert Client(url, token=TOKEN).get("/healthz") == {"status": "ok"}
        assert Client(f"127.0.0.1:{daemon.port}", token=TOKEN).get("/healthz"), "TLS where the authority is known"
        with pytest.raises(TerraError, match="its certificate"):
            Client(f"https://localhost:{daemon.port}", token=TOKEN).get("/healthz")
        monkeypatch.setenv("TERRA_CA", str(other.authority))
        with pytest.raises(TerraError, match="is not trusted"):
            Client(url, token=TOKEN).get("/healthz")
        monkeypatch.delenv("TERRA_CA")
        monkeypatch.setattr("terra_core.client.connection.Paths", lambda: paths)
        assert Client(f"127.0.0.1:{daemon.port}", token=TOKEN).get("/healthz"), "root on the host needs nothing more"


def test_a_directory_that_root_alone_may_enter_is_passed_over(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    certify(paths, NAMES)
    paths.etc.chmod(0)
    monkeypatch.delenv("TERRA_CA", raising=False)
    monkeypatch.setattr("terra_core.client.connection.Paths", lambda: paths)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        assert Client("192.0.2.1", token=TOKEN).url == "http://192.0.2.1:9000"
    finally:
        os.seteuid(user)
        paths.etc.chmod(0o755)


def test_old_versions_of_tls_are_refused(paths: Paths) -> None:
    certify(paths, NAMES)
    with served(tls=certificate_of(paths)) as daemon, daemon.connect() as connection:
        context = ssl.create_default_context(cafile=str(paths.authority))
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(connection, server_hostname="127.0.0.1")


def test_a_renewed_certificate_is_served_without_a_new_start(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(serving, "LOOK_SECONDS", 0.05)
    certify(paths, NAMES)
    context = ssl.create_default_context(cafile=str(paths.authority))

    def answers_for(name: str) -> bool:
        with api.connect() as connection:
            try:
                context.wrap_socket(connection, server_hostname=name).close()
            except ssl.SSLCertVerificationError:
                return False
        return True

    with served(tls=certificate_of(paths)) as api:
        assert not answers_for("other.example")
        good = (paths.tls / "server.pem").read_bytes()
        (paths.tls / "server.pem").write_bytes(b"not written to its end")
        assert answers_for("ctl.example"), "the former one still is"
        (paths.tls / "server.pem").write_bytes(good)
        certify(paths, ["other.example"])
        wait_until(lambda: answers_for("other.example"), seconds=20, what="the further certificate to be served")
