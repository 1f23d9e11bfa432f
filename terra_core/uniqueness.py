"""What must differ between the machines of one image, whoever built it: removed where the machine makes its own, or made anew.

An image that was a running system once, or whose packages were installed by their own scripts, holds the identity of one
machine: machine-id(5), ssh host keys, random seeds, names that a storage network knows a host by. See also "Building Images
Safely" of systemd, https://systemd.io/BUILDING_IMAGES/. identities.toml lists those files; machine-id(5) and the keys of
sshd(8) are handled here.
"""

from __future__ import annotations

import re
import secrets
import stat
import uuid
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import resources

import tomli
from attrs import frozen

from terra_core.image.contained import ContainedRoot
from terra_core.ssh_keys import KINDS, make_key_pair

_DBUS = "var/lib/dbus/machine-id"
_MACHINE_ID = "etc/machine-id"
_HOST_KEY = re.compile(r"ssh_host_.+")
_KEY_MAKER = "terra-ssh-keys.service"
_SMALL = 64 * 1024


@frozen(kw_only=True)
class _Renewal:
    """A file that is made anew; identities.toml explains the fields."""

    path: str
    mode: int
    content: str = ""
    replace: tuple[tuple[re.Pattern[bytes], str], ...] = ()


@frozen(kw_only=True)
class _Identities:
    """What identities.toml says."""

    dropped: tuple[str, ...]
    dropped_in: Mapping[str, re.Pattern[str]]
    shared: Mapping[str, re.Pattern[str]]
    renewed: tuple[_Renewal, ...]


@cache
def _identities() -> _Identities:
    table = tomli.loads(resources.files(__package__).joinpath("identities.toml").read_text())
    renewals = []
    for entry in table["renewed"]:
        replace = tuple((re.compile(pattern.encode(), re.MULTILINE), new) for pattern, new in entry.pop("replace", ()))
        renewals.append(_Renewal(**entry, replace=replace))
    return _Identities(
        dropped=tuple(table["dropped"]),
        dropped_in={path: re.compile(names) for path, names in table["dropped_in"].items()},
        shared={path: re.compile(names) for path, names in table["shared"].items()},
        renewed=tuple(renewals),
    )


def make_unique(inside: ContainedRoot) -> Iterator[str]:
    """Remove from a machine's root what must differ between machines of the same image, such as host keys.

    :param inside: the root, with the image laid down.
    :returns: what was done, a line each.
    :raises TerraError: when something can't be removed or written.
    """
    made, left = _renew_host_keys(inside)
    makes_keys = _makes_keys(inside)
    dropped = _drop(inside) + (left if makes_keys else [])
    yield from _named("not taken from the image, since each machine makes its own", dropped)
    yield from _named("warning: not taken from the image, and nothing makes them anew", [] if makes_keys else left)
    yield from _named("made anew for this machine", made + _renew(inside))
    yield from _named("warning: every machine of this image has the same", _found(inside, _identities().shared))


def own_files(inside: ContainedRoot, changed: Collection[str]) -> list[str]:
    """Return the files of a machine's root that make it itself, which its next version takes over.

    :param changed: the paths of what was changed on the machine; what all machines of an image have counts when it is there.
    """
    known = (_MACHINE_ID, _DBUS, *_identities().dropped, *(renewal.path for renewal in _identities().renewed))
    found = [path for path in ("etc/hostname", "etc/hosts", *known) if _is_file(inside, path)]
    found += _found(inside, _identities().dropped_in)
    found += [path for path in _found(inside, _identities().shared) if path in changed]
    return sorted({*found, *(f"etc/ssh/{name}" for name in _matching(inside, "etc/ssh", _HOST_KEY))})


def _named(what: str, paths: list[str]) -> Iterator[str]:
    if paths:
        yield f"{what}: {', '.join(f'/{path}' for path in paths)}"


def _drop(inside: ContainedRoot) -> list[str]:
    dropped = [path for path in _identities().dropped if _is_file(inside, path)]
    dropped += _found(inside, _identities().dropped_in)
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
    renewed = []
    identity = str(uuid.uuid4())
    for renewal in _identities().renewed:
        content = _renewed_content(inside, renewal, identity)
        if content is not None:
            inside.write(renewal.path, content, mode=renewal.mode)
            renewed.append(renewal.path)
    return renewed


def _renewed_content(inside: ContainedRoot, renewal: _Renewal, identity: str) -> bytes | None:
    """Return what a file has to hold, or ``None`` when the image has no such file, or nothing in it that has to change."""
    if renewal.content:
        return renewal.content.replace("{uuid}", identity).encode() if _is_file(inside, renewal.path) else None
    former = content = inside.read_small(renewal.path, limit=_SMALL)
    for pattern, new in renewal.replace:

        def fresh(found: re.Match[bytes], new: str = new) -> bytes:
            return found.expand(new.replace("{token}", secrets.token_hex(8)).encode())

        content = pattern.sub(fresh, content)
    return content if content != former else None


def _renew_host_keys(inside: ContainedRoot) -> tuple[list[str], list[str]]:
    """Replace the keys of sshd(8) by new ones of the same kinds, unless the machine makes them at its first boot.

    :returns: those that were made anew, and those that are only gone, such as of kinds that no sshd of today takes.
    """
    names = _matching(inside, "etc/ssh", _HOST_KEY)
    for name in names:
        inside.remove(f"etc/ssh/{name}")
    kinds = [] if _makes_keys(inside) else [kind for kind in KINDS if f"ssh_host_{kind}_key" in names]
    for kind in kinds:
        private, public = make_key_pair(kind)
        inside.write(f"etc/ssh/ssh_host_{kind}_key", private, mode=0o600)
        inside.write(f"etc/ssh/ssh_host_{kind}_key.pub", public, mode=0o644)
    made = [f"ssh_host_{kind}_key" for kind in kinds]
    left = [name for name in names if not name.endswith(".pub") and name not in made]
    return [f"etc/ssh/{name}" for name in sorted(made)], [f"etc/ssh/{name}" for name in left]


def _makes_keys(inside: ContainedRoot) -> bool:
    """Return whether the image has the unit of terraos that makes missing host keys, and has not masked it."""
    return inside.read_small(f"etc/systemd/system/{_KEY_MAKER}", limit=_SMALL) != b""


def _found(inside: ContainedRoot, places: Mapping[str, re.Pattern[str]]) -> list[str]:
    return [f"{directory}/{name}" for directory, known in places.items() for name in _matching(inside, directory, known)]


def _matching(inside: ContainedRoot, directory: str, known: re.Pattern[str]) -> list[str]:
    names = sorted(name for name in inside.names(directory) if known.fullmatch(name))
    return [name for name in names if _is_file(inside, f"{directory}/{name}")]


def _is_file(inside: ContainedRoot, path: str) -> bool:
    """Return whether there is something that is no directory, such as a link that leads nowhere."""
    found = inside.look(path, follow=False)
    return found is not None and not stat.S_ISDIR(found.st_mode)
