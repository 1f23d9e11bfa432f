"""What machines can and cannot load."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from attrs import evolve

from lab.network import CONTROLLER
from terra_core.config.session import Session
from terra_core.config.values import Hostname, Mac
from terra_core.errors import TerraError
from terra_core.hookspecs import NodeBoot
from terra_core.system.process import run
from terra_tftp import plugin
from tftp_lab import BOOT_NETWORK, MakeSession
from tftp_lab.clients import TftpError, fetch, store

pytest_plugins = ["tftp_lab.fixtures"]

HOST, MAC = Hostname("cm-01"), Mac("54:b2:03:07:f1:d1")
DIGEST = f"sha256:{'a' * 64}"


def node(kernel: Path) -> NodeBoot:
    initrd = kernel.with_name("initrd.img")
    return NodeBoot(hostname=HOST, mac=MAC, image=DIGEST, kernel_arguments=("boot=terra",), kernel=kernel, initrd=initrd)


def publish(session: Session, kernel: Path) -> None:
    plugin.publish_boot(node(kernel), session)


def test_a_published_machine_loads_its_menus_and_its_kernel(tftp_session: MakeSession, tftp_kernel: Path) -> None:
    session = tftp_session()
    assert plugin.start_boot(BOOT_NETWORK, [], session)
    publish(session, tftp_kernel)
    assert b"APPEND ip=dhcp BOOTIF=01-54-b2-03-07-f1-d1 boot=terra" in fetch(CONTROLLER, "pxelinux.cfg/01-54-b2-03-07-f1-d1")
    assert b"linux /nodes/cm-01/vmlinuz ip=dhcp" in fetch(CONTROLLER, "/grub/54:b2:03:07:f1:d1.cfg")
    assert fetch(CONTROLLER, "nodes/cm-01/vmlinuz") == tftp_kernel.read_bytes()
    assert fetch(CONTROLLER, "/nodes/cm-01/initrd.img") == tftp_kernel.with_name("initrd.img").read_bytes()


def test_a_withdrawn_machine_loads_nothing_of_its_own(tftp_session: MakeSession, tftp_kernel: Path) -> None:
    session = tftp_session()
    publish(session, tftp_kernel)
    plugin.start_boot(BOOT_NETWORK, [], session)
    plugin.withdraw_boot(HOST, MAC, session)
    for path in ("pxelinux.cfg/01-54-b2-03-07-f1-d1", "grub/54:b2:03:07:f1:d1.cfg", "nodes/cm-01/vmlinuz"):
        with pytest.raises(TftpError, match="not found"):
            fetch(CONTROLLER, path)


def test_an_unknown_machine_is_offered_no_kernel(tftp_session: MakeSession, tftp_kernel: Path) -> None:
    session = tftp_session()
    publish(session, tftp_kernel)
    plugin.start_boot(BOOT_NETWORK, [], session)
    for path in ("pxelinux.cfg/default", "grub/grub.cfg"):
        menu = fetch(CONTROLLER, path).decode()
        assert "Terra has no disk for this machine" in menu
        assert "vmlinuz" not in menu
    for path in ("pxelinux.cfg/01-54-b2-03-07-f1-d2", "grub/54:b2:03:07:f1:d2.cfg"):
        with pytest.raises(TftpError, match="not found"):
            fetch(CONTROLLER, path)


@pytest.mark.parametrize(
    "path",
    ["../secret", "/../secret", "grub/../../secret", "nodes/../../secret", "..\\secret", "/etc/passwd", "{root}/secret",
     "{tftp}/../secret", "{tftp}-beside/secret"],
)  # fmt: skip
def test_a_path_out_of_the_tree_is_refused(tftp_session: MakeSession, path: str) -> None:
    session = tftp_session()
    root, tftp = session.paths.root, session.paths.tftp
    plugin.start_boot(BOOT_NETWORK, [], session)
    for directory in (root, root / "tftp-beside"):
        directory.mkdir(exist_ok=True)
        (directory / "secret").write_text("secret")
        (directory / "secret").chmod(0o644)
    with pytest.raises(TftpError):
        fetch(CONTROLLER, path.format(root=root, tftp=tftp))


@pytest.mark.parametrize("path", ["new", "pxelinux.cfg/default", "nodes/cm-01/vmlinuz", "../new"])
def test_writing_is_refused(tftp_session: MakeSession, tftp_kernel: Path, path: str) -> None:
    session = tftp_session()
    publish(session, tftp_kernel)
    plugin.start_boot(BOOT_NETWORK, [], session)
    before = {file: file.read_bytes() for file in session.paths.root.rglob("*") if file.is_file()}
    with pytest.raises(TftpError):
        store(CONTROLLER, path)
    after = {file: file.read_bytes() for file in session.paths.root.rglob("*") if file.is_file()}
    assert {file for file in {*before, *after} if before.get(file) != after.get(file)} <= {
        session.paths.run / "tftp/dnsmasq.log"
    }


def test_a_full_file_system_fails_that_machine_alone_and_leaves_nothing_of_it(
    tftp_session: MakeSession, tftp_kernel: Path
) -> None:
    session = tftp_session()
    tree = session.paths.tftp
    tree.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=192k", "terra-tftp", tree])
    try:
        publish(session, tftp_kernel)
        plugin.start_boot(BOOT_NETWORK, [], session)
        before = sorted(tree.rglob("*"))
        other = evolve(node(tftp_kernel), hostname=Hostname("cm-02"), mac=Mac("54:b2:03:07:f1:d2"), image=f"sha256:{'b' * 64}")
        with pytest.raises(TerraError, match=r"nodes/cm-02/.*: cannot be written: No space left on device") as caught:
            plugin.publish_boot(other, session)
        assert caught.value.hint == "make room on its file system"
        assert sorted(tree.rglob("*")) == before
        assert fetch(CONTROLLER, "nodes/cm-01/vmlinuz") == tftp_kernel.read_bytes()
    finally:
        plugin.stop_boot(session)
        run(["umount", tree])


def test_who_asks_and_goes_away_keeps_no_machine_from_its_files(tftp_session: MakeSession, tftp_kernel: Path) -> None:
    session = tftp_session()
    plugin.start_boot(BOOT_NETWORK, [], session)
    publish(session, tftp_kernel)
    with ExitStack() as gone:
        for _ in range(400):
            client = gone.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.sendto(b"\0\1nodes/cm-01/vmlinuz\0octet\0", (CONTROLLER, 69))
            client.settimeout(1)
            with suppress(TimeoutError):  # or the kernel drops what dnsmasq has not come to on a machine with much to do
                client.recv(1024)
        assert fetch(CONTROLLER, "nodes/cm-01/vmlinuz") == tftp_kernel.read_bytes()
