"""``terra create`` with Podman alone, and its image beside the one of a Docker Engine."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.network import Network
from lab.podman import PodmanStorage
from lab.registry import Registry
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.hookspecs import Registry as RegistryRole
from terra_core.image import apply_layers
from terra_core.oci import Layout
from terra_core.plugins import Plugins
from terra_core.testing.tiny import write_tiny_root
from tests.integration.creating import BASE, Create

USERLAND = """\
COPY --chown=1000:1000 tool /usr/local/bin/
COPY links /srv/links
RUN mkdir -p /srv/data && chmod 2750 /srv/data && echo made > /srv/data/file
RUN touch /etc/removed && rm /etc/removed /bin/dd
ENV WHERE=here
"""
PODMAN = '\n[plugins]\n  builder = "podman"\n  registry = "podman"\n'
REST = """
[netplan]
  [[netplan.interfaces]]
    name = "eth0"
[resolvconf]
  nameservers = ["8.8.8.8"]
[ssh]
  keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAabcdefghijklmnopqrstuvwxyz0123456789ABCDEF me@here"]
"""


@pytest.fixture(scope="module")
def engine(network: Network, podman: PodmanStorage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Start a Docker Engine with the same base, for the comparison alone."""
    root = tmp_path_factory.mktemp("base") / "root.tar"
    write_tiny_root(root)
    with Engine(tmp_path_factory.mktemp("engine"), network) as engine:
        engine.import_image(root, BASE, ['CMD ["/bin/sh"]'])
        yield engine


def creating(directory: Path, podman: PodmanStorage, registry: Registry, network: Network, engine: Engine | None) -> Create:
    directory.mkdir()
    (directory / "tool").write_text("#!/bin/sh\n")
    (directory / "tool").chmod(0o755)
    (directory / "links").mkdir()
    (directory / "links/link").symlink_to("../somewhere")
    name = "docker" if engine else "podman"
    return Create(directory, engine, registry, network, repository=name, variables=podman.environment)


def fetched(registry: Registry, network: Network, name: str, directory: Path) -> tuple[dict[str, object], dict[str, object]]:
    """Return the tree of an image in the registry, as core reads it, and its configuration."""
    role = Plugins.discover().fill(RegistryRole, {"registry": "podman"}, source="test")
    root = directory / "root"
    root.mkdir(parents=True)
    with network.inside(), role.pull_image(parse_image_reference(name), directory / "layout", Session()) as source:
        digest = str(source.digest)
    image = Layout(directory / "layout").image(digest)
    assert digest == name.partition("@")[2]
    apply_layers(image, root)
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        mode = None if path.is_symlink() else stat.S_IMODE(status.st_mode)
        found[str(path.relative_to(root))] = (content, mode, status.st_uid, status.st_gid)
    return found, json.loads(image.config_document)


def test_an_image_is_what_a_docker_engine_makes_of_the_same_file(
    podman: PodmanStorage, registry: Registry, network: Network, tmp_path: Path, engine: Engine
) -> None:
    trees, configs = [], []
    for made_by in (None, engine):
        create = creating(tmp_path / ("engine" if made_by else "alone"), podman, registry, network, made_by)
        more = "[docker]\n" if made_by else ""
        create.write(USERLAND, ("" if made_by else PODMAN) + REST + more, init="/sbin/init")
        stdout, stderr = create("--push")
        assert re.fullmatch(rf"{registry.address}/(docker|podman)/example:6@sha256:[0-9a-f]{{64}}\n", stdout)
        assert "Step 1/" in stderr
        if made_by is None:
            again, _ = create("--push", "--no-cache")
            assert again == stdout, "the same file and base give the same image"
        tree, config = fetched(registry, network, stdout.strip(), tmp_path / "fetched" / str(bool(made_by)))
        trees.append(tree)
        configs.append(config)
    ours, docker = trees
    assert ours.keys() ^ docker.keys() <= {"dev", "proc", "sys"}, "what RUN mounts on, where the base has none"
    assert {path: (ours[path], docker[path]) for path in ours.keys() & docker.keys() if ours[path] != docker[path]} == {}
    ours_said, docker_said = (config["config"] for config in configs)
    assert isinstance(ours_said, dict)
    assert isinstance(docker_said, dict)
    own = {"terra.builder", "terra.server.sha256", "org.opencontainers.image.created", "terra.lab.source"}
    labels, theirs = ours_said.pop("Labels"), docker_said.pop("Labels")
    assert {name: text for name, text in labels.items() if name not in own} == {
        name: text for name, text in theirs.items() if name not in own
    }
    assert ours_said == docker_said


def test_a_base_that_a_registry_has_and_a_component(
    podman: PodmanStorage, registry: Registry, network: Network, tmp_path: Path
) -> None:
    create = creating(tmp_path / "alone", podman, registry, network, None)
    name = f"{registry.address}/bases/tiny:1"
    podman("tag", BASE, name)
    podman("push", "--quiet", name)
    podman("rmi", name)
    digest = podman.inside(["skopeo", "inspect", "--tls-verify=false", "--format={{.Digest}}", f"docker://{name}"]).text.strip()
    create.write("RUN true\n", f'components = ["{BASE}"]\n{PODMAN}', os=name)
    stdout, stderr = create()
    assert f"Trying to pull {name}" in stderr
    labels = json.loads(podman("image", "inspect", "--format={{json .Labels}}", stdout.split()[0]).text)
    assert labels["org.opencontainers.image.base.name"] == name
    assert labels["org.opencontainers.image.base.digest"] == digest
    create.write("RUN true\n", PODMAN, os=f"{registry.address}/bases/none:1")
    with podman.nothing_left():
        _, stderr = create(accept=1)
    assert f"the registry {registry.address} has no such image" in stderr
    assert "Traceback" not in stderr


def test_our_files_get_in_whatever_dockerignore_says(
    podman: PodmanStorage, registry: Registry, network: Network, tmp_path: Path
) -> None:
    create = creating(tmp_path / "alone", podman, registry, network, None)
    (create.directory / ".dockerignore").write_text("*\n!kept\n")
    (create.directory / "kept").write_text("kept")
    (tmp_path / "secret").write_text("not for the image")
    (create.directory / "link").symlink_to(tmp_path / "secret")
    names = '"$(echo /context/* /context/.[!.]*)"'
    create.write(f'COPY . /context/\nRUN [ {names} = "/context/kept /context/.terra" ]\n', PODMAN)
    create("--no-cache")
    (create.directory / ".dockerignore").unlink()
    create.write("ADD link /stolen\n", PODMAN)
    with podman.nothing_left():
        _, stderr = create("--no-cache", accept=1)
    assert "ADD link /stolen, failed" in stderr
    (create.directory / ".containerignore").write_text("secret\n")
    _, stderr = create(accept=1)
    assert ".containerignore: is not read" in stderr


def test_the_test_of_an_image_that_has_no_systemd(
    podman: PodmanStorage, registry: Registry, network: Network, tmp_path: Path
) -> None:
    create = creating(tmp_path / "alone", podman, registry, network, None)
    create.write('CMD ["/bin/sh", "-c", "echo no system here"]\n', PODMAN)
    before = podman.there()[1]
    _, stderr = create("--test=container", accept=1)
    assert "no system here" in stderr
    assert podman.there()[1] == before
