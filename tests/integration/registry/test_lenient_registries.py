"""Registries that are in use and do not answer as the specification has it; and ones that never come to an end."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from terra_core.config.values import parse_image_reference
from terra_core.errors import TerraError
from terra_core.oci import ImageError, Layout, media
from terra_core.registry import RegistryAccess, download, endpoint, transport, upload
from terra_core.registry.pull import pulled
from terra_core.registry.push import push_image
from terra_core.registry.transport import Transport
from terra_core.registry.upload import Repository
from terra_core.system.progress import silent
from terra_core.testing.faulty_registry import Asked, FaultyRegistry, digest, faulty_registry, layer
from tests.integration.registry.reach import Reach
from tests.unit.oci.making import LayoutMaker, file, tar

LAYERS = [layer("first", b"first"), layer("last", b"last" * 10_000)]
BLOB = gzip.compress(LAYERS[1], mtime=0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    for module in (download, endpoint):
        monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
        monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(endpoint, "_ATTEMPTS", 2)
    monkeypatch.setattr(upload, "_ATTEMPTS", 2)
    monkeypatch.setattr(transport, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(endpoint, "_DOCUMENT_SECONDS", 0.5)
    monkeypatch.setattr(download, "_PACE_SECONDS", 0.5)


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with faulty_registry() as registry:
        yield registry


def pull(registry: FaultyRegistry, layout: Path, access: RegistryAccess | None = None) -> None:
    """Pull, and see that all of it is there."""
    access = access or Reach().access(registry.address)
    with pulled(parse_image_reference(registry.name), layout, access, silent):
        pass
    there = Layout(layout)
    manifest = there.manifest(there.resolve())
    for blob in (manifest.config, *manifest.layers):
        there.verify(blob)


def behind_a_mirror(registry: FaultyRegistry) -> RegistryAccess:
    """Return the access to a registry with a mirror in front that does not answer."""
    gone = "127.0.0.1:1"
    return Reach().access(registry.address, gone, mirrors={registry.address: [gone]})


# Authorization along a redirect on the same host


def guarded(registry: FaultyRegistry, *open_paths: str) -> None:
    """Ask for a token everywhere but at these paths, which refuse one, as S3 does beside the signature in its URL."""

    def guard(asked: Asked) -> bool:
        told = asked.headers.get("Authorization")
        if asked.path.startswith("/token"):
            asked.say(200, b'{"token": "good"}')
        elif asked.path.startswith(open_paths) and told:
            asked.say(400, b"only one auth mechanism allowed")
        elif not asked.path.startswith(open_paths) and told != "Bearer good":
            asked.say(401, more={"WWW-Authenticate": f'Bearer realm="http://{registry.address}/token",service="here"'})
        else:
            return False
        return True

    registry.faults.append(guard)


@pytest.mark.parametrize("storage", ["/storage/", "/v2/_storage/"])
@pytest.mark.parametrize("what", ["blobs/", "manifests/"])
@pytest.mark.parametrize("relative", [True, False])
def test_storage_at_the_same_host_gets_no_token(
    registry: FaultyRegistry, tmp_path: Path, storage: str, what: str, relative: bool
) -> None:
    registry.image(LAYERS, "1")
    guarded(registry, storage)
    base = "" if relative else f"http://{registry.address}"

    def lead(asked: Asked) -> bool:
        if what not in asked.path or asked.path.startswith(storage):
            return False
        asked.say(307, more={"Location": f"{base}{storage}{asked.path.rpartition('/')[2]}?X-Amz-Signature=a%2Fb"})
        return True

    registry.faults.append(lead)
    pull(registry, tmp_path / "layout")
    assert not any("authorization" in headers for headers in registry.asked_for("/storage/"))


@pytest.mark.parametrize("elsewhere", ["/v2/group/", "/artifactory/api/docker/v2/", "/interface/"])
def test_another_path_of_the_interface_gets_the_token(registry: FaultyRegistry, tmp_path: Path, elsewhere: str) -> None:
    registry.image(LAYERS, "1")
    guarded(registry, "/nowhere/")

    def lead(asked: Asked) -> bool:
        if asked.path.startswith(elsewhere):
            return False
        asked.say(302, more={"Location": f"{elsewhere}{asked.path.removeprefix('/v2/')}"})
        return True

    registry.faults.append(lead)
    pull(registry, tmp_path / "layout")


@pytest.mark.parametrize("status", [403, 404])
def test_a_registry_that_hides_what_it_has_from_strangers(registry: FaultyRegistry, tmp_path: Path, status: int) -> None:
    registry.image(LAYERS, "1")
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{registry.address}/token",service="here"'}

    def guard(asked: Asked) -> bool:
        if asked.path.startswith("/token"):
            asked.say(200, b'{"token": "good"}')
        elif asked.headers.get("Authorization") == "Bearer good":
            return False
        elif asked.path == "/v2/":
            asked.say(401, more=challenge)
        else:
            asked.say(status)
        return True

    registry.faults.append(guard)
    pull(registry, tmp_path / "layout")
    assert len(registry.asked_for("/token")) == 1


@pytest.mark.parametrize("login", [200, 401, 404, 500])
@pytest.mark.parametrize("status", [403, 404])
def test_what_is_not_there_is_said_whatever_the_interface_answers(
    registry: FaultyRegistry, tmp_path: Path, status: int, login: int
) -> None:
    challenge = {"WWW-Authenticate": f'Basic realm="{registry.address}"'}

    def answer(asked: Asked) -> bool:
        asked.say(*((login, b"", "text/plain", challenge) if asked.path == "/v2/" else (status,)))
        return True

    registry.faults.append(answer)
    with pytest.raises(TerraError, match="has no such image" if status == 404 else "refused it: 403"):
        pull(registry, tmp_path / "layout")
    assert [path for _, path, _ in registry.requests].count("/v2/") == 1


@pytest.mark.parametrize("docker", [False, True])
def test_a_manifest_by_the_name_of_the_other_format(registry: FaultyRegistry, tmp_path: Path, docker: bool) -> None:
    registry.image(LAYERS, "1", docker=docker)
    content, _ = registry.content["1"]
    registry.content["1"] = content, media.OCI_MANIFEST if docker else media.DOCKER_MANIFEST
    pull(registry, tmp_path / "layout")


# questions that are refused


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 501, 503])
def test_a_registry_that_knows_no_head(registry: FaultyRegistry, tmp_path: Path, status: int) -> None:
    registry.image(LAYERS, "1")

    def refuse(asked: Asked) -> bool:
        if asked.command == "HEAD":
            asked.say(status)
        return asked.command == "HEAD"

    registry.faults.append(refuse)
    pull(registry, tmp_path / "layout", behind_a_mirror(registry))
    assert ("HEAD", "/v2/image/manifests/1") in [(method, path) for method, path, _ in registry.requests]


@pytest.mark.parametrize("docker", [False, True])
def test_a_registry_that_compares_each_line_of_accept(registry: FaultyRegistry, tmp_path: Path, docker: bool) -> None:
    registry.image(LAYERS, "1", docker=docker)
    wanted = media.DOCKER_MANIFEST if docker else media.OCI_MANIFEST

    def old(asked: Asked) -> bool:
        if "manifests/" not in asked.path or wanted in (asked.headers.get_all("Accept") or []):
            return False
        asked.say(200, b'{"schemaVersion": 1}', "application/vnd.docker.distribution.manifest.v1+prettyjws")
        return True

    registry.faults.append(old)
    pull(registry, tmp_path / "layout", behind_a_mirror(registry))


def test_no_field_is_sent_twice_but_accept(registry: FaultyRegistry, tmp_path: Path) -> None:
    registry.image(LAYERS, "1")
    seen: list[list[str]] = []

    def look(asked: Asked) -> bool:
        seen.append([name.lower() for name in asked.headers.keys()])  # noqa: SIM118  # a message gives each line
        return False

    registry.faults.append(look)
    pull(registry, tmp_path / "layout")
    for names in seen:
        assert {name for name in names if names.count(name) > 1} <= {"accept"}
        assert {"host", "user-agent", "accept-encoding"} <= set(names)


def encoded(body: bytes, kind: str) -> Callable[[Asked], None]:
    """Return an answer that calls the body compressed."""
    return lambda asked: asked.say(200, body, kind, more={"Content-Encoding": "gzip"})


def test_encodings_that_nobody_asked_for(registry: FaultyRegistry, tmp_path: Path) -> None:
    registry.image(LAYERS, "1")
    content, kind = registry.content["1"]
    registry.fault(digest(BLOB), encoded(BLOB, "application/octet-stream"))
    for number, body in enumerate((gzip.compress(content), content)):
        registry.fault("manifests/", encoded(body, kind))
        pull(registry, tmp_path / f"layout{number}")
    for body, said in ((gzip.compress(bytes(5 << 20)), "more than"), (gzip.compress(content)[:-9], "broke it")):
        registry.fault("manifests/", encoded(body, kind))
        with pytest.raises(ImageError, match=said):
            pull(registry, tmp_path / "bomb")


@pytest.mark.parametrize("answer", [{"token": "", "access_token": "good"}, {"token": None, "access_token": "good"}])
def test_a_token_by_its_other_name(registry: FaultyRegistry, tmp_path: Path, answer: object) -> None:
    registry.image(LAYERS, "1")
    guarded(registry, "/nowhere/")
    registry.fault("/token", lambda asked: asked.say(200, json.dumps(answer).encode(), "text/plain"))
    pull(registry, tmp_path / "layout")


# answers that never end


def drip(*pieces: bytes) -> Callable[[Asked], None]:
    """Send pieces, and then the last one again and again, each within any limit of silence."""

    def answer(asked: Asked) -> None:
        for piece in pieces[:-1]:
            asked.wfile.write(piece)
        while not asked.registry.ended.wait(0.05):
            asked.wfile.write(pieces[-1])

    return answer


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = HEAD + b"Content-Length: %d\r\n\r\n" % len(BLOB)
DRIPS = [
    [b"H"],
    [b"HTTP/1.1 100 Continue\r\n\r\n"],
    [HEAD + b"X: ", b"y"],
    [LONG, b"#"],
    [CHUNKED, b"0"],
    [CHUNKED, b"1\r\n \r\n"],
    [CHUNKED + b"0\r\n", b"Trailer: x\r\n"],
]
NAMES = ["status", "continue", "header", "body", "chunk-size", "chunks", "trailers"]


@pytest.mark.parametrize("pieces", DRIPS, ids=NAMES)
@pytest.mark.parametrize("where", ["manifests/", "config", "layer", "/token"])
def test_a_registry_that_drips(registry: FaultyRegistry, tmp_path: Path, where: str, pieces: list[bytes]) -> None:
    manifest = registry.image(LAYERS, "1")
    config = json.loads(registry.content[manifest["digest"]][0])["config"]["digest"]
    guarded(registry, "/nowhere/")
    registry.fault({"config": config, "layer": digest(BLOB)}.get(where, where), drip(*pieces))
    before = time.monotonic()
    with pytest.raises(TerraError, match=r"does not answer|took longer than|is too slow"):
        pull(registry, tmp_path / "layout")
    assert time.monotonic() - before < 20
    assert len(registry.asked_for(where if where.startswith(("m", "/")) else "blobs/")) < 12


def test_a_slow_layer_is_given_up_with_words(registry: FaultyRegistry, tmp_path: Path) -> None:
    registry.image(LAYERS, "1")
    registry.fault(digest(BLOB), drip(LONG, b"#"))
    with pytest.raises(TerraError, match=rf"{registry.address} is too slow: it sends less than 64 KiB in 0\.5 seconds"):
        pull(registry, tmp_path / "layout")
    assert len(registry.asked_for(digest(BLOB))) == 2


# pushing


class Writable:
    """A registry that keeps what is uploaded.

    :param codes: what it answers, by method and kind: ``PUT blob``, ``PUT manifest``, ``POST``, ``HEAD blob``, ``mount``.
    """

    def __init__(self, registry: FaultyRegistry, **codes: int) -> None:
        self.registry = registry
        self.codes = {name.replace("_", " "): code for name, code in codes.items()}
        registry.faults.append(self.answer)

    def answer(self, asked: Asked) -> bool:
        """Answer what is no GET."""
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        path, kind = asked.path, "manifest" if "/manifests/" in asked.path else "blob"
        code = self.codes.get("mount" if "mount=" in path else f"{asked.command} {kind}")
        if asked.command == "HEAD" and code is None:
            return False
        if asked.command == "POST":
            asked.say(code or 202, more={"Location": f"/v2/image/blobs/uploads/x?n={len(self.registry.requests)}"})
        elif asked.command == "PUT":
            if (code or 201) < 300:
                named = re.search(r"digest=([^&]+)", path)
                self.registry.put(body, asked.headers["Content-Type"], *([] if named else [path.rpartition("/")[2]]))
            asked.say(code or 201)
        elif asked.command in ("DELETE", "HEAD"):
            asked.say(code or 204)
        return asked.command != "GET"


def push(registry: FaultyRegistry, tmp_path: Path) -> None:
    """Push an image."""
    maker = LayoutMaker(tmp_path / "pushed")
    maker.image([tar(file(b"a")), tar(file(b"b"))])
    image = Layout(maker.path).image()
    reference = parse_image_reference(registry.name)
    push_image(reference, image, Reach().access(registry.address), silent)
    with closing(Transport(Reach().access(registry.address))) as sending:
        repository = Repository(reference, {"base"}, sending)
        for blob in image.manifest.layers:
            repository.take_over(blob, "base")


@pytest.mark.parametrize(
    "codes",
    [
        {},
        {"PUT_manifest": 200},
        {"PUT_manifest": 202},
        {"PUT_manifest": 204},
        {"PUT_blob": 200},
        {"PUT_blob": 202},
        {"PUT_blob": 204},
        {"POST_blob": 201},
        {"POST_blob": 200},
        *({"HEAD_manifest": code, "HEAD_blob": code} for code in (400, 403, 404, 405, 501)),
        {"mount": 403},
        {"mount": 404},
        {"mount": 405},
        {"DELETE_blob": 405},
        {"DELETE_blob": 500},
        {"HEAD_manifest": 403, "DELETE_blob": 404},
    ],
    ids=str,
)
def test_codes_that_other_clients_take_for_success(registry: FaultyRegistry, tmp_path: Path, codes: dict[str, int]) -> None:
    Writable(registry, **codes)
    push(registry, tmp_path)
    pull(registry, tmp_path / "layout")


@pytest.mark.parametrize("codes", [{"PUT_manifest": 403}, {"PUT_blob": 400}, {"HEAD_manifest": 403, "POST_blob": 403}], ids=str)
def test_a_push_that_is_refused_is_refused(registry: FaultyRegistry, tmp_path: Path, codes: dict[str, int]) -> None:
    Writable(registry, **codes)
    with pytest.raises(TerraError, match=r"refused it|answered 400"):
        push(registry, tmp_path)
    assert ("PUT" in {method for method, _, _ in registry.requests}) == ("HEAD_manifest" not in codes)
