"""Run a command, and print what it took as JSON: ``python bench/measured.py COMMAND [ARGUMENT...]``.

Seconds from start to end, processor seconds of it and of all its children, and the largest of their resident sets in bytes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time


def main() -> int:
    """Run it with its standard output on standard error, so that only the figures are on standard output."""
    began = time.perf_counter()
    code = subprocess.run(sys.argv[1:], check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss * 1024}))
    return code


if __name__ == "__main__":
    sys.exit(main())
