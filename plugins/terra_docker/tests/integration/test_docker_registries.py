"""Pushing to, and pulling from, real registries: plain, with TLS, with a password, and ones that are not there."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
from docker import DockerClient

from lab.engine import Engine
from lab.images import push_to_registry
from lab.network import CONTROLLER, Network
from lab.registry import Registry
from terra_core.config.session import Session
from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.errors import InterruptedWork, NotFoundError, TerraError
from terra_core.oci import Layout
from terra_core.system.locks import try_lock
from terra_core.system.process import run
from terra_core.system.progress import Event, Report, silent
from terra_docker import plugin

BASE = "terra.test/base:1"


@pytest.fixture
def push(engine: Engine, client: DockerClient) -> Push:
    return Push(engine, client)


class Push:
    """Tags the base image and pushes it."""

    def __init__(self, engine: Engine, client: DockerClient) -> None:
        self._engine = engine
        self._client = client

    def __call__(self, name: str, report: Report = silent) -> str:
        reference = parse_image_reference(name)
        self._client.images.get(BASE).tag(f"{reference.registry}/{reference.path}", reference.tag)
        session = Session(tables={"docker": {"engine": self._engine.host}}, report=report)
        with self._engine.inside():
            return push_to_registry(name, reference, session)


def pull(
    network: Network, name: str | ImageReference, layout: Path, *, insecure: tuple[str, ...] = (), report: Report = silent
) -> str:
    """Pull from within the network."""
    reference = parse_image_reference(name) if isinstance(name, str) else name
    session = Session(tables={"docker": {"insecure": list(insecure)}}, report=report)
    with network.inside(), plugin.pull_image(reference, layout, session) as source:
        return str(source.digest)


def test_push_tells_bytes_and_gives_the_digest_of_the_registry(push: Push, registry: Registry, network: Network) -> None:
    events: list[Event] = []
    digest = push(f"{registry.address}/pushed:1", events.append)
    raw = run(network.command(["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{registry.address}/pushed:1"]))
    name = f"docker://{registry.address}/pushed@{digest}"
    assert run(network.command(["skopeo", "inspect", "--tls-verify=false", "--raw", name])).stdout == raw.stdout
    assert {event.step for event in events} == {"ask", "save", "push"}
    last = events[-1]
    assert last.done == last.total
    assert (last.total or 0) > 1_000_000
    assert all((event.done or 0) <= event.total for event in events if event.total is not None)
    again: list[Event] = []
    assert push(f"{registry.address}/pushed:1", again.append) == digest
    assert again[-1].total == 0, "what the registry has is not sent again"


def test_push_of_what_the_engine_does_not_have(engine: Engine, registry: Registry) -> None:
    session, name = Session(tables={"docker": {"engine": engine.host}}), f"{registry.address}/never/built:1"
    with engine.inside(), pytest.raises(TerraError, match=f"{name}: the engine does not give the image"):
        push_to_registry(name, parse_image_reference(name), session)


def test_push_by_digest_is_refused(engine: Engine) -> None:
    with pytest.raises(TerraError, match="under a tag"):
        plugin.check_push(parse_image_reference(f"a/b@sha256:{'0' * 64}"), Session(tables={"docker": {"engine": engine.host}}))


def test_push_where_nobody_answers(push: Push) -> None:
    with pytest.raises(TerraError, match=r"10\.0\.10\.3:5999 does not answer.*connection refused"):
        push(f"{CONTROLLER}:5999/nobody:1")


def test_push_to_plain_http_that_the_engine_does_not_trust(push: Push, network: Network, tmp_path: Path) -> None:
    with Registry(network, tmp_path / "registry", port=5010) as other:
        address = other.address
        with pytest.raises(TerraError, match="speaks plain HTTP") as caught:
            push(f"{address}/plain:1")
        assert f'[docker] insecure = ["{address}"]' in caught.value.hint


def test_an_interrupted_push_ends(push: Push, registry: Registry) -> None:
    def stop(event: Event) -> None:
        raise InterruptedWork("asked to")

    with pytest.raises(InterruptedWork):
        push(f"{registry.address}/interrupted:1", stop)


def test_pull_brings_what_was_pushed_and_nothing_twice(
    push: Push, registry: Registry, network: Network, tmp_path: Path
) -> None:
    push(f"{registry.address}/pulled:1")
    name, trusted, layout = f"{registry.address}/pulled:1", (registry.address,), tmp_path / "new" / "layout"
    layout.parent.mkdir()
    events: list[Event] = []
    digest = pull(network, name, layout, insecure=trusted, report=events.append)
    raw = run(network.command(["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{name}"])).stdout
    assert digest == f"sha256:{hashlib.sha256(raw).hexdigest()}", "the digest is the registry's own"
    there = Layout(layout)
    manifest = there.manifest(there.resolve(digest))
    for blob in (manifest.config, *manifest.layers):
        there.verify(blob)
    assert events[-1].done == events[-1].total == sum(layer.size for layer in manifest.layers)
    before = {path: path.stat().st_mtime_ns for path in layout.rglob("*")}
    assert pull(network, name, layout, insecure=trusted) == digest
    assert {path: path.stat().st_mtime_ns for path in layout.rglob("*")} == before

    damaged = layout / "blobs/sha256" / manifest.layers[0].digest.encoded
    with damaged.open("r+b") as file:
        file.truncate(1000)
    assert pull(network, name, layout, insecure=trusted) == digest
    there.verify(manifest.layers[0])


def test_a_tag_that_moves_is_followed_and_both_images_stay(
    push: Push, registry: Registry, network: Network, client: DockerClient, engine: Engine, tmp_path: Path
) -> None:
    name, trusted, layout = f"{registry.address}/moves:1", (registry.address,), tmp_path / "layout"
    push(name)
    first = pull(network, name, layout, insecure=trusted)
    container = client.containers.create(BASE, "true", network_mode="none")
    try:
        container.commit(f"{registry.address}/moves", "1", message="moved")
    finally:
        container.remove()
    with network.inside():
        moved = push_to_registry(name, parse_image_reference(name), Session(tables={"docker": {"engine": engine.host}}))
    second = pull(network, name, layout, insecure=trusted)
    assert second != first
    assert pull(network, f"{registry.address}/moves@{moved}", layout, insecure=trusted) == second == moved
    assert Layout(layout).resolve(first).digest != Layout(layout).resolve(second).digest


def test_pull_of_what_is_not_there(registry: Registry, network: Network, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="has no such image"):
        pull(network, f"{registry.address}/never/pushed:1", tmp_path / "layout", insecure=(registry.address,))
    assert not (tmp_path / "layout").exists()


def test_plain_http_only_where_it_was_asked_for(push: Push, registry: Registry, network: Network, tmp_path: Path) -> None:
    push(f"{registry.address}/plain:1")
    with pytest.raises(TerraError, match="speaks plain HTTP") as caught:
        pull(network, f"{registry.address}/plain:1", tmp_path / "layout")
    assert f'[docker] insecure = ["{registry.address}"]' in caught.value.hint
    with pytest.raises(TerraError, match="speaks plain HTTP"):
        pull(network, f"{registry.address}/plain:1", tmp_path / "layout", insecure=(CONTROLLER, "10.0.10.3:5001"))
    assert not (tmp_path / "layout").exists()


def test_pull_where_nobody_answers(network: Network, tmp_path: Path) -> None:
    with pytest.raises(TerraError, match=r"10\.0\.10\.3:5999 does not answer.*connection refused"):
        pull(network, f"{CONTROLLER}:5999/nobody:1", tmp_path / "layout")


def test_a_certificate_that_is_not_trusted_is_refused(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=registry", "-addext"]
    run(["openssl", "req", *options, f"subjectAltName=IP:{CONTROLLER}", "-keyout", key, "-out", certificate])
    tls = {"certificate": str(certificate), "key": str(key)}
    with Registry(network, tmp_path / "registry", port=5011, tls=tls) as other:
        address = other.address
        with pytest.raises(TerraError, match=r"the certificate of .* is not trusted") as caught:
            pull(network, f"{address}/tls:1", tmp_path / "layout")
        assert f"/etc/docker/certs.d/{address}/ca.crt" in caught.value.hint
        with pytest.raises(NotFoundError):
            pull(network, f"{address}/tls:1", tmp_path / "layout", insecure=(address,))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(NotFoundError):
            pull(network, f"{address}/tls:1", tmp_path / "layout")


def test_a_password_is_asked_for_and_taken_from_docker_login(
    push: Push, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users"
    users.write_text("terra:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n")
    auth = {"htpasswd": {"realm": "terra", "path": str(users)}}
    with Registry(network, tmp_path / "registry", port=5012, auth=auth) as other:
        address = other.address
        with pytest.raises(TerraError, match="refused it") as caught:
            pull(network, f"{address}/private:1", tmp_path / "layout", insecure=(address,))
        assert caught.value.hint == f"log in: docker login {address}"
        token = base64.b64encode(b"terra:secret").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {address: {"auth": token}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with pytest.raises(NotFoundError):
            pull(network, f"{address}/private:1", tmp_path / "layout", insecure=(address,))


def test_an_image_for_another_machine(registry: Registry, network: Network, tmp_path: Path) -> None:
    source = tmp_path / "source"
    run(["umoci", "init", "--layout", source])
    run(["umoci", "new", "--image", f"{source}:1"])
    run(["umoci", "config", "--image", f"{source}:1", "--architecture", "s390x", "--os", "linux"])
    name = f"{registry.address}/foreign:1"
    run(network.command(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{source}:1", f"docker://{name}"]))
    with pytest.raises(NotFoundError, match="not built for linux/") as caught:
        pull(network, name, tmp_path / "layout", insecure=(registry.address,))
    assert "linux/s390x" in caught.value.hint


def test_a_pull_that_is_interrupted_at_once_leaves_nothing(registry: Registry, network: Network, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        raise InterruptedWork("asked to")

    with pytest.raises(InterruptedWork):
        pull(network, f"{registry.address}/stopped:1", tmp_path / "layout", insecure=(registry.address,), report=stop)
    assert not (tmp_path / "layout").exists()


def test_two_pulls_into_one_layout(push: Push, registry: Registry, network: Network, tmp_path: Path) -> None:
    name, layout = f"{registry.address}/both:1", tmp_path / "layout"
    push(name)
    digests: list[str] = []

    def one() -> None:
        digests.append(pull(network, name, layout, insecure=(registry.address,)))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(digests) == 4
    assert len(set(digests)) == 1
    there = Layout(layout)
    for layer in there.manifest(there.resolve(digests[0])).layers:
        there.verify(layer)


def test_a_pull_that_waits_for_another_can_be_interrupted(
    push: Push, registry: Registry, network: Network, tmp_path: Path
) -> None:
    name, layout = f"{registry.address}/waits:1", tmp_path / "layout"
    push(name)
    layout.mkdir()

    def stop(event: Event) -> None:
        if event.text.startswith("pulling"):
            raise InterruptedWork("asked to")

    holder = os.open(layout, os.O_RDONLY)
    try:
        assert try_lock(holder)
        with pytest.raises(InterruptedWork):
            pull(network, name, layout, insecure=(registry.address,), report=stop)
    finally:
        os.close(holder)
    assert list(layout.iterdir()) == []
