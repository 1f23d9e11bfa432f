"""How long ``terra --help`` takes to start, against an empty Python program of the same interpreter.

    python bench/start.py [ROUNDS]

The two take turns, so that whatever else the machine does hits both. Exit code 1 when the ratio is above the bound.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

from terra_core.system.process import run

BOUND = 5.0
_PYTHON = Path(sys.executable)
_COMMANDS = {
    "python -c pass": (_PYTHON, "-c", "pass"),
    "terra --help": (_PYTHON.with_name("terra"), "--help"),
}


def measure(rounds: int) -> dict[str, float]:
    """Run each command ``rounds`` times, taking turns, after one round that only fills caches.

    :returns: the median of each in milliseconds.
    """
    times: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for turn in range(rounds + 1):
        for name, command in _COMMANDS.items():
            began = time.perf_counter()
            run(command)
            if turn:
                times[name].append((time.perf_counter() - began) * 1000)
    return {name: median(taken) for name, taken in times.items()}


def main() -> int:
    """Measure, print, and judge."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    medians = measure(rounds)
    for name, taken in medians.items():
        print(f"{name:<16}{taken:8.1f} ms")
    empty, terra = medians.values()
    print(f"{'ratio':<16}{terra / empty:8.2f}    bound {BOUND:g}, medians of {rounds} rounds")
    return 0 if terra / empty <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
