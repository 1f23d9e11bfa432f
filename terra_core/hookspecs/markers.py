"""How the hooks of a role, and a plugin's implementations of them, are marked."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, TypeVar

import pluggy

CONTRACT = 2
"""The number of this contract. A plugin says which one it was made for: ``contract = 2`` on its instance."""
Offer = AbstractContextManager
"""What a hook returns that acquires something: a context manager that is not entered."""

F = TypeVar("F", bound=Callable[..., Any])

hookimpl = pluggy.HookimplMarker("terra")
_hookspec = pluggy.HookspecMarker("terra")


def hook(method: F) -> F:
    """Mark a method of a role as a hook that a plugin has to implement."""
    return _hookspec(method, firstresult=True)


def optional(method: F) -> F:
    """Mark a method of a role as a hook that a plugin may leave away: its body serves in its place then."""
    vars(method)["optional"] = True
    return _hookspec(method, firstresult=True)


class Role:
    """A role that a plugin fills. Each subclass declares the hooks of one role, and core calls the plugin through it.

    :cvar role: the key under ``[plugins]``.
    :cvar default: the plugin that fills the role where TOML says nothing.
    :param plugin: the name of the plugin that fills it.
    """

    role: ClassVar[str]
    default: ClassVar[str]
    plugin: str

    def __init_subclass__(cls, role: str = "", default: str = "") -> None:
        if role:
            cls.role, cls.default = role, default

    def brings(self, hook: str) -> bool:
        """Return whether the plugin implements a hook."""
        return True

    @classmethod
    def hooks(cls) -> dict[str, Callable[..., Any]]:
        """Return the hooks of the role by name."""
        return {name: value for name, value in vars(cls).items() if hasattr(value, "terra_spec")}

    @classmethod
    def needed(cls) -> frozenset[str]:
        """Return the names of the hooks that a plugin has to implement."""
        return frozenset(name for name, value in cls.hooks().items() if not hasattr(value, "optional"))
