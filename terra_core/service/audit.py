"""The changes that clients ask of a daemon, as a daemon with an audit log keeps them: who, what, when, from where, and its end.

A change is written down before its route does anything. Long work that the route begins carries it on, and writes its end.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from http import HTTPStatus
from typing import Protocol

import structlog
from attrs import define, evolve, field

from terra_core.errors import TerraError
from terra_core.system.text import one_line

_log = structlog.get_logger(__name__)
_LONGEST = 200

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""The methods that change something (RFC 9110, section 9.2.1)."""

BEGUN, DONE = "begun", "done"


class Journal(Protocol):
    """Keeps changes; its methods may wait for a database, all but :meth:`refused`."""

    def write(self, change: Change) -> None:
        """Write a change down, or what has become of one that was written before.

        :raises TerraError: when it cannot be written.
        """

    def refused(self, status: int, who: str, address: str, asked: str) -> None:
        """Count a request that was refused for its token (401) or its role (403).

        :param who: the name of the token; empty where there is none.
        :param asked: method and path.
        """


@define(kw_only=True)
class Change:
    """One change.

    :param who: the name of the token.
    :param role: its role.
    :param address: where the request came from.
    :param method: its method.
    :param path: its path, without a query.
    :param action: what it does, in a word or two.
    :param subject: what it does it to, such as the name of a machine.
    :param detail: what else is worth knowing of it; never a secret.
    :param result: ``begun``, ``done``, or what went wrong.
    :param refused: whether it ended before it changed anything.
    :param number: its number in the journal; ``None`` before it is written.
    """

    who: str
    role: str
    address: str
    method: str
    path: str
    action: str
    subject: str = ""
    detail: str = ""
    result: str = BEGUN
    refused: bool = False
    number: int | None = None
    journal: Journal = field(repr=False)
    goes_on: bool = False
    _lock: threading.Lock = field(factory=threading.Lock, repr=False)

    def begin(self) -> None:
        """Write down that it begins."""
        self._write()

    def answered(self, status: int) -> None:
        """Take the status of the answer to its request, which is its end unless long work goes on with it."""
        with self._lock:
            if self.result != BEGUN:  # the work was faster than the answer
                return
            if not self.goes_on or status >= HTTPStatus.BAD_REQUEST:
                self.refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
                self.result = DONE if status < HTTPStatus.BAD_REQUEST else _failed(self.refused, status)
            self._write()
            self._tell()

    def ended(self, problem: str) -> None:
        """Take the end of the long work.

        :param problem: why it failed; empty when it did not.
        """
        with self._lock:
            self.result = one_line(f"failed: {problem}")[:_LONGEST] if problem else DONE
            self._write()
            self._tell()

    def _tell(self) -> None:
        if self.result != BEGUN and not self.refused:
            what = " ".join(filter(None, (self.action, self.subject, self.detail)))
            _log.info("change", who=self.who, address=self.address, what=what, result=self.result)

    def _write(self) -> None:
        try:
            self.journal.write(self)
        except TerraError as error:  # a full disk, on which a machine must be deleted all the same
            what = f"{self.action} {self.subject}".strip()
            _log.error("audit log", who=self.who, address=self.address, what=what, result=self.result, reason=str(error))


_current: ContextVar[Change | None] = ContextVar("change", default=None)


def enter(change: Change) -> None:
    """Take a change as that of the request which is being answered."""
    _current.set(change)


def note(action: str, subject: str, detail: str = "") -> None:
    """Note what the present request changes; without an audit log, do nothing.

    :param action: in a word or two, such as ``create token``.
    :param subject: what is changed, such as the name of a machine.
    :param detail: what else is worth knowing; never a secret.
    """
    change = _current.get()
    if change is not None:
        change.action, change.subject, change.detail = action, subject[:_LONGEST], detail[:_LONGEST]


def carry_on(action: str, subject: str) -> Change | None:
    """Let long work go on with the change of the request which is being answered; its end is the work's."""
    change = _current.get()
    if change is None:
        return None
    if change.goes_on:  # further work of the same request is a change of its own, which is written at its end
        change = evolve(change, number=None, result=BEGUN, lock=threading.Lock())
    change.action, change.subject, change.goes_on = action, subject[:_LONGEST], True
    return change


def _failed(refused: bool, status: int) -> str:
    try:
        said = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        said = str(status)
    return f"{'refused' if refused else 'failed'}: {said}"
