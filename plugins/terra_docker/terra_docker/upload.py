"""Pushing over plain HTTP, without the engine, which does so only for registries on a list of its own.

The road is that of the OCI distribution specification, version 1.1, "Pushing": blobs that the registry does not have yet, each
in one request, then the manifest.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
from attrs import define

from terra_core.config.values import ImageReference
from terra_core.errors import TerraError
from terra_core.image import Descriptor, Layout
from terra_core.system.progress import Event, Report
from terra_docker.failures import registry_failure

_SECONDS = (10.0, 300.0)
"""To connect, and of silence."""
_WITHOUT_TLS = "leave out --http where the registry has TLS"


def upload_image(layout: Path, reference: ImageReference, report: Report) -> str:
    """Push the only image of a layout to a registry over plain HTTP.

    No credentials are sent: anybody on the way could read them.

    :param layout: an OCI image layout.
    :param reference: the name that the image gets, by tag.
    :returns: the digest of its manifest.
    :raises TerraError: as the registry said it.
    """
    image = Layout(layout)
    descriptor = image.resolve()
    manifest = image.manifest(descriptor)
    blobs = list({str(blob.digest): blob for blob in (manifest.config, *manifest.layers)}.values())
    with closing(requests.Session()) as session:
        session.trust_env = False  # ~/.netrc holds credentials for others
        registry = _Registry(session, image, reference, report, sum(blob.size for blob in blobs))
        try:
            for blob in blobs:
                registry.blob(blob)
            registry.manifest(descriptor)
        except requests.RequestException as error:
            said = f"{reference.registry} {error}"
            raise registry_failure(f"pushing {reference}", reference, said, without_tls=_WITHOUT_TLS) from error
    report(Event("push", f"pushed {reference}", registry.total, registry.total))
    return str(descriptor.digest)


@define
class _Registry:
    session: requests.Session
    image: Layout
    reference: ImageReference
    report: Report
    total: int
    done: int = 0

    @property
    def _base(self) -> str:
        return f"http://{self.reference.registry}/v2/{self.reference.path}"

    def blob(self, blob: Descriptor) -> None:
        """Push a blob, unless the registry has it."""
        if self._ask("HEAD", f"{self._base}/blobs/{blob.digest}", (200, 404)).status_code == 404:
            begun = self._ask("POST", f"{self._base}/blobs/uploads/", (202,))
            url = urljoin(f"{self._base}/blobs/uploads/", begun.headers.get("Location", ""))
            if urlsplit(url)[:2] != urlsplit(self._base)[:2]:
                raise TerraError(f"pushing {self.reference}: the registry sends the upload to {url}, which is not followed")
            url += f"{'&' if urlsplit(url).query else '?'}digest={blob.digest}"
            with os.fdopen(self.image.open_blob(blob), "rb") as file:
                body = _Body(file, blob.size, self._tell)
                self._ask("PUT", url, (201,), data=body, headers={"Content-Type": "application/octet-stream"})
        else:
            self._tell(blob.size)

    def manifest(self, descriptor: Descriptor) -> None:
        """Push the manifest, by which the image gets its name."""
        with os.fdopen(self.image.open_blob(descriptor), "rb") as file:
            content = file.read()
        url = f"{self._base}/manifests/{self.reference.tag}"
        answer = self._ask("PUT", url, (201,), data=content, headers={"Content-Type": descriptor.media_type})
        taken = answer.headers.get("Docker-Content-Digest", str(descriptor.digest))
        if taken != str(descriptor.digest):
            raise TerraError(f"pushing {self.reference}: the registry took {taken} where {descriptor.digest} was sent")

    def _tell(self, length: int) -> None:
        self.done += length
        self.report(Event("push", f"pushing {self.reference}", min(self.done, self.total - 1), self.total))

    def _ask(self, method: str, url: str, accept: tuple[int, ...], **rest: object) -> requests.Response:
        answer = self.session.request(method, url, timeout=_SECONDS, allow_redirects=False, **rest)  # type: ignore[arg-type]  # data and headers
        if answer.status_code in accept:
            return answer
        if answer.status_code == 401:
            raise TerraError(
                f"pushing {self.reference}: the registry wants a login, and over plain HTTP none is sent",
                hint=_WITHOUT_TLS,
            )
        said = f"status {answer.status_code}: {answer.text[:500]}"
        raise registry_failure(f"pushing {self.reference}", self.reference, said, without_tls=_WITHOUT_TLS)


@define
class _Body:
    """The bytes of a request, of which the length is known."""

    file: BinaryIO
    size: int
    count: Callable[[int], None]

    def __len__(self) -> int:
        return self.size

    def read(self, length: int) -> bytes:
        """The next bytes."""
        piece = self.file.read(length)
        self.count(len(piece))
        return piece
