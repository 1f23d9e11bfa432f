"""The values that stand in Terra's files, each recognised by what is allowed in it.

Every ``parse_*`` function takes what the TOML (or JSON) parser gave and returns the value in its one normal spelling, or raises
:class:`ValueError` with a sentence that says what was expected and what stood there.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import NewType

from attrs import field, frozen

Hostname = NewType("Hostname", str)
"""A host name as RFC 1123 section 2.1 has it, in lower case."""
Mac = NewType("Mac", str)
"""An EUI-48 hardware address of one interface: lower case, with colons."""
Size = NewType("Size", int)
"""A size in MB, of 1024 * 1024 bytes each."""
Duration = NewType("Duration", int)
"""A span of time in seconds."""
Label = NewType("Label", str)
"""The label of a disk group or the name of a subvolume."""
MountPath = NewType("MountPath", str)
"""An absolute path in the machine where something is mounted."""
DevicePath = NewType("DevicePath", str)
"""The absolute path of a block device or of an image file."""
Compression = NewType("Compression", str)
"""How files are compressed: an algorithm, and a level if any."""
MountOption = NewType("MountOption", str)
"""One option of mount(8)."""
Tag = NewType("Tag", str)
"""A tag of the OCI distribution specification."""
Repository = NewType("Repository", str)
"""A registry and path under which images are named, such as ``docker.io/stellarproject``."""
Address = NewType("Address", str)
"""An IPv4 or IPv6 address in its normal spelling."""
HostAddress = NewType("HostAddress", Address)
"""The address of one host, which is neither every address nor that of a group."""
Domain = NewType("Domain", str)
"""A DNS domain, in lower case."""
PluginName = NewType("PluginName", str)
"""The name of a plugin's entry point."""
SshKey = NewType("SshKey", str)
"""One line of an authorized_keys file (sshd(8)), without options."""
GithubUser = NewType("GithubUser", str)
"""The name of a GitHub account."""
InitPath = NewType("InitPath", str)
"""The absolute path of the program that an image starts first."""
Userland = NewType("Userland", str)
"""Lines of a Dockerfile, taken as they stand."""

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOSTNAME_LIMIT = 64
_LIKE_AN_ADDRESS = re.compile(r".*\.(?:[0-9]+|0[xX][0-9A-Fa-f]*)", re.DOTALL)
"""What inet_aton(3) may take for an address: the last part of a domain name is no number (RFC 1123 section 2.1)."""
_LOOPBACK = frozenset({"localhost", "ip6-localhost", "ip6-loopback"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATH = re.compile(r"(?:/[A-Za-z0-9._@+:-]+)+")
_COMPRESSION = re.compile(r"(?:zstd(?::(?:[1-9]|1[0-5]))?|zlib(?::[1-9])?|lzo)")
_MOUNT_OPTION = re.compile(r"[a-z][a-z0-9_-]{0,31}(?:=[A-Za-z0-9][A-Za-z0-9:._/+-]{0,63})?")
_TERRAS_OPTIONS = frozenset({
    "subvol", "subvolid", "device", "compress", "compress-force", "degraded", "ro", "remount", "bind", "nofail", "noauto",
})  # fmt: skip
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REGISTRY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_REPOSITORY = re.compile(rf"(?:(?P<registry>{_REGISTRY})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PLUGIN = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_SSH_KEY = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}(?: [\x21-\x7e][\x20-\x7e]*)?")
_GITHUB = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}")
_SIZE_UNITS = {"MB": 1, "M": 1, "MiB": 1, "GB": 1024, "G": 1024, "GiB": 1024, "TB": 1024**2, "T": 1024**2, "TiB": 1024**2}
_SIZE = re.compile(r"([0-9]{1,12}) ?([KMGT]i?B?)")
_SHARE = re.compile("([0-9]{1,2})%")
_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([0-9]{1,10}) ?([smhdw])")
_DURATION_LIMIT = 36525 * 86400
_NAME_MAX = 255
"""How long a file's name may be, in bytes (pathname(7))."""
_SIZE_LIMIT = 16 * 1024**3


def shown(raw: object) -> str:
    """Return a value as an error message shows it: a string quoted and cut short, a table or list by its kind."""
    if isinstance(raw, Mapping):
        return "a table"
    if isinstance(raw, list | tuple):
        return "a list"
    if isinstance(raw, int) and raw.bit_length() > 256:
        return "a number of absurd length"
    if isinstance(raw, str):
        raw = raw[:80]
    text = json.dumps(raw) if raw is None or isinstance(raw, str | int | float) else str(raw)
    return text if len(text) <= 80 else f"{text[:76]}..."


def _text(raw: object, expected: str) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"expected {expected}, got {shown(raw)}")
    return raw


def _matching(pattern: re.Pattern[str], raw: object, expected: str) -> str:
    text = _text(raw, expected)
    if not pattern.fullmatch(text):
        raise ValueError(f"expected {expected}, got {shown(text)}")
    return text


def parse_hostname(raw: object) -> Hostname:
    """Parse a host name: labels of letters, digits and inner hyphens, 63 characters a label, 64 in all (hostname(7))."""
    expected = "a host name of letters, digits and hyphens, at most 63 characters a label and 64 in all"
    text = _text(raw, expected)
    if len(text) > _HOSTNAME_LIMIT or not _HOSTNAME.fullmatch(text):
        raise ValueError(f"expected {expected}, got {shown(raw)}")
    if _LIKE_AN_ADDRESS.fullmatch(text):
        raise ValueError(f"expected {expected}, got {shown(raw)}, which programs take for an IP address")
    if text.lower().split(".")[0] in _LOOPBACK or text.lower().endswith(".localhost"):
        raise ValueError(f"expected {expected}, got {shown(raw)}, by which every machine means itself")
    return Hostname(text.lower())


def parse_domain(raw: object) -> Domain:
    """Parse a DNS domain, such as ``example.com``."""
    expected = 'a domain, such as "example.com"'
    text = _text(raw, expected)
    if len(text) > 253 or not _HOSTNAME.fullmatch(text) or _LIKE_AN_ADDRESS.fullmatch(text):
        raise ValueError(f"expected {expected}, got {shown(raw)}")
    return Domain(text.lower())


def parse_mac(raw: object) -> Mac:
    """Parse a hardware address: ``54:b2:03:07:f1:d1``, with colons, hyphens, dots or nothing between, in either case."""
    expected = 'a MAC address of six hexadecimal pairs, such as "54:b2:03:07:f1:d1"'
    text = _text(raw, expected)
    spellings = (r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", r"(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}",
                 r"(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}", r"[0-9A-Fa-f]{12}")  # fmt: skip
    if not any(re.fullmatch(spelling, text) for spelling in spellings):
        raise ValueError(f"expected {expected}, got {shown(text)}")
    digits = re.sub(r"[:.-]", "", text).lower()
    if int(digits[:2], 16) & 1 or not int(digits, 16):
        raise ValueError(f"expected the address of one interface, got {shown(text)}, a group or null address")
    return Mac(":".join(digits[at : at + 2] for at in range(0, 12, 2)))


def parse_size(raw: object) -> Size:
    """MB as a bare integer, or a string with a binary unit: ``128000``, ``"128GiB"``."""
    expected = 'MB as a number, or a size such as "128GiB"'
    if isinstance(raw, int) and not isinstance(raw, bool):
        size = raw
    else:
        found = _SIZE.fullmatch(raw) if isinstance(raw, str) else None
        if found is None or found[2] not in _SIZE_UNITS:
            raise ValueError(f"expected {expected}, got {shown(raw)}")
        size = int(found[1]) * _SIZE_UNITS[found[2]]
    if not 0 < size <= _SIZE_LIMIT:
        raise ValueError(f"expected {expected}, above zero and at most 16 PiB, got {shown(raw)}")
    return Size(size)


def parse_duration(raw: object) -> Duration:
    """Return the seconds of a span of time with its unit, ``s``, ``m``, ``h``, ``d`` or ``w``; ``"0"`` needs none."""
    expected = 'a time with its unit (s, m, h, d or w), such as "12h" or "30d"'
    text = _text(raw, expected)
    found = _DURATION.fullmatch(text)
    if found is None and text != "0":
        raise ValueError(f"expected {expected}, got {shown(raw)}")
    seconds = int(found[1]) * _DURATION_UNITS[found[2]] if found else 0
    if seconds > _DURATION_LIMIT:
        raise ValueError(f"expected {expected}, at most 100 years, got {shown(raw)}")
    return Duration(seconds)


def spell_duration(seconds: int) -> str:
    """Return a span of time as :func:`parse_duration` reads it, in the largest unit that gives a whole number."""
    whole = [(size, unit) for unit, size in _DURATION_UNITS.items() if seconds and seconds % size == 0]
    size, unit = max(whole, default=(1, ""))
    return f"{seconds // size}{unit}"


def parse_label(raw: object) -> Label:
    """Parse a label or subvolume name: letters, digits, dots, hyphens and underscores, at most 64."""
    return Label(_matching(_NAME, raw, "a name of letters, digits, dots, hyphens and underscores, at most 64"))


def parse_share(raw: str, whole: int) -> int:
    """Return how much a share such as ``"5%"``, or a size such as ``"50GiB"``, is of a whole, in bytes.

    :param whole: in bytes.
    """
    share = _SHARE.fullmatch(raw)
    try:
        return whole * int(share[1]) // 100 if share else parse_size(raw) * 1024 * 1024
    except ValueError:
        raise ValueError(f'expected a share such as "5%", or a size such as "50GiB", got {shown(raw)}') from None


def parse_mount_path(raw: object) -> MountPath:
    """Parse an absolute path below ``/``, without ``.`` or ``..``, in characters that need no escape in fstab(5)."""
    text = raw.rstrip("/") if isinstance(raw, str) and raw.strip("/") else raw
    return MountPath(_absolute(text, 'an absolute path other than "/", such as "/var/log", without "." or ".."'))


def parse_device(raw: object) -> DevicePath:
    """Parse the absolute path of a block device or image file."""
    return DevicePath(_absolute(raw, 'the absolute path of a device, such as "/dev/sda"'))


def parse_init(raw: object) -> InitPath:
    """Parse the absolute path of an init program."""
    return InitPath(_absolute(raw, 'the absolute path of a program, such as "/sbin/init"'))


def _absolute(raw: object, expected: str) -> str:
    text = _matching(_PATH, raw, expected)
    names = text.split("/")
    if len(text) > 1024 or {".", ".."} & set(names) or max(map(len, names)) > _NAME_MAX:
        raise ValueError(f"expected {expected}, got {shown(text)}")
    return text


def parse_compression(raw: object) -> Compression:
    """Parse how a file system compresses: ``zstd``, ``zlib`` or ``lzo``, the first two with a level if any."""
    return Compression(
        _matching(_COMPRESSION, raw, '"zstd", "zlib" or "lzo", the first two with a level if any, such as "zstd:3"')
    )


def parse_mount_option(raw: object) -> MountOption:
    """Parse a mount option, such as ``noatime``; refuse those that Terra sets itself or that hide a mount."""
    text = _matching(_MOUNT_OPTION, raw, 'one mount option, such as "noatime" or "commit=120"')
    if text.partition("=")[0] in _TERRAS_OPTIONS:
        raise ValueError(f"{shown(text)} is an option that Terra sets itself, or one that keeps a machine out")
    return MountOption(text)


def parse_tag(raw: object) -> Tag:
    """Parse a tag: letters, digits, dots, hyphens and underscores, at most 128."""
    return Tag(_matching(_TAG, raw, 'a version of letters, digits, dots, hyphens and underscores, such as "6"'))


def parse_repository(raw: object) -> Repository:
    """Parse a registry, a path or both, without a tag, such as ``docker.io/stellarproject`` or ``10.0.10.3:5000``."""
    expected = 'a registry and path in lower case, such as "docker.io/stellarproject"'
    text = _text(raw, expected)
    try:
        parse_image_reference(f"{text}/image")
    except ValueError:
        raise ValueError(f"expected {expected}, got {shown(text)}") from None
    return Repository(text)


def parse_address(raw: object) -> Address:
    """Parse an IPv4 or IPv6 address without a prefix length."""
    expected = 'an IP address, such as "10.0.10.3"'
    text = _text(raw, expected)
    try:
        if "%" in text:  # the scope of an address may be any text, and names an interface of one machine only
            raise ValueError(text)
        return Address(str(ipaddress.ip_address(text)))
    except ValueError:
        raise ValueError(f"expected {expected}, got {shown(text)}") from None


def parse_host_address(raw: object) -> HostAddress:
    """Parse an IPv4 or IPv6 address that one host can have: not 0.0.0.0 or ::, multicast, or 255.255.255.255."""
    address = parse_address(raw)
    number = ipaddress.ip_address(address)
    if number.is_unspecified or number.is_multicast or address == "255.255.255.255":
        raise ValueError(f"expected the address of one host, got {shown(address)}")
    return HostAddress(address)


def parse_plugin_name(raw: object) -> PluginName:
    """Parse the name of a plugin, as ``terra plugins`` lists it."""
    return PluginName(_matching(_PLUGIN, raw, 'the name of a plugin, such as "ext4"'))


def parse_ssh_key(raw: object) -> SshKey:
    """Parse a public key as ``ssh-keygen`` writes it: type, base64, and a comment if any, on one line."""
    return SshKey(_matching(_SSH_KEY, raw, 'a public ssh key on one line, such as "ssh-ed25519 AAAA... name"'))


def parse_github_user(raw: object) -> GithubUser:
    """Parse the name of a GitHub account."""
    return GithubUser(_matching(_GITHUB, raw, "the name of a GitHub account"))


def parse_userland(raw: object) -> Userland:
    """Parse lines of a Dockerfile."""
    text = _text(raw, "lines of a Dockerfile")
    if "\0" in text:
        raise ValueError("expected lines of a Dockerfile, got text with a NUL character")
    return Userland(text)


@frozen
class ImageReference:
    """The name of an image in a registry, as the OCI distribution specification and Docker write it.

    :param text: the name as it was written.
    :param registry: host, and port if any; ``docker.io`` where none was written.
    :param path: the repository within the registry.
    :param tag: ``latest`` where neither tag nor digest was written; empty when only a digest was.
    :param digest: ``sha256:...``, or empty.
    """

    text: str
    registry: str = field(eq=False)
    path: str = field(eq=False)
    tag: str = field(eq=False)
    digest: str = field(eq=False)

    def __str__(self) -> str:
        return self.text


def pinned(reference: ImageReference, digest: str) -> ImageReference:
    """Return a reference to the same repository by digest: what a tag named when it was looked up."""
    return parse_image_reference(f"{reference.registry}/{reference.path}@{digest}")


def parse_image_reference(raw: object) -> ImageReference:
    """``[registry/]path[:tag][@digest]``."""
    expected = 'the name of an image, such as "docker.io/stellarproject/example:6"'
    text = _text(raw, expected)
    wrong = ValueError(f"expected {expected}, got {shown(raw)}")
    name, at, digest = text.partition("@")
    tag = ""
    if ":" in name.rpartition("/")[2]:
        name, _, tag = name.rpartition(":")
        if not _TAG.fullmatch(tag):
            raise wrong
    if (at and not _DIGEST.fullmatch(digest)) or len(text) > 512 or not _REPOSITORY.fullmatch(name):
        raise wrong
    registry, slash, path = name.partition("/")
    port = re.fullmatch(r".*:([0-9]{1,5})", registry)
    if port and not 0 < int(port[1]) < 65536:
        raise wrong
    if not slash or not (set(registry) & {".", ":"} or registry == "localhost"):
        registry, path = "docker.io", name
    if not re.fullmatch(rf"{_COMPONENT}(?:/{_COMPONENT})*", path):
        raise wrong
    if registry == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return ImageReference(text, registry, path, tag or ("" if digest else "latest"), digest)
