"""What makes an installed machine itself and lets it start, when all of its files are on the disks."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from attrs import evolve, frozen

from terra_core.config.node import OS_LABEL
from terra_core.config.session import Session
from terra_core.config.trust import with_key
from terra_core.config.values import Address
from terra_core.deploy import MountedSystem, write_steps
from terra_core.errors import TerraError
from terra_core.fitness import Fit
from terra_core.hookspecs import BootDisk, Bootloader, LocalBoot, RenderedFile
from terra_core.image.contained import ContainedRoot
from terra_core.install.disks import Made, flush
from terra_core.install.plan import Plan
from terra_core.machine.system import STEPS
from terra_core.oci.source import ImageSource
from terra_core.plugins import Plugins, filesystem_of
from terra_core.system.process import run
from terra_core.system.progress import Event
from terra_core.versions.record import Record, write_record

_RESOLV_CONF_LIMIT = 64 * 1024


@frozen(kw_only=True)
class Finish:
    """The last steps.

    :param plan: what is installed.
    :param raw: node.toml, as parsed.
    :param made: the disks, partitioned.
    :param gateway: the machine's gateway, which also answers its DNS questions unless the image knows better.
    :param plugins: what is installed here.
    :param session: who listens.
    :param work: a directory for the boot loader's files.
    """

    plan: Plan
    raw: Mapping[str, object]
    made: Sequence[Made]
    gateway: Address | None
    plugins: Plugins
    session: Session
    work: Path

    def __call__(self, system: MountedSystem, fit: Fit, image: ImageSource) -> None:
        """Write what is left; the menu that lets the machine start comes last, after a sync.

        :param system: the system, laid down.
        :param fit: how the machine starts from it.
        :param image: what was laid down.
        """
        if fit.kernel:
            write_steps(system.inside, fit)
        self.session.report(Event("sync", "write everything to the disks"))
        system.sync()
        if self.gateway is not None:
            write_resolution(system.inside, self.gateway)
        files = self._write_boot_loader(system, fit)
        self.session.report(Event("record", "write down what was laid down"))
        write_record(self._record(system, image), system.inside, system.root, self.work, files)
        system.sync()
        self.session.report(Event("ready", "write what lets it start"))
        for file in files:
            system.inside.write(file.path, file.content, mode=file.mode)
        system.sync()
        flush([one.target.device.path for one in self.made])

    def _write_boot_loader(self, system: MountedSystem, fit: Fit) -> Sequence[RenderedFile]:
        boot = self.plan.boot_loader()
        if boot is None:
            return ()
        self.session.report(Event("boot", f"write the boot loader: {boot.firmware.value}"))
        own = self.work / "boot"
        own.mkdir()
        plugin = self.plugins.fill(Bootloader, self.plan.node.plugins, source=self.session.source)
        complete = self._completed(boot, system, fit)
        return plugin.install_bootloader(complete, own, self.session)

    def _record(self, system: MountedSystem, image: ImageSource) -> Record:
        node = self.plan.node
        return Record(
            version=system.place or OS_LABEL,
            image=str(node.image),
            digest=str(image.digest),
            layers=tuple(map(str, image.config.diff_ids)),
            laid=datetime.now(UTC).isoformat(timespec="seconds"),
            filesystem=filesystem_of(node.os_group, node, self.plugins, source=self.session.source).plugin,
            bootloader=self.plugins.fill(Bootloader, node.plugins, source=self.session.source).plugin,
            kernel_arguments=system.kernel_arguments,
            node=with_key(self.raw, node.trust),
        )

    def _completed(self, boot: LocalBoot, system: MountedSystem, fit: Fit) -> LocalBoot:
        root = next(mount for mount in system.mounts if mount.path == "/")
        esps = {one.target.device.path: one.esp for one in self.made if one.target.group == OS_LABEL}
        disks: list[BootDisk] = [evolve(disk, esp=esps.get(disk.device)) for disk in boot.disks]
        return evolve(
            boot,
            disks=tuple(disks),
            filesystem=_filesystem_uuid(root.device),
            type=root.filesystem,
            root=system.place,
            kernel=fit.kernel,
            initrd=fit.initrd,
            steps=STEPS if fit.kernel else "",
            kernel_arguments=(*system.kernel_arguments, *self.plan.node.kernel_arguments),
        )


def write_resolution(inside: ContainedRoot, gateway: Address) -> None:
    """resolv.conf(5) with the gateway as name server, unless the image has something of its own there: a name server, a link,
    or whatever else is no regular file."""
    found = inside.look("etc/resolv.conf", follow=False)
    if found is not None and not stat.S_ISREG(found.st_mode):
        return
    present = inside.read_small("etc/resolv.conf", limit=_RESOLV_CONF_LIMIT)
    named = any(line.split()[:1] == [b"nameserver"] for line in present.split(b"\n"))
    if named or (found is not None and len(present) < found.st_size):
        return
    content = present if present.endswith(b"\n") or not present else present + b"\n"
    inside.write("etc/resolv.conf", content + f"nameserver {gateway}\n".encode(), mode=0o644)


def _filesystem_uuid(device: Path) -> str:
    found = run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", device]).text.strip()
    if not found:
        raise TerraError(f"{device}: the file system that was just made on it has no UUID")
    return found
