"""An image as a block device of this machine, so that core can format and fill it.

The kernel's own client maps it (rbd(8), ``device map``) where there is one. Elsewhere qemu-storage-daemon(1) shows it as a file
through FUSE, with a loop device over it.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_ceph.cluster import Cluster
from terra_ceph.images import Images
from terra_ceph.shown import Name
from terra_core.config.session import Session
from terra_core.errors import CommandError, TerraError
from terra_core.hookspecs import Volume
from terra_core.system.mounts import loop_device, loop_devices, mount_points
from terra_core.system.process import Daemon, run, uninterrupted
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

_KERNEL = Path("/sys/bus/rbd")
_LOST = "what was written to it may not be in the store: lay it down again"
_SHOW_SECONDS = 60.0
_END_SECONDS = 120.0
_MODPROBE_SECONDS = 20.0


@contextmanager
def opened(volume: Volume, session: Session) -> Iterator[Path]:
    """Offer the image of a volume as a block device, and have all that was written to it in the cluster in the end.

    :raises TerraError: when the image is not what was made, or what was written cannot be stored.
    """
    images = Images.of(session)
    images.verify(volume)
    name = Name.parse(volume.name)
    offered = _mapped(name, images.cluster) if kernel_has_rbd() else _shown(name, images.cluster, session.paths.run.absolute())
    with offered as device:
        yield device
        _flush(name, device)


def kernel_has_rbd() -> bool:
    """Return whether the kernel has a client for RBD that this process may use; it is loaded where it is a module.

    A unit of systemd with ``ProtectKernelTunables=`` has ``/sys`` to read only, and images are mapped by what is written there.
    """
    if not _KERNEL.exists():
        try:
            run(["modprobe", "--quiet", "rbd"], accept=(0, 1), timeout=_MODPROBE_SECONDS)
        except CommandError:
            return False
    return os.access(_KERNEL / "add", os.W_OK)  # False for root, too, where the file system is mounted to read only


@contextmanager
def _mapped(name: Name, cluster: Cluster) -> Iterator[Path]:
    with Undo() as undo:
        # By name and before the step: a controller that was killed, or an interrupted rbd, may have left a device.
        undo.callback(_unmap, name, cluster)
        _unmap(name, cluster)
        yield Path(cluster.rbd("device", "map", str(name), "--exclusive").text.strip())


def _unmap(name: Name, cluster: Cluster) -> None:
    with uninterrupted():
        rows = json.loads(cluster.rbd("device", "list", "--format", "json").text)
        for row in rows:
            if (row["pool"], row["name"]) == (name.pool, name.image):
                cluster.rbd("device", "unmap", row["device"], seconds=_END_SECONDS)


def forget(volume: Volume, session: Session) -> None:
    """Remove the file that an image was shown as by a controller that was killed, so that the image can be removed."""
    _clear(*_places(Name.parse(volume.name), session.paths.run.absolute()))


def _places(name: Name, run_directory: Path) -> tuple[Path, Path]:
    """Return the file that an image is shown as, and the log of what shows it."""
    directory = run_directory / "ceph"
    return directory / f"{name.pool}.{name.image}", directory / f"{name.pool}.{name.image}.log"


@contextmanager
def _shown(name: Name, cluster: Cluster, place: Path) -> Iterator[Path]:
    file, log = _places(name, place)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Undo() as undo:
        undo.callback(_clear, file, log)
        _clear(file, log)
        file.touch(mode=0o600)
        daemon = _serve(name, cluster, file, log)
        undo.callback(_end, daemon, name)
        wait_until(lambda: not daemon.alive or _is_mounted(file), seconds=_SHOW_SECONDS, what=f"{name} to be opened")
        if not daemon.alive:
            raise TerraError(
                f"{name}: qemu-storage-daemon does not open it:\n{daemon.tail()}",
                hint="the driver of QEMU for RBD is in the package qemu-block-extra",
            )
        yield undo.enter_context(loop_device(file, replaceable=False))


def _serve(name: Name, cluster: Cluster, file: Path, log: Path) -> Daemon:
    image = f"driver=rbd,node-name=disk,pool={name.pool},image={name.image},conf={cluster.config},user={cluster.user}"
    export = f"type=fuse,id=file,node-name=disk,mountpoint={file},writable=on"
    words = ["qemu-storage-daemon", "--blockdev", f"{image},discard=unmap", "--export", export]
    return Daemon(words, log=log, owned=True)


def _end(daemon: Daemon, name: Name) -> None:
    with uninterrupted():
        alive = daemon.alive
        code = daemon.stop(_END_SECONDS)
        if code or not alive:
            raise TerraError(f"{name}: qemu-storage-daemon ended with code {code}:\n{daemon.tail()}", hint=_LOST)


def _clear(file: Path, log: Path) -> None:
    """Remove what is left of a file that an image was shown as, also by a controller that was killed."""
    if not file.parent.exists():
        return
    with uninterrupted():
        for device in loop_devices():
            if device.file == file:
                run(["losetup", "--detach", device.path], accept=(0, 1))
        while _is_mounted(file):
            run(["umount", "--lazy", file])
        file.unlink(missing_ok=True)
        log.unlink(missing_ok=True)


def _is_mounted(file: Path) -> bool:
    return any(point.path == file for point in mount_points())


def _flush(name: Name, device: Path) -> None:
    descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        full = "the pool is full" if error.errno == errno.ENOSPC else error.strerror
        raise TerraError(f"{name}: cannot be written to the cluster: {full}", hint=_LOST) from error
    finally:
        os.close(descriptor)
