"""The one place that starts programs."""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from attrs import frozen

from terra_core.errors import CommandError, CommandTimeout, InterruptedWork
from terra_core.system.packages import install_hint
from terra_core.system.reading import lines_of, salvaged

_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON = (
    "HOME", "TMPDIR", "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
_STDERR_LINES = 20
_LAST_SECONDS = 10
_QUIET_SECONDS, _LINGERING_SECONDS = 2.0, 5.0
"""How long what a program has left running may hold its output, and how long it may go on writing to it."""
_LONGEST_LINE = 1 << 20
_OWNED = ("setpriv", "--pdeathsig", "TERM", "--")

interruption: ContextVar[Callable[[], bool] | None] = ContextVar("interruption", default=None)
"""Asked several times a second while a program runs; a true answer ends the program and raises InterruptedWork."""


Argument = str | os.PathLike[str]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep :data:`interruption` from ending the programs that run in a block, which undo earlier steps."""
    token = interruption.set(None)
    try:
        yield
    finally:
        interruption.reset(token)


@frozen
class Completed:
    """What a program left when it ended.

    :param args: the program and its arguments.
    :param code: its exit code.
    :param stdout: all of its standard output.
    :param stderr: all of its standard error.
    """

    args: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Return standard output as text."""
        return self.stdout.decode(errors="replace")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of every program: a fixed search path and locale, proxies, certificates, and ``extra``."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PATH": _SEARCH_PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **kept, **(extra or {})}


def run(
    args: Sequence[Argument],
    *,
    timeout: float = 60,
    accept: Collection[int] = (0,),
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    shown: bool = False,
) -> Completed:
    """Run a program to its end, with no shell, a clean environment and no standard input of its own.

    :param args: the program and its arguments; secrets go in by ``stdin`` or a file, never here.
    :param timeout: seconds after which the program is killed.
    :param accept: the exit codes that mean success.
    :param stdin: what the program reads from its standard input; nothing when left out.
    :param env: environment variables on top of :func:`clean_environment`.
    :param cwd: the directory to run in.
    :param shown: let its standard error go to this process's own, for a person to see, instead of keeping it.
    :raises CommandError: when the program is not installed, fails, or takes too long; holds the end of its stderr.
    :raises InterruptedWork: when :data:`interruption` says so.
    """
    words = tuple(os.fspath(word) for word in args)
    try:
        source = _readable(stdin)
    except OSError as error:
        raise _not_started(words, error) from error
    try:
        process = subprocess.Popen(
            words,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=None if shown else subprocess.PIPE,
            env=clean_environment(env),
            cwd=cwd,
            process_group=0,  # Ctrl-C is for this process alone, which undoes its work by running programs
        )
    except (OSError, ValueError) as error:
        raise _not_started(words, error) from error
    finally:
        if stdin is not None:
            os.close(source)
    try:
        stdout, stderr = _communicate(process, words, timeout)
    except BaseException:
        _kill(process)
        raise
    if process.returncode not in accept:
        raise _failed(words, process.returncode, stderr)
    return Completed(words, process.returncode, stdout, stderr)


def _readable(stdin: bytes | None) -> int:
    """Return a descriptor with ``stdin``, in memory: communicate() does not go on with a pipe when it is called again."""
    if stdin is None:
        return subprocess.DEVNULL
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(stdin)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _communicate(process: subprocess.Popen[bytes], words: tuple[str, ...], timeout: float) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + timeout
    while True:
        try:
            stdout, stderr = process.communicate(timeout=0.2)
            return stdout, stderr or b""
        except subprocess.TimeoutExpired as error:
            asked = interruption.get()
            if asked is not None and asked():
                raise InterruptedWork(f"{words[0]} was interrupted") from None
            if time.monotonic() > deadline:
                raise CommandTimeout(f"{words[0]}: still running after {timeout:g} seconds: {' '.join(words)}") from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program with all that it started, and wait for no pipe that something of it may still hold."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):  # nobody reads what was not written yet
                pipe.close()
    process.wait()


def converse(
    args: Sequence[Argument],
    *,
    stdin: Iterable[bytes] = (),
    timeout: float = 3600,
    accept: Collection[int] = (0,),
    env: Mapping[str, str] | None = None,
) -> Generator[str, None, None]:
    """Run a program as :func:`run` does, and give each line of its output, both streams together, as it comes.

    Close the generator (:func:`contextlib.closing`) to end the program early: it gets SIGINT, and is killed if that does not
    help. It also gets a signal when this thread ends, even by kill -9. What it has started and left running is not waited for.
    A line that is longer than 1 MiB comes in pieces.

    :param stdin: what the program reads, a piece at a time.
    :param timeout: seconds after which the program is ended.
    :raises CommandError: as for :func:`run`; the last lines of the output are in it.
    """
    words = tuple(os.fspath(word) for word in args)
    try:
        process = subprocess.Popen(
            (*_OWNED, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean_environment(env),
            process_group=0,
        )
    except (OSError, ValueError) as error:
        raise _not_started(words, error) from error
    last: deque[str] = deque(maxlen=_STDERR_LINES)
    try:
        for line in _exchange(process, words, iter(stdin), time.monotonic() + timeout):
            last.append(line)
            yield line
        code = process.wait()
    except BaseException:
        _ask_to_end(process)
        _kill(process)
        raise
    if code not in accept:
        raise _failed(words, code, "\n".join(last).encode())


def _exchange(
    process: subprocess.Popen[bytes], words: tuple[str, ...], pieces: Iterator[bytes], deadline: float
) -> Iterator[str]:
    """Write what there is to write and read what comes, whichever is possible, until the output ends."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018  # both are pipes of our own
    output, feed = process.stdout, _Feed(process.stdin, pieces)
    unfinished, left = b"", _Left(process)
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while True:
            ready = {key.fileobj for key, _ in selector.select(0.2)}
            asked = interruption.get()
            if asked is not None and asked():
                raise InterruptedWork(f"{words[0]} was interrupted")
            if time.monotonic() > deadline:
                raise CommandError(f"{words[0]}: still running when its time was up: {' '.join(words)}")
            if process.stdin in ready and not feed.go_on():
                selector.unregister(process.stdin)
                process.stdin.close()
            if output in ready:
                piece = os.read(output.fileno(), 65536)
                *lines, unfinished = (unfinished + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
                if not piece:
                    break
                if len(unfinished) > _LONGEST_LINE:
                    yield unfinished.decode(errors="replace")
                    unfinished = b""
            if left.is_over(quiet=output not in ready):
                break
    if unfinished:
        yield unfinished.decode(errors="replace")
    with suppress(OSError):
        process.stdin.close()
    output.close()


class _Left:
    """What a program has left running when it ended, which may hold its output for ever."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._ended = 0.0

    def is_over(self, *, quiet: bool) -> bool:
        """Return whether the program has ended a while ago.

        :param quiet: whether nothing comes just now; what the program itself has written is given in full.
        """
        if self._process.poll() is None:
            return False
        now = time.monotonic()
        self._ended = self._ended or now
        return now - self._ended > (_QUIET_SECONDS if quiet else _LINGERING_SECONDS)


class _Feed:
    """Pieces on their way into a pipe that takes only so much at a time."""

    def __init__(self, pipe: IO[bytes], pieces: Iterator[bytes]) -> None:
        os.set_blocking(pipe.fileno(), False)
        self._pipe = pipe
        self._pieces = pieces
        self._left = memoryview(b"")

    def go_on(self) -> bool:
        """Write as much as fits; return whether there is more to write."""
        if not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._left = memoryview(piece)
        try:
            self._left = self._left[os.write(self._pipe.fileno(), self._left) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it reads no more: its exit code and its output say why
            return False
        return True


def _ask_to_end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        process.send_signal(signal.SIGINT)
        process.wait(_LAST_SECONDS)


def _in_scope(program: str) -> tuple[str, ...]:
    """Return the words in front of a command line that give a daemon a scope of its own (systemd.scope(5)).

    The unit of a daemon that others have to outlive names the slice for them. systemd-run makes the scope around itself, and
    becomes the program: it has the same process id, parent and output as without.
    """
    where = os.environ.get("TERRA_SLICE")
    if not where:
        return ()
    name = Path(program).name
    unit, said = f"--unit=terra-{name}-{secrets.token_hex(4)}.scope", f"--description={name} of the terra controller"
    return (
        "systemd-run",
        "--scope",
        "--quiet",
        "--collect",
        unit,
        f"--slice={where}",
        said,
        "--property=TasksMax=infinity",
        "--",
    )


class Daemon:
    """A program that runs until it is told to end, owned by whoever started it.

    :param args: the program and its arguments; it has to stay in the foreground.
    :param log: the file that its output is appended to.
    :param env: environment variables on top of :func:`clean_environment`.
    :param outlives: give it a session of its own, so that the signals of a terminal do not reach it and it may go on
        when its owner ends; under systemd a scope of its own as well, where TERRA_SLICE names the slice for it.
    :param name: the name of the program, where ``args`` begin with what starts it.
    :param owned: send it SIGTERM when the thread that called this ends, even by kill -9 (PR_SET_PDEATHSIG, see prctl(2)).
    :raises CommandError: when the program is not installed.
    """

    def __init__(
        self,
        args: Sequence[Argument],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        outlives: bool = False,
        owned: bool = False,
        name: str = "",
    ) -> None:
        self.args = tuple(os.fspath(word) for word in args)
        self.log = log
        scope = _in_scope(name or self.args[0]) if outlives and not owned else ()
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    (*_OWNED, *self.args) if owned else (*scope, *self.args),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=clean_environment(env),
                    start_new_session=outlives,
                )
        except (OSError, ValueError) as error:
            raise _not_started(self.args, error) from error
        if outlives:
            _outliving.append(self)

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Return whether it still runs."""
        return self._process.poll() is None

    def tail(self, lines: int = _STDERR_LINES) -> str:
        """Return the last lines of its log."""
        return "\n".join(lines_of(salvaged(self.log.read_bytes()))[-lines:])

    def signal(self, number: int) -> None:
        """Send a signal, to this very process only."""
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its exit code.

        :raises CommandError: when it still runs after ``seconds``.
        """
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{self.args[0]} (process {self.pid}): still running after {seconds:g} seconds") from error

    def stop(self, seconds: float = 10) -> int:
        """End it by SIGTERM, and after ``seconds`` by SIGKILL; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


_outliving: list[Daemon] = []
"""The daemons that this process started and may never wait for; see :mod:`terra_core.system.processes`."""


def reap() -> None:
    """Collect the exit codes of daemons with ``outlives`` that have ended: until then they stay as zombies."""
    for daemon in [one for one in _outliving if not one.alive]:
        with suppress(ValueError):  # another thread has seen it, too
            _outliving.remove(daemon)


def _not_started(words: tuple[str, ...], error: OSError | ValueError) -> CommandError:
    if not isinstance(error, OSError):
        return CommandError(f"{words[0]}: cannot be started: {error}")
    if error.filename not in (words[0], None):
        return CommandError(f"{words[0]}: {error.filename}: {error.strerror}")
    if isinstance(error, FileNotFoundError):
        return CommandError(f"{words[0]}: not found on this machine", hint=install_hint(words[0]))
    return CommandError(f"{words[0]}: cannot be started: {error.strerror}")


def _failed(words: tuple[str, ...], code: int, stderr: bytes) -> CommandError:
    end = "\n".join(lines_of(salvaged(stderr).strip())[-_STDERR_LINES:])
    how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return CommandError(f"{words[0]}: {how}: {' '.join(words)}" + (f"\n{end}" if end else ""))
