"""The roles that plugins fill."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from terra_core.hookspecs.boot import Boot
from terra_core.hookspecs.bootloader import Bootloader
from terra_core.hookspecs.filesystem import Filesystem
from terra_core.hookspecs.network import Network
from terra_core.hookspecs.registry import Registry
from terra_core.hookspecs.storage import Storage


@frozen
class Role:
    """A role that a plugin may fill.

    :param name: the key under ``[plugins]``.
    :param spec: the class whose hooks make the role.
    :param default: the plugin that fills it where TOML says nothing.
    :param optional: hooks that a plugin may leave away; core does without.
    :param hooks: the names of its hooks.
    """

    name: str
    spec: type
    default: str
    optional: frozenset[str] = frozenset()
    hooks: tuple[str, ...] = field()

    @hooks.default
    def _hooks_of_spec(self) -> tuple[str, ...]:
        return tuple(name for name in vars(self.spec) if not name.startswith("_"))

    @property
    def needed(self) -> tuple[str, ...]:
        """The hooks that a plugin needs in order to fill the role."""
        return tuple(name for name in self.hooks if name not in self.optional)


ROLES: Mapping[str, Role] = {
    role.name: role
    for role in (
        Role("network", Network, "netplan", frozenset({"check_network"})),
        Role("registry", Registry, "docker"),
        Role("filesystem", Filesystem, "btrfs"),
        Role("storage", Storage, "iscsi", frozenset({"restore_targets", "release_host"})),
        Role("boot", Boot, "tftp"),
        Role("bootloader", Bootloader, "grub"),
    )
}
"""Every role, and its default plugin: the only place beside TOML where a plugin's name stands."""
