"""A registry for tests: a small HTTP server that keeps what is pushed, some of whose answers a test replaces by wrong ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import define, field

from terra_core.oci import media, this_platform

Answer = Callable[["Asked"], bool]
"""Answers a request, and says whether it did."""


class Asked(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:  # http.server's name
        self.registry.requests.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))
        with suppress(BrokenPipeError, ConnectionResetError):
            for answer in self.registry.faults:
                if answer(self):
                    return
            self.serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  # http.server's names

    @property
    def registry(self) -> FaultyRegistry:
        """The registry that was asked."""
        return self.server.registry

    def serve(self) -> None:
        """Answer as a registry without faults does."""
        if self.command in ("GET", "HEAD"):
            self._give()
        else:
            self._take()

    def body(self) -> bytes:
        """Read what was sent with the request."""
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while length := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _give(self) -> None:
        path = urlsplit(self.path).path
        if path in ("/v2", "/v2/"):
            self.say(200, b"{}", "application/json", {"Docker-Distribution-API-Version": "registry/2.0"})
            return
        *_, place, name = path.split("/")
        content, kind = self.registry.content.get(f"referrers/{name}" if place == "referrers" else name, (None, ""))
        if content is None:
            self.say(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}', "application/json")
            return
        wanted = self.headers.get("Range")
        if wanted:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            span = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self.say(206, content[first:], kind, {"Content-Range": span})
            return
        self.say(200, content, kind, {"Docker-Content-Digest": digest(content)})

    def _take(self) -> None:
        """Take a push, of the OCI distribution specification's "Pushing": in one piece, or in several."""
        place, sent, uploads = urlsplit(self.path), self.body(), self.registry.uploads
        begun, _, name = place.path.rpartition("/")
        if self.command == "POST":
            session = f"{begun}/{len(uploads) + 1}"
            uploads[session] = b""
            self.say(202, more={"Location": session, "Docker-Upload-UUID": session.rpartition("/")[2], "Range": "0-0"})
        elif self.command == "PUT" and begun.endswith("/manifests"):
            self.registry.put(sent, self.headers.get("Content-Type", ""), name)
            self.say(201, more={"Docker-Content-Digest": digest(sent), "Location": place.path})
        elif place.path not in uploads:
            self.say(404)
        elif self.command == "PATCH":
            uploads[place.path] += sent
            self.say(202, more={"Location": place.path, "Range": f"0-{max(len(uploads[place.path]) - 1, 0)}"})
        elif self.command == "DELETE":
            uploads.pop(place.path)
            self.say(204)
        else:
            whole = uploads[place.path] + sent
            fits = digest(whole) == unquote(parse_qs(place.query).get("digest", [""])[0])
            if fits:
                self.registry.put(whole, "application/octet-stream")
            self.say(201 if fits else 400, more={"Docker-Content-Digest": digest(whole), "Location": place.path})

    def say(
        self, status: int, body: bytes = b"", kind: str = "application/octet-stream", more: dict[str, str] | None = None
    ) -> None:
        """Send an answer."""
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **(more or {})}
        self.begin(status, headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """Send the head of an answer."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def drop(self) -> None:
        """Close the connection."""
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    registry: FaultyRegistry
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore the error of a client that goes away."""


@define
class FaultyRegistry:
    """What it has, and how it answers.

    :param content: documents and blobs, with their media types, by what is asked for.
    :param faults: asked in turn; the first one that answers a request takes the place of the right answer.
    :param requests: method, path and headers of everything that was asked.
    :param uploads: what has come of each upload that was begun, by its path.
    :param ended: set when the test is over, for answers that would last longer.
    """

    address: str = ""
    content: dict[str, tuple[bytes, str]] = field(factory=dict)
    faults: list[Answer] = field(factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(factory=list)
    uploads: dict[str, bytes] = field(factory=dict)
    ended: threading.Event = field(factory=threading.Event)

    @property
    def name(self) -> str:
        """The image's name."""
        return f"{self.address}/image:1"

    def fault(self, where: str, answer: Callable[[Asked], None], times: int = 1_000_000) -> None:
        """Answer the first ``times`` requests whose path has ``where`` in it by ``answer``."""
        left = [times]

        def faulty(asked: Asked) -> bool:
            if where not in asked.path or not left[0]:
                return False
            left[0] -= 1
            answer(asked)
            return True

        self.faults.insert(0, faulty)

    def put(self, content: bytes, kind: str, *names: str) -> dict[str, Any]:
        """Keep something; return its descriptor."""
        for name in (*names, digest(content)):
            self.content[name] = (content, kind)
        return {"mediaType": kind, "digest": digest(content), "size": len(content)}

    def image(
        self, layers: Sequence[bytes], *names: str, architecture: str = "", docker: bool = False, **more: object
    ) -> dict[str, Any]:
        """Keep an image of uncompressed layers under these tags; return the manifest's descriptor."""
        diff_ids = [digest(layer) for layer in layers]
        config = {
            "architecture": architecture or this_platform().architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        kind = "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else "application/vnd.oci.image.layer.v1.tar+gzip"
        document = {
            "schemaVersion": 2,
            "mediaType": media.DOCKER_MANIFEST if docker else media.OCI_MANIFEST,
            "config": self.put(json.dumps(config).encode(), media.DOCKER_CONFIG if docker else media.OCI_CONFIG),
            "layers": [self.put(gzip.compress(layer, mtime=0), kind) for layer in layers],
            **more,
        }
        return self.put(json.dumps(document).encode(), str(document["mediaType"]), *names)

    def index(self, *listed: dict[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
        """Keep an index; return its descriptor."""
        document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": list(listed)}
        return self.put(json.dumps(document).encode(), media.OCI_INDEX, *names)

    def image_digest(self, name: str) -> str:
        """Return the digest of what a tag names."""
        return digest(self.content[name][0])

    def asked_for(self, part: str) -> list[dict[str, str]]:
        """Return the headers of the requests with ``part`` in their path."""
        return [headers for _, path, headers in self.requests if part in path]


@contextmanager
def faulty_registry(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[FaultyRegistry]:
    """Start a registry with nothing in it, over plain HTTP or with TLS."""
    with _Server((host, 0), Asked) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.registry = FaultyRegistry(f"{host}:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.registry
        finally:
            server.registry.ended.set()
            server.shutdown()
            thread.join()


def digest(content: bytes) -> str:
    """Return the digest of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer(name: str, content: bytes) -> bytes:
    """Return a tar of one file."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return target.getvalue()
