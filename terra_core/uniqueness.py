"""What must differ between the machines of one image, whoever built it: dropped where the machine makes its own, or made anew.

An image that was a running system once, or whose packages were installed by their own scripts, holds the identity of one
machine: machine-id(5), ssh host keys, random seeds, names that a storage network knows a host by. See also "Building Images
Safely" of systemd, https://systemd.io/BUILDING_IMAGES/.
"""

from __future__ import annotations

import re
import secrets
import stat
import uuid
from collections.abc import Iterator, Mapping

from terra_core.image.contained import ContainedRoot
from terra_core.ssh_keys import KINDS, make_key_pair

_DBUS = "var/lib/dbus/machine-id"
_MACHINE_ID = "etc/machine-id"
_DROPPED = (
    *("var/lib/systemd/random-seed", "var/lib/urandom/random-seed", "var/lib/random-seed", "var/lib/misc/random-seed"),
    *("boot/loader/random-seed", "boot/efi/loader/random-seed", "efi/loader/random-seed"),
    *("var/lib/seedrng/seed.credit", "var/lib/seedrng/seed.no-credit"),
    "var/lib/systemd/credential.secret",
    *("var/lib/NetworkManager/secret_key", "var/lib/dhcpcd/duid", "var/lib/dhcpcd/secret", "etc/dhcpcd.duid"),
    *("var/lib/docker/engine-id", "etc/docker/key.json"),
    *("etc/salt/minion_id", "etc/salt/pki/minion/minion.pem", "etc/salt/pki/minion/minion.pub"),
    "etc/hostid",
)
"""What its owner makes anew where it is missing."""
_DROPPED_IN = {
    "var/lib/dhcp": re.compile(r".+\.leases?"),
    "var/lib/dhclient": re.compile(r".+\.leases?"),
    "var/lib/dhcpcd": re.compile(r".+\.lease6?"),
    "var/lib/NetworkManager": re.compile(r".+\.lease"),
    "etc/udev/rules.d": re.compile(r"70-persistent-(?:net|cd)\.rules"),
}
_SHARED = {
    "etc": re.compile(r"krb5\.keytab"),
    "etc/ssl/private": re.compile(r"ssl-cert-snakeoil\.key"),
    "etc/dropbear": re.compile(r"dropbear_[a-z0-9]+_host_key"),
    "etc/wireguard": re.compile(r".+\.conf"),
    "var/lib/tailscale": re.compile(r"tailscaled\.state"),
}
"""What nobody makes anew: it stays, and is said."""
_HOST_KEY = re.compile(r"ssh_host_.+")
_KEY_MAKER = "terra-ssh-keys.service"
_SMALL = 64 * 1024
_INITIATOR = re.compile(rb"^([ \t]*InitiatorName[ \t]*=[ \t]*)(\S+)", re.MULTILINE)


def make_unique(inside: ContainedRoot) -> Iterator[str]:
    """Have nothing in a machine's root that another machine of the same image has too.

    :param inside: the root, with the image laid down.
    :returns: what was done, a line each.
    :raises TerraError: when something can't be removed or written.
    """
    yield from _named("not taken from the image, since each machine makes its own", _drop(inside))
    yield from _named("made anew for this machine", _renew(inside))
    yield from _named("warning: every machine of this image has the same", _found(inside, _SHARED))


def _named(what: str, paths: list[str]) -> Iterator[str]:
    if paths:
        yield f"{what}: {', '.join(f'/{path}' for path in paths)}"


def _drop(inside: ContainedRoot) -> list[str]:
    dropped = [path for path in _DROPPED if _is_file(inside, path)]
    dropped += _found(inside, _DROPPED_IN)
    if _is_file(inside, _DBUS) and inside.target(_DBUS) not in (f"/{_MACHINE_ID}", f"../../../{_MACHINE_ID}"):
        dropped.append(_DBUS)
    if inside.read_small(_MACHINE_ID, limit=_SMALL).strip() not in (b"", b"uninitialized"):
        dropped.append(_MACHINE_ID)
    for path in dropped:
        inside.remove(path)
    # systemd takes an empty file for a first boot, and writes into it.
    inside.write(_MACHINE_ID, b"", mode=0o444)
    return dropped


def _renew(inside: ContainedRoot) -> list[str]:
    renewed = _renew_host_keys(inside)
    initiator = "etc/iscsi/initiatorname.iscsi"
    named = inside.read_small(initiator, limit=_SMALL)
    if _INITIATOR.search(named):
        inside.write(initiator, _INITIATOR.sub(lambda found: found[1] + _other_initiator(found[2]), named), mode=0o600)
        renewed.append(initiator)
    identity = str(uuid.uuid4())
    for path, value in (("etc/nvme/hostnqn", f"nqn.2014-08.org.nvmexpress:uuid:{identity}"), ("etc/nvme/hostid", identity)):
        if _is_file(inside, path):
            inside.write(path, f"{value}\n".encode(), mode=0o644)
            renewed.append(path)
    return renewed


def _renew_host_keys(inside: ContainedRoot) -> list[str]:
    """Replace the keys of sshd(8) by new ones of the same kinds, unless the machine makes them at its first boot."""
    names = _matching(inside, "etc/ssh", _HOST_KEY)
    for name in names:
        inside.remove(f"etc/ssh/{name}")
    kinds = [] if _makes_keys(inside) else [kind for kind in KINDS if f"ssh_host_{kind}_key" in names]
    for kind in kinds:
        private, public = make_key_pair(kind)
        inside.write(f"etc/ssh/ssh_host_{kind}_key", private, mode=0o600)
        inside.write(f"etc/ssh/ssh_host_{kind}_key.pub", public, mode=0o644)
    return [f"etc/ssh/{name}" for name in names if not name.endswith(".pub")]


def _makes_keys(inside: ContainedRoot) -> bool:
    """Whether the image has the unit of terraos, which makes host keys where there are none, and has not masked it."""
    return inside.read_small(f"etc/systemd/system/{_KEY_MAKER}", limit=_SMALL) != b""


def _other_initiator(name: bytes) -> bytes:
    """Another name of the same naming authority; RFC 7143 section 4.2.7."""
    authority, colon, _ = name.rpartition(b":")
    if not name.startswith(b"iqn."):
        authority = b"iqn.2016-04.com.open-iscsi"
    elif not colon:
        authority = name
    return authority + b":" + secrets.token_hex(8).encode()


def _found(inside: ContainedRoot, places: Mapping[str, re.Pattern[str]]) -> list[str]:
    return [f"{directory}/{name}" for directory, known in places.items() for name in _matching(inside, directory, known)]


def _matching(inside: ContainedRoot, directory: str, known: re.Pattern[str]) -> list[str]:
    names = sorted(name for name in inside.names(directory) if known.fullmatch(name))
    return [name for name in names if _is_file(inside, f"{directory}/{name}")]


def _is_file(inside: ContainedRoot, path: str) -> bool:
    """Whether there is something that is no directory, such as a link that leads nowhere."""
    found = inside.look(path, follow=False)
    return found is not None and not stat.S_ISDIR(found.st_mode)
