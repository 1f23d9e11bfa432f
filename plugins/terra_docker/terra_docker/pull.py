"""Pulling into an OCI image layout by skopeo(1)."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from terra_core.config.values import ImageReference
from terra_core.errors import NotFoundError, TerraError
from terra_core.image import Descriptor, ImageError, Layout
from terra_core.system.process import interruption
from terra_core.system.progress import Event, Report
from terra_core.system.waiting import wait_until
from terra_docker.remote import Found, Remote
from terra_docker.settings import Docker

_COPY_SECONDS = 4 * 3600
_PARTIAL = "oci-put-blob*"


def pull_image(reference: ImageReference, layout: Path, settings: Docker, report: Report) -> str:
    """Bring an image into a layout, unless it is there already.

    A tag is looked up once: what it named then is what is pulled, wherever it moves meanwhile.

    :param layout: a directory, made when it is not there; one pull at a time uses it.
    :returns: the digest of the manifest in the layout, for this machine's platform. It is not the registry's where that keeps
        the manifest in Docker's own format.
    :raises TerraError: as the registry said it; a layout that was made for the pull is gone then.
    """
    remote = Remote(reference, settings)
    report(Event("pull", f"asking {reference.registry} for {reference}"))
    found = remote.find()
    with _exclusive(layout):
        there = _lookup(layout, found.name)
        if there is None:
            _copy(remote, found, layout, report)
            there = _lookup(layout, found.name)
        if there is None:
            raise ImageError(f"pulling {reference}: what came is not what {reference.registry} had announced")
    report(Event("pull", f"pulled {reference}", found.size, found.size))
    return str(there.digest)


def _lookup(layout: Path, name: str) -> Descriptor | None:
    """The manifest of that name, if it is in the layout with everything that it needs; blobs of a wrong size are removed."""
    try:
        there = Layout(layout)
        descriptor = there.resolve(name)
        manifest = there.manifest(descriptor)
    except TerraError:
        return None
    complete = True
    for blob in (manifest.config, *manifest.layers):
        try:
            os.close(there.open_blob(blob))
        except NotFoundError:
            complete = False
        except ImageError:
            (layout / "blobs" / blob.digest.algorithm / blob.digest.encoded).unlink()
            complete = False
    return descriptor if complete else None


def _copy(remote: Remote, found: Found, layout: Path, report: Report) -> None:
    text = f"pulling {remote.reference}"
    before = _size(layout)

    def tell() -> None:
        report(Event("pull", text, min(_size(layout) - before, found.size), found.size))

    tell()
    try:
        with _telling(tell):
            words = ["copy", "--quiet", remote.name(found.digest), f"oci:.:{found.name}"]
            remote.ask(words, insecure="--src-tls-verify", seconds=_COPY_SECONDS, cwd=layout)
    finally:
        for partial in layout.glob(_PARTIAL):
            partial.unlink()


def _size(layout: Path) -> int:
    total = 0
    for path in (*layout.glob("blobs/sha256/*"), *layout.glob(_PARTIAL)):
        with suppress(FileNotFoundError):  # a blob that is complete gets another name
            total += path.stat().st_size
    return total


@contextmanager
def _telling(tell: Callable[[], None]) -> Iterator[None]:
    """Call ``tell`` several times a second while a program runs, in the same breath as asking for an interruption."""
    outer = interruption.get()

    def asked() -> bool:
        tell()
        return outer is not None and outer()

    token = interruption.set(asked)
    try:
        yield
    finally:
        interruption.reset(token)


@contextmanager
def _exclusive(layout: Path) -> Iterator[None]:
    made = not layout.exists()
    layout.mkdir(parents=True, exist_ok=True)
    directory = os.open(layout, os.O_RDONLY | os.O_DIRECTORY)
    try:
        wait_until(lambda: _locked(directory), seconds=_COPY_SECONDS, what=f"another pull into {layout} to end")
        yield
    except BaseException:
        if made:
            shutil.rmtree(layout, ignore_errors=True)
        raise
    finally:
        os.close(directory)


def _locked(directory: int) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
