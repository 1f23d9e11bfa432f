"""What virtual machines are booted from: a site, and a server's image in its registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from iso.medium import make
from lab.images import build_base_images, offer
from lab.site import Site
from tests.vm.live import say

_BUILD = Path(__file__).parent.parent.parent / "build"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, lab_key: Path) -> Iterator[Site]:
    """A site whose registry has the pxe image and a server's image that lets the test in."""
    images = build_base_images()
    work = tmp_path_factory.mktemp("site")
    server = work / "server.toml"
    public = lab_key.with_suffix(".pub").read_text().strip()
    server.write_text(f'{(Path(__file__).parent / "server.toml").read_text()}\n[ssh]\n  keys = ["{public}"]\n')
    with Site(_BUILD, label="vm") as site:
        offer(images["terraos"], site.engine, site.registry.address, push=False)
        pxe = offer(images["pxe"], site.engine, site.registry.address, push=True)
        site.command(["create", "--push", server])
        site.command(["pxe", str(pxe)])
        yield site


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where media are written."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def plain(media: Path) -> Path:
    """The medium as everybody gets it."""
    return make(media / "terra.iso", say=say)


@pytest.fixture(scope="module")
def keyed(media: Path, lab_key: Path) -> Path:
    """The medium with a key on its kernel line."""
    public = lab_key.with_suffix(".pub").read_text().strip()
    return make(media / "keyed.iso", [f"terra.ssh={quote(public, safe='')}"], say=say)
