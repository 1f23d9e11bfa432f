"""Plugins that break one promise each, and the tests of the kit that have to notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from terra_core.hookspecs import hookimpl
from terra_core.testing import Conformance

Hook = Callable[..., Any]


def broken(
    kit: type[Conformance[Any]], plugin: type, promises: Mapping[str, Mapping[str, object]]
) -> dict[str, type[Conformance[Any]]]:
    """Return test classes, by name, of plugins that are like one that keeps its promises, but for one hook.

    :param kit: the kit's class, set up for the plugin that keeps them.
    :param plugin: that plugin's class.
    :param promises: what is put in place of hooks and attributes, by the test that has to notice.
    """
    made = {}
    for test, changes in promises.items():
        members = {name: hookimpl(change) if callable(change) else change for name, change in changes.items()}
        name = "Test_" + test.removeprefix("test_")
        made[name] = type(name, (kit,), {"plugin": type("Broken", (plugin,), members)(), "__module__": __name__})
    return made
