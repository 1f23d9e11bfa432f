"""What a test leaves open in its own process."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def nothing_held() -> Iterator[None]:
    """Expect that a block leaves no thread and no open file; what other tests had left may go meanwhile.

    :raises AssertionError: naming what was left.
    """
    threads, files = set(threading.enumerate()), _open_files()
    yield
    gc.collect()
    left = [*sorted(thread.name for thread in {*threading.enumerate()} - threads), *sorted(_open_files() - files)]
    assert left == []  # noqa: S101  # for tests


def _open_files() -> set[str]:
    """Return the descriptors of this process, each with what it is open on (proc(5))."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(f"{entry.name}: {entry.readlink()}")
    return found
