"""What plugins answer, checked to the last field before it is used or stored."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from types import TracebackType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import BaseValidationError

from terra_core.config.structure import Problem, path_of_key, structure
from terra_core.config.values import shown

T = TypeVar("T")
_SHOWN = 5

Failed = Callable[[BaseException], BaseException]
"""Returns the error for what a plugin raised; the same one where it needs no explanation."""
Refused = Callable[[Sequence[Problem]], BaseException]
"""Returns the error for an answer with problems."""


@contextmanager
def plugin_errors(failed: Failed) -> Iterator[None]:
    """Turn whatever a plugin raises in the block into the error that ``failed`` returns; Ctrl-C passes as it is.

    A plugin is foreign code and may raise anything, also what is no :class:`Exception`.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        told = failed(error)
        if told is error:
            raise
        raise told from error


def first_problems(value: object, kind: Any) -> list[Problem]:
    """Find the first problems of a value; a long list may have as many as it has items."""
    found = list(islice(problems_of(value, kind), _SHOWN + 1))
    return found if len(found) <= _SHOWN else [*found[:_SHOWN], Problem("", "and more of the kind")]


def problems_of(value: object, kind: Any) -> Iterator[Problem]:
    """Find what keeps a value from being of a type, in all of its fields and items.

    :param kind: a type, such as annotations give it.
    """
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        each = [list(problems_of(value, part)) for part in get_args(kind)]
        meant = [found for part, found in zip(get_args(kind), each, strict=True) if type(value) is part]
        yield from min(meant or each, key=len) if all(each) else ()
    elif kind in (None, type(None)):
        yield from () if value is None else (Problem("", f"expected nothing, got {shown(value)}"),)
    elif origin in (tuple, Sequence):
        yield from _in_sequence(value, get_args(kind)[0], (tuple,) if origin is tuple else (list, tuple))
    elif origin is Mapping:
        yield from _in_mapping(value, *get_args(kind))
    elif isinstance(origin, type):  # a context manager, whose value is checked when it is entered
        yield from _is_one(value, origin)
    elif attrs.has(kind):
        yield from _in_fields(value, kind)
    elif isinstance(kind, type):
        yield from _is_one(value, kind)
    else:  # a type of terra_core.config.values, which has a parser of its own
        yield from _readable(value, kind)


def _is_one(value: object, kind: type) -> Iterator[Problem]:
    exact = kind in (bool, bytes, float, int, str)
    if not (type(value) is kind if exact else isinstance(value, kind)):
        yield Problem("", f"expected {_named(kind)}, got {shown(value)}")


def _in_sequence(value: object, kind: Any, allowed: tuple[type, ...]) -> Iterator[Problem]:
    if type(value) not in allowed:
        yield Problem("", f"expected a {allowed[0].__name__}, got {shown(value)}")
        return
    for at, item in enumerate(value):  # type: ignore[arg-type, var-annotated]  # one of the types above
        yield from (problem.below(f"[{at}]") for problem in problems_of(item, kind))


def _in_mapping(value: object, key_kind: Any, kind: Any) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem("", f"expected a mapping, got {shown(value)}")
        return
    for key, item in value.items():
        yield from (problem.below("a key") for problem in problems_of(key, key_kind))
        yield from (problem.below(path_of_key(str(key))) for problem in problems_of(item, kind))


def _in_fields(value: object, kind: type) -> Iterator[Problem]:
    if type(value) is not kind:
        yield Problem("", f"expected {_named(kind)}, got {shown(value)}")
        return
    for field in attrs.fields(attrs.resolve_types(kind)):  # type: ignore[arg-type,type-var]  # a class of attrs
        if not hasattr(value, field.name):
            yield Problem(field.name, "is missing")
            continue
        yield from (problem.below(field.name) for problem in problems_of(getattr(value, field.name), field.type))


def _readable(value: object, kind: Any) -> Iterator[Problem]:
    try:
        read = structure(value, kind)
    except (BaseValidationError, ValueError, TypeError, AttributeError) as error:
        yield Problem("", str(error))
        return
    if type(read) is not type(value) or read != value:
        yield Problem("", f"expected {shown(read)} in its normal spelling, got {shown(value)}")


def _named(kind: type) -> str:
    article = "an" if kind.__name__[0] in "AEIOUaeiou" else "a"
    return f"{article} {kind.__name__}"


class CheckedContext(AbstractContextManager[T], Generic[T]):
    """A context manager of a plugin whose value is checked; it is left again when the value is wrong.

    :param offer: the plugin's own.
    :param kind: the type of its value.
    """

    def __init__(self, offer: AbstractContextManager[T], kind: Any, failed: Failed, refused: Refused) -> None:
        self._offer = offer
        self._kind = kind
        self._failed = failed
        self._refused = refused

    def __enter__(self) -> T:
        with plugin_errors(self._failed):
            value = self._offer.__enter__()
            problems = first_problems(value, self._kind)
        if problems:
            wrong = self._refused(problems)
            self.__exit__(type(wrong), wrong, None)
            raise wrong
        return value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the plugin's context; whatever it says of the error of what followed, that error goes on."""
        with plugin_errors(lambda raised: raised if raised is error else self._failed(raised)):
            self._offer.__exit__(kind, error, trace)
