"""Pushing to, and pulling from, real registries: plain, with TLS, with a password, and ones that are not there."""

from __future__ import annotations

import base64
import json
import os
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
