"""Which plugins are installed, found without importing any of them, and loading one."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, redirect_stdout

import importlib_metadata as metadata
import pluggy
from attrs import evolve, field, frozen

from terra_core.answers import plugin_errors
from terra_core.asking import said_by
from terra_core.config.structure import StructureError
from terra_core.errors import InterruptedWork, PluginError
from terra_core.fitting import misfits
from terra_core.system.packages import name_packages

_GROUP = "terra.plugins"  # of entry points, each of a plugin's name and loading an instance


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

    def load(self, manager: pluggy.PluginManager) -> object:
        """Import the plugin, check that it fits, and register it.

        :raises PluginError: when it cannot be imported, or is no plugin for this contract.
        """
        if self.doubt:
            raise PluginError(f"plugin {self.name!r} cannot be used: {self.doubt}")
        # Whoever reads the output of a command gets nothing that a plugin prints.
        with redirect_stdout(sys.stderr):
            with self.asked("loaded"):
                plugin: object = self.entry.load()
            with self.asked("looked at"):
                wrong = next(misfits(plugin, manager), "")
        if wrong:
            raise PluginError(f"{self} {wrong}")
        try:
            manager.register(plugin, self.name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            if manager.is_registered(plugin):
                manager.unregister(plugin)
            raise PluginError(f"{self} does not fit: {error}") from error
        name_packages(getattr(plugin, "programs", {}))
        return plugin

    def asked(self, what: str) -> AbstractContextManager[None]:
        """Run the plugin's code within: whatever it raises becomes a PluginError.

        :param what: what it cannot be where it fails, such as ``loaded``.
        """
        return plugin_errors(
            lambda error: error
            if isinstance(error, InterruptedWork | StructureError)
            else PluginError(f"{self} cannot be {what}: {said_by(error)}")
        )


def installed_plugins() -> dict[str, Installed]:
    """Return what is installed, by name; one that cannot be used keeps no other from being found."""
    found: dict[str, Installed] = {}
    for entry in metadata.entry_points(group=_GROUP):
        installed = _installed(entry)
        other = found.setdefault(entry.name, installed)
        if other.distribution != installed.distribution:
            both = f"{other.distribution} and {installed.distribution}"
            remedy = f"uninstall one of them, such as by: pip uninstall {other.distribution}"
            found[entry.name] = evolve(other, doubt=f"two distributions bring a plugin of this name: {both}; {remedy}")
    return dict(sorted(found.items()))


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
