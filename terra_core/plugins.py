"""Finding plugins, and asking the one that TOML selects."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, redirect_stdout
from typing import TypeVar, cast

import attrs
import importlib_metadata as metadata
import pluggy
from attrs import evolve, field, frozen

from terra_core.answers import plugin_errors
from terra_core.asking import asking, said_by, settings_of
from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem, StructureError, structure
from terra_core.errors import InterruptedWork, PluginError
from terra_core.fitting import misfits
from terra_core.hookspecs import ROLES, Role
from terra_core.selection import check_roles, not_installed

GROUP = "terra.plugins"
"""The entry-point group of plugins; the entry point's name is the plugin's name, and it loads an instance."""

R = TypeVar("R", bound=Role)


@frozen
class Installed:
    """A plugin that is installed, and the distribution that brings it; nothing of it has been imported yet.

    :param doubt: why it cannot be used, where that can be told before it is loaded.
    """

    name: str
    distribution: str
    version: str
    entry: metadata.EntryPoint = field(repr=False, eq=False)
    doubt: str = ""

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.distribution} {self.version}"


class Plugins:
    """The installed plugins; each is imported when a role is first filled with it. May be used from several threads.

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
        """Find what is installed, without importing any of it; one that cannot be used keeps no other from being found."""
        found: dict[str, Installed] = {}
        for entry in metadata.entry_points(group=GROUP):
            installed = _installed(entry)
            other = found.setdefault(entry.name, installed)
            if other.distribution != installed.distribution:
                both = f"{other.distribution} and {installed.distribution}"
                remedy = f"uninstall one of them, such as by: pip uninstall {other.distribution}"
                found[entry.name] = evolve(other, doubt=f"two distributions bring a plugin of this name: {both}; {remedy}")
        return cls(dict(sorted(found.items())))

    @property
    def names(self) -> frozenset[str]:
        """The names of the installed plugins, which own the top-level tables of these names."""
        return frozenset(self.installed)

    def fill(self, role: type[R], chosen: Mapping[str, str], *, source: str) -> R:
        """Return the plugin that fills a role, to be called through the role's methods.

        :param role: the role.
        :param chosen: the ``[plugins]`` table of the file.
        :param source: the file, for errors.
        :raises ConfigError: when the plugin is not installed, or ``chosen`` names a role that does not exist.
        :raises PluginError: when the plugin can't be loaded or does not fill the role.
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
        filled = asking(role, name, brought_by, manager=self._manager, plugin=plugin, hooks=hooks)
        self._filled[role, name] = filled
        return filled

    def settings(self, name: str) -> type[attrs.AttrsInstance] | None:
        """Return the model of an installed plugin's table; ``None`` when it has no table.

        :raises PluginError: when the plugin cannot be loaded.
        """
        return settings_of(self._load(self.installed[name]))

    def read_table(self, name: str, table: object) -> object | None:
        """Return what a plugin's table says, as the plugin's model; ``None`` when the plugin has no table.

        :param table: as parsed, or the model itself.
        :raises StructureError: with every problem of the table.
        :raises PluginError: when the plugin cannot be loaded, or its model fails.
        """
        model = self.settings(name)
        if model is None or isinstance(table, model):
            return table if model else None
        with _failing(self.installed[name], f"asked what [{name}] is"):
            return structure(table, model)

    def hooks_of(self, name: str) -> frozenset[str]:
        """Return the names of the hooks that an installed plugin implements."""
        return self._hooks(self._load(self.installed[name]))

    def _hooks(self, plugin: object) -> frozenset[str]:
        return frozenset(caller.name for caller in self._manager.get_hookcallers(plugin) or ())

    def _load(self, installed: Installed) -> object:
        with self._loading:
            registered = self._manager.get_plugin(installed.name)
            return self._load_once(installed) if registered is None else registered

    def _load_once(self, installed: Installed) -> object:
        if installed.doubt:
            raise PluginError(f"plugin {installed.name!r} cannot be used: {installed.doubt}")
        # Whoever reads the output of a command gets nothing that a plugin prints.
        with _failing(installed, "loaded"), redirect_stdout(sys.stderr):
            plugin = installed.entry.load()
        with _failing(installed, "looked at"), redirect_stdout(sys.stderr):
            wrong = next(misfits(plugin, self._manager), "")
        if wrong:
            raise PluginError(f"{installed} {wrong}")
        try:
            self._manager.register(plugin, installed.name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            raise PluginError(f"{installed} does not fit: {error}") from error
        return plugin


def _installed(entry: metadata.EntryPoint) -> Installed:
    try:
        dist = entry.dist
        if dist is None or type(dist.name) is not str or type(dist.version) is not str:
            raise ValueError("it has no name or no version")
        return Installed(entry.name, dist.name, dist.version, entry)
    except Exception as error:  # of whatever is wrong with what somebody left in a directory of packages
        place = entry.dist.locate_file("") if entry.dist else "?"
        doubt = f"its distribution in {place} has no metadata that can be read ({said_by(error)}); install it again"
        return Installed(entry.name, "?", "?", entry, doubt)


def _failing(installed: Installed, what: str) -> AbstractContextManager[None]:
    return plugin_errors(
        lambda error: error
        if isinstance(error, InterruptedWork | StructureError)
        else PluginError(f"{installed} cannot be {what}: {said_by(error)}")
    )
