"""Which packages programs come with."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from terra_core.plugins import Plugins
from terra_core.system.packages import install_hint

_ROOT = Path(__file__).parents[3]


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


_OF_EVERY_SYSTEM = {"chattr", "cp", "ldd", "modprobe", "rm", "sh", "sync", "true"}
"""What comes with every Debian, or with what boots it."""


def test_every_program_that_is_run_has_a_package() -> None:
    plugins = Plugins.discover()
    known = {program for name in plugins.names for program in plugins.programs(name)}
    found = set()
    for top in (*_ROOT.glob("terra_core"), *_ROOT.glob("plugins/*/terra_*"), *_ROOT.glob("apps/*/terra_*")):
        for path in (path for path in top.rglob("*.py") if "testing" not in path.parts and "scaffold" not in path.parts):
            programs = set(_programs(ast.parse(path.read_text())))
            if programs:  # a module names the packages of those that it runs, when it is imported
                import_module(".".join(path.relative_to(top.parent).with_suffix("").parts))
            found |= programs
    assert {"tgtadm", "btrfs", "findmnt", "systemctl", "losetup"} <= found
    assert {one for one in found - known - _OF_EVERY_SYSTEM if "apt-get install" not in install_hint(one)} == set()


def _programs(tree: ast.AST) -> Iterator[str]:
    """Yield the first word of each command line that is written out, in a call that starts a program or before it."""
    nodes = list(ast.walk(tree))
    named: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named.setdefault(node.targets[0].id, []).append(node.value)
    for node in nodes:
        if isinstance(node, ast.Call) and node.args and getattr(node.func, "id", "") in ("run", "Daemon", "Conversation"):
            given = node.args[0]
            for words in named.get(given.id, []) if isinstance(given, ast.Name) else [given]:
                first = words.elts[0] if isinstance(words, ast.List) and words.elts else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value


def test_a_program_that_nobody_named() -> None:
    assert install_hint("no-such-program") == "install the package that provides 'no-such-program'"
