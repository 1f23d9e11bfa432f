"""Uploading to a registry: the OCI distribution specification, version 1.1, "Pushing"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, suppress
from urllib.parse import quote, urlencode, urlsplit

import requests
from attrs import define, frozen

from terra_core.config.values import ImageReference
from terra_core.errors import TerraError
from terra_core.oci import Descriptor, is_digest, parse_digest
from terra_core.oci.source import Blob
from terra_core.registry.endpoint import Endpoint, repeated
from terra_core.registry.transport import PlainHttp, Transport, Unreachable, joined
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo

_ATTEMPTS = 4
_SILENCE_SECONDS = 300.0
"""Seconds to wait for an answer: a registry may take long for a large layer after its last byte."""
_DONE = range(200, 300)
"""The codes of success: registries use others than the specification names, and clients accept them."""
_BETWEEN_REPORTS = 1 << 20
_UPLOADS = "blobs/uploads/"


class Repository:
    """The repository that an image goes to.

    :param reference: the image, by tag.
    :param sources: repositories of the same registry that layers may be taken over from.
    :param transport: sends what is to be sent.
    """

    def __init__(self, reference: ImageReference, sources: Collection[str], transport: Transport) -> None:
        self.reference = reference
        scopes = [f"repository:{reference.path}:pull,push"]
        scopes += [f"repository:{source}:pull" for source in sorted(sources) if source != reference.path]
        self._endpoint = Endpoint(reference.registry, reference.path, transport, scopes)

    def reach(self) -> None:
        """Check that the registry answers and accepts the credentials, before anything is made ready for it.

        :raises TerraError: when it does not.
        """

        def ask() -> None:
            try:
                self._ask("HEAD", f"manifests/{self.reference.tag}", 200, 404).close()
            except (PlainHttp, Unreachable):
                raise
            except TerraError:  # some registries do not support HEAD, or let nobody read who may write
                self._cancel(self._begin())

        repeated(ask, _ATTEMPTS)

    def has(self, blob: Descriptor) -> bool:
        """Return whether a blob is there, as far as the registry says; one that is there and sent again does no harm."""

        def look() -> bool:
            with self._ask("HEAD", f"blobs/{blob.digest}", 200, 404) as answer:
                return answer.status_code == 200

        try:
            return repeated(look, _ATTEMPTS)
        except Unreachable:
            raise
        except TerraError:
            return False

    def take_over(self, blob: Descriptor, source: str) -> bool:
        """Ask the registry to take a blob over from another repository of its own; return whether it did."""
        asked = urlencode({"mount": str(blob.digest), "from": source})
        try:
            with self._ask("POST", f"{_UPLOADS}?{asked}", *_DONE) as answer:
                if answer.status_code == 201:
                    return True
                begun = self._place(answer)
        except TerraError:
            return False
        self._cancel(begun)
        return False

    def upload(self, blob: Descriptor, content: Callable[[], Body]) -> None:
        """Upload a blob.

        :param content: returns it from its beginning; may be called again.
        """

        def send() -> None:
            begun = self._begin()
            begun += f"{'&' if urlsplit(begun).query else '?'}digest={quote(str(blob.digest))}"
            self._ask("PUT", begun, *_DONE, kind="application/octet-stream", content=content).close()

        repeated(send, _ATTEMPTS)

    def tag(self, manifest: Descriptor, content: Callable[[], Body]) -> None:
        """Upload the manifest, by which the image gets its name."""

        def send() -> str:
            where = f"manifests/{self.reference.tag}"
            with self._ask("PUT", where, *_DONE, kind=manifest.media_type, content=content) as answer:
                return answer.headers.get("Docker-Content-Digest", str(manifest.digest))

        taken = repeated(send, _ATTEMPTS)
        if is_digest(taken) and parse_digest(taken).algorithm == manifest.digest.algorithm and taken != str(manifest.digest):
            raise TerraError(f"the registry {self.reference.registry} took {taken} where {manifest.digest} was sent")

    def _begin(self) -> str:
        """Begin an upload; return its location."""
        with self._ask("POST", _UPLOADS, *_DONE) as answer:
            return self._place(answer)

    def _cancel(self, begun: str) -> None:
        """Cancel an upload; a registry that does not know how to cancel forgets it by itself."""
        with suppress(TerraError):
            self._ask("DELETE", begun, *_DONE).close()

    def _ask(
        self, method: str, what: str, *accept: int, kind: str = "", content: Callable[[], Body] | None = None
    ) -> requests.Response:
        headers = {"Content-Type": kind} if kind else {}
        return self._endpoint.request(method, what, headers, accept=accept, content=content, silence=_SILENCE_SECONDS)

    def _place(self, answer: requests.Response) -> str:
        """Return where the registry wants an upload to go."""
        location = answer.headers.get("Location", "")
        if not location:
            raise TerraError(f"the registry {self.reference.registry} does not say where an upload is to go")
        return joined(answer.url, location)


@frozen
class Part:
    """Something to send: a blob, or the manifest.

    :param descriptor: what it is.
    :param open: offers its bytes, from their beginning; may be asked for again after a fault.
    """

    descriptor: Descriptor
    open: Callable[[], AbstractContextManager[Blob]]


def upload(
    repository: Repository, blobs: Iterable[Part], manifest: Part, there: Collection[str], report: Report
) -> str:
    """Push an image: what the registry does not have yet, and the manifest last.

    :param there: digests of blobs that the repository has.
    :param report: gets events ``push``, counted in bytes of what is sent.
    :returns: the digest of the manifest.
    :raises TerraError: as the registry said it.
    """
    parts = {str(part.descriptor.digest): part for part in blobs}
    missing = [part for digest, part in parts.items() if digest not in there and not repository.has(part.descriptor)]
    count = _Count(f"pushing {repository.reference}", sum(part.descriptor.size for part in missing), report)
    for part in missing:
        with Undo() as stack:
            repository.upload(part.descriptor, count.body(part, stack))
    with Undo() as stack:
        repository.tag(manifest.descriptor, _Count("", 0, lambda event: None).body(manifest, stack))
    report(Event("push", f"pushed {repository.reference}", count.total, count.total))
    return str(manifest.descriptor.digest)


@frozen
class Body:
    """What is sent: bytes of which the length is known."""

    blob: Blob
    size: int
    count: Callable[[int], None]

    def __len__(self) -> int:
        return self.size

    def read(self, length: int, /) -> bytes:
        """Return the next bytes."""
        piece = self.blob.read(length)
        self.count(len(piece))
        return piece


@define
class _Count:
    """How much has been sent of all that is to be."""

    text: str
    total: int
    report: Report
    done: int = 0
    _reported: int = 0

    def body(self, part: Part, stack: Undo) -> Callable[[], Body]:
        """Return what gives a part from its beginning, and takes back what was counted of it before.

        :param stack: closes what was opened.
        """
        before = self.done

        def begin() -> Body:
            stack.close()
            self.done = self._reported = before
            return Body(stack.enter_context(part.open()), part.descriptor.size, self._sent)

        return begin

    def _sent(self, length: int) -> None:
        self.done += length
        if self.done >= self._reported + _BETWEEN_REPORTS:
            self._reported = self.done
            self.report(Event("push", self.text, min(self.done, self.total - 1), self.total))
