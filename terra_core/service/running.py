"""Running a daemon: its log, the lock that allows one of a kind per root, and the thread that watches its services."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any

import structlog

from terra_core.config.controller import Paths
from terra_core.errors import TerraError, error_of_machine
from terra_core.service.journal import JournalLogger, JournalRenderer, goes_to_journal
from terra_core.service.repeats import Repeats
from terra_core.system.locks import try_lock
from terra_core.system.text import one_line, printable

_log = structlog.get_logger(__name__)
_WATCH_SECONDS = 3.0


def configure_logging(debug: bool) -> None:
    """Send all logs to standard error as readable lines, with debug messages if asked for; to systemd's journal with fields."""
    level = logging.DEBUG if debug else logging.INFO
    journal = goes_to_journal(sys.stderr)
    renderer = JournalRenderer("terra") if journal else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            _escaped,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_to_journal if journal else structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(logging.BASIC_FORMAT))
    if not debug:
        handler.addFilter(Repeats())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _to_journal(*_: object) -> JournalLogger:
    """Return the logger of a name: one for all of them, as systemd's journal knows this process."""
    return JournalLogger.shared()


def _escaped(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what would forge lines of the log or control a terminal; a traceback keeps its lines."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable(value) if key == "exception" else one_line(value)
    return event


class _Formatter(logging.Formatter):
    """A formatter for the libraries' records that escapes what would control a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def watching(look: Callable[[], None], *, seconds: float = _WATCH_SECONDS, at_once: bool = False) -> Iterator[None]:
    """Call ``look`` every few seconds, in a thread, for as long as the block lasts; it has to handle its own errors.

    :param at_once: whether the first call comes without a pause before it.
    """
    ended = threading.Event()

    def watch() -> None:
        if at_once:
            look()
        while not ended.wait(seconds):
            look()

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Unending:
    """Work that a thread does again and again, whatever happens: that it fails is logged once, when it begins to.

    :param failing: what cannot be done meanwhile, as a line of the log.
    """

    def __init__(self, failing: str) -> None:
        self._said = failing
        self._fails = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Do the work once, as a block that may raise anything."""
        problem = ""
        try:
            yield
        except TerraError as error:
            problem = str(error)
        except Exception as error:  # the boundary of the thread
            problem = f"a defect of Terra's: {error!r}"
        if problem and not self._fails:
            _log.error(self._said, reason=problem)
        self._fails = bool(problem)


@contextmanager
def only_one(paths: Paths, what: str) -> Iterator[None]:
    """Hold the lock of the one daemon of a kind that a root has.

    :param what: the daemon in a word, such as ``controller``.
    :raises TerraError: when another one runs on this root; and what the operating system refuses within the block.
    """
    path = paths.run / f"{what}.lock"
    try:
        paths.run.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = f"run the {what} as root" if isinstance(error, PermissionError) else ""
        raise TerraError(f"{path}: cannot be written: {error.strerror}", hint=hint) from error
    try:
        if not try_lock(descriptor):
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise TerraError(
                f"{paths.root}: {_article(what)} runs here already (process {holder})",
                hint="stop it first, or give this one a root of its own: --root DIR",
            )
        with suppress(OSError):  # a full disk; the number is for a message only, and the lock is held
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        except OSError as error:  # the machine's own: a full disk, a file system that is read-only
            raise error_of_machine(error) from error
    finally:
        os.close(descriptor)


def _article(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"
