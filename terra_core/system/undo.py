"""Undoing what was begun, so that an error of undoing never replaces the error that came before.

:class:`Undo`, :func:`undoing` and :func:`first_kept` see to that: the first error is raised, and what could not be undone is a
note of it (:meth:`BaseException.add_note`), which Terra's errors show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

_Leave = Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], bool | None]


class Undo(ExitStack):
    """A stack of what has to be undone, in reverse order.

    Like :class:`contextlib.ExitStack`, but an error while undoing is raised only when there was none before.
    """

    def enter_context(self, cm: AbstractContextManager[T, Any]) -> T:
        """Enter a context, which is left with the rest."""
        entered = cm.__enter__()
        super().push(first_kept(cm.__exit__))
        return entered

    def push(self, exit: Any) -> Any:  # noqa: A002  # ExitStack's own name
        """Register a function with the signature of ``__exit__``, or an object that has one and was entered elsewhere."""
        super().push(first_kept(getattr(exit, "__exit__", exit)))
        return exit

    def callback(self, callback: Callable[P, R], /, *args: P.args, **kwds: P.kwargs) -> Callable[P, R]:
        """Register a call."""

        def call(*_: object) -> None:
            callback(*args, **kwds)

        super().push(first_kept(call))
        return callback

    def when_failing(self, callback: Callable[P, object], /, *args: P.args, **kwds: P.kwargs) -> None:
        """Register a call that is made only when the stack is left with an exception."""

        def call(kind: object, _: object, __: object) -> None:
            if kind is not None:
                callback(*args, **kwds)

        super().push(first_kept(call))

    def unwind(self, failure: Sequence[object]) -> None:
        """Undo all of it, in the ``__exit__`` of an object that holds this.

        :param failure: the arguments of that ``__exit__``.
        """
        error = next((one for one in failure if isinstance(one, BaseException)), None)
        self.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


@contextmanager
def lasting(do: Callable[[], object], undo: Callable[[], object]) -> Iterator[None]:
    """Do something that stays, unless the work that follows fails, or it fails itself.

    :param undo: undoes what there is of it; does nothing where there is nothing.
    """
    with Undo() as stack:
        stack.callback(undo)
        do()
        yield
        stack.pop_all()


@contextmanager
def undoing(error: BaseException) -> Iterator[None]:
    """Undo something in an ``except`` clause that raises ``error`` again; add what fails meanwhile to ``error`` as a note."""
    try:
        yield
    except Exception as later:
        _note(error, later)


def first_kept(leave: Callable[P, R]) -> Callable[P, R | None]:
    """Return an ``__exit__``, or a function with the same last three arguments, that keeps the error that it is called with.

    An error that it raises on purpose (``raise ... from``, as a context that explains errors does) is still raised.
    """

    @wraps(leave)
    def left(*args: P.args, **kwds: P.kwargs) -> R | None:
        error = args[-2] if len(args) > 1 else None
        try:
            return leave(*args, **kwds)
        except Exception as later:
            if not isinstance(error, BaseException) or later is error or _explains(later, error):
                raise
            _note(error, later)
            return None

    return left


def _explains(later: BaseException, error: BaseException) -> bool:
    """Return whether ``later`` was raised to stand for ``error`` (``raise ... from``), and not by chance meanwhile."""
    seen: set[int] = set()
    here: BaseException | None = later
    while here is not None and id(here) not in seen:
        seen.add(id(here))
        meant = here.__cause__ is not None or here.__suppress_context__
        above = here.__cause__ or here.__context__
        if above is error:
            return meant
        here = above
    return False


def _note(error: BaseException, later: BaseException) -> None:
    text = f"and what was begun is not wholly undone: {later}"
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)
