"""``match``: which interfaces a file is for ([Match] of systemd.link(5) and systemd.network(5))."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from attrs import frozen

from terra_core.config.structure import Problem
from terra_core.config.values import Mac
from terra_networkd.checks import are_of_one, mixed, no_glob, no_word
from terra_networkd.sections import Section, items, key, said

_HARDWARE = ("mac_address", "permanent_mac_address", "path", "driver")
_NEGATED = ("path", "driver", "type", "kind", "name", "original_name")


@frozen(kw_only=True)
class Match(Section):
    """What both kinds of files match with; all that is said has to be true of an interface."""

    mac_address: tuple[Mac, ...] = items()
    permanent_mac_address: tuple[Mac, ...] = items()
    path: tuple[str, ...] = items(no_glob)
    driver: tuple[str, ...] = items(no_glob)
    type: tuple[str, ...] = items(no_glob)
    kind: tuple[str, ...] = items(no_glob)
    host: str | None = key(no_word)
    virtualization: str | None = key(no_word)
    architecture: str | None = key(no_word)

    @property
    def hardware(self) -> tuple[tuple[str, ...], ...]:
        """The values that match hardware, by which machines with other hardware are told apart."""
        return tuple(getattr(self, name, ()) for name in _HARDWARE)

    @property
    def is_of_one(self) -> bool:
        """Whether it can mean no more than one interface."""
        addresses = [getattr(self, name, ()) for name in ("mac_address", "permanent_mac_address")]
        return any(len(some) == 1 for some in addresses) or are_of_one(getattr(self, "path", ()))

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        if all(hasattr(self, field.name) for field in attrs.fields(type(self))) and not list(said(self)):
            known = ", ".join(field.name for field in attrs.fields(type(self)))
            yield Problem("", f"matches nothing: expected one of {known}")
        for name in _NEGATED:
            if mixed([item for item in getattr(self, name, ()) if isinstance(item, str)]):
                yield Problem(name, 'a "!" negates the whole list (systemd.network(5)): expected it in every item or in none')


@frozen(kw_only=True)
class LinkMatch(Match):
    """``match`` of a .link file.

    :param original_name: the name that the kernel gave the interface.
    """

    original_name: tuple[str, ...] = items(no_glob)

    @property
    def is_of_one(self) -> bool:
        """Whether it can mean no more than one interface."""
        return super().is_of_one or are_of_one(getattr(self, "original_name", ()))


@frozen(kw_only=True)
class NetworkMatch(Match):
    """``match`` of a .network file.

    :param name: the name of the interface, or an alternative one.
    """

    name: tuple[str, ...] = items(no_glob)

    @property
    def only_name(self) -> str | None:
        """The name of the one interface that it is for, when it says nothing but that."""
        name: tuple[str, ...] = getattr(self, "name", ())
        return name[0] if are_of_one(name) and [field for field, _ in said(self)] == ["name"] else None
