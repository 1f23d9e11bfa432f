"""Whether an object is a plugin: an instance of its own, made for this contract, whose hooks take what the contract gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, iscoroutinefunction, signature
from types import ModuleType

import attrs
import pluggy

from terra_core.hookspecs import CONTRACT, ROLES


def misfits(plugin: object, manager: pluggy.PluginManager) -> Iterator[str]:
    """Yield what keeps an object from being a plugin, in Terra's words: pluggy would show it by its address in memory.

    :param manager: with the plugins that are registered already.
    """
    if isinstance(plugin, type | ModuleType):
        kind = "class" if isinstance(plugin, type) else "module"
        yield f"is the {kind} {plugin.__name__}: its entry point must name an instance"
    elif type(plugin).__hash__ is None:
        yield f"is a {type(plugin).__name__}, which has no hash: a class that defines __eq__ has to define __hash__ too"
    yield from (
        f"is the same object as the plugin {name!r}: each must be an instance of its own"
        for name, other in manager.list_name_plugin()
        if other is plugin
    )
    made_for = getattr(plugin, "contract", None)
    if made_for != CONTRACT or type(made_for) is not int:
        said = "does not say which contract it was made for" if made_for is None else f"was made for contract {made_for!r}"
        yield f"{said}, and this Terra has contract {CONTRACT}: it has to be fitted to terra_core.hookspecs and say so"
    model = getattr(plugin, "settings", None)
    if model is not None and not (isinstance(model, type) and attrs.has(model)):
        yield f"says settings that are no class of attrs, but {type(model).__name__}: they are the model of its table"
    elif model is not None:
        yield from _unresolved(model)
    programs = getattr(plugin, "programs", {})
    if not isinstance(programs, Mapping) or not all(isinstance(word, str) for pair in programs.items() for word in pair):
        yield "says programs that are no names, each with the name of a package"
    known = {name: spec for role in ROLES.values() for name, spec in role.hooks().items()}
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is not None:
            hook = options.get("specname") or name
            if options.get("wrapper") or options.get("hookwrapper") or iscoroutinefunction(getattr(plugin, name)):
                yield f"does not fit: {hook} has to be a plain method, neither a wrapper nor a coroutine"
            yield from _unlike(hook, getattr(plugin, name), known.get(hook))


def _unresolved(model: type[attrs.AttrsInstance]) -> Iterator[str]:
    try:
        attrs.resolve_types(model)
    except (NameError, AttributeError) as error:
        yield f"says settings, {model.__name__}, with a type that is not there when it runs: {error}"


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
