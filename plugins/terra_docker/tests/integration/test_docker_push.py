"""Pushing: the same inputs give the same manifest, whatever the registry does meanwhile."""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from lab.engine import Engine
from lab.images import push_to_registry
from lab.network import CONTROLLER, Network
from lab.registry import Registry
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.errors import InterruptedWork, TerraError
from terra_core.system.process import run
from terra_core.system.progress import Event, Report, silent
from terra_core.system.workspace import IMAGE_PREFIX, roomy
from terra_core.testing.faulty_registry import Asked, FaultyRegistry, faulty_registry

BASE = "terra.test/base:1"
VAB = Path(sys.executable).with_name("vab")
EPOCH = "1700000000"


def vab(network: Network, engine: Engine, context: Path, *words: str, accept: int = 0) -> tuple[str, str]:
    """Run ``vab build`` where the registry is; return standard output and standard error."""
    command = network.command([VAB, "build", "--context", context, *words])
    done = run(command, env={"DOCKER_HOST": engine.host, "SOURCE_DATE_EPOCH": EPOCH}, accept=(accept,), timeout=300)
    return done.text.strip(), done.stderr.decode()


def manifest(network: Network, name: str) -> dict[str, Any]:
    """Return a manifest as the registry has it."""
    found = run(network.command(["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{name}"])).stdout
    content: dict[str, Any] = json.loads(found)
    return content


def push(engine: Engine, client: DockerClient, name: str, report: Report = silent, **docker: object) -> str:
    """Push the base image under another name, from where this process is."""
    reference = parse_image_reference(name)
    client.images.get(BASE).tag(f"{reference.registry}/{reference.path}", reference.tag)
    session = Session(tables={"docker": {"engine": engine.host, **docker}}, report=report)
    return push_to_registry(name, reference, session)


def scratch() -> set[str]:
    """Return the names of the scratch files of pushes."""
    return {path.name for path in roomy().glob(f"{IMAGE_PREFIX}*")}


def test_what_a_killed_push_left_goes_with_the_next_one(
    engine: Engine, client: DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = roomy() / f"{IMAGE_PREFIX}killed"
    (left / "blobs").mkdir(parents=True)
    try:
        with faulty_registry() as registry:
            accept(registry)
            push(engine, client, f"{registry.address}/young:1")
            assert left.exists(), "whoever made it may be about to hold it"
            monkeypatch.setattr("terra_core.system.workspace._YOUNG_SECONDS", -1)
            push(engine, client, f"{registry.address}/old:1")
        assert not left.exists()
    finally:
        shutil.rmtree(left, ignore_errors=True)


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_two_builds_in_two_directories_are_one_manifest_in_two_repositories(
    network: Network, engine: Engine, registry: Registry, tmp_path: Path, builder: str
) -> None:
    before = scratch()
    digests: set[str] = set()
    for name in ("one", "two"):
        context = tmp_path / name
        (context / "sub").mkdir(parents=True)
        (context / "sub/file").write_text("content\n")
        os.utime(context / "sub/file", (1_750_000_000 + len(digests), 1_750_000_000 + len(digests)))
        (context / "Dockerfile").write_text(f"FROM {BASE}\nCOPY sub /new/sub\nRUN date +%N > /dev/null; echo made > /made\n")
        words = ["--push", "--no-cache", "--builder", builder, "-r", f"{registry.address}/{builder}/{name}:1"]
        stdout, _ = vab(network, engine, context, *words)
        digests.add(stdout.rpartition("@")[2])
    assert len(digests) == 1
    assert scratch() == before


def test_the_layers_of_a_base_are_those_that_its_registry_has(
    network: Network, engine: Engine, registry: Registry, client: DockerClient, context: Path
) -> None:
    base = f"{registry.address}/bases/other"
    client.images.get(BASE).tag(base, "1")
    client.images.push(base, tag="1")  # compressed by the engine, in its own words
    (context / "Dockerfile").write_text(f"FROM {base}:1\nRUN echo made > /made\n")
    vab(network, engine, context, "--push", "-r", f"{registry.address}/derived/one:1")
    below, derived = manifest(network, f"{base}:1"), manifest(network, f"{registry.address}/derived/one:1")
    assert derived["layers"][0]["digest"] == below["layers"][0]["digest"]
    assert derived["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert len(derived["layers"]) == 2
    with network.inside():
        run(["skopeo", "copy", "--src-tls-verify=false", f"docker://{registry.address}/derived/one:1", f"oci:{context}/copy"])


def test_the_layers_of_a_base_that_is_in_no_registry_are_those_of_the_last_push(
    network: Network, engine: Engine, registry: Registry, client: DockerClient, context: Path
) -> None:
    name = f"{registry.address}/derived/again"
    layers: list[list[str]] = []
    for text in ("first", "second"):
        (context / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo {text} > /made\n")
        vab(network, engine, context, *(["--push"] if layers else []), "-r", f"{name}:1")
        if not layers:
            client.images.push(name, tag="1")  # in the engine's words
        layers.append([layer["digest"] for layer in manifest(network, f"{name}:1")["layers"]])
    assert layers[0][0] == layers[1][0]
    assert layers[0][1] != layers[1][1]


def test_a_registry_with_tls_and_a_password(
    network: Network, engine: Engine, client: DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate, users = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "users"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=registry", "-addext"]
    run(["openssl", "req", *options, f"subjectAltName=IP:{CONTROLLER}", "-keyout", key, "-out", certificate])
    users.write_text("terra:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n")
    auth = {"htpasswd": {"realm": "terra", "path": str(users)}}
    tls = {"certificate": str(certificate), "key": str(key)}
    with Registry(network, tmp_path / "registry", port=5013, tls=tls, auth=auth) as other, network.inside():
        address = other.address
        with pytest.raises(TerraError, match=r"pushing .*: the certificate of .* is not trusted"):
            push(engine, client, f"{address}/tls:1")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(TerraError, match="refused it: it asks for a user and a password") as caught:
            push(engine, client, f"{address}/tls:1")
        assert caught.value.hint == f"log in: docker login {address}"
        token = base64.b64encode(b"terra:secret").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {address: {"auth": token}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        assert push(engine, client, f"{address}/tls:1").startswith("sha256:")
        assert push(engine, client, f"{address}/tls:1") == push(engine, client, f"{address}/two:1")


def accept(registry: FaultyRegistry, **bent: object) -> None:
    """Let a registry take uploads, forgetting them.

    :param bent: ``location``, where uploads are sent to.
    """

    def take(asked: Asked) -> None:
        path, method = asked.path, asked.command
        left = int(asked.headers.get("Content-Length") or 0)
        while left:
            left -= len(asked.rfile.read(min(left, 1 << 20)))
        if method == "HEAD":
            asked.say(404)
        elif method == "POST":
            asked.say(202, more={"Location": str(bent.get("location", f"{path}/session?state=a%2Fb"))})
        else:
            asked.say(201)

    registry.fault("/v2/", take)


def requests_of(registry: FaultyRegistry, method: str) -> list[tuple[str, Mapping[str, str]]]:
    """Path and headers of the requests of a method."""
    return [(path, headers) for asked, path, headers in registry.requests if asked == method]


def test_an_upload_that_breaks_off_is_tried_again(engine: Engine, client: DockerClient) -> None:
    with faulty_registry() as registry:
        accept(registry)
        registry.fault("session", lambda asked: asked.drop(), times=1)
        registry.fault("blobs/uploads/?", lambda asked: asked.say(503), times=0)
        registry.fault("blobs/uploads/", lambda asked: asked.say(503, more={"Retry-After": "0"}), times=1)
        events: list[Event] = []
        push(engine, client, f"{registry.address}/again:1", events.append)
        (config, layer) = [path for path, _ in requests_of(registry, "PUT") if "session" in path][-2:]
        assert config.count("?") == layer.count("?") == 1
        assert "state=a%2Fb&digest=sha256" in config
        totals = {event.total for event in events if event.step == "push" and event.done is not None}
        assert len(totals) == 1
        assert all((event.done or 0) <= (event.total or 0) for event in events if event.step == "push")


def test_a_registry_that_fails_for_good_is_said(engine: Engine, client: DockerClient) -> None:
    before = scratch()
    with faulty_registry() as registry:
        accept(registry)
        body = b'{"errors": [{"code": "DENIED", "message": "quota is used up"}]}'
        registry.fault(
            "manifests/1", lambda asked: asked.say(404 if asked.command == "HEAD" else 403, body, "application/json")
        )
        with pytest.raises(TerraError, match=r"pushing .*refused it: 403 Forbidden quota is used up"):
            push(engine, client, f"{registry.address}/full:1")
    assert scratch() == before


def test_credentials_stay_with_the_registry(
    engine: Engine, client: DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with faulty_registry() as registry, faulty_registry() as elsewhere:
        entry = {"auth": base64.b64encode(b"terra:secret").decode()}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.address: entry}}))
        accept(elsewhere)
        accept(registry, location=f"http://{elsewhere.address}/v2/store?x=1")
        basic = {"WWW-Authenticate": 'Basic realm="here"'}

        def ask_who(asked: Asked) -> bool:
            if "manifests/1" not in asked.path or "Authorization" in asked.headers:
                return False
            asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
            asked.say(401, more=basic)
            return True

        registry.faults.insert(0, ask_who)
        with pytest.raises(TerraError, match=f"leads to http://{elsewhere.address}, without TLS, which is not followed"):
            push(engine, client, f"{registry.address}/led:1")
        assert elsewhere.requests == []
        push(engine, client, f"{registry.address}/led:1", insecure=[elsewhere.address])
        assert requests_of(registry, "POST")
        assert all("authorization" in headers for _, headers in requests_of(registry, "POST"))
        assert requests_of(elsewhere, "PUT")
        assert not any("authorization" in headers for _, headers in requests_of(elsewhere, "PUT"))


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "http://user:secret@127.0.0.1/", "//[", "ftp://127.0.0.1/x"])
def test_an_upload_that_is_led_to_no_place(engine: Engine, client: DockerClient, location: str) -> None:
    with faulty_registry() as registry:
        accept(registry, location=location)
        with pytest.raises(TerraError) as caught:
            push(engine, client, f"{registry.address}/odd:1")
        assert "secret" not in str(caught.value)


def test_a_registry_that_took_something_else(engine: Engine, client: DockerClient) -> None:
    with faulty_registry() as registry:
        accept(registry)
        other = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}

        def answer(asked: Asked) -> None:
            asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
            asked.say(404 if asked.command == "HEAD" else 201, more=other)

        registry.fault("manifests/1", answer)
        with pytest.raises(TerraError, match=r"took sha256:0000.* where sha256:"):
            push(engine, client, f"{registry.address}/other:1")


def test_an_interrupted_upload_leaves_nothing_here(engine: Engine, client: DockerClient) -> None:
    before = scratch()

    def stop(event: Event) -> None:
        if event.step == "push" and event.done:
            raise InterruptedWork("asked to")

    with faulty_registry() as registry:
        accept(registry)
        with pytest.raises(InterruptedWork):
            push(engine, client, f"{registry.address}/stopped:1", stop)
        assert not [path for path, _ in requests_of(registry, "PUT") if "manifests" in path]
    assert scratch() == before


def test_tls_is_spoken_first_and_never_left_silently(engine: Engine, client: DockerClient, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=registry", "-addext"]
    run(["openssl", "req", *options, "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with faulty_registry(tls=context) as registry:
        accept(registry, location=f"http://{registry.address}/v2/down?x=1")
        # The engine goes to addresses of the loopback without a check: the certificate is taken, and so is the way down.
        with pytest.raises(TerraError):
            push(engine, client, f"{registry.address}/down:1")
        assert not requests_of(registry, "PUT")
