"""Somebody else on the machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def somebodys_namespace() -> Iterator[None]:
    """Somebody who copies every mount that there is now, and keeps it, as a container does."""
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo there; exec sleep 600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as somebody:
        try:
            assert somebody.stdout is not None
            assert somebody.stdout.readline() == b"there\n"
            yield
        finally:
            somebody.kill()
