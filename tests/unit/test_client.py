"""The client: which daemon, which token, and what becomes of answers whole, broken and late."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from terra_core.client.connection import Client
from terra_core.client.controller import ControllerClient
from terra_core.config.controller import Paths
from terra_core.errors import ConfigError, ConflictError, InterruptedWork, TerraError
from terra_core.system.progress import Event

TOKEN = "a-token-of-the-tests"
Respond = Callable[[BaseHTTPRequestHandler], None]


class Daemon:
    """An HTTP server that answers as a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None, bytes]] = []
        self.respond: Respond = lambda request: send(request, 200, {})
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # http.server's name
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                daemon.asked.append((self.command, self.path, self.headers.get("Authorization"), body))
                daemon.respond(self)

            do_POST = do_DELETE = do_GET  # noqa: N815  # http.server's names

            def log_message(self, *words: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


def send(request: BaseHTTPRequestHandler, status: int, body: object, kind: str = "application/json") -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def event(kind: str, data: object) -> bytes:
    return f"event: {kind}\r\ndata: {json.dumps(data)}\r\n\r\n".encode()


def stream(*pieces: bytes) -> Respond:
    """Answer with pieces, each in a packet of its own."""

    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream; charset=utf-8")
        request.end_headers()
        for piece in pieces:
            request.wfile.write(piece)
            request.wfile.flush()

    return respond


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """Start a daemon on loopback."""
    daemon = Daemon()
    thread = Thread(target=daemon.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield daemon
    daemon.server.shutdown()
    daemon.server.server_close()
    thread.join()


@pytest.fixture
def client(daemon: Daemon) -> Client:
    """Return a client of it."""
    return Client(f"127.0.0.1:{daemon.port}", token=TOKEN)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("10.0.10.3:9001", "http://10.0.10.3:9001"),
        ("terra.example", "http://terra.example:9000"),
        ("::1", "http://[::1]:9000"),
        ("fe80::1", "http://[fe80::1]:9000"),
        ("fe80::1%eth0", "http://[fe80::1%eth0]:9000"),
        ("[::1]", "http://[::1]:9000"),
        ("[::1]:9001", "http://[::1]:9001"),
        ("http://10.0.10.3", "http://10.0.10.3:9000"),
        ("https://terra.example", "https://terra.example:9000"),
        ("https://terra.example/", "https://terra.example:9000"),
        ("https://terra.example:443", "https://terra.example:443"),
        ("https://[::1]", "https://[::1]:9000"),
        ("https://[::1]:443/", "https://[::1]:443"),
        ("https://terra.example/behind/a/proxy/", "https://terra.example/behind/a/proxy"),
        ("HTTPS://terra.example:9001", "https://terra.example:9001"),
        ("https://terra.example:9001///", "https://terra.example:9001"),
    ],
)
def test_every_form_of_an_address(address: str, url: str) -> None:
    assert Client(address, token=TOKEN).url == url


@pytest.mark.parametrize(
    "address",
    [
        "unix:/run/terra.sock", "unix:///run/terra.sock", "file:///etc/passwd", "javascript://x", "http:/127.0.0.1",
        "//127.0.0.1", "http:///v1", "https://", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:-1", "127.0.0.1:9000x", "[::1", "::1]",
        "[v1.a]", "[127.0.0.1]", "https://terra.example?x=1", "https://terra.example#x", "https://terra.example/a?x",
        "terra.example\\x", "https://terra.example/../x y", "https://terra.example/%2e", "terra.example\r\nX: y",
        "terra.example\x00", "tërra.example", "https://terra.example:9000:9000", "http://http://x",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_before_a_token_is_sent(address: str) -> None:
    with pytest.raises(TerraError) as caught:
        Client(address, token=TOKEN)
    assert "expected an address, ADDRESS:PORT, or an http:// or https:// URL" in caught.value.hint
    assert TOKEN not in str(caught.value)


def test_the_token_comes_from_a_file_that_is_named(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TERRA_TOKEN", raising=False)
    monkeypatch.setenv("TERRA_TOKEN_FILE", str(tmp_path / "mine"))
    with pytest.raises(TerraError, match="mine: no token here"):
        Client(f"127.0.0.1:{daemon.port}")
    (tmp_path / "mine").write_text("terra_the-token-of-the-file\n")
    Client(f"127.0.0.1:{daemon.port}").get("/")
    assert [asked[2] for asked in daemon.asked] == ["Bearer terra_the-token-of-the-file"]


def test_a_token_that_leaves_the_machine_by_plain_http_is_said_once(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    client = Client(f"127.0.0.1:{daemon.port}", token=TOKEN, warn=said.append)
    client.get("/")
    assert said == [], "it went nowhere"
    monkeypatch.setattr(socket.socket, "getpeername", lambda _: ("192.0.2.1", 9000))
    client.get("/")
    client.get("/")
    assert len(said) == 1
    assert "terra controller init" in said[0]
    assert TOKEN not in said[0]


def test_the_controller_of_this_machine_is_found(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("terra_core.client.connection.Paths", lambda: Paths(tmp_path))
    assert ControllerClient(token=TOKEN).url == "http://127.0.0.1:9000"
    (tmp_path / "run/terra").mkdir(parents=True)
    (tmp_path / "run/terra/controller.url").write_text(f"http://127.0.0.1:{daemon.port}\n")
    assert ControllerClient(token=TOKEN).url == f"http://127.0.0.1:{daemon.port}"
    assert ControllerClient("10.0.10.3", token=TOKEN).url == "http://10.0.10.3:9000"
    (tmp_path / "run/terra/controller.url").write_text("nonsense\n")
    assert ControllerClient(token=TOKEN).url == "http://127.0.0.1:9000"


def test_the_token_goes_with_every_request(client: Client, daemon: Daemon) -> None:
    client.get("/v1/nodes")
    client.post("/v1/nodes", {"a": 1})
    client.delete("/v1/nodes/x")
    assert daemon.asked == [
        ("GET", "/v1/nodes", f"Bearer {TOKEN}", b""),
        ("POST", "/v1/nodes", f"Bearer {TOKEN}", b'{"a": 1}'),
        ("DELETE", "/v1/nodes/x", f"Bearer {TOKEN}", b""),
    ]


def test_the_token_comes_from_the_environment_or_from_this_machines_own_daemon(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("terra_core.client.connection.Paths", lambda: Paths(tmp_path))
    monkeypatch.delenv("TERRA_TOKEN", raising=False)
    with pytest.raises(TerraError, match="no token here"):
        Client("127.0.0.1")
    (tmp_path / "etc/terra").mkdir(parents=True)
    (tmp_path / "etc/terra/token").write_text("the-token-of-this-machine\n")
    Client(f"127.0.0.1:{daemon.port}").get("/")
    monkeypatch.setenv("TERRA_TOKEN", "the-token-of-the-environment")
    Client(f"127.0.0.1:{daemon.port}").get("/")
    given = [asked[2] for asked in daemon.asked]
    assert given == ["Bearer the-token-of-this-machine", "Bearer the-token-of-the-environment"]


def test_a_token_that_cannot_be_sent_is_an_error_and_is_not_shown(daemon: Daemon) -> None:
    with pytest.raises(TerraError) as caught:
        Client(f"127.0.0.1:{daemon.port}", token="two\r\nX-Injected: lines").get("/")
    assert daemon.asked == []
    assert "X-Injected" not in str(caught.value)


def test_neither_proxies_nor_netrc_see_the_token(
    client: Client, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client.get("/")
    assert daemon.asked[0][2] == f"Bearer {TOKEN}"


def test_a_redirect_is_not_followed(client: Client, daemon: Daemon) -> None:
    def redirect(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", f"http://127.0.0.1:{daemon.port}/elsewhere")
        request.send_header("Content-Length", "0")
        request.end_headers()

    daemon.respond = redirect
    with pytest.raises(TerraError, match="302"):
        client.get("/v1/nodes")
    assert [asked[1] for asked in daemon.asked] == ["/v1/nodes"]


def test_errors_are_raised_as_the_daemon_raised_them(client: Client, daemon: Daemon) -> None:
    document = {"status": 409, "title": "ConflictError", "detail": "taken by cm-01", "hint": "delete it"}
    daemon.respond = lambda request: send(request, 409, document)
    with pytest.raises(ConflictError) as caught:
        client.post("/v1/nodes", {})
    assert (caught.value.message, caught.value.hint) == ("taken by cm-01", "delete it")
    daemon.respond = lambda request: send(request, 422, {"title": "ConfigError", "detail": "a\nb", "problems": ["a", "b"]})
    with pytest.raises(ConfigError) as wrong:
        client.post("/v1/nodes", {})
    assert wrong.value.problems == ("a", "b")


@pytest.mark.parametrize("body", [b"", b"<html>not JSON</html>", b"[]", b"null", b"{"])
def test_an_error_of_something_else_says_at_least_its_status(client: Client, daemon: Daemon, body: bytes) -> None:
    daemon.respond = lambda request: send(request, 502, body, "text/html")
    with pytest.raises(TerraError, match=f"http://127.0.0.1:{daemon.port}/v1/nodes: 502 Bad Gateway"):
        client.get("/v1/nodes")


def test_an_answer_that_is_no_json_is_an_error(client: Client, daemon: Daemon) -> None:
    daemon.respond = lambda request: send(request, 200, b"<html>a web server</html>", "text/html")
    with pytest.raises(TerraError, match="what answers there is no controller"):
        client.get("/v1/nodes")


def test_nobody_there_says_so(daemon: Daemon) -> None:
    daemon.server.socket.close()
    with pytest.raises(TerraError, match="no controller answers") as caught:
        Client("127.0.0.1:9", token=TOKEN).get("/v1/nodes")
    assert caught.value.hint == "start it: terra controller"


@pytest.mark.parametrize("address", ["", "a b", "http://", "exa mple:9000", "127.0.0.1:port", "127.0.0.1:99999", "ftp://x"])
def test_an_address_that_is_none_is_an_error(address: str) -> None:
    with pytest.raises(TerraError):
        Client(address, token=TOKEN).get("/v1/nodes")


@pytest.mark.parametrize("address", ["http://u:s3cret@127.0.0.1:9", "u:s3cret@127.0.0.1", "https://s3cret@[::1]:9/path"])
def test_a_password_in_an_address_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(TerraError, match="a user name or a password") as caught:
        Client(address, token=TOKEN)
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


def test_what_is_no_json_is_not_sent(client: Client, daemon: Daemon) -> None:
    for body in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(TerraError):
            client.post("/v1/nodes", body)
    assert daemon.asked == []


PROGRESS = {"step": "pull", "text": "a layer, größer", "done": 1, "total": 2, "unit": "bytes"}
WHOLE = event("progress", PROGRESS) + b": still at it\r\n\r\n" + event("progress", PROGRESS) + event("result", {"a": [1]})


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 64, 1000])
@pytest.mark.parametrize("newline", [b"\r\n", b"\n", b"\r"])
def test_events_are_read_however_they_are_cut(client: Client, daemon: Daemon, size: int, newline: bytes) -> None:
    content = WHOLE.replace(b"\r\n", newline)
    daemon.respond = stream(*(content[at : at + size] for at in range(0, len(content), size)))
    seen: list[Event] = []
    assert client.follow("x", seen.append) == {"a": [1]}
    assert seen == [Event(**PROGRESS), Event(**PROGRESS)]  # type: ignore[arg-type]  # the types of its fields


def test_the_problem_of_an_operation_is_raised(client: Client, daemon: Daemon) -> None:
    daemon.respond = stream(event("problem", {"title": "ConflictError", "detail": "taken"}))
    with pytest.raises(ConflictError, match="taken"):
        client.follow("x", lambda event: None)


@pytest.mark.parametrize("pieces", [[], [b": at it\r\n\r\n"], [event("progress", PROGRESS)], [WHOLE[:-10]], [b"\xff\xfe"]])
def test_a_connection_that_ends_too_early_says_how_to_go_on(client: Client, daemon: Daemon, pieces: list[bytes]) -> None:
    daemon.respond = stream(*pieces)
    with pytest.raises(TerraError, match="the connection ended before the work did") as caught:
        client.follow("x", lambda event: None)
    assert "terra list" in caught.value.hint


def test_a_daemon_that_is_killed_before_its_first_event_says_how_to_go_on(client: Client, daemon: Daemon) -> None:
    daemon.respond = lambda request: None
    with pytest.raises(TerraError, match="the connection ended before the work did") as caught:
        client.follow("x", lambda event: None)
    assert "terra list" in caught.value.hint
    with pytest.raises(TerraError, match="no controller answers"):
        client.get("/v1/nodes")


def test_a_daemon_that_is_killed_in_the_middle_says_how_to_go_on(client: Client, daemon: Daemon) -> None:
    def dying(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(event("progress", PROGRESS))

    daemon.respond = dying
    with pytest.raises(TerraError, match="the connection ended before the work did"):
        client.follow("x", lambda event: None)


def interrupting(kind: type[BaseException]) -> Callable[[Event], None]:
    def report(event: Event) -> None:
        raise kind("interrupted")

    return report


def answers(daemon: Daemon, *endings: bytes) -> None:
    """Let the operation end one way each time it is followed."""
    left = iter(endings)

    def respond(request: BaseHTTPRequestHandler) -> None:
        if request.command == "DELETE":
            send(request, 202, {})
        else:
            stream(event("progress", PROGRESS), next(left))(request)

    daemon.respond = respond


@pytest.mark.parametrize("kind", [KeyboardInterrupt, InterruptedWork])
def test_an_interruption_cancels_the_operation_and_waits_for_its_undoing(
    client: Client, daemon: Daemon, kind: type[BaseException]
) -> None:
    answers(daemon, b"", event("problem", {"title": "InterruptedWork", "detail": "all of it has been undone"}))
    with pytest.raises(kind):
        client.follow("x", interrupting(kind))
    assert [asked[:2] for asked in daemon.asked] == [
        ("GET", "/v1/operations/x/events"),
        ("DELETE", "/v1/operations/x"),
        ("GET", "/v1/operations/x/events"),
    ]


def test_work_that_was_done_before_it_could_be_interrupted_is_done(client: Client, daemon: Daemon) -> None:
    answers(daemon, b"", event("result", {"a": 1}))
    assert client.follow("x", interrupting(KeyboardInterrupt)) == {"a": 1}


def test_work_that_failed_before_it_could_be_interrupted_says_why(client: Client, daemon: Daemon) -> None:
    answers(daemon, b"", event("problem", {"title": "TerraError", "detail": "the disk is full"}))
    with pytest.raises(TerraError, match="the disk is full"):
        client.follow("x", interrupting(KeyboardInterrupt))


def test_work_that_somebody_else_interrupted_is_not_cancelled_again(client: Client, daemon: Daemon) -> None:
    answers(daemon, event("problem", {"title": "InterruptedWork", "detail": "interrupted"}))
    with pytest.raises(InterruptedWork):
        client.follow("x", lambda event: None)
    assert [asked[0] for asked in daemon.asked] == ["GET"]


def test_a_daemon_without_tls_is_said(daemon: Daemon) -> None:
    with pytest.raises(TerraError, match="TLS fails: wrong version number") as caught:
        Client(f"https://127.0.0.1:{daemon.port}", token=TOKEN).get("/")
    assert caught.value.hint == "does it answer by plain http://?"


@pytest.mark.parametrize(
    ("first", "last", "said", "hint"),
    [
        (-1, 1, "its certificate is not trusted: self-signed certificate", "REQUESTS_CA_BUNDLE"),
        (1, 2, "its certificate is not valid yet", "this machine's clock says 2"),
        (-2, -1, "its certificate has expired", "its server needs a new one"),
    ],
)
def test_what_is_wrong_with_a_certificate(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, last: int, said: str, hint: str
) -> None:
    certificate, key = self_signed(tmp_path, first, last)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    daemon.server.socket = context.wrap_socket(daemon.server.socket, server_side=True)
    if "not trusted" not in said:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with pytest.raises(TerraError, match=said) as caught:
        Client(f"https://127.0.0.1:{daemon.port}", token=TOKEN).get("/")
    assert hint in caught.value.hint


def self_signed(directory: Path, first: int, last: int) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1, valid from ``first`` to ``last`` days from now, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + timedelta(days=first))
        .not_valid_after(now + timedelta(days=last))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "crt").write_bytes(made.public_bytes(Encoding.PEM))
    (directory / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return directory / "crt", directory / "key"


@pytest.mark.parametrize(
    ("error", "said", "hint"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the name cannot be resolved: Name or service not known", "right"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "cannot be reached: No route to host", "is the machine on"),
        (TimeoutError("timed out"), "does not answer", "port 9000"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "no controller answers", "start it"),
    ],
)
def test_why_nobody_can_be_reached(monkeypatch: pytest.MonkeyPatch, error: OSError, said: str, hint: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(TerraError) as caught:
        Client("san.example", token=TOKEN).get("/")
    assert caught.value.message == f"http://san.example:9000: {said}"
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "said"), [("nothing", "No such file"), ("fifo", "it is a FIFO"), ("text", "no certificate or crl found")]
)
def test_a_bundle_that_cannot_be_used_is_named(kind: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    if kind == "fifo":
        os.mkfifo(bundle)
    elif kind == "text":
        bundle.write_text("text")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(TerraError) as caught:
        Client("https://127.0.0.1:9", token=TOKEN).get("/")
    assert caught.value.message.startswith(f"REQUESTS_CA_BUNDLE: {bundle}: cannot be used: {said}")
