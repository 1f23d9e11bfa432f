"""Which packages programs come with."""

from __future__ import annotations

from importlib import import_module

import pytest

from terra_core.plugins import Plugins
from terra_core.system.packages import install_hint


@pytest.mark.parametrize(
    ("program", "package"),
    [
        ("tgtd", "tgt"), ("tgtadm", "tgt"), ("dnsmasq", "dnsmasq-base"), ("mkfs.btrfs", "btrfs-progs"),
        ("/sbin/btrfs", "btrfs-progs"),
        ("mcopy", "mtools"), ("sfdisk", "fdisk"), ("ip", "iproute2"), ("qemu-img", "qemu-utils"),
    ],
)  # fmt: skip
def test_the_package_of_a_program(program: str, package: str) -> None:
    import_module("terra_grub.install")
    plugins = Plugins.discover()
    for name in ("btrfs", "iscsi", "tftp"):
        assert plugins.programs(name)
    assert f"apt-get install {package}," in install_hint(program)


def test_a_program_that_nobody_named() -> None:
    assert install_hint("no-such-program") == "install the package that provides 'no-such-program'"
