"""iSCSI qualified names (RFC 7143 section 4.2.7) of targets and initiators."""

from __future__ import annotations

import re

from terra_core.config.values import Hostname, Label
from terra_core.errors import TerraError
from terra_iscsi.settings import Settings

_LIMIT = 223
_ALLOWED = re.compile(r"[a-z0-9.:-]+")
BOOT_DISK = "fs"
"""The end of the name of the target that a machine boots from."""


def target_name(
    settings: Settings, hostname: Hostname, label: Label, *, boot: bool, generation: int, version: int = 0
) -> str:
    """Return the name of a disk group's target; each generation has another one.

    :param version: the number of the target, where the group has, or had, another one; 0 for the first.
    :raises TerraError: when the label can't be part of such a name, or the name gets too long.
    """
    if not boot and label == BOOT_DISK:
        raise TerraError(
            f'group "{label}": its target would be named like the disk that {hostname} boots from', hint="choose another label"
        )
    disk = BOOT_DISK if boot else label
    further = f".{version}" if version else ""
    return _checked(f"{host_prefix(settings, hostname)}{disk}{_suffix(generation)}{further}", f'group "{label}"')


def initiator_name(settings: Settings, hostname: Hostname, *, generation: int) -> str:
    """Return the name that a machine logs in with; each generation has another one.

    :raises TerraError: when it gets too long.
    """
    return _checked(f"iqn.{settings.year}.node.{settings.domain}:{hostname}{_suffix(generation)}", hostname)


def host_prefix(settings: Settings, hostname: Hostname) -> str:
    """Return what the names of all targets of a machine begin with, of any generation."""
    return f"iqn.{settings.year}.san.{settings.domain}.{hostname}:"


def _suffix(generation: int) -> str:
    return f":{generation}" if generation > 1 else ""


def _checked(name: str, what: str) -> str:
    if not _ALLOWED.fullmatch(name):
        raise TerraError(
            f'{what}: "{name}" is no iSCSI name', hint="use a label of small letters, digits, dots and hyphens only"
        )
    if len(name) > _LIMIT:
        raise TerraError(f"{what}: its iSCSI name would have {len(name)} characters, and {_LIMIT} are the most")
    return name
