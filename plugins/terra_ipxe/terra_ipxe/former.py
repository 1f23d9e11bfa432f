"""Boot files where earlier versions had them, which nothing else has: each machine takes its own along when it is published."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from attrs import evolve

from terra_core.config.values import Hostname
from terra_core.hookspecs import NodeBoot
from terra_ipxe.layout import BootPaths
from terra_tftp.files import copy_file, make_directory, open_inside, read_file
from terra_tftp.tree import INITRD, KERNEL


class FormerFiles:
    """What is left of them on this host. The files of a machine stay until they are in their new place.

    :param paths: where everything is.
    """

    def __init__(self, paths: BootPaths) -> None:
        self._paths = paths
        self._tree = paths.former / "http"
        self._nodes: dict[str, Path] | None = None

    def completed(self, boot: NodeBoot) -> NodeBoot:
        """Return what a machine boots, with its files from there; as it is where it brings its own, or none are there."""
        node = self._left().get(boot.hostname)
        if node is None or boot.kernel is not None or boot.steps is not None:
            return boot
        report = node / "report.img"
        found = evolve(
            boot,
            steps=node / "steps.img" if (node / "steps.img").is_file() else None,
            report=report.read_bytes() if boot.report is None and report.is_file() else boot.report,
        )
        kernel, initrd = node / "vmlinuz", node / "initrd.img"
        whole = (read_file(node / "image") or "").strip() == boot.image and kernel.is_file() and initrd.is_file()
        return evolve(found, kernel=kernel, initrd=initrd) if whole else found

    def take_kernel(self) -> None:
        """Take the kernel for images without one, unless another one is installed."""
        if not self._left() or any((self._paths.tree / name).exists() for name in (KERNEL, INITRD)):
            return
        for name in (INITRD, KERNEL):
            with open_inside(self._tree, name) as file:
                if file is not None:
                    make_directory((self._paths.tree / name).parent)
                    copy_file(file, self._paths.tree / name)

    def forget(self, hostname: Hostname) -> None:
        """Remove the files of a machine, which has them in their new place, or is gone; after the last one, all of it."""
        left = self._left()
        if (node := left.pop(hostname, None)) is None:
            return
        with suppress(OSError):  # terra doctor says so
            shutil.rmtree(node)
            if not left:
                shutil.rmtree(self._paths.former)

    def _left(self) -> dict[str, Path]:
        if self._nodes is None:
            self._nodes = dict(self._found())
        return self._nodes

    def _found(self) -> list[tuple[str, Path]]:
        nodes = self._tree / "nodes"
        followed = any(path.is_symlink() for path in (self._paths.former, self._tree, nodes))
        if followed or not nodes.is_dir() or _is_one(nodes, self._paths.tree / "nodes"):
            return []
        return [(node.name.rpartition(".")[0], node) for node in nodes.iterdir() if not node.is_symlink()]


def _is_one(one: Path, other: Path) -> bool:
    """Return whether two paths are of one directory, such as where one is mounted at the other (mount(8), bind)."""
    try:
        return one.samefile(other)
    except OSError:
        return False
