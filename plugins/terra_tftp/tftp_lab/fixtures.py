"""A controller's paths that dnsmasq's user can reach, in a network of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.network import BRIDGE, Network
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.system.process import run
from terra_tftp import plugin
from tftp_lab import CLIENT, MakeSession


@pytest.fixture
def tftp_network() -> Iterator[Network]:
    """Make a network and run the test in it."""
    with Network("tftp") as made:
        run(["ip", "-n", made.name, "link", "add", "port", "type", "veth", "peer", "name", CLIENT])
        run(["ip", "-n", made.name, "link", "set", "port", "master", BRIDGE, "up"])
        run(["ip", "-n", made.name, "link", "set", CLIENT, "up"])
        with made.inside():
            yield made


@pytest.fixture
def tftp_paths() -> Iterator[Paths]:
    root = Path(tempfile.mkdtemp(prefix="terra-tftp-"))
    root.chmod(0o755)
    yield Paths(root)
    shutil.rmtree(root)


@pytest.fixture
def tftp_session(tftp_network: Network, tftp_paths: Paths) -> Iterator[MakeSession]:
    """Yield a function that makes a session with a table ``[tftp]``; stop the service at the end."""

    def make(**table: object) -> Session:
        return Session(source="controller.toml", tables={"tftp": table}, paths=tftp_paths)

    yield make
    plugin.stop_boot(make())


@pytest.fixture
def tftp_kernel(tmp_path: Path) -> Path:
    """Write a kernel of more than one TFTP block, and its initial RAM disk beside it."""
    (tmp_path / "vmlinuz").write_bytes(b"kernel" * 10_000)
    (tmp_path / "initrd.img").write_bytes(b"initrd" * 10_000)
    return tmp_path / "vmlinuz"
