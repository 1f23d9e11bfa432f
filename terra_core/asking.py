"""Asking a plugin: calling its hooks, checking the answers, and reporting its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from inspect import Signature, signature
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import attrs
import pluggy
from attrs import frozen

from terra_core.answers import CheckedContext, first_problems, plugin_errors
from terra_core.config.structure import Problem
from terra_core.errors import PluginError, TerraError
from terra_core.hookspecs import ROLES, Role

R = TypeVar("R", bound=Role)


def asking(
    role: type[R], name: str, brought_by: str, *, manager: pluggy.PluginManager, plugin: object, hooks: frozenset[str]
) -> R:
    """Return a role whose methods ask a plugin.

    :param name: the plugin's name.
    :param brought_by: its distribution and version, for errors.
    :param hooks: the hooks that it implements; the others do what the role says.
    """
    filled: R = _asking(role.role)(name, brought_by, manager, plugin, hooks)
    return filled


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

    def __init__(
        self, name: str, brought_by: str, manager: pluggy.PluginManager, plugin: object, hooks: frozenset[str]
    ) -> None:
        self.plugin = name
        self._brought_by = brought_by
        self._manager = manager
        self._object = plugin
        self._implemented = hooks
        self._settings = settings_of(plugin)

    def brings(self, hook: str) -> bool:
        """Return whether the plugin implements a hook; see :meth:`Role.brings`."""
        return hook in self._implemented

    def _ask(self, hook: _Hook, given: Sequence[object], named: Mapping[str, object]) -> object:
        if hook.name not in self._implemented:
            return hook.spec(self, *given, **named)
        arguments = hook.signature.bind(self, *given, **named).arguments
        del arguments["self"]
        failed, refused = partial(self._failed, hook.name), partial(self._refused, hook.name)
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not self._object]
        with plugin_errors(failed):
            if self._settings is not None:
                arguments["session"] = arguments["session"].structured(self.plugin, self._settings)
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
        return self._defect(f"failed in {hook}: {said_by(error)}")

    def _refused(self, hook: str, problems: Sequence[Problem]) -> PluginError:
        said = "; ".join(str(problem) for problem in problems)
        return self._defect(f"gave an answer from {hook} that cannot be used: {said}")

    def _defect(self, what: str) -> PluginError:
        return PluginError(f"plugin {self.plugin!r} {what}", hint=f"report it to the authors of {self._brought_by}")


def settings_of(plugin: object) -> type[attrs.AttrsInstance] | None:
    """Return the model of a plugin's table; ``None`` when the plugin has no table."""
    model: type[attrs.AttrsInstance] | None = getattr(plugin, "settings", None)
    return model


def said_by(error: BaseException) -> str:
    """Return what a plugin raised in one line, even when its own text cannot be made."""
    try:
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # its own __str__ fails
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
