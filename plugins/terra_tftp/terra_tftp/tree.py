"""The boot tree: what machines load once they have a boot loader. The menus are those of a :class:`Layout`.

::

    kernel/vmlinuz, initrd.img              of the pxe image, for images that have none
    kernels/4f2b81.../vmlinuz, initrd.img   the kernel of an image: other names of its machines' files
    nodes/cm-01/vmlinuz, initrd.img         a machine's kernel, unless its image has none
    nodes/cm-01/steps.img                   its boot steps, unless it was provisioned before there were any
    nodes/cm-01/steps                       that it has them; what says so is there before they are
    nodes/cm-01/report.img                  what its next boot reports itself with
    nodes/cm-01/mac                         the interface its menus are for
    nodes/cm-01/image                       the digest of the image that the kernel is of, written last
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from attrs import evolve, frozen

from terra_core.config.kernel_line import join_arguments, network_arguments
from terra_core.config.values import Hostname, Mac, parse_hostname, parse_mac
from terra_core.errors import NotFoundError, TerraError
from terra_core.hookspecs import NodeBoot
from terra_core.system import files
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo
from terra_tftp.files import (
    copy_file,
    give_file,
    link_file,
    make_directory,
    open_inside,
    read_file,
    remove_file,
    remove_staged,
    write_file,
)
from terra_tftp.menus import Entry

KERNEL = "kernel/vmlinuz"
INITRD = "kernel/initrd.img"
_PAIR = ("vmlinuz", "initrd.img")
_KERNELS = "kernels"
_STEPS = "steps.img"
_HAS_STEPS = "steps"
_REPORT = "report.img"
_NO_KERNEL = "none"
"""The text instead of the digest for a machine that boots the pxe image's kernel."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Layout(Protocol):
    """What the boot loaders of one plugin read in its boot tree."""

    def common(self) -> Mapping[str, str]:
        """Return the files that are for all machines, by path: also what a machine gets that is not provisioned."""

    def menus(self, mac: Mac) -> Sequence[str]:
        """Return the paths of a machine's own menus."""

    def texts(self, entry: Entry) -> Sequence[str]:
        """Return those menus, in the order of :meth:`menus`; each begins with :meth:`heading`.

        :raises TerraError: for a kernel line that is too long.
        """

    def heading(self, hostname: Hostname) -> str:
        """Return the beginning of a machine's menus, which tells whose they are."""

    def node(self, hostname: Hostname) -> str:
        """Return the name of a machine's directory."""

    def hostname(self, node: str) -> Hostname:
        """Return the machine that a directory is of."""

    def missing(self, root: Path) -> Sequence[str]:
        """Return the boot loaders that are not installed.

        :param root: the boot tree.
        """


@frozen
class BootTree:
    """The boot tree at ``root``."""

    root: Path
    layout: Layout

    def prepare(self) -> None:
        """Make the directories, and what a machine gets that is not provisioned."""
        for name in ("nodes", "kernel", _KERNELS):
            make_directory(self.root / name)
        self._drop_kernels()
        self.root.chmod(0o755)
        for name, text in self.layout.common().items():
            make_directory((self.root / name).parent)
            write_file(self.root / name, text)

    def sweep(self) -> None:
        """Remove what killed controllers left of new files."""
        files.sweep_unfinished(self.root)

    def publish(self, boot: NodeBoot, configured: Sequence[str], report: Report, reader: str) -> bool:
        """Let a machine boot: its kernel first, then its menus. A machine that is new here is withdrawn when this fails.

        :param configured: kernel arguments of every machine.
        :param reader: the user that sends the boot steps, which may hold secrets.
        :returns: whether anything was changed.
        :raises NotFoundError: when no kernel is given and the one that was published before is not whole any more.
        :raises TerraError: when there is none to boot.
        """
        _check(boot)
        line = join_arguments([*network_arguments(boot.mac), *boot.kernel_arguments, *configured])
        with Undo() as undo:
            if not self._node(boot.hostname).exists():  # a restart publishes ten thousand that are as they were
                self.prepare()
                undo.callback(self.withdraw, boot.hostname, boot.mac)
            changed = self._publish_kernel(boot, report)
            changed |= self._publish_steps(boot, reader)
            changed |= self._publish_report(boot, reader)
            changed |= self._publish_menus(boot, line)
            undo.pop_all()
        missing = self.layout.missing(self.root)
        if missing:
            lacking = f"{boot.hostname} cannot boot yet: the boot loaders {', '.join(missing)} are not installed"
            report(Event("boot", f"warning: {lacking}; install them with: terra pxe IMAGE"))
        return changed

    def keep(self, boot: NodeBoot, place: Path) -> NodeBoot:
        """Give the files that a machine boots further names, or copy them, for them to be published again.

        :param place: a directory for them.
        :raises NotFoundError: when one of them is not there.
        """
        node = self._node(boot.hostname)
        own = _PAIR if self._image(boot.hostname) != _NO_KERNEL else ()
        for name in (*own, _STEPS):
            if not _is_there(node / name):
                raise NotFoundError(
                    f"{node / name}: is not there, so that {boot.hostname} could not be given it back",
                    hint=f"delete and provision {boot.hostname} again",
                )
            if not link_file(node / name, place / name):
                _copy(node / name, place / name)
        kernel, initrd = (place / name if own else None for name in _PAIR)
        return evolve(boot, kernel=kernel, initrd=initrd, steps=place / _STEPS)

    def withdraw(self, hostname: Hostname, mac: Mac) -> bool:
        """Let a machine boot no longer: its menus go first, then its kernel. Says whether there was anything."""
        if not _NAME.fullmatch(hostname):  # not parse_hostname: names that it now refuses may have been published before
            raise TerraError(f"{hostname!r} is no name of a machine")
        withdrawn = [self._withdraw_menus(hostname, each) for each in {mac, self.mac_of(hostname) or mac}]
        node = self._node(hostname)
        if not node.exists():
            return any(withdrawn)
        try:
            shutil.rmtree(node)
            self._drop_kernels()
        except OSError as error:
            raise TerraError(f"{node}: cannot be removed: {error.strerror}") from error
        return True

    def published(self) -> dict[Hostname, Mac]:
        """Return every machine that has files here, with the interface it boots from."""
        if not (self.root / "nodes").is_dir():
            return {}
        names = [self.layout.hostname(node.name) for node in (self.root / "nodes").iterdir()]
        found = {hostname: self.mac_of(hostname) for hostname in names}
        return {hostname: mac for hostname, mac in found.items() if mac is not None}

    def mac_of(self, hostname: Hostname) -> Mac | None:
        """Return the interface that a machine's menus are for."""
        text = read_file(self._node(hostname) / "mac")
        try:
            return parse_mac(text.strip()) if text else None
        except ValueError:
            return None

    def _node(self, hostname: Hostname) -> Path:
        return self.root / "nodes" / self.layout.node(hostname)

    def _menus(self, mac: Mac) -> list[Path]:
        return [self.root / name for name in self.layout.menus(mac)]

    def _image(self, hostname: Hostname) -> str:
        return (read_file(self._node(hostname) / "image") or "").strip()

    def _whole(self, hostname: Hostname) -> bool:
        """Return whether a machine has a kernel of its own, with nothing missing or empty."""
        return _is_pair(self._node(hostname))

    def _publish_kernel(self, boot: NodeBoot, report: Report) -> bool:
        if boot.kernel is None or boot.initrd is None:
            return self._keep_kernel(boot)
        if self._image(boot.hostname) == boot.image and self._whole(boot.hostname):
            return False
        # Kernel and RAM disk cannot be replaced atomically, so no menu refers to them meanwhile.
        self._withdraw_menus(boot.hostname, self.mac_of(boot.hostname) or boot.mac)
        node = self._node(boot.hostname)
        make_directory(node)
        remove_file(node / "image")
        shared = self._kernel_of(boot.image)
        if not (_is_pair(shared) and all(link_file(shared / name, node / name) for name in _PAIR)):
            for number, (source, name) in enumerate(zip((boot.kernel, boot.initrd), _PAIR, strict=True)):
                report(Event("boot", f"copying {name} of {boot.hostname}", number, len(_PAIR), "files"))
                _copy(source, node / name)
            report(Event("boot", f"the kernel of {boot.hostname} is copied", len(_PAIR), len(_PAIR), "files"))
            make_directory(shared)
            for name in _PAIR:
                link_file(node / name, shared / name)
        self._drop_kernels()
        return write_file(node / "image", f"{boot.image}\n")

    def _publish_steps(self, boot: NodeBoot, reader: str) -> bool:
        """Store the boot steps of a machine, or make sure that those are there that were published before."""
        node = self._node(boot.hostname)
        archive, mark = node / _STEPS, node / _HAS_STEPS
        if boot.steps is None:
            if read_file(mark) is not None and not (archive.is_file() and archive.stat().st_size):
                raise NotFoundError(
                    f"{archive}: the boot steps of {boot.hostname} are not there any more",
                    hint=f"delete and provision {boot.hostname} again",
                )
            if archive.is_file():
                give_file(archive, reader)  # also one of a Terra that let everybody read it
            return False
        make_directory(node)
        changed = write_file(mark, "")
        if archive.is_file() and not archive.is_symlink() and archive.read_bytes() == boot.steps.read_bytes():
            give_file(archive, reader)
            return changed
        _copy(boot.steps, archive, reader=reader)
        return True

    def _publish_report(self, boot: NodeBoot, reader: str) -> bool:
        path = self._node(boot.hostname) / _REPORT
        if _is_there(path) and (boot.report is None or path.read_bytes() == boot.report):
            give_file(path, reader)
            return False
        if boot.report is None:
            return False
        make_directory(path.parent)
        copy_file(io.BytesIO(boot.report), path, reader=reader)
        return True

    def _keep_kernel(self, boot: NodeBoot) -> bool:
        """Leave the kernel that was published before, or fall back to the pxe image's."""
        node = self._node(boot.hostname)
        image = self._image(boot.hostname)
        if image == boot.image and self._whole(boot.hostname):
            return False
        if image == boot.image or (not image and node.exists()):
            raise NotFoundError(
                f"{node}: the kernel that {boot.hostname} boots is not whole any more",
                hint=f"delete and provision {boot.hostname} again",
            )
        if not all((self.root / name).is_file() for name in (KERNEL, INITRD)):
            raise TerraError(
                f"the image of {boot.hostname} has no kernel, and no pxe image with one is installed",
                hint="install one with: terra pxe IMAGE",
            )
        if image == _NO_KERNEL:
            return False
        make_directory(node)
        return write_file(node / "image", f"{_NO_KERNEL}\n")

    def _kernel_of(self, image: str) -> Path:
        """Return where the kernel of an image is, which is stored once for all of its machines."""
        return self.root / _KERNELS / image.partition(":")[2]

    def _drop_kernels(self) -> None:
        """Remove the kernels of images that no machine has: those without another name."""
        for place in (self.root / _KERNELS).iterdir() if (self.root / _KERNELS).is_dir() else ():
            with suppress(OSError):  # another host, which has this tree too, removes it, or gives it another machine
                if place.is_dir() and not place.is_symlink() and all(path.lstat().st_nlink == 1 for path in place.iterdir()):
                    shutil.rmtree(place)

    def _publish_menus(self, boot: NodeBoot, line: str) -> bool:
        former = self.mac_of(boot.hostname)
        if former not in (None, boot.mac):
            self._withdraw_menus(boot.hostname, former)
        node = self._node(boot.hostname)
        changed = write_file(node / "mac", f"{boot.mac}\n")
        own = self._image(boot.hostname) != _NO_KERNEL
        kernel, initrd = (f"nodes/{node.name}/{name}" for name in _PAIR) if own else (KERNEL, INITRD)
        own_archives = [f"nodes/{node.name}/{name}" for name in (_STEPS, _REPORT) if _is_there(node / name)]
        entry = Entry(hostname=boot.hostname, kernel=kernel, initrds=(initrd, *own_archives), line=line)
        for path, menu in zip(self._menus(boot.mac), self.layout.texts(entry), strict=True):
            make_directory(path.parent)
            changed |= write_file(path, menu)
        if not own:
            for name in _PAIR:
                changed |= remove_file(node / name)
        return changed

    def _withdraw_menus(self, hostname: Hostname, mac: Mac) -> bool:
        """Remove a machine's menus; the menus of another that has got the same interface since are left alone."""
        parse_mac(mac)
        changed = False
        for path in self._menus(mac):
            remove_staged(path)
            if (read_file(path) or "").startswith(self.layout.heading(hostname)):
                changed |= remove_file(path)
        return changed


def _is_there(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size > 0


def _is_pair(place: Path) -> bool:
    """Return whether a directory has a kernel and an initial RAM disk, neither of them empty."""
    return all(_is_there(place / name) for name in _PAIR)


def _copy(source: Path, path: Path, *, reader: str | None = None) -> None:
    with open_inside(source.parent, source.name) as file:
        if file is None:
            raise TerraError(f"{source}: no such file")
        copy_file(file, path, reader=reader)


def _check(boot: NodeBoot) -> None:
    """Check once more what becomes part of a path or a menu, by what is allowed in it."""
    try:
        right = parse_hostname(boot.hostname) == boot.hostname and parse_mac(boot.mac) == boot.mac
    except ValueError as error:
        raise TerraError(f"{boot.hostname!r} cannot be published: {error}") from None
    if not right:
        raise TerraError(f"{boot.hostname!r}, {boot.mac!r}: host name and MAC address must be in their normal spelling")
    if not _DIGEST.fullmatch(boot.image):
        raise TerraError(f"{boot.hostname}: expected the digest of an image, got {boot.image!r}")
    if (boot.kernel is None) != (boot.initrd is None):
        raise TerraError(f"{boot.hostname}: a kernel needs an initial RAM disk, and the other way round")
