"""Pulling into an OCI image layout by skopeo(1)."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from terra_core.config.values import ImageReference
from terra_core.errors import CommandError, NotFoundError, TerraError
from terra_core.image import Descriptor, ImageError, Layout, Manifest, media, this_platform
from terra_core.image.documents import read_config, read_index, read_manifest
from terra_core.image.structure import read_document
from terra_core.system.process import interruption, run
from terra_core.system.progress import Event, Report
from terra_core.system.waiting import wait_until
from terra_docker.failures import registry_failure
from terra_docker.settings import Docker

_QUESTION_SECONDS = 120
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
    registry = _Registry(reference, settings)
    report(Event("pull", f"asking {reference.registry} for {reference}"))
    found = registry.find()
    with _exclusive(layout):
        there = _lookup(layout, found.name)
        if there is None:
            _copy(registry, found, layout, report)
            there = _lookup(layout, found.name)
        if there is None:
            raise ImageError(f"pulling {reference}: what came is not what {reference.registry} had announced")
    report(Event("pull", f"pulled {reference}", found.size, found.size))
    return str(there.digest)


@frozen
class _Found:
    """A manifest in the registry.

    :param digest: its digest there.
    :param size: the bytes of its layers.
    """

    digest: str
    size: int

    @property
    def name(self) -> str:
        """What it is called in a layout's index; converting it may give it another digest."""
        return self.digest.replace(":", "-")


@frozen
class _Registry:
    reference: ImageReference
    settings: Docker

    def find(self) -> _Found:
        """Look the reference up, down to the manifest for this machine's platform."""
        content = self._manifest(self.reference.digest or self.reference.tag)
        digest = _digest(content)
        if self.reference.digest and digest != self.reference.digest:
            raise ImageError(f"pulling {self.reference}: the registry sent {digest} instead")
        document = read_document(content, str(self.reference))
        if document["manifests"]:
            chosen = self._choose(read_index(document, _media_type(document["mediaType"].value, media.OCI_INDEX)))
            content, digest = self._manifest(str(chosen.digest)), str(chosen.digest)
            if _digest(content) != digest:
                raise ImageError(f"pulling {self.reference}: the registry sent {_digest(content)} instead of {digest}")
            document = read_document(content, digest)
        manifest = read_manifest(document, _media_type(document["mediaType"].value, media.OCI_MANIFEST))
        self._check_platform(manifest, digest)
        return _Found(digest, sum(layer.size for layer in manifest.layers))

    def name(self, version: str) -> str:
        """The image's name for skopeo, by tag or digest."""
        mark = "@" if version.startswith("sha256:") else ":"
        return f"docker://{self.reference.registry}/{self.reference.path}{mark}{version}"

    def ask(self, words: list[str], *, insecure: str, seconds: float, cwd: Path | None = None) -> bytes:
        """Run skopeo.

        :param insecure: the option that goes without TLS, taken only for a registry that the configuration lists.
        """
        config = os.environ.get("DOCKER_CONFIG")
        options = ["--retry-times", "2"]
        options += [f"{insecure}=false"] if self.settings.trusts(self.reference) else []
        options += ["--authfile", f"{config}/config.json"] if config and Path(config, "config.json").exists() else []
        command, *rest = words
        try:
            return run(["skopeo", "--override-os", "linux", command, *options, *rest], timeout=seconds, cwd=cwd).stdout
        except CommandError as error:
            if "exit code" not in error.message:
                raise
            without_tls = f'name it in the configuration: [docker] insecure = ["{self.reference.registry}"]'
            said = error.message.partition("\n")[2]
            raise registry_failure(f"pulling {self.reference}", self.reference, said, without_tls=without_tls) from error

    def _manifest(self, version: str) -> bytes:
        words = ["inspect", "--raw", self.name(version)]
        return self.ask(words, insecure="--tls-verify", seconds=_QUESTION_SECONDS)

    def _choose(self, listed: tuple[Descriptor, ...]) -> Descriptor:
        wanted = this_platform()
        for descriptor in listed:
            if descriptor.platform == wanted and descriptor.media_type in media.MANIFESTS:
                return descriptor
        raise self._other_platform(", ".join(sorted({str(item.platform) for item in listed if item.platform})))

    def _check_platform(self, manifest: Manifest, digest: str) -> None:
        words = ["inspect", "--config", "--raw", self.name(digest)]
        content = self.ask(words, insecure="--tls-verify", seconds=_QUESTION_SECONDS)
        if not manifest.config.digest.matches(content):
            raise ImageError(f"pulling {self.reference}: the configuration is not {manifest.config.digest}")
        config = read_config(read_document(content, str(manifest.config.digest)))
        if (config.os, config.architecture) != (this_platform().os, this_platform().architecture):
            raise self._other_platform(f"{config.os}/{config.architecture}")

    def _other_platform(self, offered: str) -> TerraError:
        return NotFoundError(
            f"pulling {self.reference}: it was not built for {this_platform()}", hint=f"it is built for {offered or 'nothing'}"
        )


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _media_type(said: object, otherwise: str) -> str:
    return said if isinstance(said, str) and said in media.INDEXES | media.MANIFESTS else otherwise


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


def _copy(registry: _Registry, found: _Found, layout: Path, report: Report) -> None:
    text = f"pulling {registry.reference}"
    before = _size(layout)

    def tell() -> None:
        report(Event("pull", text, min(_size(layout) - before, found.size), found.size))

    tell()
    try:
        with _telling(tell):
            words = ["copy", "--quiet", registry.name(found.digest), f"oci:.:{found.name}"]
            registry.ask(words, insecure="--src-tls-verify", seconds=_COPY_SECONDS, cwd=layout)
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
