"""The Docker Engine that ``[docker]`` or the environment name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from docker import APIClient

from terra_core.system.engine import connect
from terra_docker.settings import Docker

_SILENCE_SECONDS = 1800
"""How long the engine may say nothing: a registry can take its time over the last layer of a push."""


@contextmanager
def connected(settings: Docker) -> Iterator[APIClient]:
    """A client of the engine, closed at the end.

    :raises TerraError: when no engine answers there, when it may not be asked, or when it is too old.
    """
    client = connect(settings.engine, setting='[docker] engine = "unix:///..."')
    try:
        client.timeout = _SILENCE_SECONDS
        yield client
    finally:
        client.close()
