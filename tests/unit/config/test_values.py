"""Every value that stands in a file: what is allowed in it, and that nothing else is."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terra_core.config import values as v

Parser = Callable[[object], object]

DIGEST = "sha256:" + "0123456789abcdef" * 4

ALLOWED: list[tuple[Parser, str, str]] = [
    (v.parse_hostname, "terra-01", "terra-01"),
    (v.parse_hostname, "CM-01.Example.COM", "cm-01.example.com"),
    (v.parse_hostname, "a" * 63, "a" * 63),
    (v.parse_hostname, "1", "1"),
    (v.parse_hostname, "42.rack1", "42.rack1"),
    (v.parse_hostname, "localhost-2", "localhost-2"),
    (v.parse_mount_path, "/home/", "/home"),
    (v.parse_mount_path, "/var/log//", "/var/log"),
    (v.parse_domain, "san.Example.com", "san.example.com"),
    (v.parse_mac, "54:b2:03:07:f1:d1", "54:b2:03:07:f1:d1"),
    (v.parse_mac, "54-B2-03-07-F1-D1", "54:b2:03:07:f1:d1"),
    (v.parse_mac, "54b2.0307.f1d1", "54:b2:03:07:f1:d1"),
    (v.parse_mac, "54B20307F1D1", "54:b2:03:07:f1:d1"),
    (v.parse_label, "os", "os"),
    (v.parse_label, "Fast_SSD.2-a", "Fast_SSD.2-a"),
    (v.parse_label, "a" * 64, "a" * 64),
    (v.parse_mount_path, "/var/lib/containerd", "/var/lib/containerd"),
    (v.parse_mount_path, "/a..b/.hidden", "/a..b/.hidden"),
    (v.parse_mount_path, "/srv/" + 255 * "a", "/srv/" + 255 * "a"),
    (v.parse_device, "/dev/nvme0n1p1", "/dev/nvme0n1p1"),
    (v.parse_device, "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4", "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"),
    (v.parse_init, "/sbin/init", "/sbin/init"),
    (v.parse_tag, "v1.2_rc-3", "v1.2_rc-3"),
    (v.parse_tag, "6", "6"),
    (v.parse_compression, "zstd:15", "zstd:15"),
    (v.parse_compression, "lzo", "lzo"),
    (v.parse_mount_option, "noatime", "noatime"),
    (v.parse_mount_option, "commit=120", "commit=120"),
    (v.parse_mount_option, "user_subvol_rm_allowed", "user_subvol_rm_allowed"),
    (v.parse_repository, "docker.io/stellarproject", "docker.io/stellarproject"),
    (v.parse_repository, "10.0.10.3:5000/stellarproject", "10.0.10.3:5000/stellarproject"),
    (v.parse_repository, "10.0.10.3:5000", "10.0.10.3:5000"),
    (v.parse_repository, "localhost/team/machines", "localhost/team/machines"),
    (v.parse_address, "10.0.10.3", "10.0.10.3"),
    (v.parse_address, "FE80:0:0::1", "fe80::1"),
    (v.parse_address, "0.0.0.0", "0.0.0.0"),
    (v.parse_host_address, "10.0.10.1", "10.0.10.1"),
    (v.parse_plugin_name, "btrfs", "btrfs"),
    (v.parse_github_user, "stellar-project", "stellar-project"),
    (v.parse_ssh_key, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@here", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@here"),
    (v.parse_ssh_key, "ecdsa-sha2-nistp256 AAAAE2==", "ecdsa-sha2-nistp256 AAAAE2=="),
    (v.parse_ssh_key, "sk-ssh-ed25519@openssh.com AAAA a key", "sk-ssh-ed25519@openssh.com AAAA a key"),
]

REFUSED: list[tuple[Parser, object]] = [
    (v.parse_hostname, ""),
    (v.parse_hostname, "a" * 64),
    (v.parse_hostname, "under_score"),
    (v.parse_hostname, "end-"),
    (v.parse_hostname, "two..dots"),
    (v.parse_hostname, ".dot"),
    (v.parse_hostname, "dot."),
    (v.parse_hostname, ".".join(["a" * 32] * 2 + ["b"])),
    (v.parse_hostname, "\N{KELVIN SIGN}elvin"),
    (v.parse_hostname, "m\N{LATIN SMALL LETTER U WITH DIAERESIS}nchen"),
    (v.parse_mac, "xx:xx:xx:xx:xx:xx"),
    (v.parse_mac, "54:b2:03:07:f1"),
    (v.parse_mac, "54:b2:03:07:f1:d1:00"),
    (v.parse_mac, "54:b2-03:07:f1:d1"),
    (v.parse_mac, "5:b2:03:07:f1:d1"),
    (v.parse_mac, "01:00:5e:00:00:01"),
    (v.parse_mac, "ff:ff:ff:ff:ff:ff"),
    (v.parse_mac, "00:00:00:00:00:00"),
    (v.parse_label, ".hidden"),
    (v.parse_label, ".."),
    (v.parse_label, "a/b"),
    (v.parse_label, "a" * 65),
    (v.parse_mount_path, "var/log"),
    (v.parse_mount_path, "/srv/" + 256 * "a"),
    (v.parse_mount_path, 100 * "/srv-of-many"),
    (v.parse_mount_path, "/"),
    (v.parse_mount_path, "/var/../etc"),
    (v.parse_mount_path, "/var/./log"),
    (v.parse_mount_path, "//"),
    (v.parse_mount_path, "/var//log"),
    (v.parse_hostname, "localhost"),
    (v.parse_hostname, "LocalHost.localdomain"),
    (v.parse_hostname, "node.localhost"),
    (v.parse_hostname, "ip6-loopback"),
    (v.parse_hostname, "10.0.0.5"),
    (v.parse_hostname, "10.5"),
    (v.parse_hostname, "a.0x7f"),
    (v.parse_domain, "10.0.0.5"),
    (v.parse_mount_path, "//var"),
    (v.parse_mount_path, "/a,b"),
    (v.parse_mount_path, "/" + "a" * 1024),
    (v.parse_device, "sda"),
    (v.parse_device, "/dev/../etc/passwd"),
    (v.parse_init, "init"),
    (v.parse_tag, ".6"),
    (v.parse_tag, "a" * 129),
    (v.parse_tag, "6/7"),
    (v.parse_compression, "zstd:16"),
    (v.parse_compression, "gzip"),
    (v.parse_compression, "zstd,noatime"),
    (v.parse_mount_option, "noatime,ro"),
    (v.parse_mount_option, "Noatime"),
    (v.parse_mount_option, "commit="),
    (v.parse_mount_option, "commit=$(x)"),
    (v.parse_repository, "docker.io/Upper"),
    (v.parse_repository, "docker.io/name:tag"),
    (v.parse_repository, f"docker.io/name@{DIGEST}"),
    (v.parse_repository, "docker.io/"),
    (v.parse_repository, "https://docker.io/name"),
    (v.parse_repository, "Upper"),
    (v.parse_address, "10.0.10"),
    (v.parse_address, "10.0.10.3/24"),
    (v.parse_address, "010.0.10.3"),
    (v.parse_address, "fe80::1%eth0"),
    (v.parse_host_address, "0.0.0.0"),
    (v.parse_host_address, "::"),
    (v.parse_host_address, "224.0.0.1"),
    (v.parse_host_address, "ff02::1"),
    (v.parse_host_address, "255.255.255.255"),
    (v.parse_address, "fe80::1%\nnameserver 6.6.6.6"),
    (v.parse_plugin_name, "Btrfs"),
    (v.parse_plugin_name, "../btrfs"),
    (v.parse_github_user, "-dash"),
    (v.parse_github_user, "a--b"),
    (v.parse_github_user, "a" * 40),
    (v.parse_github_user, "../../evil"),
    (v.parse_ssh_key, "ssh-ed25519"),
    (v.parse_ssh_key, 'command="x" ssh-ed25519 AAAA'),
    (v.parse_ssh_key, "ssh-ed25519 AAAA me\nssh-ed25519 BBBB"),
    (v.parse_ssh_key, "-----BEGIN OPENSSH PRIVATE KEY-----"),
    (v.parse_userland, "RUN true\0"),
]

TEXTUAL = sorted({parser for parser, _, _ in ALLOWED} | {v.parse_image_reference}, key=lambda parser: parser.__name__)
SAMPLE = {parser: text for parser, text, _ in reversed(ALLOWED)} | {v.parse_image_reference: "docker.io/a/b:6"}
INJECTIONS = [
    "\n", " ", '"', "'", ";", "$(reboot)", "${HOME}", "`reboot`", "{{", "{%", "\0", "\\", "\r", "\t", "|", "&", "<", ">", "#",
    "\x1b[2J", "\u202e", "\N{FULLWIDTH DIGIT ONE}",
]  # fmt: skip


@pytest.mark.parametrize(("parse", "raw", "normal"), ALLOWED)
def test_allowed(parse: Parser, raw: str, normal: str) -> None:
    assert parse(raw) == normal
    assert parse(normal) == normal


@pytest.mark.parametrize(("parse", "raw"), REFUSED)
def test_refused(parse: Parser, raw: object) -> None:
    with pytest.raises(ValueError, match=r"expected .+, got "):
        parse(raw)


@pytest.mark.parametrize("raw", ["subvol=etc", "subvolid=5", "device=sdb", "compress=zstd", "degraded", "ro", "noauto"])
def test_mount_options_that_are_terras_own(raw: str) -> None:
    with pytest.raises(ValueError, match="is an option that Terra sets itself"):
        v.parse_mount_option(raw)


@pytest.mark.parametrize("injected", INJECTIONS)
@pytest.mark.parametrize("parse", TEXTUAL)
def test_nothing_that_another_language_reads_passes_anywhere(parse: Parser, injected: str) -> None:
    sample = SAMPLE[parse]
    middle = len(sample) // 2
    for text in (injected, injected + sample, sample + injected, sample[:middle] + injected + sample[middle:]):
        if parse is v.parse_ssh_key and injected.isprintable() and injected.isascii():
            continue  # the comment of a key is free text on one line, see below
        with pytest.raises(ValueError, match="expected"):
            parse(text)


@pytest.mark.parametrize("parse", TEXTUAL)
@pytest.mark.parametrize("text", ["-rf", "--help", "-"])
def test_a_leading_dash_is_no_value(parse: Parser, text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(text)


@pytest.mark.parametrize("parse", TEXTUAL)
@pytest.mark.parametrize("raw", [1, 1.5, True, None, ["os"], {"a": 1}, ""])
def test_nothing_but_text_is_text(parse: Parser, raw: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(raw)


@given(st.text())
def test_a_key_is_one_line_of_type_base64_and_comment(text: str) -> None:
    try:
        key = v.parse_ssh_key("ssh-ed25519 AAAA" + text)
    except ValueError:
        return
    assert re.fullmatch(r"ssh-ed25519 AAAA[\x20-\x7e]*", key)


@pytest.mark.parametrize(
    ("raw", "size"),
    [(128000, 128000), (1, 1), ("512MiB", 512), ("512 MB", 512), ("128GiB", 131072), ("128G", 131072), ("2TB", 2097152)],
)
def test_size_counts_mb_of_1024_times_1024_bytes(raw: object, size: int) -> None:
    assert v.parse_size(raw) == size


@pytest.mark.parametrize(
    "raw",
    [0, -1, True, 1.5, "20 gigs", "128000", "", "GiB", "-1GiB", "0GiB", "1KiB", "1.5GiB", "1e3MB", 16 * 1024**3 + 1,
     "999999999999TiB", None, [1], "\u0661GiB", " 1GiB", "1GiB\n"],
)  # fmt: skip
def test_size_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=r'expected MB as a number, or a size such as "128GiB".*, got '):
        v.parse_size(raw)


def test_a_number_too_long_to_print_is_no_size() -> None:
    with pytest.raises(ValueError, match="at most 16 PiB, got a number of absurd length"):
        v.parse_size(10**6000)


@pytest.mark.parametrize(
    ("text", "registry", "path", "tag", "digest"),
    [
        ("docker.io/stellarproject/example:6", "docker.io", "stellarproject/example", "6", ""),
        ("stellarproject/example", "docker.io", "stellarproject/example", "latest", ""),
        ("debian", "docker.io", "library/debian", "latest", ""),
        ("debian:12", "docker.io", "library/debian", "12", ""),
        ("docker.io/debian:12", "docker.io", "library/debian", "12", ""),
        ("10.0.10.3:5000/stellarproject/example:6", "10.0.10.3:5000", "stellarproject/example", "6", ""),
        ("localhost/example", "localhost", "example", "latest", ""),
        ("localhost:5000/a/b/c:v1", "localhost:5000", "a/b/c", "v1", ""),
        ("[fd00::3]:5000/example:6", "[fd00::3]:5000", "example", "6", ""),
        (f"registry.example/a@{DIGEST}", "registry.example", "a", "", DIGEST),
        (f"registry.example/a:6@{DIGEST}", "registry.example", "a", "6", DIGEST),
        ("registry.example/a_b__c.d--e/f", "registry.example", "a_b__c.d--e/f", "latest", ""),
    ],
)
def test_image_reference(text: str, registry: str, path: str, tag: str, digest: str) -> None:
    image = v.parse_image_reference(text)
    assert (image.registry, image.path, image.tag, image.digest) == (registry, path, tag, digest)
    assert str(image) == text


@pytest.mark.parametrize(
    "text",
    ["docker.io/Upper/example:6", "Upper", "a//b", "/a", "a/", "a:", "a:b:c", "a@", "a@sha256:abc", f"a@{DIGEST}0", "a b",
     f"a@{DIGEST.upper()}", "https://docker.io/a", "../a", "docker.io/../a", "docker.io/.a", "host:0/a", "host:65536/a",
     "a:" + "t" * 129, "a/" * 300 + "a", "user:password@host/a", "a:-t", "a@md5:" + "0" * 32, ":6", "@", "a___b", "a__-b",
     "host:x/a"],
)  # fmt: skip
def test_image_reference_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected the name of an image, such as"):
        v.parse_image_reference(text)


ALPHABETS: list[tuple[Parser, str]] = [
    (v.parse_hostname, r"[a-z0-9.-]{1,64}"),
    (v.parse_domain, r"[a-z0-9.-]{1,253}"),
    (v.parse_mac, r"[0-9a-f:]{17}"),
    (v.parse_label, r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
    (v.parse_mount_path, r"/[A-Za-z0-9._@+:/-]+"),
    (v.parse_device, r"/[A-Za-z0-9._@+:/-]+"),
    (v.parse_init, r"/[A-Za-z0-9._@+:/-]+"),
    (v.parse_tag, r"[A-Za-z0-9_][A-Za-z0-9._-]*"),
    (v.parse_repository, r"[A-Za-z0-9\[][A-Za-z0-9._:/\[\]-]*"),
    (v.parse_image_reference, r"[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*"),
    (v.parse_address, r"[0-9a-f.:]+"),
    (v.parse_plugin_name, r"[a-z][a-z0-9_-]*"),
    (v.parse_github_user, r"[A-Za-z0-9-]{1,39}"),
]
LIKELY = st.text("aA0fF.-_:/@[]\\\"'$ \n\0%é{}", max_size=24) | st.text(max_size=12)


@pytest.mark.parametrize(("parse", "alphabet"), ALPHABETS)
@given(data=st.data())
def test_what_is_accepted_holds_allowed_characters_only_and_parses_to_itself(
    parse: Parser, alphabet: str, data: st.DataObject
) -> None:
    text = data.draw(LIKELY | st.from_regex(alphabet, fullmatch=True))
    try:
        value = parse(text)
    except ValueError:
        return
    assert re.fullmatch(alphabet, str(value), re.ASCII)
    assert parse(str(value)) == value


@given(st.binary(min_size=6, max_size=6))
def test_every_spelling_of_a_mac_is_one_value(address: bytes) -> None:
    digits = address.hex()
    spellings = [address.hex(":"), address.hex("-"), address.hex(".", 2), digits, address.hex(":").upper()]
    if address[0] & 1 or not any(address):
        for spelling in spellings:
            with pytest.raises(ValueError, match="expected the address of one interface"):
                v.parse_mac(spelling)
    else:
        assert {v.parse_mac(spelling) for spelling in spellings} == {address.hex(":")}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_a_value_is_shown_in_one_short_line(raw: object) -> None:
    shown = v.shown(raw)
    assert len(shown) <= 80
    assert shown.isprintable()
    assert shown.isascii()


@given(st.integers(0, 36525 * 86400))
def test_a_duration_is_spelled_as_it_is_read(seconds: int) -> None:
    assert v.parse_duration(v.spell_duration(seconds)) == seconds


def test_a_duration_is_spelled_in_its_largest_unit() -> None:
    assert [v.spell_duration(seconds) for seconds in (0, 90, 600, 86400, 14 * 86400)] == ["0", "90s", "10m", "1d", "2w"]
