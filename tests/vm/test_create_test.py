"""``terra create --test`` of a whole system, in an emulated machine and as a container."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import requests
from docker import DockerClient

from iso.build import RECIPES, build
from iso.recipe import Recipe
from lab.engine import Engine
from lab.images import build_base_images, offer
from lab.network import Network
from lab.registry import Registry
from lab.shelf import Shelf
from terra_core.system.process import Argument, Completed, clean_environment, run
from terra_core.system.waiting import wait_until
from terra_core.system.workspace import roomy

_BUILD = Path(__file__).parent.parent.parent / "build"
_TERRA = Path(sys.executable).parent / "terra"
_BROKEN = (
    "RUN printf '[Unit]\\nDescription=A unit that is broken\\n[Service]\\nType=oneshot\\nExecStart=/bin/false\\n"
    "[Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/broken.service && systemctl enable broken.service\n"
)


@pytest.fixture(scope="module")
def engine(network: Network, registry: Registry) -> Iterator[Engine]:
    images = build_base_images()
    with Shelf(_BUILD) as shelf, Engine(shelf.path / "engine", network) as engine:
        offer(images["terraos"], engine, registry.address, push=False)
        yield engine


@pytest.fixture(scope="module")
def component(engine: Engine, network: Network, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Push the image of node_exporter to the registry; the engine does not keep it."""
    context = tmp_path_factory.mktemp("component")
    shutil.copyfile(build(Recipe.load(RECIPES / "node_exporter")), context / "root.tar")
    (context / "Dockerfile").write_text("FROM scratch\nADD root.tar /\n")
    name = f"{registry.address}/tested/node_exporter:1"
    words: list[Argument] = [_TERRA.with_name("vab"), "build", "--context", context, "--ref", name, "--push"]
    run(network.command(words), env={"DOCKER_HOST": engine.host}, timeout=600)
    with closing(engine.client()) as client:
        client.images.remove(name)
    return name


def server(directory: Path, registry: Registry, hostname: str, userland: str = "", components: Sequence[str] = ()) -> Path:
    """Write a server.toml."""
    path = directory / "server.toml"
    path.write_text(
        f'hostname = "{hostname}"\nversion = "6"\nos = "{registry.address}/stellarproject/terraos:v11"\n'
        f"repo = \"{registry.address}/tested\"\nuserland = '''\n{userland}'''\ncomponents = {json.dumps(components)}\n"
        '[netplan]\n  [[netplan.interfaces]]\n    name = "eth0"\n'
    )
    return path


def create(engine: Engine, network: Network, *words: Argument, accept: int) -> Completed:
    """Run ``terra create`` where the registry is."""
    inside = network.command([_TERRA, "create", *words])
    return run(inside, env={"DOCKER_HOST": engine.host}, accept=(accept,), timeout=1500)


def pushed(network: Network, registry: Registry, hostname: str) -> bool:
    """Return whether the registry has the image of a machine."""
    with network.inside():
        answer = requests.get(f"http://{registry.address}/v2/tested/{hostname}/tags/list", timeout=10)
    return answer.status_code == 200 and "6" in answer.json()["tags"]


def left() -> set[str]:
    """Return the disks of tests, and the processes of their machines."""
    trials = roomy() / "terra-trial-"  # TMPDIR is this test run's own: another run beside it has trials of its own
    disks = {str(path) for path in trials.parent.glob(f"{trials.name}*")}
    lines = {str(path.parent): _read(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
    return disks | {process for process, line in lines.items() if os.fsencode(trials) in line and b"qemu" in line}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("way", ["container", pytest.param("qemu", marks=pytest.mark.long)])
def test_a_healthy_system_is_pushed(
    way: str, engine: Engine, network: Network, registry: Registry, client: DockerClient, component: str, tmp_path: Path
) -> None:
    before = left()
    sbom = tmp_path / "bom.cdx.json"
    path = server(tmp_path, registry, f"healthy-{way}", components=[component])
    done = create(engine, network, f"--test={way}", "--push", "--sbom", sbom, path, accept=0)
    assert "its system is running" in done.stderr.decode()
    assert pushed(network, registry, f"healthy-{way}")
    assert {part["name"] for part in json.loads(sbom.read_bytes())["components"]} >= {"systemd", "netplan.io", "libc6"}
    assert client.containers.list(all=True) == []
    assert left() == before
    image, command = f"{registry.address}/tested/healthy-{way}:6", ["find", "/etc", "-name", "terra-trial*"]
    names = client.containers.run(image, command, network_mode="none", remove=True)
    assert names == b"", "nothing of the test is in the image"
    command = ["systemctl", "--root=/", "is-enabled", "prometheus-node-exporter.service"]
    enabled = client.containers.run(image, command, network_mode="none", remove=True)
    assert enabled == b"enabled\n", "the unit of the component, which was started with the healthy system"


@pytest.mark.parametrize("way", ["container", pytest.param("qemu", marks=pytest.mark.long)])
def test_a_degraded_system_is_shown_and_not_pushed(
    way: str, engine: Engine, network: Network, registry: Registry, client: DockerClient, tmp_path: Path
) -> None:
    before = left()
    path = server(tmp_path, registry, f"degraded-{way}", _BROKEN)
    done = create(engine, network, f"--test={way}", "--push", path, accept=1)
    said = done.stderr.decode()
    assert done.stdout == b""
    assert "the test failed: its system is degraded" in said
    assert "broken.service" in said
    assert "Failed to start broken.service" in said
    assert not pushed(network, registry, f"degraded-{way}")
    assert client.containers.list(all=True) == []
    assert left() == before


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_machine_is_gone(
    number: signal.Signals, engine: Engine, network: Network, registry: Registry, tmp_path: Path
) -> None:
    before = left()
    words: list[Argument] = [_TERRA, "create", "--test", server(tmp_path, registry, "interrupted")]
    child = subprocess.Popen(
        network.command(words),
        env=clean_environment({"DOCKER_HOST": engine.host}),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_listening,
    )
    assert child.stderr is not None
    assert next((line for line in child.stderr if "test: booting" in line), "")
    child.send_signal(number)
    child.communicate(timeout=60)
    assert child.returncode == (-number if number is signal.SIGKILL else 130)
    wait_until(lambda: not any(name.startswith("/proc") for name in left() - before), seconds=30, what="the machine to go")
    if number is signal.SIGKILL:  # the next test takes away what is left
        create(engine, network, "--test", "--test-timeout", "1", tmp_path / "server.toml", accept=1)
    assert left() == before


def _listening() -> None:
    """Restore SIGINT, which a shell that runs the tests in the background has set to be ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
