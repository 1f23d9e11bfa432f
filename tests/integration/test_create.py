"""``terra create`` on a real engine, to a real registry, and what is in the image then."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from docker import DockerClient

from lab.containers import nothing_left
from lab.engine import Engine
from lab.network import Network
from lab.registry import Registry
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.hookspecs import Registry as RegistryRole
from terra_core.image import apply_layers
from terra_core.oci import Layout
from terra_core.plugins import Plugins
from terra_core.system.process import run
from terra_core.system.waiting import wait_until
from terra_core.testing.tiny import write_tiny_root
from tests.integration.creating import BASE, Create

SYSTEM = "terra.test/system:1"
DAEMON, EXTRAS = "terra.test/daemon:1", "terra.test/extras:1"
_SERVICE = "[Service]\nExecStart=/bin/true\n"
_INSTALLED = f"{_SERVICE}\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def engine(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("base") / "root.tar"
    write_tiny_root(root)
    with Engine(tmp_path_factory.mktemp("engine"), network) as engine:
        engine.import_image(root, BASE, ['CMD ["/bin/sh"]'])
        engine.import_image(root, "terra.test/component:1", ["LABEL part=component"])
        write_tiny_root(root, "systemctl", "systemd-sysusers")
        add_files(root, {"usr/lib/systemd/system/own.service": _INSTALLED})
        engine.import_image(root, SYSTEM)
        for name, files in COMPONENTS.items():
            tree = tmp_path_factory.mktemp("component") / "tree.tar"
            add_files(tree, files)
            engine.import_image(tree, name)
        yield engine


COMPONENTS = {
    DAEMON: {
        "usr/lib/systemd/system/daemon.service": _INSTALLED,
        "usr/lib/systemd/system/daemon-helper.service": _SERVICE,
        "usr/lib/systemd/system/own.service": _INSTALLED,
        "usr/lib/systemd/system/tunnel@.service": _INSTALLED,
        "usr/lib/systemd/system/shell@.service": f"{_INSTALLED}DefaultInstance=tty1\n",
        "usr/lib/sysusers.d/daemon.conf": "u daemon-user 842\n",
        "usr/share/order": "first\n",
    },
    EXTRAS: {
        "etc/systemd/system/odd name; touch $(id).service": _INSTALLED,
        "etc/systemd/system/later.timer": "[Timer]\nOnBootSec=1\n[Install]\nWantedBy=timers.target",
        "etc/systemd/system/shy.service": _INSTALLED,
        "usr/lib/systemd/system-preset/10-extras.preset": "disable shy.service\n",
        "usr/share/order": "second\n",
    },
}


def add_files(tar: Path, files: Mapping[str, str]) -> None:
    """Add files to a tar, or make one of them."""
    with tarfile.open(tar, "a") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o644
            archive.addfile(info, io.BytesIO(text.encode()))


@pytest.fixture
def create(tmp_path: Path, engine: Engine, registry: Registry, network: Network) -> Create:
    return Create(tmp_path / "server", engine, registry, network)


def unpacked(registry: Registry, network: Network, reference: str, tmp_path: Path) -> Path:
    """Return the root of an image in the registry."""
    session = Session(tables={"docker": {"insecure": [registry.address]}})
    role = Plugins.discover().fill(RegistryRole, {}, source="test")
    layout, root = tmp_path / "layout", tmp_path / "root"
    root.mkdir()
    with network.inside():
        name = parse_image_reference(reference)
        with role.pull_image(name, layout, session) as source:
            digest = str(source.digest)
    image = Layout(layout)
    apply_layers(image.image(digest), root)
    return root


def test_the_image_is_in_the_registry_with_all_that_server_toml_says(
    create: Create, client: DockerClient, registry: Registry, network: Network, tmp_path: Path
) -> None:
    (create.directory / "sshd_config").write_text("UsePAM yes\n")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAabcdefghijklmnopqrstuvwxyz0123456789ABCDEF me@here"
    create.write(
        "RUN cp /etc/resolv.conf /seen-while-building && id > /id\nADD sshd_config /etc/ssh/\n",
        f"""
        components = ["terra.test/component:1"]
        init = "/sbin/init"
        [netplan]
          [[netplan.interfaces]]
            name = "eth0"
        [resolvconf]
          nameservers = ["8.8.8.8", "8.8.4.4"]
        [ssh]
          keys = ["{key}"]
        """,
    )
    stdout, stderr = create("--push")

    found = re.fullmatch(rf"({registry.address}/terra/example:6)@(sha256:[0-9a-f]{{64}})\n", stdout)
    assert found, "standard output is the reference with its digest, and nothing else"
    assert "build: Step 1/" in stderr
    assert "pushed it to" in stderr

    root = unpacked(registry, network, stdout.strip(), tmp_path)
    assert (root / "etc/hostname").read_text() == "example\n"
    assert "127.0.1.1 example\n" in (root / "etc/hosts").read_text()
    assert not (root / "etc/resolv.conf").is_symlink(), "the file took the place of the link in the base"
    assert (root / "etc/resolv.conf").read_text() == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
    assert (root / "etc/ssh/sshd_config").read_text() == "UsePAM yes\n"
    netplan, keys = root / "etc/netplan/50-terra.yaml", root / "home/terra/.ssh/authorized_keys"
    assert "eth0" in netplan.read_text()
    assert keys.read_text() == f"{key}\n"
    assert [modes(path) for path in (netplan, keys, keys.parent, keys.parent.parent, root / "etc", root / "root")] == [
        (0o600, 0, 0), (0o600, 1000, 1000), (0o700, 1000, 1000), (0o750, 1000, 1000), (0o755, 0, 0), (0o700, 0, 0),
    ]  # fmt: skip
    assert not (root / ".terra").exists()
    image = client.images.get(f"{registry.address}/terra/example:6")
    assert image.attrs["Config"]["Cmd"] == ["/sbin/init"]
    assert image.labels["terra.hostname"] == "example"
    assert sorted(path.name for path in create.directory.iterdir()) == ["server.toml", "sshd_config"]


def test_systemd_networkd_has_its_files_and_units_and_the_second_build_has_the_same_bytes(
    create: Create, engine: Engine, registry: Registry, network: Network, tmp_path: Path, client: DockerClient
) -> None:
    key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
    create.write(
        "RUN true\n",
        f"""
        [plugins]
        network = "networkd"
        [networkd]
          resolved = true
          [[networkd.netdevs]]
            file = "10-wg0"
            netdev = {{ name = "wg0", kind = "wireguard" }}
            wireguard.private_key = "{key}"
          [[networkd.networks]]
            file = "20-eth0"
            match.name = ["eth0"]
            network.dhcp = "ipv4"
        """,
    )
    stdout, _ = create("--push")
    root = unpacked(registry, network, stdout.strip(), tmp_path)
    own = root / "etc/systemd/network"
    assert "DHCP=ipv4\n" in (own / "20-eth0.network").read_text()
    assert f"PrivateKey={key}\n" in (own / "10-wg0.netdev").read_text()
    assert [modes(path) for path in (own / "10-wg0.netdev", own / "20-eth0.network", own)] == [
        (0o640, 0, 998), (0o644, 0, 0), (0o755, 0, 0),
    ]  # fmt: skip
    unit = root / "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    assert str(unit.readlink()) == "/usr/lib/systemd/system/systemd-networkd.service", "as systemctl enable has it"
    assert str((root / "etc/systemd/system-generators/netplan").readlink()) == "/dev/null"
    assert str((root / "etc/resolv.conf").readlink()) == "../run/systemd/resolve/stub-resolv.conf"
    assert not (root / "etc/netplan").exists()
    again, _ = create("--push", "--no-cache")
    assert again == stdout, "the times of links are not those of the build"
    with (create.directory / "server.toml").open("a") as file:
        file.write('\n[docker]\n  builder = "buildkit"\n')
    other, _ = create("--push")
    (tmp_path / "buildkit").mkdir()
    root = unpacked(registry, network, other.strip(), tmp_path / "buildkit")
    assert str((root / unit.relative_to(tmp_path / "root")).readlink()) == "/usr/lib/systemd/system/systemd-networkd.service"
    assert modes(root / "etc/systemd/network/10-wg0.netdev") == (0o640, 0, 998)


def test_components_are_laid_over_the_system_in_order_and_their_units_are_enabled(
    create: Create, registry: Registry, network: Network, tmp_path: Path
) -> None:
    create.write("RUN true\n", f'components = ["{DAEMON}", "{EXTRAS}"]\n', os=SYSTEM)
    stdout, _ = create("--push")
    root = unpacked(registry, network, stdout.strip(), tmp_path)
    assert (root / "usr/share/order").read_text() == "second\n"
    wants = sorted(str(path.relative_to(root / "etc/systemd/system")) for path in root.glob("etc/systemd/system/*.wants/*"))
    assert wants == [
        "multi-user.target.wants/daemon.service",
        "multi-user.target.wants/shell@tty1.service",
        "timers.target.wants/later.timer",
    ], "not what the system had, what has no [Install], what needs an instance, what a preset of the component disables"
    assert "daemon-user:x:842:" in (root / "etc/passwd").read_text()
    assert not (root / ".terra-components").exists()


def test_a_userland_of_an_editor_that_marks_the_byte_order(create: Create, client: DockerClient, tmp_path: Path) -> None:
    create.write("RUN false\n")
    (tmp_path / "lines").write_bytes(b"\xef\xbb\xbfLABEL marked=yes\r\n")
    stdout, _ = create("--userland", str(tmp_path / "lines"))
    assert client.images.get(stdout.split()[0]).labels["marked"] == "yes"


def test_components_on_a_system_without_systemd(create: Create) -> None:
    create.write("RUN [ $(cat /usr/share/order) = first ]\n", f'components = ["{EXTRAS}", "{DAEMON}"]\n')
    create()


def test_a_component_that_is_not_there_is_named(create: Create, client: DockerClient) -> None:
    create.write("RUN true\n", 'components = ["127.0.0.1:1/none/such:1"]\n')
    with nothing_left(client):
        _, stderr = create(accept=1)
    assert "127.0.0.1:1/none/such:1" in stderr


def test_a_component_for_another_machine_is_refused(
    create: Create, client: DockerClient, registry: Registry, network: Network, tmp_path: Path
) -> None:
    layout, name = tmp_path / "layout", f"{registry.address}/foreign:1"
    run(["umoci", "init", "--layout", layout])
    run(["umoci", "new", "--image", f"{layout}:1"])
    run(["umoci", "config", "--image", f"{layout}:1", "--architecture", "s390x", "--os", "linux"])
    (tmp_path / "program").write_text("for another machine\n")
    run(["umoci", "insert", "--image", f"{layout}:1", tmp_path / "program", "/program"])
    run(network.command(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{name}"]))
    create.write("RUN true\n", f'components = ["{name}"]\n')
    _, stderr = create(accept=1)
    assert f"{name} is built for linux/s390x, and {BASE} for linux/" in stderr
    assert "RUN" not in stderr
    client.images.remove(name)


def test_a_component_of_one_file_and_of_links_that_lead_out(
    create: Create, registry: Registry, network: Network, tmp_path: Path, engine: Engine
) -> None:
    tree, name = tmp_path / "tree.tar", "terra.test/links:1"
    add_files(tree, {"opt/file": "one\n"})
    with tarfile.open(tree, "a") as archive:
        for link, target in {"opt/absolute": "/etc/hostname", "opt/up": "../../../../outside"}.items():
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    engine.import_image(tree, name)
    create.write("RUN true\n", f'components = ["{name}"]\n')
    stdout, _ = create("--push")
    root = unpacked(registry, network, stdout.strip(), tmp_path)
    assert (root / "opt/file").read_text() == "one\n"
    assert [str((root / "opt" / link).readlink()) for link in ("absolute", "up")] == ["/etc/hostname", "../../../../outside"]


def modes(path: Path) -> tuple[int, int, int]:
    """Mode, user and group."""
    status = path.lstat()
    return status.st_mode & 0o7777, status.st_uid, status.st_gid


def test_the_second_build_is_the_first_one(create: Create, client: DockerClient) -> None:
    create.write("RUN echo same > /same\n")
    first, _ = create()
    with nothing_left(client):
        second, _ = create()
    assert first == second
    assert re.fullmatch(r"\S+/terra/example:6 sha256:[0-9a-f]{64}\n", second)
    third, _ = create("--no-cache")
    assert third != first


def test_a_failed_step_shows_what_the_engine_said_and_leaves_nothing(create: Create, client: DockerClient) -> None:
    create.write("RUN echo fine > /a\nRUN echo the reason is this; exit 3\nRUN echo never\n")
    with nothing_left(client):
        stdout, stderr = create("--push", "--no-cache", accept=1)
    assert stdout == ""
    assert "RUN echo the reason is this; exit 3, failed" in stderr
    assert "\nthe reason is this\n" in stderr
    assert "returned a non-zero code: 3" in stderr
    assert "never" not in stderr
    assert "Traceback" not in stderr


def test_a_file_that_the_context_does_not_have(create: Create, client: DockerClient) -> None:
    create.write("ADD not-there /etc/\n")
    with nothing_left(client):
        _, stderr = create("--no-cache", accept=1)
    assert "ADD not-there /etc/, failed" in stderr
    assert "--context" in stderr


def test_an_instruction_that_is_none(create: Create, client: DockerClient) -> None:
    create.write("RUN true\nFETCH everything\n")
    with nothing_left(client):
        _, stderr = create(accept=1)
    assert "FETCH everything" in stderr


def test_a_base_that_no_registry_has(create: Create, client: DockerClient, registry: Registry) -> None:
    create.write("", os=f"{registry.address}/terra/nothing:1")
    with nothing_left(client):
        _, stderr = create(accept=1)
    assert f"the registry {registry.address} has no such image" in stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing(create: Create, client: DockerClient, number: signal.Signals) -> None:
    create.write("RUN echo made > /made\nRUN sleep 600\n")
    with nothing_left(client):
        words = create.words("--no-cache")
        child = subprocess.Popen(words, env={**os.environ, **create.environment}, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: client.containers.list(), seconds=60, what="the build to sleep")
        child.send_signal(number)
        _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in stderr


def test_our_files_get_in_whatever_dockerignore_says(create: Create, client: DockerClient) -> None:
    (create.directory / ".dockerignore").write_text("*\n!kept\n")
    (create.directory / "kept").write_text("kept")
    (create.directory / "left-out").write_text("left out")
    create.write("COPY . /context/\n")
    stdout, _ = create()
    listing = client.containers.run(stdout.split()[0], ["ls", "-A", "/context"], network_mode="none", remove=True)
    assert set(listing.decode().split()) == {"kept", ".terra"}


def test_links_in_the_context_lead_nowhere_outside(create: Create, client: DockerClient, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not for the image")
    (create.directory / "link").symlink_to(secret)
    create.write("ADD link /stolen\n")
    with nothing_left(client):
        create("--no-cache", accept=1)


def test_userland_from_a_file_and_another_context(create: Create, client: DockerClient, tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "etc").mkdir(parents=True)
    (context / "etc/hosts").write_text("10.0.0.1 mine\n")
    (context / "data").write_text("data")
    lines = tmp_path / "Userland"
    lines.write_text("COPY data /data\nRUN touch /from-a-file \\\n  /continued")
    create.write("RUN false\n")
    stdout, _ = create("-c", str(context), "-u", str(lines))
    saved = client.containers.create(stdout.split()[0], "true", network_mode="none")
    try:
        for path in ("/data", "/from-a-file", "/continued"):
            saved.get_archive(path)
    finally:
        saved.remove()


def test_nothing_is_built_when_dry(create: Create, client: DockerClient) -> None:
    create.write("RUN false\n")
    with nothing_left(client):
        stdout, _ = create("--dry")
    assert "RUN false\n" in stdout
    assert "--- /etc/hostname (0644 root:root)\nexample\n" in stdout
