"""Boot files where earlier versions had them, which nothing else has: each machine takes its own along when it is published."""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from attrs import evolve

from terra_core.config.values import Hostname
from terra_core.hookspecs import NodeBoot
from terra_core.system.progress import Report
from terra_ipxe.layout import BootPaths
from terra_ipxe.loaders import install_kernel
from terra_tftp.files import read_file
from terra_tftp.tree import INITRD, KERNEL


class FormerFiles:
    """What is left of them on this host. The files of a machine stay until they are in their new place.

    :param paths: where everything is.
    """

    def __init__(self, paths: BootPaths) -> None:
        self._paths = paths
        self._tree = paths.former / "http"

    @property
    def are_left(self) -> bool:
        """Whether there are files of any machine."""
        return bool(self._nodes)

    def completed(self, boot: NodeBoot) -> NodeBoot:
        """Return what a machine boots, with its files from there; as it is where it brings its own, or none are there."""
        node = self._nodes.get(boot.hostname)
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

    def take_kernel(self, report: Report) -> None:
        """Take the kernel for images without one, unless another one is installed."""
        here, there = ([(tree / name).is_file() for name in (KERNEL, INITRD)] for tree in (self._paths.tree, self._tree))
        if all(there) and not all(here):  # half of it is what a controller left that was killed
            install_kernel(self._tree, self._paths.tree, report)

    def forget(self, hostname: Hostname) -> None:
        """Remove the files of a machine, which has them in their new place, or is gone; after the last one, all of it."""
        if (node := self._nodes.pop(hostname, None)) is None:
            return
        with suppress(OSError):  # terra doctor says so
            shutil.rmtree(node)
            if not self._nodes:
                shutil.rmtree(self._paths.former)

    @cached_property
    def _nodes(self) -> dict[str, Path]:
        """The directories of machines that are left, by their names; links are not followed."""
        nodes = self._tree / "nodes"
        followed = any(path.is_symlink() for path in (self._paths.former, self._tree, nodes))
        if followed or not nodes.is_dir() or _is_one(nodes, self._paths.tree / "nodes"):
            return {}
        return {node.name.rpartition(".")[0]: node for node in nodes.iterdir() if not node.is_symlink()}


def _is_one(one: Path, other: Path) -> bool:
    """Return whether two paths are of one directory, such as where one is mounted at the other (mount(8), bind)."""
    try:
        return one.samefile(other)
    except OSError:
        return False
