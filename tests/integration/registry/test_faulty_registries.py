"""Pulling from a registry that sends something else, stalls, breaks off and redirects."""

from __future__ import annotations

import base64
import contextvars
import gzip
import hashlib
import json
import os
import signal
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from iso.daemons import start
from terra_core.config.values import parse_image_reference
from terra_core.errors import InterruptedWork, NotFoundError, TerraError
from terra_core.oci import ImageError, Layout, this_platform
from terra_core.registry import Credentials, download, endpoint, transport
from terra_core.registry.pull import pulled
from terra_core.system.process import interruption, run
from terra_core.system.progress import Event, Report, silent
from terra_core.system.waiting import wait_until
from terra_core.testing.faulty_registry import Asked, FaultyRegistry, digest, faulty_registry, layer
from tests.integration.registry.reach import Reach

BIG = layer("big", hashlib.shake_128(b"big").digest(3_000_000))
REACH = Reach()
LAYERS = [layer("first", b"first"), BIG, layer("last", b"last" * 10_000)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long, and nobody is logged in."""
    REACH.logins.clear()
    monkeypatch.setattr(download, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(endpoint, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(endpoint, "_LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(download, "_LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(transport, "SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(endpoint, "_DOCUMENT_SECONDS", 1.0)
    monkeypatch.setattr(download, "_PACE_SECONDS", 1.0)


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with faulty_registry() as registry:
        yield registry


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return tmp_path / "layout"


def pull(
    registry: FaultyRegistry,
    layout: Path,
    name: str = "",
    *,
    report: Report = silent,
    insecure: tuple[str, ...] = (),
    mirrors: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Pull, and give the digest."""
    access = REACH.access(registry.address, *insecure, mirrors=mirrors)
    with pulled(parse_image_reference(name or registry.name), layout, access, report) as image:
        return str(image.digest)


def expect_complete(layout: Path, found: str) -> None:
    """Assert that the layout holds every byte of the image, and nothing else."""
    there = Layout(layout)
    manifest = there.manifest(there.resolve(found))
    for blob in (manifest.config, *manifest.layers):
        there.verify(blob)
    assert not (layout / ".partial").exists()


def expect_nothing_good(layout: Path) -> None:
    """Assert that every blob that a later pull would take as good is good."""
    for blob in layout.glob("blobs/sha256/*"):
        assert digest(blob.read_bytes()) == f"sha256:{blob.name}"


@pytest.mark.parametrize("docker", [False, True])
def test_an_honest_registry(registry: FaultyRegistry, layout: Path, docker: bool) -> None:
    manifest = registry.image(LAYERS, "1", docker=docker)
    events: list[Event] = []
    assert pull(registry, layout, report=events.append) == manifest["digest"]
    expect_complete(layout, manifest["digest"])
    assert {event.step for event in events} == {"pull"}
    layers = json.loads(registry.content[manifest["digest"]][0])["layers"]
    assert events[-1].done == events[-1].total == sum(layer["size"] for layer in layers)
    assert Layout(layout).resolve(registry.name).digest == Layout(layout).resolve().digest
    assert all(headers["accept-encoding"] == "identity" for _, _, headers in registry.requests)


@pytest.mark.parametrize("layers", [[], LAYERS * 3, [layer(f"f{number}", b"") for number in range(60)]])
def test_no_layers_the_same_ones_and_many(registry: FaultyRegistry, layout: Path, layers: list[bytes]) -> None:
    manifest = registry.image(layers, "1")
    pull(registry, layout)
    expect_complete(layout, manifest["digest"])
    assert len(registry.asked_for("/blobs/")) == len(set(layers)) + 1


def test_a_pull_that_was_killed(registry: FaultyRegistry, layout: Path) -> None:
    manifest = registry.image(LAYERS, "1")

    def half(asked: Asked) -> None:
        asked.begin(200, {"Content-Length": str(len(BLOB))})
        asked.wfile.write(BLOB[:1_000_000])
        asked.wfile.flush()
        asked.registry.ended.wait(20)

    registry.fault(digest(BLOB), half, times=1)
    script = layout.parent / "pull.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        "from terra_core.config.values import parse_image_reference\n"
        "from terra_core.registry import RegistryAccess\n"
        "from terra_core.registry.pull import pulled\n"
        "from terra_core.system.progress import silent\n"
        "access = RegistryAccess(insecure=(sys.argv[1],))\n"
        "with pulled(parse_image_reference(sys.argv[1] + '/image:1'), Path(sys.argv[2]), access, silent): pass\n"
    )
    daemon = start([sys.executable, script, registry.address, layout], log=layout.parent / "log")
    try:
        wait_until(lambda: any(path.stat().st_size for path in layout.glob(".partial/*")), seconds=30, what="a part of a layer")
        daemon.signal(signal.SIGKILL)
    finally:
        daemon.stop()
    expect_nothing_good(layout)
    assert str(Layout(layout).resolve().digest) == manifest["digest"], "the layout can be read at any moment"
    assert pull(registry, layout) == manifest["digest"]
    expect_complete(layout, manifest["digest"])


def test_layers_are_read_while_they_come(registry: FaultyRegistry, layout: Path) -> None:
    registry.image(LAYERS, "1")
    blob = gzip.compress(BIG, mtime=0)
    half, go_on = len(blob) // 2, threading.Event()

    def in_two(asked: Asked) -> None:
        asked.begin(200, {"Content-Length": str(len(blob))})
        asked.wfile.write(blob[:half])
        go_on.wait(20)
        asked.wfile.write(blob[half:])

    registry.fault(digest(blob), in_two)
    access = REACH.access(registry.address)
    with (
        pulled(parse_image_reference(registry.name), layout, access, silent) as image,
        image.open_layer(image.manifest.layers[1]) as reading,
    ):
        read = b""
        while len(read) < half:
            read += reading.read(half - len(read))
        assert read == blob[:half]
        assert not (layout / "blobs/sha256" / digest(blob).partition(":")[2]).exists()
        go_on.set()
        while piece := reading.read(1 << 20):
            read += piece
        assert read == blob
        with image.open_layer(image.manifest.layers[1]) as again:
            assert again.read(10) == blob[:10]


@pytest.mark.parametrize("where", ["manifests/", "config", "layer"])
def test_something_else_than_was_asked_for(registry: FaultyRegistry, layout: Path, where: str) -> None:
    manifest = registry.image(LAYERS, "1")
    index = registry.index({**manifest, "platform": {"os": "linux", "architecture": "amd64"}}, names=["1"])
    document = json.loads(registry.content[manifest["digest"]][0])
    part = {"manifests/": manifest, "config": document["config"], "layer": document["layers"][1]}[where]
    other = registry.content[part["digest"]][0][:-1] + b" "
    registry.fault(part["digest"], lambda asked: asked.say(200, other))
    with pytest.raises(ImageError, match=f"pulling {registry.name}: .*sent something else than {part['digest']}"):
        pull(registry, layout)
    expect_nothing_good(layout)
    registry.faults.clear()
    assert pull(registry, layout) == manifest["digest"]
    assert Layout(layout).resolve(index["digest"]).digest == Layout(layout).resolve(manifest["digest"]).digest
    expect_complete(layout, manifest["digest"])


def test_a_reader_that_comes_too_late_is_given_no_end(registry: FaultyRegistry, layout: Path) -> None:
    registry.image(LAYERS, "1")
    access = REACH.access(registry.address)
    with pulled(parse_image_reference(registry.name), layout, access, silent) as image:
        late = image.open_layer(image.manifest.layers[1])
    with late as reading, pytest.raises(TerraError, match="has ended already"):
        reading.read(10)


def test_something_else_under_a_digest(registry: FaultyRegistry, layout: Path) -> None:
    registry.image(LAYERS, "1")
    wanted = f"sha256:{'0' * 64}"
    registry.fault(wanted, lambda asked: asked.say(200, registry.content["1"][0]))
    with pytest.raises(ImageError, match="something else"):
        pull(registry, layout, f"{registry.address}/image@{wanted}")
    assert not layout.exists()


def chunked(asked: Asked, body: Iterator[bytes]) -> None:
    """Send a body of a length that is not announced."""
    asked.begin(200, {"Transfer-Encoding": "chunked"})
    for piece in body:
        asked.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    asked.wfile.write(b"0\r\n\r\n")


def endless(asked: Asked) -> Iterator[bytes]:
    while not asked.registry.ended.is_set():
        yield b" " * 65536


BLOB = gzip.compress(BIG, mtime=0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda asked: asked.say(200, BLOB + b"more"), "has .* bytes of .* to send"),
        (lambda asked: asked.say(200, BLOB[:-1]), "has .* bytes of .* to send"),
        (lambda asked: chunked(asked, iter([BLOB, b"more"])), "sent more than"),
        (lambda asked: chunked(asked, endless(asked)), "sent more than"),
        (lambda asked: chunked(asked, iter([BLOB[:-1], b"x"])), "something else"),
        (lambda asked: asked.say(200, gzip.compress(BLOB), more={"Content-Encoding": "gzip"}), "compressed what it sent"),
        (lambda asked: asked.say(206, BLOB, more={"Content-Range": "bytes 5-9/10"}), "another part"),
        (lambda asked: asked.say(206, BLOB), "another part"),
        (lambda asked: asked.say(418), "answered 418"),
        (lambda asked: asked.say(404), "has no such image"),
        (lambda asked: asked.say(403), "refused it"),
    ],
)
def test_a_blob_that_is_not_as_announced(
    registry: FaultyRegistry, layout: Path, answer: Callable[[Asked], None], message: str
) -> None:
    manifest = registry.image(LAYERS, "1")
    registry.fault(digest(BLOB), answer)
    with pytest.raises(TerraError, match=message):
        pull(registry, layout)
    expect_nothing_good(layout)
    registry.faults.clear()
    pull(registry, layout)
    expect_complete(layout, manifest["digest"])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda asked: chunked(asked, endless(asked)), "more than"),
        (lambda asked: asked.say(200, b"<html>welcome</html>", "text/html; charset=utf-8"), "web page"),
        (lambda asked: asked.say(200, b"<html>welcome</html>"), "not valid JSON"),
        (lambda asked: asked.say(200, b'{"schemaVersion": 2, "schemaVersion": 2}'), "twice"),
        (lambda asked: asked.say(200, b"[" * 100_000), "JSON|nested"),
        (lambda asked: asked.say(200, b'{"schemaVersion": 1}'), "schemaVersion 1"),
        (lambda asked: asked.say(200, b"{}", more={"Content-Encoding": "br"}), "compressed"),
        (lambda asked: asked.say(200, b'{"manifests": [], "layers": []}'), "manifests|layers|schemaVersion"),
        (lambda asked: asked.say(500, b"oops"), "answered 500"),
        (lambda asked: asked.say(503, more={"Retry-After": "0"}), "answered 503"),
        (lambda asked: asked.say(429, more={"Retry-After": "86400"}), "too many requests"),
        (lambda asked: asked.say(401), "refused it"),
        (lambda asked: asked.say(401, more={"WWW-Authenticate": "Negotiate"}), "kind of login"),
        (lambda asked: asked.drop(), "does not answer"),
    ],
)
def test_a_manifest_that_is_none(registry: FaultyRegistry, layout: Path, answer: Callable[[Asked], None], message: str) -> None:
    registry.fault("manifests/", answer)
    with pytest.raises(TerraError, match=message):
        pull(registry, layout)
    assert not layout.exists()


def test_of_variants_the_baseline_is_taken(registry: FaultyRegistry, layout: Path) -> None:
    wanted = registry.image(LAYERS[:1])
    variants = [("v4", registry.image(LAYERS[1:2])), ("v3", registry.image(LAYERS[2:])), ("", wanted)]
    platform = {"os": "linux", "architecture": this_platform().architecture}
    listed = [{**image, "platform": {**platform, **({"variant": name} if name else {})}} for name, image in variants]
    registry.index(*listed, names=["1"])
    assert pull(registry, layout) == wanted["digest"]
    assert str(Layout(layout).resolve(registry.name).digest) == wanted["digest"]
    listed[2]["platform"] = {"os": "linux", "architecture": "s390x"}
    registry.index({**listed[0], "platform": {**platform, "variant": "v77"}}, listed[2], names=["1"])
    if this_platform().architecture == "amd64":  # the levels of others are not known
        with pytest.raises(NotFoundError, match="was not built for"):
            pull(registry, layout.with_name("other"))
    assert pull(registry, layout.with_name("named"), f"{registry.address}/image@{variants[0][1]['digest']}")


def test_indexes_inside_each_other(registry: FaultyRegistry, layout: Path) -> None:
    inner = registry.index({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest(b""), "size": 1})
    for _ in range(10):
        inner = registry.index(inner, names=["1"])
    with pytest.raises(ImageError, match="nested more than"):
        pull(registry, layout)
    manifest = registry.image(LAYERS)
    registry.index(registry.index({**manifest, "platform": {"os": "linux", "architecture": "amd64"}}), names=["1"])
    assert pull(registry, layout) == manifest["digest"]
    expect_complete(layout, manifest["digest"])


def test_other_machines(registry: FaultyRegistry, layout: Path) -> None:
    foreign = registry.image(LAYERS, "1", architecture="s390x")
    with pytest.raises(NotFoundError, match="not built for linux/") as caught:
        pull(registry, layout)
    assert caught.value.hint == "it is built for linux/s390x"
    registry.index({**foreign, "platform": {"os": "linux", "architecture": "s390x"}}, names=["1"])
    with pytest.raises(NotFoundError, match="not built for linux/"):
        pull(registry, layout)
    registry.index({**foreign, "platform": {"os": "linux", "architecture": "amd64"}}, names=["1"])
    with pytest.raises(NotFoundError, match="not built for linux/"):
        pull(registry, layout)
    assert not layout.exists()


def test_a_tag_that_moves_during_the_pull(registry: FaultyRegistry, layout: Path) -> None:
    first = registry.image(LAYERS, "1")
    access = REACH.access(registry.address)
    with pulled(parse_image_reference(registry.name), layout, access, silent) as image:
        registry.image([layer("moved", b"moved")], "1")
    assert str(image.digest) == first["digest"]
    expect_complete(layout, first["digest"])
    assert len(registry.asked_for("manifests/1")) == 1


def test_a_connection_that_breaks_off_is_resumed(registry: FaultyRegistry, layout: Path) -> None:
    manifest = registry.image(LAYERS, "1")

    def half(asked: Asked) -> None:
        wanted = asked.headers.get("Range", "bytes=0-")
        first = int(wanted[6:-1])
        asked.begin(206 if first else 200, {
            "Content-Length": str(len(BLOB) - first),
            **({"Content-Range": f"bytes {first}-{len(BLOB) - 1}/{len(BLOB)}"} if first else {}),
        })  # fmt: skip
        asked.wfile.write(BLOB[first : first + 500_000])
        asked.drop()

    registry.fault(digest(BLOB), half, times=4)
    pull(registry, layout)
    expect_complete(layout, manifest["digest"])
    ranges = [headers.get("range") for headers in registry.asked_for(digest(BLOB))]
    assert len(ranges) == 5
    assert ranges[0] is None
    assert int(str(ranges[-1])[6:-1]) > 1_500_000


def test_a_registry_that_sends_a_byte_at_a_time(registry: FaultyRegistry, layout: Path) -> None:
    registry.image(LAYERS, "1")

    def byte(asked: Asked) -> None:
        first = int(asked.headers.get("Range", "bytes=0-")[6:-1])
        if not first:
            asked.begin(200, {"Content-Length": str(len(BLOB))})
            asked.wfile.write(BLOB[:1])
            asked.drop()
        else:
            asked.say(206, BLOB[first : first + 1], more={"Content-Range": f"bytes {first}-{first}/{len(BLOB)}"})

    registry.fault(digest(BLOB), byte)
    with pytest.raises(TerraError, match="sent only a part"):
        pull(registry, layout)
    assert len(registry.asked_for(digest(BLOB))) < 10


def test_a_registry_that_ignores_ranges_or_has_none(registry: FaultyRegistry, layout: Path) -> None:
    manifest = registry.image(LAYERS, "1")

    def half(asked: Asked) -> None:
        asked.begin(200, {"Content-Length": str(len(BLOB))})
        asked.wfile.write(BLOB[:1_000_000])
        asked.drop()

    registry.fault(digest(BLOB), lambda asked: asked.say(200, BLOB))
    registry.fault(digest(BLOB), half, times=1)
    pull(registry, layout)
    expect_complete(layout, manifest["digest"])
    (layout / "blobs/sha256" / digest(BLOB)[7:]).unlink()
    registry.fault(digest(BLOB), lambda asked: asked.say(416))
    registry.fault(digest(BLOB), half, times=1)
    with pytest.raises(ImageError, match="has no rest"):
        pull(registry, layout)
    registry.faults.clear()
    pull(registry, layout)
    expect_complete(layout, manifest["digest"])


def test_what_an_interrupted_pull_left_is_used_and_checked(registry: FaultyRegistry, layout: Path) -> None:
    manifest = registry.image(LAYERS, "1")

    def stall(asked: Asked) -> None:
        asked.begin(200, {"Content-Length": str(len(BLOB))})
        asked.wfile.write(BLOB[:1_000_000])
        asked.wfile.flush()
        asked.registry.ended.wait(20)

    def stop(event: Event) -> None:
        if (event.done or 0) > 900_000:
            raise InterruptedWork("asked to")

    registry.fault(digest(BLOB), stall, times=1)
    with pytest.raises(InterruptedWork):
        pull(registry, layout, report=stop)
    (partial,) = [path for path in layout.glob(".partial/*") if path.name.endswith(digest(BLOB)[7:])]
    assert partial.read_bytes() == BLOB[: partial.stat().st_size]
    kept = partial.stat().st_size
    assert kept > 0
    registry.requests.clear()
    pull(registry, layout)
    expect_complete(layout, manifest["digest"])
    assert registry.asked_for(digest(BLOB))[0]["range"] == f"bytes={kept}-"


def test_a_partial_file_that_was_damaged_is_never_trusted(registry: FaultyRegistry, layout: Path) -> None:
    manifest = registry.image(LAYERS, "1")
    (layout / ".partial").mkdir(parents=True)
    partial = layout / ".partial" / digest(BLOB).replace(":", "-")
    for content in (b"x" * 1000, bytes(len(BLOB)), BLOB + b"more"):
        partial.parent.mkdir(exist_ok=True)
        partial.write_bytes(content)
        pull(registry, layout)
        expect_complete(layout, manifest["digest"])
        (layout / "blobs/sha256" / digest(BLOB)[7:]).unlink()


def test_a_blob_in_the_layout_that_was_damaged_is_fetched_again(registry: FaultyRegistry, layout: Path) -> None:
    manifest = registry.image(LAYERS, "1")
    pull(registry, layout)
    registry.requests.clear()
    pull(registry, layout)
    assert not registry.asked_for("blobs/sha256:" + digest(BLOB)[7:]), "what is there is not fetched again"
    blob = layout / "blobs/sha256" / digest(BLOB)[7:]
    for content in (b"x" + BLOB[1:], BLOB[:-1], b""):
        blob.write_bytes(content)
        pull(registry, layout)
        expect_complete(layout, manifest["digest"])


def test_a_reader_of_damaged_bytes_is_told(registry: FaultyRegistry, layout: Path) -> None:
    registry.image(LAYERS, "1")
    pull(registry, layout)
    blob = layout / "blobs/sha256" / digest(BLOB)[7:]
    blob.write_bytes(BLOB[:-1] + b"x")
    read: list[bytes] = []

    def read_all() -> None:
        access = REACH.access(registry.address)
        with (
            pulled(parse_image_reference(registry.name), layout, access, silent) as image,
            image.open_layer(image.manifest.layers[1]) as reading,
        ):
            while piece := reading.read(1 << 20):
                read.append(piece)

    try:
        read_all()
    except ImageError:  # unless it was found before anybody had read of it; the next pull is right either way
        read.clear()
        read_all()
    assert b"".join(read) == BLOB
    expect_complete(layout, str(Layout(layout).resolve().digest))


@pytest.mark.parametrize("rate", [0, 100])
def test_a_body_that_stalls(registry: FaultyRegistry, layout: Path, rate: int) -> None:
    registry.image(LAYERS, "1")

    def drip(asked: Asked) -> None:
        asked.begin(200, {"Content-Length": str(len(BLOB))})
        while not asked.registry.ended.wait(0.1):
            asked.wfile.write(bytes(rate))

    registry.fault(digest(BLOB), drip)
    with pytest.raises(TerraError, match=r"nothing for 1 seconds|sends less than"):
        pull(registry, layout)
    expect_nothing_good(layout)


def test_a_manifest_that_drips(registry: FaultyRegistry, layout: Path) -> None:
    def drip(asked: Asked) -> None:
        asked.begin(200, {"Content-Length": "1000000"})
        while not asked.registry.ended.wait(0.1):
            asked.wfile.write(b" ")

    registry.fault("manifests/", drip)
    with pytest.raises(TerraError, match="took longer than"):
        pull(registry, layout)


def test_a_registry_that_is_busy_for_a_while(registry: FaultyRegistry, layout: Path) -> None:
    manifest = registry.image(LAYERS, "1")
    registry.fault("manifests/", lambda asked: asked.say(503), times=2)
    registry.fault("blobs/", lambda asked: asked.say(429, more={"Retry-After": "0"}), times=2)
    assert pull(registry, layout) == manifest["digest"]
    expect_complete(layout, manifest["digest"])


def silence(asked: Asked) -> None:
    """Answer nothing at all."""
    asked.registry.ended.wait(20)


def test_interruption_while_nothing_answers(registry: FaultyRegistry, layout: Path) -> None:
    registry.image(LAYERS, "1")
    registry.fault("manifests/", silence)

    def work() -> None:
        interruption.set(lambda: bool(registry.requests))
        pull(registry, layout)

    with pytest.raises(InterruptedWork):
        contextvars.copy_context().run(work)
    assert not layout.exists()


def test_interruption_ends_downloads_at_once(registry: FaultyRegistry, layout: Path) -> None:
    registry.image(LAYERS, "1")
    registry.fault(digest(BLOB), silence)

    def work() -> None:
        interruption.set(lambda: bool(registry.asked_for(digest(BLOB))))
        pull(registry, layout)

    with pytest.raises(InterruptedWork):
        contextvars.copy_context().run(work)


def test_an_error_of_the_caller_comes_through_as_it_is(registry: FaultyRegistry, layout: Path) -> None:
    registry.image(LAYERS, "1")
    access = REACH.access(registry.address)
    with (
        pytest.raises(TerraError, match=r"^the disk is on fire$"),
        pulled(parse_image_reference(registry.name), layout, access, silent),
    ):
        raise TerraError("the disk is on fire")


BASIC = "Basic " + base64.b64encode(b"terra:secret").decode()


def to(registry: FaultyRegistry) -> Callable[[Asked], None]:
    """Send a request on to another server."""
    return lambda asked: asked.say(307, more={"Location": f"http://{registry.address}{asked.path}"})


def test_credentials_stay_with_the_registry_when_it_sends_elsewhere(registry: FaultyRegistry, layout: Path) -> None:
    REACH.log_in(registry.address)
    manifest = registry.image(LAYERS, "1")

    def guard(asked: Asked) -> bool:
        if asked.headers.get("Authorization") == BASIC:
            return False
        asked.say(401, more={"WWW-Authenticate": 'Basic realm="terra"'})
        return True

    with faulty_registry("127.0.0.2") as store:
        store.content = registry.content
        registry.fault("blobs/", to(store))
        registry.faults.insert(0, guard)
        pull(registry, layout, insecure=(store.address,))
        expect_complete(layout, manifest["digest"])
        assert store.requests
        assert not any("authorization" in headers for _, _, headers in store.requests)
        assert any("authorization" in headers for _, _, headers in registry.requests)


def test_a_redirect_to_plain_http_that_nobody_allowed(registry: FaultyRegistry, layout: Path) -> None:
    registry.image(LAYERS, "1")
    with faulty_registry("127.0.0.2") as store:
        store.content = registry.content
        registry.fault("blobs/", to(store))
        with pytest.raises(TerraError, match="redirects to plain HTTP") as caught:
            pull(registry, layout)
        assert f"list {store.address} among the registries that may do without TLS" in caught.value.hint
        assert store.requests == []


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://user:word@127.0.0.1/", "http://[::1", "gopher:x"]
)
def test_redirects_to_nowhere_good(registry: FaultyRegistry, layout: Path, target: str) -> None:
    registry.fault("manifests/", lambda asked: asked.say(302, more={"Location": target}))
    with pytest.raises(TerraError, match=r"pulling .*(not followed|no URL)") as caught:
        pull(registry, layout)
    assert "word" not in str(caught.value).replace("password", "")


def test_a_redirect_with_an_endless_body(registry: FaultyRegistry, layout: Path) -> None:
    def send(asked: Asked) -> None:
        asked.begin(302, {"Location": "/elsewhere", "Transfer-Encoding": "chunked"})
        for piece in endless(asked):
            asked.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    registry.fault("manifests/", send)
    with pytest.raises(NotFoundError):
        pull(registry, layout)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the TLS context of a server on 127.0.0.1 whose certificate this machine trusts."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=registry", "-addext"]
    run(["openssl", "req", *options, "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def secure_pull(registry: FaultyRegistry, layout: Path, report: Report = silent, insecure: tuple[str, ...] = ()) -> str:
    """Pull with TLS."""
    with pulled(parse_image_reference(registry.name), layout, REACH.access(*insecure), report) as image:
        return str(image.digest)


def test_tls_and_its_interruption(tls: ssl.SSLContext, layout: Path) -> None:
    def half(asked: Asked) -> None:
        asked.begin(200, {"Content-Length": str(len(BLOB))})
        asked.wfile.write(BLOB[:1_000_000])
        asked.wfile.flush()
        asked.registry.ended.wait(20)

    def stop(event: Event) -> None:
        if (event.done or 0) > 500_000:
            raise InterruptedWork("asked to")

    with faulty_registry(tls=tls) as registry:
        manifest = registry.image(LAYERS, "1")
        registry.fault(digest(BLOB), half, times=1)
        with pytest.raises(InterruptedWork):
            secure_pull(registry, layout, stop)
        assert secure_pull(registry, layout) == manifest["digest"]
        expect_complete(layout, manifest["digest"])


def test_https_never_leads_to_http(tls: ssl.SSLContext, layout: Path) -> None:
    with faulty_registry(tls=tls) as registry, faulty_registry("127.0.0.2") as store:
        registry.image(LAYERS, "1")
        store.content = registry.content
        registry.fault("blobs/", to(store))
        with pytest.raises(TerraError, match="redirects to plain HTTP"):
            secure_pull(registry, layout, insecure=(store.address,))
        assert store.requests == []


def test_a_token_service_with_tls_may_know_who_asks(tls: ssl.SSLContext, registry: FaultyRegistry, layout: Path) -> None:
    REACH.log_in(registry.address)
    registry.image(LAYERS, "1")
    with faulty_registry(tls=tls) as service:
        service.fault("/token", lambda asked: asked.say(200, b'{"token": "good"}'))
        registry.faults.append(token_guard(f"https://{service.address}/token"))
        pull(registry, layout)
        assert [headers.get("authorization") for headers in service.asked_for("/token")] == [BASIC]


def test_redirects_in_a_circle(registry: FaultyRegistry, layout: Path) -> None:
    registry.fault("manifests/", lambda asked: asked.say(302, more={"Location": asked.path}))
    with pytest.raises(TerraError, match="redirects more than"):
        pull(registry, layout)


def token_guard(realm: str) -> Callable[[Asked], bool]:
    def guard(asked: Asked) -> bool:
        if not asked.path.startswith("/v2/") or asked.headers.get("Authorization") == "Bearer good":
            return False
        asked.say(401, more={"WWW-Authenticate": f'Bearer realm="{realm}",service="here",scope="everything:*"'})
        return True

    return guard


def test_a_token_service(registry: FaultyRegistry, layout: Path) -> None:
    REACH.log_in(registry.address)
    manifest = registry.image(LAYERS, "1")
    registry.faults.append(token_guard(f"http://{registry.address}/token?kind=x"))
    registry.fault("/token", lambda asked: asked.say(200, b'{"token": "good"}'))
    assert pull(registry, layout) == manifest["digest"]
    asked = [(path, headers) for _, path, headers in registry.requests if path.startswith("/token")]
    assert len(asked) == 1
    assert asked[0][0] == "/token?kind=x&service=here&scope=repository%3Aimage%3Apull", "no more rights than needed"
    assert asked[0][1]["authorization"] == BASIC


def test_an_identity_token_goes_in_the_body(registry: FaultyRegistry, layout: Path) -> None:
    REACH.logins[registry.address] = Credentials(identity_token="identity")
    registry.image(LAYERS, "1")
    registry.faults.append(token_guard(f"http://{registry.address}/token"))
    bodies: list[bytes] = []

    def token(asked: Asked) -> None:
        bodies.append(asked.rfile.read(int(asked.headers["Content-Length"])))
        asked.say(200, b'{"access_token": "good"}')

    registry.fault("/token", token)
    pull(registry, layout)
    assert b"refresh_token=identity" in bodies[0]
    assert b"grant_type=refresh_token" in bodies[0]


def test_credentials_do_not_go_to_another_token_service_without_tls(registry: FaultyRegistry, layout: Path) -> None:
    REACH.log_in(registry.address)
    registry.image(LAYERS, "1")
    with faulty_registry("127.0.0.2") as service:
        service.fault("/token", lambda asked: asked.say(200, b'{"token": "good"}'))
        registry.faults.append(token_guard(f"http://{service.address}/token"))
        with pytest.raises(TerraError, match="token service without TLS"):
            pull(registry, layout)
        assert service.requests == []
        pull(registry, layout, insecure=(service.address,))
        assert all("authorization" not in headers for _, _, headers in service.requests)


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "", "/token", "http://u:p@127.0.0.1/"])
def test_a_token_service_that_is_none(registry: FaultyRegistry, layout: Path, realm: str) -> None:
    registry.faults.append(token_guard(realm))
    with pytest.raises(TerraError, match="not followed"):
        pull(registry, layout)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'{"token": "a\\r\\nX-Evil: 1"}', "no token that could be used"),
        (b"{}", "expected a string"),
        (b"<html>", "not valid JSON"),
        (b'{"token": "wrong"}', "refused it"),
        (b" " * 2_000_000, "more than"),
    ],
)
def test_a_token_service_that_says_something_else(registry: FaultyRegistry, layout: Path, answer: bytes, message: str) -> None:
    registry.image(LAYERS, "1")
    registry.faults.append(token_guard(f"http://{registry.address}/token"))
    registry.fault("/token", lambda asked: asked.say(200, answer))
    with pytest.raises(TerraError, match=message):
        pull(registry, layout)


def test_a_token_that_ends_during_the_pull(registry: FaultyRegistry, layout: Path) -> None:
    manifest = registry.image(LAYERS, "1")
    tokens = iter(f"t{number}" for number in range(100))
    valid = {"Bearer none"}

    def guard(asked: Asked) -> bool:
        if not asked.path.startswith("/v2/"):
            valid.clear()
            token = next(tokens)
            valid.add(f"Bearer {token}")
            asked.say(200, json.dumps({"token": token}).encode())
            return True
        if asked.headers.get("Authorization") in valid:
            if "manifests" in asked.path:
                valid.clear()
            return False
        asked.say(401, more={"WWW-Authenticate": f'Bearer realm="http://{registry.address}/token"'})
        return True

    registry.faults.append(guard)
    pull(registry, layout)
    expect_complete(layout, manifest["digest"])


def test_mirrors_are_asked_first_and_the_registry_has_the_last_word(registry: FaultyRegistry, layout: Path) -> None:
    manifest = registry.image(LAYERS, "1")
    mirrors = {registry.address: ("127.0.0.1:9", "127.0.0.2:1")}
    with faulty_registry("127.0.0.2") as mirror:
        mirror.content = dict(registry.content)
        mirror.image([layer("stale", b"stale")], "1")
        mirrors[registry.address] = ("127.0.0.1:9", mirror.address)
        insecure = (mirror.address,)
        assert pull(registry, layout, mirrors=mirrors, insecure=insecure) == manifest["digest"]
        assert mirror.asked_for("blobs/")
        assert not registry.asked_for("blobs/")
        expect_complete(layout, manifest["digest"])
        for path in layout.glob("blobs/sha256/*"):
            path.unlink()
        mirror.fault("blobs/", lambda asked: asked.say(200, bytes(len(BLOB))))
        assert pull(registry, layout, mirrors=mirrors, insecure=insecure) == manifest["digest"]
        expect_complete(layout, manifest["digest"])


def test_a_password_of_the_registry_is_none_of_a_mirror(registry: FaultyRegistry, layout: Path) -> None:
    REACH.log_in(registry.address)
    registry.image(LAYERS, "1")
    with faulty_registry("127.0.0.2") as mirror:
        mirror.fault("/", lambda asked: asked.say(401, more={"WWW-Authenticate": 'Basic realm="x"'}))
        pull(registry, layout, mirrors={registry.address: (mirror.address,)}, insecure=(mirror.address,))
        assert not any("authorization" in headers for _, _, headers in mirror.requests)


def test_a_proxy_of_the_environment(registry: FaultyRegistry, layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = registry.image(LAYERS, "1")
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, f"http://{registry.address}")
    monkeypatch.setenv("no_proxy", "")
    found = pull(registry, layout, "registry.invalid:80/image:1", insecure=("registry.invalid:80",))
    assert found == manifest["digest"]
    expect_complete(layout, manifest["digest"])
    assert all(path.startswith("http://registry.invalid") for method, path, _ in registry.requests if method == "GET")
    with pytest.raises(TerraError, match=r"registry\.invalid cannot be reached by the proxy"):
        pull(registry, layout, "registry.invalid/image:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert pull(registry, layout) == manifest["digest"]


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("http://me:secret@127.0.0.1:1", "cannot be reached by the proxy of the environment: connection refused"),
        ("http://nowhere.invalid:1", "cannot be reached by the proxy of the environment: "),
        *((proxy, "the address of the proxy in the environment is none") for proxy in (":::", "ftp://me:secret@a", "http://[")),
        ("http://me:secret@127.0.0.1:99999", "the address of the proxy in the environment is none, or of a kind that Terra"),
    ],
)
def test_a_proxy_that_is_none_is_not_said_of_the_registry(
    registry: FaultyRegistry, layout: Path, proxy: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(TerraError, match=said) as caught:
        pull(registry, layout, "registry.invalid/image:1")
    assert "secret" not in str(caught.value)
    assert "Errno" not in str(caught.value)


def test_cookies_and_netrc_stay_at_home(
    registry: FaultyRegistry, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.image(LAYERS, "1")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    original = registry.content["1"]
    registry.fault("manifests/", lambda asked: asked.say(200, *original, more={"Set-Cookie": "track=1"}))
    pull(registry, layout)
    assert not any({"cookie", "authorization"} & set(headers) for _, _, headers in registry.requests)


def test_a_full_disk_is_said_as_such(registry: FaultyRegistry, layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.image(LAYERS, "1")

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(TerraError, match="No space left") as caught:
        pull(registry, layout)
    assert "too small" in caught.value.hint
