"""The installed plugins, and asking the one that TOML selects."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar, cast

import attrs
import pluggy

from terra_core.asking import asking, settings_of
from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem, structure
from terra_core.errors import PluginError
from terra_core.hookspecs import ROLES, Filesystem, Role
from terra_core.installed import Installed, installed_plugins
from terra_core.selection import check_roles, not_installed

if TYPE_CHECKING:
    from terra_core.config.node import DiskGroup, Node

R = TypeVar("R", bound=Role)


class Plugins:
    """The installed plugins; each is imported when a role is first filled with it. May be used from several threads.

    A plugin that cannot be loaded is a :class:`PluginError`.

    :param installed: the plugins by name.
    """

    def __init__(self, installed: Mapping[str, Installed]) -> None:
        self.installed = installed
        self._manager = pluggy.PluginManager("terra")
        self._loading = threading.Lock()
        self._filled: dict[tuple[type[Role], str], Role] = {}
        for role in ROLES.values():
            self._manager.add_hookspecs(role)

    @classmethod
    def discover(cls) -> Plugins:
        """Find what is installed."""
        return cls(installed_plugins())

    @property
    def names(self) -> frozenset[str]:
        """The names of the installed plugins, which own the top-level tables of these names."""
        return frozenset(self.installed)

    def fill(self, role: type[R], chosen: Mapping[str, str], *, source: str) -> R:
        """Return the plugin that fills a role, to be called through the role's methods.

        :param chosen: the ``[plugins]`` table of the file.
        :param source: the file, for errors.
        :raises ConfigError: when the plugin is not installed, or ``chosen`` names a role that does not exist.
        :raises PluginError: when the plugin does not fill the role.
        """
        check_roles(chosen, source=source)
        return self.named(role, chosen.get(role.role, role.default), source=source)

    def named(self, role: type[R], name: str, *, source: str) -> R:
        """Return a plugin by its name, such as the one that made a record; as :meth:`fill` otherwise."""
        former = self._filled.get((role, name))  # asked for each of ten thousand records
        if former is not None:
            return cast("R", former)
        installed = self.installed.get(name)
        if installed is None:
            raise DocumentError(source, [Problem(f"plugins.{role.role}", not_installed(role, name, self.names))])
        plugin = self._load(installed)
        hooks = self._hooks(plugin)
        if lacking := sorted(role.needed() - hooks):
            raise PluginError(f"plugin {name!r} does not fill the role {role.role}: it has no {', '.join(lacking)}")
        brought_by = f"{installed.distribution} {installed.version}"
        self._filled[role, name] = filled = asking(role, name, brought_by, manager=self._manager, plugin=plugin, hooks=hooks)
        return filled

    def settings(self, name: str) -> type[attrs.AttrsInstance] | None:
        """Return the model of an installed plugin's table; ``None`` when it has no table."""
        return settings_of(self._load(self.installed[name]))

    def read_table(self, name: str, table: object) -> object | None:
        """Return what a plugin's table says, as the plugin's model; ``None`` when the plugin has no table.

        :param table: as parsed, or the model itself.
        :raises StructureError: with every problem of the table.
        :raises PluginError: when its model fails.
        """
        model = self.settings(name)
        if model is None or isinstance(table, model):
            return table if model else None
        with self.installed[name].asked(f"asked what [{name}] is"):
            return structure(table, model)

    def programs(self, name: str) -> Mapping[str, str]:
        """Return the programs that an installed plugin runs, each with the package that has it."""
        found: Mapping[str, str] = getattr(self._load(self.installed[name]), "programs", {})
        return found

    def hooks_of(self, name: str) -> frozenset[str]:
        """Return the names of the hooks that an installed plugin implements."""
        return self._hooks(self._load(self.installed[name]))

    def _hooks(self, plugin: object) -> frozenset[str]:
        return frozenset(caller.name for caller in self._manager.get_hookcallers(plugin) or ())

    def _load(self, installed: Installed) -> object:
        with self._loading:
            registered = self._manager.get_plugin(installed.name)
            return installed.load(self._manager) if registered is None else registered


def filesystem_of(group: DiskGroup, node: Node, plugins: Plugins, *, source: str) -> Filesystem:
    """Return the filesystem plugin of a group: its own, or the one of the file.

    :param source: the file, for errors.
    :raises TerraError: as :meth:`Plugins.fill` does.
    """
    chosen = {**node.plugins, "filesystem": group.filesystem} if group.filesystem else node.plugins
    return plugins.fill(Filesystem, chosen, source=source)
