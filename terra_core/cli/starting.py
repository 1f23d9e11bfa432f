"""What units of a machine run after it has started: ``python -m terra_core.cli.starting``; see docs/decisions/0091.

``decide`` is for a version on trial, and ends well when it is kept. Whatever else happens, it ends with another exit code, and
its unit restarts the machine, which starts the former version then. ``settle`` is for every other start.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from terra_core.cli.terminal import echo


def main(words: Sequence[str]) -> int:
    """Do what the one word says, ``decide`` or ``settle``; return the exit code."""
    if list(words) == ["decide"]:
        return _decide()
    if list(words) == ["settle"]:
        return _settle()
    echo("expected decide or settle", err=True)
    return 2


def _decide() -> int:
    from terra_core.upgrade.decision import decide

    return 0 if decide(echo, signal.alarm) else 1  # SIGALRM ends this process: whatever hangs, the machine goes back


def _settle() -> int:
    from terra_core.errors import TerraError
    from terra_core.upgrade.trial import settle, tidy

    problems: list[str] = []
    try:
        problems += settle(report=lambda event: echo(event.text)).problems
        tidy(report=lambda event: echo(event.text))
    except TerraError as error:
        problems.append(str(error))
    for problem in problems:
        echo(problem)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
