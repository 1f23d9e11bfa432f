"""The exit codes and messages of the programs that make images: standard output is for results alone."""

from __future__ import annotations

import sys
from collections.abc import Callable

from terra_core.errors import TerraError
from terra_core.system.signals import interruptible


def carried_out(work: Callable[[], None]) -> int:
    """Do something that a signal may end; return the exit code, and print an error to standard error."""
    try:
        with interruptible():
            work()
    except TerraError as error:
        say(f"Error: {error}")
        return error.exit_code
    return 0


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)
