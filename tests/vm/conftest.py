"""What virtual machines are booted from: a site, and a server's image in its registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from iso.medium import make
from lab.disks import MB, Disk, blank
from lab.images import offer_bases
from lab.site import CONFIG, Site
from terra_core.config.node import Firmware
from terra_core.config.session import Session
from terra_core.config.values import parse_hostname
from terra_core.hookspecs import BootDisk, Bootloader, LocalBoot
from terra_core.install.disks import part_device
from terra_core.install.layout import divide, render_script
from terra_core.plugins import Plugins
from terra_core.system.process import run
from tests.vm.live import say

_BUILD = Path(__file__).parent.parent.parent / "build"


@pytest.fixture(scope="module")
def site_config() -> str:
    """Return the controller.toml of :func:`site`; a module may have its own."""
    return CONFIG


@pytest.fixture(scope="module")
def site_plugins() -> Path | None:
    """Return a directory with further plugins for :func:`site`; a module may have its own."""
    return None


@pytest.fixture(scope="module")
def server_toml(tmp_path_factory: pytest.TempPathFactory, lab_key: Path) -> Path:
    """Write the server.toml of an image that lets the test in."""
    server = tmp_path_factory.mktemp("server") / "server.toml"
    public = lab_key.with_suffix(".pub").read_text().strip()
    server.write_text(f'{(Path(__file__).parent / "server.toml").read_text()}\n[ssh]\n  keys = ["{public}"]\n')
    return server


@pytest.fixture(scope="module")
def site(site_config: str, site_plugins: Path | None, server_toml: Path) -> Iterator[Site]:
    """Start a site whose registry has the pxe image and a server's image that lets the test in."""
    with Site(_BUILD, label="vm", config=site_config, plugins=site_plugins) as site:
        pxe = offer_bases(site.engine, site.registry.address)
        site.command(["create", "--push", server_toml])
        site.command(["pxe", str(pxe)])
        yield site


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory that media are written to."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def plain(media: Path) -> Path:
    """Write the medium as everybody gets it."""
    return make(media / "terra.iso", say=say)


@pytest.fixture(scope="module")
def keyed(media: Path, lab_key: Path) -> Path:
    """Write the medium with a key on its kernel line."""
    public = lab_key.with_suffix(".pub").read_text().strip()
    return make(media / "keyed.iso", [f"terra.ssh={quote(public, safe='')}"], say=say)


@pytest.fixture(scope="module")
def half_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """Make a disk with a boot loader, and with nothing that it could start."""
    directory = tmp_path_factory.mktemp("disk")
    with blank(directory, [600]) as (disk,):
        parts = divide(600 * MB, Firmware.BOTH, "os")
        run(["sfdisk", "--quiet", disk.device], stdin=render_script(parts, 512).encode())
        boot = LocalBoot(
            hostname=parse_hostname("half-01"),
            disks=(
                BootDisk(
                    device=disk.device, core_sector=2048, core_sectors=2048, esp=part_device(disk.device, 2), esp_number=2
                ),
            ),
            firmware=Firmware.BOTH,
            filesystem="e8e6a073-0f1c-4260-8285-efce25e59373",
            root="os",
            kernel="boot/vmlinuz-6.1",
            initrd="boot/initrd.img-6.1",
        )
        work = directory / "work"
        work.mkdir()
        grub = Plugins.discover().fill(Bootloader, {}, source="test")
        grub.install_bootloader(boot, work, Session())
        yield disk
