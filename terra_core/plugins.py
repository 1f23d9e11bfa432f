"""Finding plugins, and asking the one that TOML selects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from inspect import Parameter, Signature, iscoroutinefunction, signature
from types import ModuleType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import importlib_metadata as metadata
import pluggy
from attrs import field, frozen

from terra_core.answers import CheckedContext, first_problems, plugin_errors
from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem, path_of_key
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import CONTRACT, ROLES, Role

GROUP = "terra.plugins"
"""The entry-point group of plugins; the entry point's name is the plugin's name, and it loads an instance."""

R = TypeVar("R", bound=Role)


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
        for role in ROLES.values():
            self._manager.add_hookspecs(role)

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
        installed = self.installed.get(name)
        if installed is None:
            raise DocumentError(source, [Problem(f"plugins.{role.role}", _missing(role, name, self.names))])
        plugin = self._load(installed)
        lacking = sorted(role.needed() - self._hooks(plugin))
        if lacking:
            raise PluginError(f"plugin {name!r} does not fill the role {role.role}: it has no {', '.join(lacking)}")
        filled: R = _asking(role.role)(installed, self._manager, plugin, self._hooks(plugin))
        return filled

    def roles_of(self, name: str) -> tuple[str, ...]:
        """Return the roles that an installed plugin fills."""
        hooks = self._hooks(self._load(self.installed[name]))
        return tuple(role.role for role in ROLES.values() if role.needed() <= hooks)

    def lacks(self, name: str) -> str:
        """Return what an installed plugin that fills no role lacks."""
        hooks = self._hooks(self._load(self.installed[name]))
        begun = [role for role in ROLES.values() if hooks & role.hooks().keys()]
        lacking = [f"{role.role} without {', '.join(sorted(role.needed() - hooks))}" for role in begun]
        return f"fills no role: {'; '.join(lacking) or 'it has no hook of any'}"

    def _hooks(self, plugin: object) -> frozenset[str]:
        return frozenset(caller.name for caller in self._manager.get_hookcallers(plugin) or ())

    def _load(self, installed: Installed) -> object:
        with self._loading:
            registered = self._manager.get_plugin(installed.name)
            return self._load_once(installed) if registered is None else registered

    def _load_once(self, installed: Installed) -> object:
        def failing(what: str) -> AbstractContextManager[None]:
            return plugin_errors(
                lambda error: error
                if isinstance(error, InterruptedWork)
                else PluginError(f"{installed} cannot be {what}: {_said(error)}")
            )

        with failing("loaded"):
            plugin = installed.entry.load()
        with failing("looked at"):
            wrong = next(self._misfits(plugin), "")
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

    def _misfits(self, plugin: object) -> Iterator[str]:
        """Yield what keeps an object from being a plugin, in Terra's words: pluggy would show it by its address in memory."""
        if isinstance(plugin, type | ModuleType):
            kind = "class" if isinstance(plugin, type) else "module"
            yield f"is the {kind} {plugin.__name__}: its entry point must name an instance"
        elif type(plugin).__hash__ is None:
            yield f"is a {type(plugin).__name__}, which has no hash: a class that defines __eq__ has to define __hash__ too"
        yield from (
            f"is the same object as the plugin {name!r}: each must be an instance of its own"
            for name, other in self._manager.list_name_plugin()
            if other is plugin
        )
        made_for = getattr(plugin, "contract", None)
        if made_for != CONTRACT or type(made_for) is not int:
            said = "does not say which contract it was made for" if made_for is None else f"was made for contract {made_for!r}"
            yield f"{said}, and this Terra has contract {CONTRACT}: it has to be fitted to terra_core.hookspecs and say so"
        known = {name: spec for role in ROLES.values() for name, spec in role.hooks().items()}
        for name in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, name)
            if options is not None:
                hook = options.get("specname") or name
                if options.get("wrapper") or options.get("hookwrapper") or iscoroutinefunction(getattr(plugin, name)):
                    yield f"does not fit: {hook} has to be a plain method, neither a wrapper nor a coroutine"
                yield from _unlike(hook, getattr(plugin, name), known.get(hook))


def _unlike(name: str, implemented: Callable[..., object], spec: Callable[..., object] | None) -> Iterator[str]:
    if spec is None:
        yield f"has a hook that Terra does not know: {name}"
        return
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    taken = {one.name: one.default for one in signature(implemented).parameters.values() if one.kind in kinds}
    given = [parameter for parameter in signature(spec).parameters if parameter != "self"]
    strange = sorted(one for one, default in taken.items() if default is Parameter.empty and one not in given)
    if strange:
        yield f"does not fit: {name} takes {', '.join(strange)}, which Terra does not give"
    lacking = [one for one in given if one not in taken]
    if lacking:
        yield f"does not fit: {name} has to take {', '.join(lacking)}: what a plugin does not look at, it cannot heed"


@frozen
class _Hook:
    """A hook of a role.

    :param name: its name.
    :param spec: the role's method of that name.
    :param signature: its parameters.
    :param answer: the type that its answer has.
    """

    name: str
    spec: Callable[..., object]
    signature: Signature
    answer: Any


class _Asking:
    """A role as core calls it: each method asks one plugin, and checks what that answers."""

    def __init__(self, installed: Installed, manager: pluggy.PluginManager, plugin: object, hooks: frozenset[str]) -> None:
        self.plugin = installed.name
        self._installed = installed
        self._manager = manager
        self._object = plugin
        self._implemented = hooks

    def _ask(self, hook: _Hook, given: Sequence[object], named: Mapping[str, object]) -> object:
        if hook.name not in self._implemented:
            return hook.spec(self, *given, **named)
        arguments = hook.signature.bind(self, *given, **named).arguments
        del arguments["self"]
        failed, refused = partial(self._failed, hook.name), partial(self._refused, hook.name)
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not self._object]
        with plugin_errors(failed):
            answer = self._manager.subset_hook_caller(hook.name, others)(**arguments)
            problems = first_problems(answer, hook.answer)
        if problems:
            raise refused(problems)
        if get_origin(hook.answer) is AbstractContextManager:
            return CheckedContext(answer, get_args(hook.answer)[0], failed, refused)
        return answer

    def _failed(self, hook: str, error: BaseException) -> BaseException:
        if isinstance(error, TerraError) and type(error.message) is str and type(error.hint) is str:
            return error
        return self._defect(f"failed in {hook}: {_said(error)}")

    def _refused(self, hook: str, problems: Sequence[Problem]) -> PluginError:
        said = "; ".join(str(problem) for problem in problems)
        return self._defect(f"gave an answer from {hook} that cannot be used: {said}")

    def _defect(self, what: str) -> PluginError:
        hint = f"report it to the authors of {self._installed.distribution} {self._installed.version}"
        return PluginError(f"plugin {self.plugin!r} {what}", hint=hint)


def _said(error: BaseException) -> str:
    """Return what a plugin raised, in a line, whatever its own words do."""
    try:
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # it cannot even say what it is
        return type(error).__name__


@cache
def _asking(name: str) -> Any:  # a subclass of the role and of _Asking, made when the program runs
    role = ROLES[name]

    def method(hook: _Hook) -> Callable[..., object]:
        return lambda self, *given, **named: self._ask(hook, given, named)

    methods = {
        hook: method(_Hook(hook, spec, signature(spec), get_type_hints(spec)["return"])) for hook, spec in role.hooks().items()
    }
    return type(f"Asking{role.__name__}", (_Asking, role), methods)


def check_roles(chosen: Mapping[str, str], *, source: str) -> None:
    """Refuse a ``[plugins]`` table that names a role which does not exist.

    :param source: the file, for errors.
    :raises ConfigError: with every such key.
    """
    strangers = [f"plugins.{path_of_key(key)}" for key in chosen if key not in ROLES]
    if strangers:
        raise DocumentError(source, [Problem(path, f"is no role (roles: {', '.join(ROLES)})") for path in strangers])


def _missing(role: type[Role], name: str, installed: frozenset[str]) -> str:
    # A name that nobody owns invites whoever takes it, so only Terra's own distributions are named.
    own = name in {one.default for one in ROLES.values()}
    remedy = f"install it with: pip install terra-{name}" if own else "install what brings it, or choose another"
    here = ", ".join(sorted(installed)) or "none"
    return f"{name!r}, the plugin for the role {role.role}, is not installed (installed: {here}); {remedy}"
