"""An image in a registry, asked for by skopeo(1)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from attrs import frozen

from terra_core.config.values import ImageReference
from terra_core.errors import CommandError, NotFoundError, TerraError
from terra_core.image import Descriptor, ImageError, Manifest, media, this_platform
from terra_core.image.documents import read_config, read_index, read_manifest
from terra_core.image.structure import read_document
from terra_core.system.process import run
from terra_docker.failures import registry_failure
from terra_docker.settings import Docker

_QUESTION_SECONDS = 120


@frozen
class Found:
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
class Remote:
    """A reference, and how its registry is reached.

    :param reference: the image.
    :param settings: which registries go without TLS.
    """

    reference: ImageReference
    settings: Docker

    def find(self) -> Found:
        """Look the reference up, down to the manifest for this machine's platform.

        :raises TerraError: as the registry said it, or when what it sent is not what was asked for.
        """
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
        return Found(digest, sum(layer.size for layer in manifest.layers))

    def name(self, version: str) -> str:
        """The image's name for skopeo, by tag or digest."""
        mark = "@" if version.startswith("sha256:") else ":"
        return f"docker://{self.reference.registry}/{self.reference.path}{mark}{version}"

    def ask(self, words: list[str], *, insecure: str, seconds: float, cwd: Path | None = None) -> bytes:
        """Run skopeo, and give its standard output.

        :param words: the command and its own arguments.
        :param insecure: the option that goes without TLS, taken only for a registry that the configuration lists.
        :param seconds: its time limit, in seconds.
        :param cwd: the directory to run in.
        :raises TerraError: as the registry said it.
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
