"""What virtual machines are booted from: a site, and a server's image in its registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.images import build_base_images, offer
from lab.site import Site

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
