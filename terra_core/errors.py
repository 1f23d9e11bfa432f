"""The errors that Terra handles: what went wrong, where, and what to do about it.

A command catches :class:`TerraError` once, prints it and ends with :attr:`TerraError.exit_code`; the API turns it into a
problem document. Anything else that reaches them is a defect of Terra's.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class TerraError(Exception):
    """Something a user can read and act upon.

    :param message: what went wrong and where, in one sentence.
    :param hint: what to do about it, or nothing when the message says it already.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join([self.message, *([self.hint] if self.hint else []), *self.notes])

    @property
    def notes(self) -> list[str]:
        """The notes that were added on its way, such as what could not be undone."""
        return list(getattr(self, "__notes__", ()))


class ConfigError(TerraError):
    """A file, an option or a request that is not what it has to be; holds every problem that was found.

    :param problems: one line each, with file, path and remedy.
    """

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class PluginError(TerraError):
    """A plugin is not what a plugin has to be, or failed in a way that it does not handle."""


class CommandError(TerraError):
    """A program that Terra started ended with a code that was not expected, or ran into its time limit."""


class CommandTimeout(CommandError):  # noqa: N818  # a state, as InterruptedWork is one
    """A program that Terra started ran into its time limit."""


class ConflictError(TerraError):
    """What was asked for is held by something else, which the message names."""


class NotFoundError(TerraError):
    """What was asked for is not there."""


class ForbiddenError(TerraError):
    """What was asked for needs more rights than whoever asked has."""


class UnavailableError(TerraError):
    """What was asked for cannot be done here now, and may be elsewhere, or later."""


class InterruptedWork(TerraError):  # noqa: N818  # a state asked for by the user, not a fault
    """The user, or a signal, asked for the work to end; everything begun has been undone."""

    exit_code = 130


MACHINES_OWN = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENXIO}
)
"""The numbers of what is wrong with a machine, such as with its disk, wherever in Terra it is met."""


def error_of_machine(error: OSError) -> TerraError:
    """Return what the operating system refused, such as to write to a full disk, as an error that a user can act upon."""
    where = f"{error.filename}: " if error.filename else ""
    return TerraError(f"{where}{error.strerror or error}")


def words_of(error: Exception) -> str:
    """Return what an error says to a person; one of the operating system's own has a number, which says nothing."""
    return str(error_of_machine(error)) if isinstance(error, OSError) else str(error)


def reason_of(work: Callable[[], object]) -> str:
    """Do some work; return why it failed, as a user can act upon it, or an empty text."""
    try:
        work()
    except TerraError as error:
        return str(error) or type(error).__name__
    return ""


def result_or_reason(work: Callable[[], T]) -> T | str:
    """Do some work; return what it returns, or why it failed, as a user can act upon it, which is no empty text.

    :raises InterruptedWork: when the work was interrupted.
    """
    try:
        return work()
    except InterruptedWork:
        raise
    except TerraError as error:
        return str(error) or type(error).__name__
