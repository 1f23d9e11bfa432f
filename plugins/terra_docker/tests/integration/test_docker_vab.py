"""``vab`` on a real engine: every kind of output, both builders, and nothing left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from lab.containers import nothing_left
from lab.engine import Engine
from lab.network import Network
from lab.registry import Registry
from terra_core.system.process import Argument, run
from terra_core.system.waiting import wait_until

BASE = "terra.test/base:1"
VAB = Path(sys.executable).parent / "vab"
PROGRAMS = "RUN echo $WHO > /who && chmod 4750 /who && mkdir /private && chmod 700 /private && echo in > /private/file\n"
BUILDKIT = "COPY --chmod=0640 data /data\nRUN --mount=type=tmpfs,target=/scratch touch /scratch/x && echo out > /made\n"


class Vab:
    """Runs ``vab`` as a user does.

    :param directory: the context.
    """

    def __init__(self, directory: Path, engine: Engine, network: Network) -> None:
        self.directory = directory
        self.environment = {"DOCKER_HOST": engine.host, "SOURCE_DATE_EPOCH": "1700000000"}
        self._network = network

    def dockerfile(self, lines: str, base: str = BASE) -> None:
        """Write the Dockerfile."""
        (self.directory / "Dockerfile").write_text(f"FROM {base}\nARG WHO=nobody\n{lines}")

    def words(self, *words: Argument) -> list[Argument]:
        """Return the command line."""
        return [VAB, *words]

    def __call__(self, *words: Argument, accept: int = 0) -> tuple[bytes, str]:
        """Run it in the network, where the registry is; return standard output and standard error."""
        inside = self._network.command(self.words(*words))
        done = run(inside, env=self.environment, accept=(accept,), timeout=300)
        return done.stdout, done.stderr.decode()

    def build(self, *options: Argument, accept: int = 0) -> tuple[bytes, str]:
        """Run ``vab build`` on the context."""
        return self("build", "--context", self.directory, *options, accept=accept)


@pytest.fixture
def vab(context: Path, engine: Engine, network: Network) -> Vab:
    (context / "data").write_text("data\n")
    return Vab(context, engine, network)


def layers(archive: Path) -> list[str]:
    """Return the digests of an OCI archive's layers."""
    with tarfile.open(archive) as content:

        def document(name: str) -> Any:
            file = content.extractfile(name)
            assert file is not None
            return json.load(file)

        index = document("index.json")
        assert document("oci-layout") == {"imageLayoutVersion": "1.0.0"}
        (listed,) = index["manifests"]
        manifest = document(f"blobs/sha256/{listed['digest'].removeprefix('sha256:')}")
        return [layer["digest"] for layer in manifest["layers"]]


def test_to_the_engine(vab: Vab, client: DockerClient) -> None:
    vab.dockerfile(PROGRAMS)
    stdout, stderr = vab.build("-r", "terra.test/vab:1", "-a", "WHO=me and = you")
    image = client.images.get("terra.test/vab:1")
    assert stdout.decode() == f"terra.test/vab:1 {image.id}\n"
    assert "Step 3/5" in stderr, "a step for each label, since the Dockerfile is of the context"
    assert client.containers.run(image, ["cat", "/who"], network_mode="none", remove=True) == b"me and = you\n"
    assert image.labels["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"


def test_to_a_registry_by_plain_http(vab: Vab, registry: Registry) -> None:
    vab.dockerfile(PROGRAMS)
    reference = f"{registry.address}/vab/http:1"
    first, _ = vab.build("-r", reference, "--push", "--http")
    found = re.fullmatch(rf"{reference}@(sha256:[0-9a-f]{{64}})\n", first.decode())
    assert found
    second, _ = vab.build("-r", reference, "--push", "--http", "--no-cache")
    assert first == second, "what is uploaded depends on what it was made of, and on nothing else"


def test_to_a_registry_by_the_engine(vab: Vab, registry: Registry) -> None:
    vab.dockerfile(PROGRAMS)
    stdout, _ = vab.build("-r", f"{registry.address}/vab/push:1", "-p")
    assert re.fullmatch(r"\S+/vab/push:1@sha256:[0-9a-f]{64}\n", stdout.decode())


@pytest.mark.parametrize("lines", [PROGRAMS, BUILDKIT])
def test_to_a_directory(vab: Vab, client: DockerClient, tmp_path: Path, lines: str) -> None:
    vab.dockerfile(f"{lines}RUN chmod 4711 /bin/cat\n")
    tree = tmp_path / "tree"
    with nothing_left(client):
        vab.build("--local", "--output", tree, "--no-cache")
    assert (tree / "bin/cat").stat().st_mode & 0o7777 == 0o4711
    assert (tree / "home/terra").stat().st_uid == 1000
    assert (tree / "etc/resolv.conf").readlink() == Path("../run/systemd/resolve/stub-resolv.conf")
    if lines == PROGRAMS:
        assert (tree / "private").stat().st_mode & 0o7777 == 0o700
        assert (tree / "private/file").read_text() == "in\n"
    else:
        assert (tree / "data").stat().st_mode & 0o7777 == 0o640
        assert (tree / "made").read_text() == "out\n"


def test_a_directory_that_is_not_empty_is_left_alone(vab: Vab, client: DockerClient, tmp_path: Path) -> None:
    vab.dockerfile(PROGRAMS)
    (tmp_path / "mine").write_text("mine")
    with nothing_left(client):
        _, stderr = vab.build("--local", "--output", tmp_path, accept=1)
    assert "is not empty" in stderr


def test_an_archive_that_cannot_be_written(vab: Vab, client: DockerClient, tmp_path: Path) -> None:
    vab.dockerfile(PROGRAMS)
    with nothing_left(client):
        _, stderr = vab.build("--oci", "--output", tmp_path / "nowhere/image.tar", accept=1)
        assert "there is no directory" in stderr
        assert "Step" not in stderr, "nothing is built before"
        with Path("/dev/full").open("wb") as full:
            words = vab.words("build", "-c", vab.directory, "--oci", "--no-cache")
            done = subprocess.run(
                words, env={**os.environ, **vab.environment}, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
    assert done.returncode == 1
    assert "the archive cannot be written: No space left on device" in done.stderr


def test_an_archive_takes_the_place_of_a_file_and_of_nothing_else(vab: Vab, tmp_path: Path) -> None:
    vab.dockerfile(PROGRAMS)
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "read").open("wb") as out, subprocess.Popen(["/bin/cat", tmp_path / "pipe"], stdout=out):
        vab.build("--oci", "--output", tmp_path / "pipe")
    vab.build("--oci", "--output", tmp_path / "link")
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == (tmp_path / "read").read_bytes()
    assert tarfile.is_tarfile(tmp_path / "file")


def test_a_tree_that_cannot_be_written(vab: Vab, client: DockerClient) -> None:
    vab.dockerfile(PROGRAMS)
    with nothing_left(client):
        _, stderr = vab.build("--local", "--output", "/proc/nowhere", "--no-cache", accept=1)
    assert "/proc/nowhere: cannot be written" in stderr


def test_to_an_archive_that_others_read(vab: Vab, client: DockerClient, tmp_path: Path) -> None:
    vab.dockerfile(PROGRAMS)
    archive = tmp_path / "image.tar"
    with nothing_left(client):
        vab.build("--oci", "--output", archive, "--no-cache")
        stdout, _ = vab.build("--oci", "--no-cache")
    assert stdout == archive.read_bytes(), "a pipe gets the same bytes as a file"
    run(["skopeo", "copy", f"oci-archive:{archive}", f"dir:{tmp_path / 'copied'}"])
    assert len(layers(archive)) == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_same_inputs_in_another_directory_are_the_same_layers(
    vab: Vab, engine: Engine, network: Network, tmp_path: Path
) -> None:
    archives = []
    for name, times in (("one", 1_700_000_100), ("two", 1_750_000_000)):
        other = tmp_path / name
        (other / "sub").mkdir(parents=True)
        (other / "sub/file").write_text("content\n")
        os.utime(other / "sub/file", (times, times))
        again = Vab(other, engine, network)
        again.dockerfile("COPY sub /new/sub\nCOPY sub/file /etc/file\nRUN echo made > /made\n")
        archives.append(tmp_path / f"{name}.tar")
        again.build("--oci", "--output", archives[-1], "--no-cache")
    assert layers(archives[0]) == layers(archives[1])
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_nothing_is_exported_when_dry(vab: Vab, client: DockerClient) -> None:
    vab.dockerfile(PROGRAMS)
    with nothing_left(client):
        stdout, _ = vab.build("--dry", "-r", "terra.test/dry:1", "--push", "--no-cache")
    assert stdout.startswith(b"- sha256:")


@pytest.mark.parametrize("builder", ["auto", "buildkit"])
def test_buildkit_does_what_the_classic_builder_cannot(vab: Vab, client: DockerClient, builder: str) -> None:
    vab.dockerfile(BUILDKIT)
    vab.build("-r", "terra.test/vab:2", "--builder", builder)
    command = ["ls", "-l", "/data", "/made"]
    assert b"-rw-r-----" in client.containers.run("terra.test/vab:2", command, network_mode="none", remove=True)


def test_the_classic_builder_says_what_it_cannot(vab: Vab, client: DockerClient) -> None:
    vab.dockerfile(BUILDKIT)
    with nothing_left(client):
        _, stderr = vab.build("-r", "terra.test/vab:3", "--builder", "classic", accept=1)
    assert "Dockerfile line 3: COPY --chmod needs BuildKit" in stderr
    assert "--builder auto" in stderr


def test_no_docker_command_that_speaks_buildkit(vab: Vab, tmp_path: Path) -> None:
    vab.dockerfile(BUILDKIT)
    program = tmp_path / "docker"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Docker version 99.0.1, build 0" && exit\nexit 1\n')
    program.chmod(0o755)
    words = ["env", f"PATH={tmp_path}", *vab.words("build", "-c", vab.directory, "-r", "terra.test/vab:4")]
    stderr = run(words, env=vab.environment, accept=(1,)).stderr.decode()
    assert f"{program} has no buildx" in stderr
    assert "docker-buildx-plugin" in stderr


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
@pytest.mark.parametrize("ending", ["", "\n", " \\\n# end\n", "\r\n"])
def test_the_build_sees_the_dockerfile_as_it_is(vab: Vab, tmp_path: Path, builder: str, ending: str) -> None:
    (vab.directory / "Dockerfile").write_bytes(f"FROM {BASE}\nCOPY . /src/{ending}".encode())
    vab.build("--local", "--output", tmp_path / "tree", "--builder", builder)
    seen, own = tmp_path / "tree/src/Dockerfile", vab.directory / "Dockerfile"
    assert seen.read_bytes() == own.read_bytes()
    assert sorted(path.name for path in seen.parent.iterdir()) == ["Dockerfile", "data"]


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_a_failed_step_shows_what_the_engine_said(vab: Vab, client: DockerClient, builder: str) -> None:
    vab.dockerfile("RUN echo fine > /a\nRUN echo the reason is this; exit 3\nRUN echo never\n")
    with nothing_left(client):
        stdout, stderr = vab.build("-r", "terra.test/vab:5", "--builder", builder, "--no-cache", accept=1)
    assert stdout == b""
    assert "RUN echo the reason is this; exit 3, failed" in stderr
    assert "\nthe reason is this\n" in stderr
    assert "never" not in stderr


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_a_file_that_the_context_does_not_have(vab: Vab, client: DockerClient, builder: str) -> None:
    vab.dockerfile("COPY not-there /etc/\n")
    with nothing_left(client):
        _, stderr = vab.build("-r", "terra.test/vab:6", "--builder", builder, accept=1)
    assert "COPY not-there /etc/" in stderr
    assert "--context" in stderr


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing(vab: Vab, client: DockerClient, builder: str, number: signal.Signals) -> None:
    vab.dockerfile("RUN echo made > /made\nRUN echo sleeping now; exec sleep 600\n")
    words = vab.words("build", "-c", vab.directory, "-r", "terra.test/vab:7", "--no-cache", "--detail", "--builder", builder)
    with nothing_left(client):
        child = subprocess.Popen(
            words, env={**os.environ, **vab.environment}, stderr=subprocess.PIPE, text=True, preexec_fn=_listening
        )
        assert child.stderr is not None
        line = next((line for line in child.stderr if "sleeping now" in line and "Step" not in line), "")
        assert line, "the build came to its last step"
        child.send_signal(number)
        _, stderr = child.communicate(timeout=60)
        wait_until(lambda: not client.containers.list(all=True), seconds=30, what="the step's container to go")
    assert child.returncode == 130
    assert "Traceback" not in stderr


def _listening() -> None:
    """Restore SIGINT, which a shell that runs the tests in the background has set to be ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_dockerfile_outside_of_the_context(vab: Vab, client: DockerClient, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "Dockerfile").write_text(f"FROM {BASE}\nCOPY data /data\n")
    vab.build("-d", place, "-r", "terra.test/vab:8")
    assert client.containers.run("terra.test/vab:8", ["cat", "/data"], network_mode="none", remove=True) == b"data\n"
    assert sorted(path.name for path in vab.directory.iterdir()) == ["data"]


def test_links_in_the_context_lead_nowhere_outside(vab: Vab, client: DockerClient, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not for the image")
    (vab.directory / "link").symlink_to(tmp_path / "secret")
    vab.dockerfile("ADD link /stolen\n")
    for builder in ("classic", "buildkit"):
        with nothing_left(client):
            vab.build("-r", "terra.test/vab:9", "--builder", builder, "--no-cache", accept=1)


def test_what_a_syntax_line_does_is_said(vab: Vab) -> None:
    (vab.directory / "Dockerfile").write_text(f"# syntax=terra.invalid/frontend:1\nFROM {BASE}\nRUN true\n")
    _, stderr = vab.build("--dry", "--detail")
    assert "nothing is fetched" in stderr
    _, stderr = vab.build("--dry", "--detail", "--builder", "buildkit", accept=1)
    assert "has the engine fetch that image and run it" in stderr


def test_cron_prunes_what_is_ours_and_old(vab: Vab, client: DockerClient) -> None:
    client.images.get(BASE).tag("terra.test/mine", "1")
    container = client.containers.create(BASE, "true", network_mode="none")
    committed = container.commit()  # an image without a name that somebody else made
    container.remove()
    for number in (1, 2):
        vab.dockerfile(f"RUN echo {number} > /number\n")
        vab.build("-r", "terra.test/cron:1")
    dangling = {image.id for image in client.images.list(filters={"dangling": True})}
    assert len(dangling) >= 2
    vab("cron", "--keep", "1h")
    assert {image.id for image in client.images.list(filters={"dangling": True})} == dangling
    vab("cron", "--keep", "0s")
    assert {image.id for image in client.images.list(filters={"dangling": True})} == {committed.id}
    assert client.images.get("terra.test/cron:1")
    client.images.remove(str(committed.id))


def test_cron_builds_and_pushes_a_release(vab: Vab, registry: Registry, tmp_path: Path) -> None:
    vab.dockerfile(PROGRAMS)
    file = tmp_path / "release.toml"
    file.write_text(
        f'[[images]]\nref = "{registry.address}/release/broken:1"\ncontext = "nowhere"\n'
        f'[[images]]\nref = "{registry.address}/release/one:1"\ncontext = "{vab.directory}"\nargs = {{WHO = "cron"}}\n'
        f'[[images]]\nref = "{registry.address}/release/two:1"\ncontext = "{vab.directory}"\nhttp = true\n'
    )
    stdout, stderr = vab("cron", "--keep", "1w", "--release", file, accept=1)
    assert [line.partition("@")[0] for line in stdout.decode().splitlines()] == [
        f"{registry.address}/release/one:1", f"{registry.address}/release/two:1",
    ]  # fmt: skip
    assert "1 of 3 images failed" in stderr
    assert "nowhere/Dockerfile: there is no Dockerfile" in stderr
