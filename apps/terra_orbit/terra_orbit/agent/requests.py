"""The bodies of requests."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import ImageReference, Label, Mac, shown

_REALTIME = re.compile(r"SIGRT(?:MIN(?:\+[0-9]{1,2})?|MAX(?:-[0-9]{1,2})?)")
LONGEST_STOP = 3600
"""The longest time that a container can be given to end by itself, in seconds."""
_NAMES = frozenset(one.name for one in signal.Signals)


def parse_signal(raw: object) -> str:
    """Parse the name of a signal, with or without ``SIG``, in either case, or its number (signal(7)).

    :raises ValueError: when there is no such signal.
    """
    text = str(raw).upper()
    if text.isdecimal() and text.isascii() and len(text) <= 2 and int(text) in {int(one) for one in signal.Signals}:
        return signal.Signals(int(text)).name
    name = text if text.startswith("SIG") else f"SIG{text}"
    if name in _NAMES or _REALTIME.fullmatch(name):
        return name
    raise ValueError(f'expected a signal, such as "SIGTERM", got {shown(raw)}')


@frozen(kw_only=True)
class StopRequest:
    """The body of ``stop``.

    :param seconds: how long the container has to end by itself.
    """

    seconds: int = 10

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        if has(self, "seconds") and not 0 <= self.seconds <= LONGEST_STOP:
            yield Problem("seconds", f"expected from 0 to {LONGEST_STOP}, got {self.seconds}")


@frozen(kw_only=True)
class KillRequest:
    """The body of ``kill``.

    :param signal: the signal's name.
    """

    signal: str = "SIGKILL"

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        try:
            parse_signal(self.signal)
        except ValueError as error:
            yield Problem("signal", str(error))


@frozen(kw_only=True)
class ExecRequest:
    """What ``exec`` is to run.

    :param args: the program and its arguments.
    :param tty: give it a terminal.
    :param env: environment variables, ``NAME=value`` each.
    :param user: the user that it runs as, by name or number, with ``:group`` if any; that of the container when left out.
    :param rows: the terminal's height.
    :param columns: the terminal's width.
    """

    args: tuple[str, ...]
    tty: bool = False
    env: tuple[str, ...] = ()
    user: str = ""
    rows: int = 24
    columns: int = 80

    def body(self) -> dict[str, object]:
        """Return the body of the request to the engine."""
        return {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": self.tty,
            "Cmd": list(self.args),
            "Env": list(self.env),
            "User": self.user,
        }

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        if has(self, "args") and not self.args:
            yield Problem("args", "is empty: which program is it?")
        if any("\0" in word for word in (*getattr(self, "args", ()), *getattr(self, "env", ()))):
            yield Problem("args", "expected text without NUL")
        if has(self, "user") and not re.fullmatch(r"[A-Za-z0-9_.:-]{0,64}", self.user):
            yield Problem("user", f"expected the name or number of a user, got {shown(self.user)}")
        yield from _problems_of_size(self)


@frozen(kw_only=True)
class SizeMessage:
    """A terminal's new size.

    :param rows: its height.
    :param columns: its width.
    """

    rows: int
    columns: int

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        yield from _problems_of_size(self)


@frozen(kw_only=True)
class StoreRequest:
    """The body of ``checkpoint`` and ``push``.

    :param ref: the image's name.
    :param live: store what is in memory, too.
    """

    ref: ImageReference
    live: bool = False


@frozen(kw_only=True)
class RestoreRequest:
    """The body of ``restore``.

    :param image: the checkpoint.
    :param id: another id than the one that it had.
    :param macs: the hardware addresses of its networks.
    :param live: let its programs go on from what is stored of their memory.
    """

    image: ImageReference
    id: Label | None = None
    macs: tuple[Mac, ...] = ()
    live: bool = False


@frozen(kw_only=True)
class MigrateRequest:
    """The body of ``migrate``.

    :param to: the other agent: an address, with its port if it is not the usual one, or a URL.
    :param token: the other agent's token.
    :param ref: the image that the container travels as.
    :param live: let its programs go on there from where they stand.
    """

    to: str
    token: str
    ref: ImageReference
    live: bool = False

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        if has(self, "to") and not re.fullmatch(r"(?:https?://)?[A-Za-z0-9.:\[\]-]{1,255}", self.to):
            yield Problem("to", f'expected the address of an agent, such as "10.0.10.21", got {shown(self.to)}')
        if has(self, "token") and not re.fullmatch(r"[\x21-\x7e]{16,512}", self.token):
            yield Problem("token", "is no token")


def _problems_of_size(size: object) -> Iterator[Problem]:
    for name in ("rows", "columns"):
        if has(size, name) and not 0 < getattr(size, name) < 65536:
            yield Problem(name, f"expected from 1 to 65535, got {getattr(size, name)}")
