"""Pulling and pushing as registries.conf and auth.json say, with real registries."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.network import CONTROLLER, Network
from lab.podman import PodmanStorage
from lab.registry import Registry
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.errors import TerraError
from terra_core.oci import Layout
from terra_core.system.progress import Event
from terra_podman import plugin

BASE = "terra.test/base:1"
GUARDED = f"{CONTROLLER}:5001"
SECRET = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
"""The password ``secret``, as bcrypt has it."""


@pytest.fixture(scope="module")
def guarded(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Start a registry that asks for a password."""
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "htpasswd").write_text(f"terra:{SECRET}\n")
    auth = {"htpasswd": {"realm": "terra", "path": str(directory / "htpasswd")}}
    with Registry(network, directory / "images", port=5001, auth=auth) as registry:
        yield registry


@pytest.fixture(scope="module")
def pushed(podman: PodmanStorage, registry: Registry) -> str:
    """Push an image to the open registry as ``team/base:1``, and return its digest."""
    podman("tag", BASE, f"{registry.address}/team/base:1")
    podman("push", "--quiet", f"{registry.address}/team/base:1")
    raw = ["skopeo", "inspect", "--tls-verify=false", "--format={{.Digest}}", f"docker://{registry.address}/team/base:1"]
    return podman.inside(raw).text.strip()


@pytest.fixture(autouse=True)
def logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, podman: PodmanStorage) -> Path:
    """Nobody is logged in; registries.conf is the test's own."""
    path = tmp_path / "auth.json"
    path.write_text("{}")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    return path


def configure(tmp_path: Path, text: str) -> None:
    (tmp_path / "registries.conf").write_text(text)


def pull(network: Network, name: str, tmp_path: Path, events: list[Event] | None = None) -> str:
    session = Session(report=events.append if events is not None else lambda event: None)
    with network.inside(), plugin.pull_image(parse_image_reference(name), tmp_path / "layout", session) as source:
        return str(source.digest)


def entry(prefix: str, location: str, *more: str) -> str:
    lines = ["[[registry]]", f'prefix = "{prefix}"', f'location = "{location}"', *more]
    return "\n".join([*lines, ""])


def test_another_location(network: Network, registry: Registry, pushed: str, tmp_path: Path) -> None:
    configure(tmp_path, entry("docker.io/library", f"{registry.address}/team", "insecure = true"))
    assert pull(network, "base:1", tmp_path) == pushed
    assert str(Layout(tmp_path / "layout").image("base:1").digest) == pushed, "under the name that it was asked for by"
    with network.inside():
        found = plugin.inspect_image(parse_image_reference("base:1"), Session())
    assert str(found.digest) == pushed


@pytest.mark.parametrize("digest", [False, True], ids=["tag", "digest"])
def test_a_mirror_serves_where_the_registry_is_out_of_reach(
    network: Network, registry: Registry, pushed: str, tmp_path: Path, digest: bool
) -> None:
    mirrors = "".join(f'[[registry.mirror]]\nlocation = "{place}"\ninsecure = true\n' for place in (
        f"{CONTROLLER}:1/nowhere", f"{registry.address}/none", f"{registry.address}/team",
    ))  # fmt: skip
    configure(tmp_path, entry(f"{CONTROLLER}:2/far", f"{CONTROLLER}:2/far") + mirrors)
    name = f"{CONTROLLER}:2/far/base@{pushed}" if digest else f"{CONTROLLER}:2/far/base:1"
    events: list[Event] = []
    assert pull(network, name, tmp_path, events) == pushed
    assert str(Layout(tmp_path / "layout").image(name.partition("@")[2] or name).digest) == pushed


def test_a_mirror_for_digests_alone(network: Network, registry: Registry, pushed: str, tmp_path: Path) -> None:
    mirror = f'[[registry.mirror]]\nlocation = "{registry.address}/team"\ninsecure = true\npull-from-mirror = "digest-only"\n'
    configure(tmp_path, entry(f"{CONTROLLER}:2/far", f"{CONTROLLER}:2/far") + mirror)
    assert pull(network, f"{CONTROLLER}:2/far/base@{pushed}", tmp_path) == pushed
    with pytest.raises(TerraError, match=f"{CONTROLLER}:2"):
        pull(network, f"{CONTROLLER}:2/far/base:1", tmp_path)


def test_a_registry_that_is_blocked_is_neither_pulled_from_nor_pushed_to(
    network: Network, registry: Registry, pushed: str, tmp_path: Path, podman: PodmanStorage
) -> None:
    configure(tmp_path, entry(registry.address, registry.address, "insecure = true", "blocked = true"))
    reference = parse_image_reference(f"{registry.address}/team/base:1")
    with pytest.raises(TerraError, match=rf"{registry.address} is blocked in {tmp_path}/registries\.conf"):
        pull(network, str(reference), tmp_path)
    with network.inside(), pytest.raises(TerraError, match="is blocked in"):
        plugin.check_push(reference, Session())
    assert not (tmp_path / "layout").exists()


def test_without_tls_only_where_it_is_said(network: Network, registry: Registry, pushed: str, tmp_path: Path) -> None:
    configure(tmp_path, "")
    with pytest.raises(TerraError, match="speaks plain HTTP") as caught:
        pull(network, f"{registry.address}/team/base:1", tmp_path)
    assert f'location = "{registry.address}", insecure = true' in caught.value.hint


def test_a_push_and_a_pull_with_the_credentials_of_the_repository(
    network: Network, guarded: Registry, podman: PodmanStorage, tmp_path: Path, logins: Path
) -> None:
    configure(tmp_path, entry(GUARDED, GUARDED, "insecure = true"))
    reference, session = parse_image_reference(f"{GUARDED}/team/app:1"), Session()
    with network.inside(), pytest.raises(TerraError, match="asks for a user and a password") as caught:
        plugin.check_push(reference, session)
    assert caught.value.hint == f"log in: podman login {GUARDED}"
    wrong, right = (base64.b64encode(text.encode()).decode() for text in ("terra:wrong", "terra:secret"))
    logins.write_text(json.dumps({"auths": {GUARDED: {"auth": wrong}, f"{GUARDED}/team": {"auth": right}}}))
    image = podman("image", "inspect", "--format={{.Id}}", BASE).text.strip()
    with network.inside():
        plugin.check_push(reference, session)
        with plugin.save_image(image, tmp_path, session) as saved:
            digest = plugin.push_image(reference, saved, [], session)
    assert pull(network, str(reference), tmp_path) == digest
    with network.inside(), pytest.raises(TerraError, match="refused it"):
        plugin.check_push(parse_image_reference(f"{GUARDED}/others/app:1"), session)


def test_what_podman_login_wrote_and_a_credential_helper(
    network: Network, guarded: Registry, podman: PodmanStorage, tmp_path: Path, logins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path, entry(GUARDED, GUARDED, "insecure = true"))
    own = tmp_path / "own.json"
    podman("login", "--authfile", own, "--tls-verify=false", "--username=terra", "--password=secret", GUARDED)
    session = Session(tables={"podman": {"auth_file": str(own)}})
    with network.inside():
        plugin.check_push(parse_image_reference(f"{GUARDED}/team/app:1"), session)
    logins.write_text(json.dumps({"credHelpers": {GUARDED: "terra-nowhere"}}))
    with network.inside(), pytest.raises(TerraError, match="docker-credential-terra-nowhere") as caught:
        plugin.check_push(parse_image_reference(f"{GUARDED}/team/app:1"), Session())
    assert str(logins) in caught.value.message


def test_files_that_are_broken_are_named(network: Network, tmp_path: Path) -> None:
    configure(tmp_path, '[registries.insecure]\nregistries = ["a.example"]\n')
    with pytest.raises(TerraError, match=r"registries\.conf: registries: is version 1 of this file"):
        pull(network, "a.example/b:1", tmp_path)
