"""Finding plugins, and asking the one that TOML selects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from types import ModuleType
from typing import Any, TypeVar

import importlib_metadata as metadata
import pluggy
from attrs import field, frozen

from terra_core.config.loader import config_error
from terra_core.config.structure import Problem, path_of_key
from terra_core.errors import TerraError
from terra_core.hookspecs import ROLES, Role

GROUP = "terra.plugins"
"""The entry-point group of plugins; the entry point's name is the plugin's name, and it loads an instance."""

T = TypeVar("T")


class PluginError(TerraError):
    """A plugin is not what a plugin has to be, or failed in a way that it does not handle."""


@frozen
class Installed:
    """A plugin that is installed; nothing of it has been imported yet.

    :param name: its name.
    :param distribution: the distribution that brings it.
    :param version: that distribution's version.
    :param entry: its entry point.
    """

    name: str
    distribution: str
    version: str
    entry: metadata.EntryPoint = field(repr=False, eq=False)


@frozen
class Filled:
    """A role with the plugin that fills it.

    :param role: the role.
    :param installed: the plugin.
    """

    role: Role
    installed: Installed
    _manager: pluggy.PluginManager = field(repr=False, eq=False)
    _plugin: object = field(repr=False, eq=False)

    def has(self, hook: str) -> bool:
        """Whether the plugin has a hook that the role does not ask for."""
        return any(caller.name == hook for caller in self._manager.get_hookcallers(self._plugin) or ())

    def call(self, hook: str, expected: type[T] | tuple[type[Any], ...], /, **arguments: object) -> T:
        """Ask the plugin.

        :param hook: the hook's name.
        :param expected: what it has to return an instance of.
        :param arguments: the hook's arguments.
        :raises TerraError: as the plugin raised it.
        :raises PluginError: when the plugin raised something else, or returned something else.
        """
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not self._plugin]
        try:
            answer = self._manager.subset_hook_caller(hook, others)(**arguments)
        except TerraError:
            raise
        except (Exception, SystemExit) as error:  # a plugin is others' code: whatever it raises, the error names it
            raise PluginError(
                f"plugin {self.installed.name!r} failed in {hook}: {type(error).__name__}: {error}",
                hint=f"report it to the authors of {self.installed.distribution} {self.installed.version}",
            ) from error
        if not isinstance(answer, expected):
            raise PluginError(f"plugin {self.installed.name!r} returned {type(answer).__name__} from {hook}")
        return answer


class Plugins:
    """The installed plugins; each is imported when a role is first filled with it.

    :param installed: the plugins by name.
    """

    def __init__(self, installed: Mapping[str, Installed]) -> None:
        self.installed = installed
        self._manager = pluggy.PluginManager("terra")
        self._loading = threading.Lock()  # requests of several clients may fill a role for the first time at once
        for role in ROLES.values():
            self._manager.add_hookspecs(role.spec)

    @classmethod
    def discover(cls) -> Plugins:
        """Find what is installed, without importing any of it.

        :raises PluginError: when two distributions bring a plugin of one name.
        """
        found: dict[str, Installed] = {}
        for entry in metadata.entry_points(group=GROUP):
            brought_by = entry.dist
            installed = Installed(
                entry.name, brought_by.name if brought_by else "?", brought_by.version if brought_by else "?", entry
            )
            other = found.setdefault(entry.name, installed)
            if other.distribution != installed.distribution:
                raise PluginError(
                    f"two distributions bring a plugin named {entry.name!r}: {other.distribution} and {installed.distribution}",
                    hint=f"uninstall one of them: pip uninstall {other.distribution}",
                )
        return cls(dict(sorted(found.items())))

    @property
    def names(self) -> frozenset[str]:
        """The names of the installed plugins, which own the top-level tables of these names."""
        return frozenset(self.installed)

    def fill(self, role: str, chosen: Mapping[str, str], *, source: str) -> Filled:
        """The plugin that fills a role.

        :param role: the role's name.
        :param chosen: the ``[plugins]`` table of the file.
        :param source: the file, for errors.
        :raises ConfigError: when the plugin is not installed, or ``chosen`` names a role that does not exist.
        :raises PluginError: when the plugin can't be loaded or does not fill the role.
        """
        self.check_roles(chosen, source=source)
        wanted = ROLES[role]
        name = chosen.get(role, wanted.default)
        if name not in self.installed:
            raise config_error(source, [Problem(f"plugins.{role}", _missing(role, name, self.names))])
        installed = self.installed[name]
        plugin = self._load(installed)
        lacking = sorted(set(wanted.needed) - self._hooks(plugin))
        if lacking:
            raise PluginError(f"plugin {name!r} does not fill the role {role}: it has no {', '.join(lacking)}")
        return Filled(wanted, installed, self._manager, plugin)

    def roles_of(self, name: str) -> tuple[str, ...]:
        """The roles that an installed plugin fills."""
        hooks = self._hooks(self._load(self.installed[name]))
        return tuple(role.name for role in ROLES.values() if set(role.needed) <= hooks)

    def lacks(self, name: str) -> str:
        """What an installed plugin that fills no role has not, in words."""
        hooks = self._hooks(self._load(self.installed[name]))
        begun = [role for role in ROLES.values() if hooks & set(role.hooks)]
        lacking = [f"{role.name} without {', '.join(sorted(set(role.needed) - hooks))}" for role in begun]
        return f"fills no role: {'; '.join(lacking) or 'it has no hook of any'}"

    def check_roles(self, chosen: Mapping[str, str], *, source: str) -> None:
        """Refuse a ``[plugins]`` table that names a role which does not exist.

        :param source: the file, for errors.
        :raises ConfigError: with every such key.
        """
        strangers = [f"plugins.{path_of_key(key)}" for key in chosen if key not in ROLES]
        unknown = [Problem(path, f"is no role (roles: {', '.join(ROLES)})") for path in strangers]
        if unknown:
            raise config_error(source, unknown)

    def _hooks(self, plugin: object) -> set[str]:
        return {caller.name for caller in self._manager.get_hookcallers(plugin) or ()}

    def _load(self, installed: Installed) -> object:
        with self._loading:
            return self._load_once(installed)

    def _load_once(self, installed: Installed) -> object:
        registered = self._manager.get_plugin(installed.name)
        if registered is not None:
            return registered
        try:
            plugin = installed.entry.load()
        except (Exception, SystemExit) as error:  # a plugin is others' code: whatever its import raises, the error names it
            raise PluginError(
                f"plugin {installed.name!r} of {installed.distribution} {installed.version} cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
        wrong = self._misfit(plugin)
        if wrong:
            raise PluginError(f"plugin {installed.name!r} of {installed.distribution} {installed.version} {wrong}")
        try:
            self._manager.register(plugin, installed.name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            raise PluginError(f"plugin {installed.name!r} of {installed.distribution} does not fit: {error}") from error
        return plugin

    def _misfit(self, plugin: object) -> str:
        """What keeps an object from being a plugin, in words of Terra's: pluggy would show it by its address in memory."""
        if isinstance(plugin, type | ModuleType):
            kind = "class" if isinstance(plugin, type) else "module"
            return f"is the {kind} {plugin.__name__}: its entry point must name an instance"
        if type(plugin).__hash__ is None:
            return f"is a {type(plugin).__name__}, which has no hash: a class that defines __eq__ has to define __hash__ too"
        for name, other in self._manager.list_name_plugin():
            if other is plugin:
                return f"is the same object as the plugin {name!r}: each must be an instance of its own"
        known = {hook: getattr(role.spec, hook) for role in ROLES.values() for hook in role.hooks}
        for name in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, name)
            if options is None:
                continue
            hook = options.get("specname") or name
            if hook not in known:
                return f"has a hook that Terra does not know: {hook}"
            strange = _needed(getattr(plugin, name)) - set(signature(known[hook]).parameters)
            if strange:
                return f"does not fit: {hook} takes {', '.join(sorted(strange))}, which Terra does not give"
        return ""


def _needed(hook: Callable[..., object]) -> set[str]:
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    parameters = signature(hook).parameters.values()
    return {one.name for one in parameters if one.kind in kinds and one.default is Parameter.empty}


def _missing(role: str, name: str, installed: frozenset[str]) -> str:
    # A name that nobody owns invites whoever takes it, so only Terra's own distributions are named.
    own = name in {one.default for one in ROLES.values()}
    remedy = f"install it with: pip install terra-{name}" if own else "install what brings it, or choose another"
    here = ", ".join(sorted(installed)) or "none"
    return f"{name!r}, the plugin for the role {role}, is not installed (installed: {here}); {remedy}"


@frozen
class Candidate:
    """A plugin for a role, as ``terra plugins`` lists it.

    :param role: the role.
    :param name: the plugin's name.
    :param distribution: what brings it; empty when it is selected and not installed.
    :param version: that distribution's version.
    :param selected: whether it is the one that is asked.
    :param problem: why it cannot be used, if so.
    """

    role: str
    name: str
    distribution: str
    version: str
    selected: bool
    problem: str = ""

    def as_json(self) -> dict[str, object]:
        """The candidate as ``terra plugins --json`` gives it; with ``problem`` where there is one."""
        names = ("role", "name", "distribution", "version", "selected", *(["problem"] if self.problem else []))
        return {name: getattr(self, name) for name in names}


def candidates(plugins: Plugins, chosen: Mapping[str, str], *, source: str = "configuration") -> list[Candidate]:
    """Every role with every plugin that fills it, and the selected one even if it is not installed or does not fill it.

    A plugin that fills no role, or that cannot be loaded, comes last, without a role and with the reason.

    :param chosen: the ``[plugins]`` table of a file.
    :param source: the file, for errors.
    :raises ConfigError: when ``chosen`` names a role that does not exist.
    """
    plugins.check_roles(chosen, source=source)
    fills, problems = dict[str, tuple[str, ...]](), dict[str, str]()
    for name in plugins.installed:
        try:
            fills[name] = plugins.roles_of(name)
            problems[name] = "" if fills[name] else plugins.lacks(name)
        except PluginError as error:  # it keeps no other one from being shown
            fills[name], problems[name] = (), str(error)
    rows = []
    for role in ROLES.values():
        selected = chosen.get(role.name, role.default)
        names = [name for name in plugins.installed if role.name in fills[name]]
        for name in sorted({*names, selected}):
            installed = plugins.installed.get(name)
            rows.append(
                Candidate(
                    role.name,
                    name,
                    installed.distribution if installed else "",
                    installed.version if installed else "not installed",
                    name == selected,
                    "" if installed is None or role.name in fills[name] else problems[name] or f"does not fill {role.name}",
                )
            )
    shown = {row.name for row in rows}
    for name, installed in plugins.installed.items():
        if name not in shown:
            rows.append(Candidate("", name, installed.distribution, installed.version, False, problems[name]))
    return rows
