"""Laying an image down, as far as it needs no disks: what is written about the machine, and which kernel is taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import frozen

from terra_core.config.loader import make_document
from terra_core.config.node import Node
from terra_core.config.session import Session
from terra_core.deploy import mounted_system, root_steps
from terra_core.errors import InterruptedWork, TerraError
from terra_core.fitness import fit_of_root
from terra_core.oci.layout import Layout
from terra_core.system.progress import Event
from tests.unit.controller.fakes import World, fake_plugins, node_table
from tests.unit.oci.making import Item, LayoutMaker, file, folder, hardlink, symlink, tar


@frozen
class Deployed:
    """What of a system is left when it is not mounted any more."""

    kernel: Path | None
    initrd: Path | None
    steps: Path
    kernel_arguments: tuple[str, ...]


class Ground:
    """An image without mounts, and a place to lay it down."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[Event] = []

    def deploy(self, *items: Item | bytes, session: Session | None = None) -> Deployed:
        image = LayoutMaker(self.path / "layout").image([tar(*items)])
        node = make_document(node_table(), Node, source="node.toml").value
        work, told, plugins = self.path / "work", session or Session(report=self.events.append), fake_plugins(World())
        work.mkdir()
        steps = root_steps(node, plugins, told)
        with mounted_system(node, {"os": [self.path / "0.lun"]}, plugins=plugins, session=told, work=work) as system:
            system.lay_down(Layout(self.path / "layout").image(str(image["digest"])))
            files = system.copy_boot_files(fit_of_root(system.inside, steps), work)
            told.report(Event("sync", "write it all"))
            system.sync()
        return Deployed(files.kernel, files.initrd, files.steps, system.kernel_arguments)

    def root(self, name: str) -> Path:
        return self.path / "work/root" / name


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """Make the place."""
    return Ground(tmp_path)


def boot(*names: str) -> list[Item]:
    return [folder(b"boot"), *(file(f"boot/{name}".encode(), name.encode()) for name in names)]


def test_the_machine_gets_its_identity(ground: Ground) -> None:
    ground.deploy(
        folder(b"etc"),
        file(b"etc/hostname", b"example\n"),
        file(b"etc/hosts", b"127.0.0.1 localhost\n127.0.1.1 example\n"),
        file(b"etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        file(b"etc/fstab", b"UNCONFIGURED\n"),
    )
    assert ground.root("etc/hostname").read_text() == "cm-01\n"
    assert ground.root("etc/hosts").read_text() == "127.0.0.1 localhost\n127.0.1.1 cm-01\n"
    assert ground.root("etc/machine-id").read_text() == "", "every machine makes its own at its first start"
    assert ground.root("etc/fstab").read_text().startswith("# Written by Terra")


def test_host_keys_of_the_image_are_no_machines_where_it_makes_its_own(ground: Ground) -> None:
    keys = [file(f"etc/ssh/ssh_host_{name}".encode()) for name in ("ed25519_key", "ed25519_key.pub", "rsa_key")]
    maker = file(b"etc/systemd/system/terra-ssh-keys.service")
    ground.deploy(folder(b"etc"), folder(b"etc/ssh"), *keys, file(b"etc/ssh/sshd_config"), maker)
    assert {path.name for path in ground.root("etc/ssh").iterdir()} == {"sshd_config"}


def test_what_of_the_image_is_replaced_is_said(ground: Ground) -> None:
    fstab = b"# a comment\nUUID=1 / ext4 defaults 0 1\n\ntmpfs /tmp tmpfs size=1G 0 0\n"
    ground.deploy(folder(b"etc"), file(b"etc/fstab", fstab), Item(name=b"etc/hosts", type=b"6"))
    said = [event.text for event in ground.events if event.step == "identity"]
    assert "warning: /etc/fstab of the image is replaced, which had UUID=1 at /, tmpfs at /tmp" in said
    assert "warning: /etc/hosts of the image is no file that can be kept: it is replaced" in said
    assert "127.0.1.1 cm-01" in ground.root("etc/hosts").read_text()


@pytest.mark.parametrize("path", ["etc/hosts", "etc/fstab", "etc/machine-id", "etc/hostname"])
@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"6"])
def test_whatever_stands_where_a_file_is_written_is_replaced_and_not_opened(ground: Ground, path: str, kind: bytes) -> None:
    there = Item(name=path.encode(), type=kind, target=b"etc/other" if kind == b"1" else b"/dev/zero", device=(7, 9999))
    ground.deploy(folder(b"etc"), file(b"etc/other", b"kept"), there)
    assert ground.root(path).is_file()
    assert not ground.root(path).is_symlink()
    assert ground.root("etc/other").read_bytes() == b"kept"
    assert not Path("/sys/block/loop9999").exists()


def test_an_image_without_etc_gets_it(ground: Ground) -> None:
    ground.deploy(folder(b"usr"))
    assert {path.name for path in ground.root("etc").iterdir()} == {"hostname", "hosts", "machine-id", "fstab"}


@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        (["6.1.0-9-amd64", "6.1.0-42-amd64"], "6.1.0-42-amd64"),
        (["6.8.0-50-generic", "6.11.0-8-generic"], "6.11.0-8-generic"),
        (["6.1.0-rc1", "6.1.0-1"], "6.1.0-1"),
        (["6.12~rc2-amd64", "6.12-amd64"], "6.12-amd64"),
        (["6.12-rc2", "6.12-rc10"], "6.12-rc10"),
        (["6.12-rc2", "6.11"], "6.12-rc2"),
        (["x+y~z_1"], "x+y~z_1"),
    ],
)  # fmt: skip
def test_the_newest_kernel_is_taken(ground: Ground, versions: Sequence[str], newest: str) -> None:
    deployed = ground.deploy(*boot(*(f"{name}-{version}" for version in versions for name in ("vmlinuz", "initrd.img"))))
    assert deployed.kernel is not None
    assert deployed.initrd is not None
    assert deployed.kernel.read_text() == f"vmlinuz-{newest}"
    assert deployed.initrd.read_text() == f"initrd.img-{newest}"
    assert deployed.kernel.parent == ground.path / "work"


def test_a_newer_kernel_without_an_initrd_is_passed_over(ground: Ground) -> None:
    names = ["vmlinuz-6.1", "initrd.img-6.1", "vmlinuz-6.12", "initrd.img-6.12.old", "config-6.12", "System.map-6.12"]
    deployed = ground.deploy(*boot(*names))
    assert deployed.kernel is not None
    assert deployed.kernel.read_text() == "vmlinuz-6.1"


@pytest.mark.parametrize("names", [[], ["initrd.img-1"], ["vmlinuz-1 2", "initrd.img-1 2"],
                                   ["vmlinuz-$(id)", "initrd.img-$(id)"], ["vmlinuz-", "initrd.img-"]])  # fmt: skip
def test_an_image_without_a_kernel_has_none(ground: Ground, names: Sequence[str]) -> None:
    deployed = ground.deploy(*boot(*names))
    assert (deployed.kernel, deployed.initrd) == (None, None)


@pytest.mark.parametrize("name", ["vmlinuz", "vmlinuz-1"])
def test_a_kernel_without_a_ram_disk_is_an_error(ground: Ground, name: str) -> None:
    with pytest.raises(TerraError, match=f"no kernel that can be booted: /boot/{name} has no initial RAM disk"):
        ground.deploy(*boot(name))


def test_an_image_without_boot_has_none(ground: Ground) -> None:
    assert ground.deploy(folder(b"usr")).kernel is None


def test_a_kernel_behind_links_within_the_image_is_found(ground: Ground) -> None:
    deployed = ground.deploy(
        folder(b"usr"),
        folder(b"usr/boot"),
        file(b"usr/boot/kernel", b"a kernel"),
        symlink(b"boot", b"/usr/boot"),
        symlink(b"usr/boot/vmlinuz-1", b"/usr/boot/kernel"),
        hardlink(b"usr/boot/initrd.img-1", b"usr/boot/kernel"),
    )
    assert deployed.kernel is not None
    assert deployed.kernel.read_text() == "a kernel"


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../../../../../../../../etc/passwd", b"/proc/self/root/etc/passwd"])
def test_a_kernel_that_is_a_link_to_the_host_fails_and_leaks_nothing(ground: Ground, target: bytes) -> None:
    items = [folder(b"boot"), symlink(b"boot/vmlinuz-1", target), file(b"boot/initrd.img-1")]
    with pytest.raises(TerraError, match="/boot/vmlinuz-1 of the image's tree is missing"):
        ground.deploy(*items)
    assert not (ground.path / "work/vmlinuz").exists()


@pytest.mark.parametrize("target", [b"/etc", b"../../../../../../../../etc", b"/nowhere", b"/proc/self/root/boot"])
def test_a_boot_that_is_a_link_to_the_host_shows_nothing_of_it(ground: Ground, target: bytes) -> None:
    deployed = ground.deploy(symlink(b"boot", target))
    assert deployed.kernel is None


def test_a_boot_that_leads_back_to_itself_is_an_error(ground: Ground) -> None:
    with pytest.raises(TerraError, match="/boot of the image's tree cannot be read"):
        ground.deploy(symlink(b"boot", b"/boot"))


@pytest.mark.parametrize("item", [folder(b"boot/vmlinuz-1"), Item(name=b"boot/vmlinuz-1", type=b"6")])
def test_a_kernel_that_is_no_file_is_an_error(ground: Ground, item: Item) -> None:
    with pytest.raises(TerraError, match="/boot/vmlinuz-1 of the image's tree is missing, or is no regular file"):
        ground.deploy(folder(b"boot"), item, file(b"boot/initrd.img-1"))


def test_the_kernel_line_says_how_to_boot_and_where_the_root_is(ground: Ground) -> None:
    assert ground.deploy(folder(b"usr")).kernel_arguments == ("boot=terra", "terra.root=os")


def test_every_step_is_told(ground: Ground) -> None:
    ground.deploy(folder(b"usr"))
    steps = [event.step for event in ground.events]
    assert steps[0] == "format"
    assert steps[-2:] == ["identity", "sync"]


@pytest.mark.parametrize("step", ["format", "identity", "sync"])
def test_it_can_be_interrupted_at_every_step(ground: Ground, step: str) -> None:
    def report(event: Event) -> None:
        if event.step == step:
            raise InterruptedWork("interrupted")

    with pytest.raises(InterruptedWork):
        ground.deploy(folder(b"usr"), session=Session(report=report))
