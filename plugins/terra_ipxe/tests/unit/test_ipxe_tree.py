"""Publishing machines for iPXE, and withdrawing them."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Hostname, Mac
from terra_core.errors import ConfigError, TerraError
from terra_core.hookspecs import NodeBoot
from terra_core.system.progress import Event
from terra_ipxe import IpxePlugin, plugin
from terra_ipxe.layout import read_key
from terra_ipxe.settings import Settings

HOST, MAC = Hostname("cm-01.example.com"), Mac("54:b2:03:07:f1:d1")
SCRIPT = "machines/01-54-b2-03-07-f1-d1.ipxe"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(source="controller.toml", paths=Paths(tmp_path / "root"))


@pytest.fixture
def node(tmp_path: Path) -> NodeBoot:
    for name in ("vmlinuz", "initrd.img", "steps.img"):
        (tmp_path / name).write_text(f"{name} of the image")
    return NodeBoot(
        hostname=HOST,
        mac=MAC,
        image=f"sha256:{'a' * 64}",
        kernel_arguments=("boot=terra",),
        kernel=tmp_path / "vmlinuz",
        initrd=tmp_path / "initrd.img",
        steps=tmp_path / "steps.img",
    )


def tree(session: Session) -> Path:
    return session.paths.tftp / "ipxe/http"


def fetched(session: Session) -> list[str]:
    """Return the paths that a machine's script names."""
    words = [line.split() for line in (tree(session) / SCRIPT).read_text().splitlines()]
    return [words[3] for words in words if words[0] in ("kernel", "initrd")]


def test_a_script_names_files_that_are_there_and_its_kernel_line(session: Session, node: NodeBoot) -> None:
    assert plugin.publish_boot(node, session)
    contents = [(tree(session) / path.removeprefix("/")).read_text() for path in fetched(session)]
    assert contents == ["vmlinuz of the image", "initrd.img of the image", "steps.img of the image"]
    (line,) = [line for line in (tree(session) / SCRIPT).read_text().splitlines() if line.startswith("kernel")]
    assert " initrd=initrd.img initrd=steps.img ip=dhcp BOOTIF=01-54-b2-03-07-f1-d1 boot=terra net.ifnames=0 " in line


def test_where_files_are_is_the_controllers_secret_and_stays_the_same(session: Session, node: NodeBoot, tmp_path: Path) -> None:
    plugin.publish_boot(node, session)
    found = fetched(session)
    assert IpxePlugin().publish_boot(evolve(node, kernel=None, initrd=None, steps=None), session) is False
    assert fetched(session) == found
    key = session.paths.tftp / "ipxe/key"
    assert key.stat().st_mode & 0o777 == 0o600
    other = Session(paths=Paths(tmp_path / "other"))
    plugin.publish_boot(node, other)
    assert not set(fetched(other)) & set(found), "of another controller they are elsewhere"


def as_before(session: Session) -> Path:
    """Put all boot files where earlier versions had them; return that place."""
    paths, former = session.paths, session.paths.root / "srv/ipxe"
    paths.state.mkdir(parents=True, exist_ok=True)
    former.parent.mkdir(exist_ok=True)
    (paths.tftp / "ipxe").rename(former)
    (former / "key").rename(paths.state / "ipxe.key")
    return former


def found(place: Path) -> dict[str, bytes]:
    """Return all files below a directory."""
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def bare(node: NodeBoot) -> NodeBoot:
    """Return what a controller publishes at its start: without the files that were published before."""
    return evolve(node, kernel=None, initrd=None, steps=None)


def test_what_an_earlier_version_had_elsewhere_is_booted_from_as_before(session: Session, node: NodeBoot) -> None:
    plugin.publish_boot(evolve(node, report=b"report"), session)
    before = found(session.paths.tftp / "ipxe")
    former = as_before(session)
    assert IpxePlugin().publish_boot(bare(node), session)
    assert found(session.paths.tftp / "ipxe") == before
    assert (session.paths.tftp / "ipxe/key").stat().st_mode & 0o777 == 0o600
    assert not former.exists()
    assert IpxePlugin().publish_boot(bare(node), session) is False


def test_files_that_could_not_be_taken_over_stay_where_they_are(
    session: Session, node: NodeBoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin.publish_boot(node, session)
    before = found(session.paths.tftp / "ipxe")
    former = as_before(session)
    kept = found(former)
    with monkeypatch.context() as full:
        full.setattr("terra_tftp.tree.write_file", lambda *_, **__: (_ for _ in ()).throw(TerraError("no room")))
        with pytest.raises(TerraError, match="no room"):
            IpxePlugin().publish_boot(bare(node), session)
    assert found(former) == kept
    IpxePlugin().publish_boot(bare(node), session)
    assert (found(session.paths.tftp / "ipxe"), former.exists()) == (before, False)


def test_each_host_takes_over_its_own_whichever_comes_first(session: Session, node: NodeBoot) -> None:
    plugin.publish_boot(node, session)
    former = as_before(session)
    other, second = evolve(session, paths=Paths(session.paths.root / "other")), evolve(node, hostname=Hostname("cm-02"))
    plugin.publish_boot(second, other)
    as_before(other)
    other.paths.tftp.rmdir()
    other.paths.tftp.symlink_to(session.paths.tftp)
    assert IpxePlugin().publish_boot(bare(evolve(second, mac=Mac("54:b2:03:07:f1:d2"))), other)
    assert IpxePlugin().publish_boot(bare(node), session)
    assert [(tree(session) / path.removeprefix("/")).read_text() for path in fetched(session)][2] == "steps.img of the image"
    assert {path.name.rpartition(".")[0] for path in (tree(session) / "nodes").iterdir()} == {HOST, "cm-02"}
    assert (former.exists(), (other.paths.root / "srv/ipxe").exists()) == (False, False)


def test_a_machine_whose_image_has_no_kernel_and_one_that_goes(session: Session, node: NodeBoot) -> None:
    for name in ("vmlinuz", "initrd.img"):
        (tree(session) / "kernel").mkdir(parents=True, exist_ok=True)
        (tree(session) / "kernel" / name).write_text(f"{name} of the pxe image")
    plugin.publish_boot(evolve(node, kernel=None, initrd=None), session)
    plugin.publish_boot(evolve(node, hostname=Hostname("cm-02")), session)
    former = as_before(session)
    again = IpxePlugin()
    again.publish_boot(evolve(bare(node), mac=Mac("54:b2:03:07:f1:d2")), session)
    assert (tree(session) / "kernel/vmlinuz").read_text() == "vmlinuz of the pxe image"
    assert [path.name.rpartition(".")[0] for path in (former / "http/nodes").iterdir()] == ["cm-02"]
    assert any("cm-02" in one.problem and "earlier version" in one.problem for one in again.examine_boot([], session))
    again.withdraw_boot(Hostname("cm-02"), MAC, session)
    assert not former.exists()


def test_a_place_that_is_the_new_one_under_its_former_name_is_left(session: Session, node: NodeBoot) -> None:
    plugin.publish_boot(node, session)
    before = found(session.paths.tftp / "ipxe")
    (session.paths.root / "srv").mkdir()
    (session.paths.root / "srv/ipxe").symlink_to(session.paths.tftp / "ipxe")
    assert IpxePlugin().publish_boot(bare(node), session) is False
    assert found(session.paths.tftp / "ipxe") == before


def test_the_first_secret_counts_for_all_hosts_that_make_one_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, none = tmp_path / "ipxe/key", tmp_path / "none"
    first: list[bytes] = []

    def made_meanwhile(size: int) -> bytes:
        monkeypatch.undo()
        first.append(read_key(path, none))
        return bytes(size)

    monkeypatch.setattr("terra_ipxe.layout.secrets.token_bytes", made_meanwhile)
    assert read_key(path, none) == first[0] != bytes(32)
    path.write_bytes(b"damaged")
    assert len(read_key(path, none)) == 32
    assert read_key(path, none) == path.read_bytes()


def test_what_machines_boot_from_is_where_backups_and_other_hosts_have_it(session: Session, node: NodeBoot) -> None:
    session = evolve(session, tables={"ipxe": {"dhcp": "server", "range": ["10.0.10.50", "10.0.10.99"]}})
    plugin.publish_boot(node, session)
    assert MAC in (session.paths.tftp / "addresses").read_text(), "where the plugin tftp has them, too"
    written = [path for path in session.paths.root.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert [path for path in written if session.paths.tftp not in path.parents and session.paths.run not in path.parents] == []


def test_the_script_of_another_machine_with_the_same_interface_is_left(session: Session, node: NodeBoot) -> None:
    plugin.publish_boot(node, session)
    plugin.publish_boot(evolve(node, hostname=Hostname("cm-02")), session)
    plugin.withdraw_boot(HOST, MAC, session)
    assert "# cm-02" in (tree(session) / SCRIPT).read_text()


def test_the_pxe_images_kernel_serves_images_without_one_and_ipxe_is_this_hosts(
    session: Session, node: NodeBoot, tmp_path: Path
) -> None:
    told: list[Event] = []
    (tmp_path / "ipxe").mkdir()
    (tmp_path / "ipxe/undionly.kpxe").write_bytes(b"kpxe")
    (tmp_path / "ipxe/snponly.efi").write_bytes(b"MZ of UEFI")
    (tmp_path / "pxe/kernel").mkdir(parents=True)
    for name in ("vmlinuz", "initrd.img"):
        (tmp_path / "pxe/kernel" / name).write_text(name)
    session = evolve(session, tables={"ipxe": {"loaders": str(tmp_path / "ipxe")}}, report=told.append)
    bare = evolve(node, kernel=None, initrd=None)
    with pytest.raises(TerraError, match=r"the image of cm-01\.example\.com has no kernel"):
        plugin.publish_boot(bare, session)
    assert plugin.install_boot_image(tmp_path / "pxe", session) == [
        "kernel/initrd.img", "kernel/vmlinuz", "snponly.efi", "undionly.kpxe",
    ]  # fmt: skip
    assert (session.paths.tftp / "ipxe/tftp/snponly.efi").read_bytes() == b"MZ of UEFI"
    told.clear()
    plugin.publish_boot(bare, session)
    assert fetched(session)[:2] == ["/kernel/vmlinuz", "/kernel/initrd.img"]
    assert [event.text for event in told if "warning" in event.text] == []


def test_a_machine_that_cannot_boot_yet_is_told_of(session: Session, node: NodeBoot) -> None:
    told: list[Event] = []
    plugin.publish_boot(node, session.reporting_to(told.append))
    assert any("boot loaders undionly.kpxe, snponly.efi are not installed" in event.text for event in told)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("undionly.kpxe", None, "undionly.kpxe is not there"), ("snponly.efi", b"#!/bin/sh", "is no program for UEFI"),
     ("snponly.efi", b"", "has 0 bytes")],
)  # fmt: skip
def test_what_is_no_boot_loader_is_named_and_nothing_replaced(
    session: Session, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    for path in ("ipxe/undionly.kpxe", "ipxe/snponly.efi", "pxe/kernel/vmlinuz", "pxe/kernel/initrd.img"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"MZ")
    (tmp_path / "ipxe" / name).unlink()
    if content is not None:
        (tmp_path / "ipxe" / name).write_bytes(content)
    session = evolve(session, tables={"ipxe": {"loaders": str(tmp_path / "ipxe")}})
    with pytest.raises(TerraError, match=message):
        plugin.install_boot_image(tmp_path / "pxe", session)
    assert not list((session.paths.tftp / "ipxe/tftp").glob("*pxe"))
    assert not list((session.paths.tftp / "ipxe/tftp").glob("*efi"))


@pytest.mark.parametrize(
    ("table", "problem"),
    [({"port": 80}, r"ipxe\.port: expected a port from 1024"), ({"http_user": "root"}, r"ipxe\.http_user: expected another"),
     ({"http_user": "a b"}, r"ipxe\.http_user"), ({"loaders": "ipxe"}, r"ipxe\.loaders: expected an absolute path"),
     ({"dhcp": "server"}, r"ipxe\.range: is required"), ({"kernel_arguments": ["a b"]}, r"ipxe\.kernel_arguments\[0\]")],
)  # fmt: skip
def test_settings_that_are_refused(table: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Session(source="controller.toml", tables={"ipxe": table}).settings("ipxe", Settings)
