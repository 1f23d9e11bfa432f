"""What ``terra create`` does with an image between building and pushing it: labels, an SBOM, a test."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from docker import DockerClient

from lab.engine import Engine
from lab.network import Network
from lab.registry import Registry
from terra_core.system.process import clean_environment
from terra_core.system.waiting import wait_until
from terra_core.system.workspace import roomy
from terra_core.testing.tiny import write_tiny_root
from tests.integration.creating import BASE, Create

DATED = {"SOURCE_DATE_EPOCH": "1700000000"}
STATUS = (
    "RUN mkdir -p /var/lib/dpkg && echo 'Package: first\\nStatus: install ok installed\\nVersion: 1\\nArchitecture: all' "
    "> /var/lib/dpkg/status && echo ID=debian > /etc/os-release\n"
)


@pytest.fixture(scope="module")
def engine(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("base") / "root.tar"
    write_tiny_root(root)
    with Engine(tmp_path_factory.mktemp("engine"), network) as engine:
        engine.import_image(root, BASE, ['CMD ["/bin/sh"]'])
        yield engine


@pytest.fixture
def create(tmp_path: Path, engine: Engine, registry: Registry, network: Network) -> Create:
    return Create(tmp_path / "server", engine, registry, network, repository="checks", variables=DATED)


@pytest.fixture
def nothing_pushed(registry: Registry, network: Network) -> Iterator[None]:
    """Expect that the registry has no image of the test's afterwards."""
    yield
    with network.inside():
        answer = requests.get(f"http://{registry.address}/v2/checks/example/tags/list", timeout=10)
    assert answer.status_code == 404 or not answer.json()["tags"]


def containers(client: DockerClient) -> set[str]:
    """Return the ids of all containers."""
    return {container["Id"] for container in client.api.containers(all=True)}


def test_labels_say_what_the_image_is_made_of(create: Create, client: DockerClient) -> None:
    create.write("RUN true\n")
    stdout, _ = create()
    name, digest = stdout.split()
    assert client.images.get(name).id == digest, "what is printed is the digest of what was built"
    labels = client.images.get(name).labels
    assert labels["org.opencontainers.image.title"] == "example"
    assert labels["org.opencontainers.image.version"] == "6"
    assert labels["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
    assert labels["org.opencontainers.image.base.name"] == BASE
    assert re.fullmatch(r"[0-9.]+\S*", labels["terra.create.version"])
    first = labels["terra.server.sha256"]
    create.write("RUN true\n", version="7")
    other, _ = create()
    assert client.images.get(other.split()[0]).labels["terra.server.sha256"] != first


def test_the_digest_of_a_base_from_a_registry_is_a_label(
    create: Create, client: DockerClient, registry: Registry, network: Network
) -> None:
    base = f"{registry.address}/bases/one"
    client.images.get(BASE).tag(base, "1")
    (said,) = [line["aux"] for line in client.images.push(base, tag="1", stream=True, decode=True) if "aux" in line]
    client.images.remove(f"{base}:1")
    for _ in range(2):  # the first build has to pull it, the second has it
        create.write("RUN true\n", os=f"{base}:1")
        stdout, _ = create()
        labels = client.images.get(stdout.split()[0]).labels
        assert labels["org.opencontainers.image.base.digest"] == said["Digest"]


def test_one_machine_from_two_directories_is_one_manifest(
    tmp_path: Path, engine: Engine, registry: Registry, network: Network
) -> None:
    pushed = set()
    for number, name in enumerate(("one", "two")):
        create = Create(tmp_path / name, engine, registry, network, variables=DATED)
        create.write("COPY motd /etc/motd\nRUN echo made > /made\n", repo=f"{registry.address}/same")
        (create.directory / "motd").write_text("welcome\n")
        os.utime(create.directory / "motd", (1_750_000_000 + number, 1_750_000_000 + number))
        stdout, _ = create("--push", "--no-cache")
        pushed.add(stdout)
    assert len(pushed) == 1


@pytest.mark.parametrize("suffix", ["cdx.json", "spdx.json"])
def test_a_bill_of_materials_is_what_the_last_layer_says(create: Create, tmp_path: Path, suffix: str) -> None:
    second = "\\nPackage: second\\nStatus: install ok installed\\nVersion: 2\\nArchitecture: all"
    create.write(f"{STATUS}RUN echo '{second}' >> /var/lib/dpkg/status\n")
    path = tmp_path / f"bom.{suffix}"
    _, stderr = create("--sbom", path)
    assert f"wrote {path}: 2 packages" in stderr
    text = path.read_text()
    assert "pkg:deb/debian/first@1?arch=all&distro=debian" in text
    assert "pkg:deb/debian/second@2?arch=all&distro=debian" in text
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    create("--sbom", path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    json.loads(text)


@pytest.mark.usefixtures("nothing_pushed")
def test_an_image_without_a_package_database(create: Create, tmp_path: Path) -> None:
    create.write(f"{STATUS}RUN rm -r /var/lib/dpkg\n")
    _, stderr = create("--sbom", tmp_path / "bom.json", "--push", accept=1)
    assert "has no packages in its dpkg database" in stderr
    assert not (tmp_path / "bom.json").exists()


@pytest.mark.usefixtures("nothing_pushed")
def test_an_image_whose_init_ends_at_once_fails_its_test(create: Create, client: DockerClient) -> None:
    create.write("RUN echo '#!/bin/sh\\necho the last words; exit 3' > /init && chmod 755 /init\n", init="/init")
    before = containers(client)
    _, stderr = create("--test=container", "--push", accept=1)
    assert "the test failed: its system did not come up in time" in stderr
    assert "the last words" in stderr
    assert containers(client) == before


@pytest.mark.usefixtures("nothing_pushed")
def test_a_system_that_never_comes_up_fails_in_time(create: Create, client: DockerClient) -> None:
    create.write("RUN echo '#!/bin/sh\\nexec sleep 600' > /init && chmod 755 /init\n", init="/init")
    before = containers(client)
    _, stderr = create("--test=container", "--test-timeout", "3", "--push", accept=1)
    assert "did not come up in time" in stderr
    assert containers(client) == before


@pytest.mark.usefixtures("nothing_pushed")
def test_an_image_without_a_kernel_boots_no_machine(create: Create) -> None:
    create.write("RUN true\n")
    before = set(roomy().glob("terra-trial-*"))
    _, stderr = create("--test", "--push", accept=1)
    assert "has no kernel" in stderr
    assert "--test=container" in stderr
    assert set(roomy().glob("terra-trial-*")) <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_test_leaves_no_container(create: Create, client: DockerClient, number: signal.Signals) -> None:
    create.write("RUN echo '#!/bin/sh\\nexec sleep 600' > /init && chmod 755 /init\n", init="/init")
    create()
    before = containers(client)
    child = subprocess.Popen(
        create.words("--test=container"),
        env=clean_environment(create.environment),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_listening,
    )
    wait_until(lambda: containers(client) - before, seconds=60, what="the container to be made")
    child.send_signal(number)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    assert containers(client) == before


def _listening() -> None:
    """Restore SIGINT, which a shell that runs the tests in the background has set to be ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("userland", "said"),
    [
        ("FROM terra.test/base:1\nRUN echo second > /stage\n", "begins another image"),
        ("  from terra.test/base:1 as second\n", "begins another image"),
        ("COPY --from=terra.test/base:1 /bin/cat /copied\nRUN echo FROM here\n# FROM x\n", ""),
        ("\tRUN\techo one > /one\r\nRUN echo \"grüße ☃\" > \"/ünï ☃\"\r\n", ""),
        ("RUN echo one \\\n  # between\n  two > /joined\n", ""),
        ("ONBUILD RUN echo later > /later\n", ""),
        ("RUN --mount=type=tmpfs,target=/x echo mounted > /mounted\n", ""),
        ("COPY --from=terra.test/base:1 /not/there /copied\n", "file does not exist"),
        ("RUN echo never ended \\\n", "userland"),
    ],
)
def test_userlands_of_every_shape(create: Create, client: DockerClient, userland: str, said: str) -> None:
    create.write(userland)
    if said:
        _, stderr = create(accept=2 if said == "userland" else 1)
        assert said in stderr
        assert "--context" not in stderr, "no file of the context is missing"
        return
    stdout, _ = create()
    image = client.images.get(stdout.split()[0])
    assert image.attrs["Config"]["Cmd"] == ["/sbin/init"], "what Terra adds is in the last stage"
    assert image.labels["terra.hostname"] == "example"


def test_a_here_document_is_for_an_engine_that_knows_it(create: Create, client: DockerClient) -> None:
    create.write("RUN <<END\necho here > /here\nEND\nRUN test -s /here\n")
    if int(client.version()["Version"].partition(".")[0]) >= 23:
        stdout, _ = create()
        assert client.images.get(stdout.split()[0])
    else:
        _, stderr = create(accept=1)
        assert "BuildKit of an engine before 23 knows no here-documents" in stderr


@pytest.mark.parametrize(("length", "code"), [(63, 0), (64, 2), (65, 2)])
def test_long_host_names(create: Create, client: DockerClient, length: int, code: int) -> None:
    create.write("RUN true\n", hostname="h" * length)
    stdout, stderr = create(accept=code)
    if code == 0:
        assert client.images.get(stdout.split()[0])
    else:
        assert "hostname" in stderr
