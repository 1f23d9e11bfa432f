"""What every daemon of Terra's answers, as models."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class ProblemDocument:
    """What went wrong (RFC 9457).

    :param status: the HTTP status.
    :param title: the kind of the error.
    :param detail: what went wrong and where.
    :param hint: what to do about it.
    :param problems: of a document that is not what it has to be: everything that is wrong with it, a line each.
    """

    status: int
    title: str
    detail: str
    hint: str = ""
    problems: tuple[str, ...] = ()


@frozen(kw_only=True)
class Begun:
    """Long work that was begun.

    :param operation: its id: its progress is at /v1/operations/{identity}/events.
    """

    operation: str


@frozen(kw_only=True)
class OperationShown:
    """Long work.

    :param id: its id.
    :param kind: what it does, such as provision.
    :param subject: what it does it to.
    :param state: running, done or failed.
    """

    id: str
    kind: str
    subject: str
    state: str
