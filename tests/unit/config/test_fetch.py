"""A node.toml from a URL: a real server on the loopback, and all that it may do wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from terra_core.config import fetch as fetching
from terra_core.config.fetch import SIZE_LIMIT, fetch
from terra_core.config.loader import load
from terra_core.config.node import Node
from terra_core.errors import ConfigError, TerraError

NODE = b'hostname = "a"\nimage = "b"\n[[groups]]\nlabel = "os"\n[[groups.disk]]\ndevice = "/dev/sda"\n'
Answer = Callable[["Handler"], object]


class Handler(BaseHTTPRequestHandler):
    """Answers a path as the test that runs has it in ``answers``."""

    answers: ClassVar[dict[str, Answer]]
    asked: ClassVar[list[str]]
    ended: ClassVar[threading.Event]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.answers[self.path](self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class calls it so
        """Log nothing."""

    def give(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Type": "application/toml", "Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Server:
    def __init__(self, base: str, handler: type[Handler]) -> None:
        self.base = base
        self.handler = handler

    def on(self, path: str, answer: Answer) -> str:
        self.handler.answers[path] = answer
        return f"{self.base}{path}"

    def redirect(self, path: str, to: str) -> str:
        return self.on(path, lambda handler: handler.give(b"", 302, Location=to))


@pytest.fixture
def server() -> Iterator[Server]:
    class OneTest(Handler):
        answers: ClassVar = {}
        asked: ClassVar = []
        ended = threading.Event()

    with ThreadingHTTPServer(("127.0.0.1", 0), OneTest) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Server(f"http://127.0.0.1:{listener.server_port}", OneTest)
        OneTest.ended.set()
        listener.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def refusal(url: str, seconds: float = 5) -> str:
    with pytest.raises(TerraError) as caught:
        fetch(url, seconds=seconds)
    assert caught.value.message.startswith(f"{url}: ")
    return caught.value.message.removeprefix(f"{url}: ")


def test_a_file_loads_from_a_url(server: Server) -> None:
    url = server.on("/node.toml", lambda handler: handler.give(NODE))
    document = load(url, Node)
    assert (document.value.hostname, document.source) == ("a", url)


def test_the_scheme_may_be_in_capitals(server: Server) -> None:
    url = server.on("/node.toml", lambda handler: handler.give(NODE)).replace("http://", "HTTP://")
    assert load(url, Node).value.hostname == "a"


def test_a_redirect_is_followed(server: Server) -> None:
    server.on("/node.toml", lambda handler: handler.give(NODE))
    assert load(server.redirect("/old", "/node.toml"), Node).value.hostname == "a"


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/node.toml", "gopher://127.0.0.1/"])
def test_a_redirect_to_anything_but_http_is_refused(server: Server, to: str) -> None:
    assert refusal(server.redirect("/old", to)) == (
        "the server redirects to somewhere else than an http:// or https:// URL, or from https:// to http://"
    )


def test_a_redirect_that_never_ends_is_refused(server: Server) -> None:
    assert refusal(server.redirect("/loop", "/loop")) == "the server redirects more than 5 times"
    assert len(server.handler.asked) == 6


@pytest.mark.parametrize(("status", "text"), [(404, "404 Not Found"), (403, "403 Forbidden"), (503, "503 Service Unavailable")])
def test_an_answer_that_is_no_file(server: Server, status: int, text: str) -> None:
    url = server.on("/node.toml", lambda handler: handler.give(NODE, status))
    assert refusal(url) == f"the server answered {text}"


def test_a_web_page(server: Server) -> None:
    url = server.on("/node.toml", lambda handler: handler.give(b"<html>", Content_Type="text/html; charset=utf-8"))
    assert refusal(url) == "the server sent a web page instead of a TOML file"


def test_what_is_not_utf8_or_not_toml_is_refused_as_in_a_file(server: Server) -> None:
    url = server.on("/node.toml", lambda handler: handler.give(b'hostname = "\xff"'))
    with pytest.raises(ConfigError) as caught:
        load(url, Node)
    assert caught.value.problems == (f"{url}: is not UTF-8 (byte 12)",)
    page = server.on("/page", lambda handler: handler.give(b"<html></html>"))
    with pytest.raises(ConfigError, match="/page: is not TOML: Invalid statement"):
        load(page, Node)


def test_a_file_of_50_mb_is_refused_and_not_fetched_whole(server: Server) -> None:
    sent: list[int] = []

    def flood(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(50):
                handler.wfile.write(b"#" * 1024 * 1024)
                sent.append(1)
        except OSError:
            handler.close_connection = True

    url = server.on("/node.toml", flood)
    with pytest.raises(ConfigError) as caught:
        load(url, Node)
    assert caught.value.problems == (f"{url}: is larger than 1024 KiB, which no configuration of Terra's is",)
    assert len(sent) < 50
    assert len(fetch(server.on("/exact", lambda handler: handler.give(b"#" * SIZE_LIMIT)))[1]) == SIZE_LIMIT


def test_a_server_that_stalls_before_it_answers(server: Server) -> None:
    url = server.on("/node.toml", lambda handler: handler.ended.wait(10))
    assert refusal(url, 0.2) == "the server took longer than 0.2 seconds"


def test_a_server_that_stalls_within_the_file(server: Server) -> None:
    def stall(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"hostname")
        handler.ended.wait(10)

    assert refusal(server.on("/node.toml", stall), 0.2) == "the server took longer than 0.2 seconds"


def test_a_server_that_trickles(server: Server) -> None:
    def trickle(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not handler.ended.wait(0.02):
                handler.wfile.write(b"#")
        except OSError:
            handler.close_connection = True

    assert refusal(server.on("/node.toml", trickle), 0.3) == "the server took longer than 0.3 seconds"


def drip(handler: Handler, *pieces: bytes) -> None:
    """Send pieces, and then the last one again and again, each within any limit of silence."""
    try:
        for piece in pieces[:-1]:
            handler.wfile.write(piece)
        while not handler.ended.wait(0.02):
            handler.wfile.write(pieces[-1])
    except OSError:
        handler.close_connection = True


@pytest.mark.parametrize(
    "pieces",
    [
        [b"H"],
        [b"HTTP/1.1 100 Continue\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nX: ", b"y"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n#\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: x\r\n"],
    ],
    ids=["status", "continue", "header", "chunk-size", "chunks", "trailers"],
)
def test_a_server_that_drips(server: Server, pieces: list[bytes]) -> None:
    url = server.on("/node.toml", lambda handler: drip(handler, *pieces))
    before = time.monotonic()
    assert refusal(url, 0.4) == "the server took longer than 0.4 seconds"
    assert time.monotonic() - before < 3


def test_redirects_that_each_keep_within_the_limit(server: Server) -> None:
    def late(handler: Handler) -> None:
        handler.ended.wait(0.15)
        handler.give(b"", 302, Location="/slow")

    assert refusal(server.on("/slow", late), 0.4) == "the server took longer than 0.4 seconds"


def test_the_body_of_a_redirect_is_not_read(server: Server) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /node.toml\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.on("/node.toml", lambda handler: handler.give(NODE))
    assert fetch(server.on("/old", lambda handler: drip(handler, head, b"1\r\n#\r\n")), seconds=5)[1] == NODE


@pytest.mark.parametrize("to", ["/node.toml", "http://{host}/node.toml", "http://localhost:{port}/node.toml"])
def test_the_password_goes_along_a_redirect_on_the_same_host_only(server: Server, to: str) -> None:
    told: list[str | None] = []

    def look(handler: Handler) -> None:
        told.append(handler.headers.get("Authorization"))
        handler.give(NODE)

    server.on("/node.toml", look)
    host = server.base.removeprefix("http://")
    url = server.redirect("/old", to.format(host=host, port=host.partition(":")[2])).replace("//", "//me:secret@")
    fetch(url, seconds=5)
    assert (told == [None]) == ("localhost" in to)


def test_the_time_limit_of_the_loader_is_the_modules(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIME_LIMIT", 0.2)
    with pytest.raises(TerraError, match=r"took longer than 0\.2 seconds"):
        load(server.on("/node.toml", lambda handler: handler.ended.wait(10)), Node)


def test_a_connection_that_ends_half_way(server: Server) -> None:
    url = server.on("/node.toml", lambda handler: handler.give(b"hostname", Content_Length="1000"))
    assert refusal(url, 2).startswith("cannot be fetched: ")


def test_a_chunk_that_ends_half_way(server: Server) -> None:
    def chunk(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"ff\r\nhostname")

    assert refusal(server.on("/node.toml", chunk), 2).startswith("cannot be fetched: ")


def test_compression_that_was_not_asked_for(server: Server) -> None:
    url = server.on("/node.toml", lambda handler: handler.give(b"\x1f\x8b", Content_Encoding="gzip"))
    assert refusal(url) == "the server compressed the file without being asked to"


def test_what_is_no_http(server: Server) -> None:
    url = server.on("/node.toml", lambda handler: handler.wfile.write(b"220 ready\r\n"))
    assert refusal(url).startswith("cannot be fetched: ")


def test_nobody_answers() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/node.toml"
    assert "Connection refused" in refusal(url)


@pytest.mark.parametrize("url", ["http://", "http://[", "http://a b/", "https://:/x"])
def test_an_address_that_is_none(url: str) -> None:
    assert refusal(url).startswith("cannot be fetched: ")


def test_a_password_in_the_url_is_not_shown(server: Server) -> None:
    url = server.on("/node.toml", lambda handler: handler.give(b"", 404)).replace("//", "//me:secret@")
    with pytest.raises(TerraError) as caught:
        fetch(url)
    assert "secret" not in str(caught.value)
    assert caught.value.message.startswith(url.replace("me:secret@", ""))


@pytest.mark.parametrize("url", ["http://me:s3cret@127.0.0.1:99999/x", "http://me:s3c/ret@127.0.0.1:1/x", "http://me:s3c#ret@h/x"])
def test_a_password_in_a_url_that_is_none_is_not_shown(url: str) -> None:
    with pytest.raises(TerraError, match="has no host and port") as caught:
        fetch(url)
    assert not any(part in f"{caught.value}" for part in ("s3cret", "s3c", "me:"))
    assert "%2F" in caught.value.hint
