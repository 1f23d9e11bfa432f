"""A site to provision on: images made byte by byte, node files, and a look at all that a machine can leave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine, inspect

from lab.network import CONTROLLER, ISCSI
from lab.registry import Registry
from lab.site import Site, terra_command
from terra_core.client.connection import Client
from terra_core.config.session import Session
from terra_core.system.mounts import loop_device, loop_devices, mount_points, mounted, parse_mounts
from terra_core.system.process import Completed, Daemon, run
from terra_core.system.progress import silent
from terra_core.system.waiting import wait_until
from terra_iscsi.service import own_control
from tests.unit.oci.making import Blob, Item, LayoutMaker, file, folder, symlink, tar

KERNEL = b"vmlinuz-6.1.0-42-amd64"
INITRD = b"initrd.img-6.1.0-42-amd64"
MAC = "52:54:00:00:00:01"
SYSTEM = (
    *(folder(name) for name in (b"boot", b"etc", b"home", b"usr", b"usr/bin", b"var", b"var/log", b"var/lib")),
    folder(b"home/terra", 0o700, uid=1000, gid=1000),
    file(b"home/terra/.profile", b"umask 022\n", uid=1000, gid=1000),
    file(b"boot/" + KERNEL, b"a kernel " * 1000),
    file(b"boot/" + INITRD, b"an initrd " * 1000),
    file(b"etc/hostname", b"example\n"),
    file(b"etc/hosts", b"127.0.0.1 localhost\n127.0.1.1 example\n"),
    file(b"etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
    file(b"usr/bin/sudo", b"#!/bin/sh\n", mode=0o4755),
    symlink(b"vmlinuz", b"boot/" + KERNEL),
)
"""A system that is small, and bootable as far as the controller can see."""
MANY = tuple(file(b"usr/%d" % number, b"x" * 3000) for number in range(4000))
"""What takes a while to lay down."""
MUCH = tuple(file(b"usr/%d" % number, Random(number).randbytes(1024 * 1024)) for number in range(100))  # noqa: S311  # no secret
"""100 MB that do not get smaller."""


def push(registry: Registry, layout: Path, name: str, *layers: Sequence[Item | bytes] | Blob) -> str:
    """Push an image of these layers to a registry; return its reference.

    :param layout: a directory for it, which is not there.
    """
    LayoutMaker(layout).image([layer if isinstance(layer, Blob) else tar(*layer) for layer in layers])
    return registry.push(layout, name)


def node_toml(image: str, hostname: str, mac: str, *, size: int = 256) -> str:
    """Return the text of a node.toml with one disk of ``size`` MB, and the seed's subvolumes."""
    subvolumes = {"home": "/home", "log": "/var/log", "containerd": "/var/lib/containerd"}
    return (
        f'hostname = "{hostname}"\nmac = "{mac}"\nimage = "{image}"\n[[groups]]\nlabel = "os"\n'
        f'[[groups.disk]]\ndevice = "/dev/sda"\nsize = {size}\n'
        + "".join(f'[[groups.subvolumes]]\nname = "{name}"\npath = "{where}"\n' for name, where in subvolumes.items())
    )


class Ground:
    """A site, with what the tests of the controller do on it.

    :param site: the site.
    :param work: a directory for layouts, node files and logs.
    """

    def __init__(self, site: Site, work: Path) -> None:
        self.site = site
        self._work = work
        self._number = 0

    def path(self, name: str) -> Path:
        """Return a fresh path for a file of the test."""
        self._number += 1
        return self._work / f"{self._number}-{name}"

    def push(self, name: str, *layers: Sequence[Item | bytes] | Blob) -> str:
        """Push an image of these layers to the site's registry; return its reference."""
        return push(self.site.registry, self.path(name), name, *layers)

    def node(self, image: str, hostname: str = "cm-01", mac: str = MAC, *, size: int = 256, more: str = "") -> Path:
        """Write a node.toml with the seed's subvolumes."""
        path = self.path(f"{hostname}.toml")
        path.write_text(node_toml(image, hostname, mac, size=size) + more)
        return path

    def terra(self, *words: str | Path, accept: Sequence[int] = (0,)) -> Completed:
        """Run terra to its end."""
        return self.site.command(words, timeout=120, accept=accept)

    def provision(self, image: str, hostname: str = "cm-01", mac: str = MAC, **more: Any) -> dict[str, Any]:
        """Provision a machine; return what terra prints."""
        shown: dict[str, Any] = json.loads(self.terra("provision", self.node(image, hostname, mac, **more)).text)
        return shown

    def start(self, *words: str | Path) -> Daemon:
        """Start terra and let it run."""
        command = self.site.network.command([terra_command(), *words])
        return Daemon(command, log=self.path("terra.log"), env=self.site.environment())

    def nodes(self) -> list[dict[str, Any]]:
        """Return the machines that the controller knows."""
        with self.site.network.inside():
            listed: list[dict[str, Any]] = self.client().get("/v1/nodes")
        return listed

    def clear(self) -> None:
        """Delete every machine, and what is laid down for the next one."""
        for node in self.nodes():
            with self.site.network.inside():
                client = self.client()
                client.follow(client.delete(f"/v1/nodes/{node['hostname']}?force=true")["operation"], silent)
        with self.site.network.inside():
            client = self.client()
            for digest in {image["digest"] for image in client.get("/v1/images")}:
                client.post(f"/v1/images/{digest}/pin", {"pinned": False})
                client.delete(f"/v1/images/{digest}")

    def client(self) -> Client:
        """Return a client of the controller; to be used inside the network."""
        return Client(CONTROLLER, token=self.site.environment()["TERRA_TOKEN"])

    def targets(self) -> dict[str, tuple[str, ...]]:
        """Return who may reach each target that tgtd has, by the target's name."""
        control = own_control(Session(paths=self.site.paths))
        return {target.iqn: tuple(target.rules) for target in control.targets()}

    def reachable(self, initiator: str) -> list[str]:
        """Return the targets that the portal shows to an initiator."""
        found = run(self.site.network.command(["iscsi-ls", "-i", initiator, f"iscsi://{ISCSI}"]), timeout=20).text
        return [line.split()[0].removeprefix("Target:") for line in found.splitlines() if line.startswith("Target:")]

    def may_log_in(self, initiator: str, iqn: str, secret: str | None = None) -> bool:
        """Return whether an initiator reaches LUN 1 of a target.

        :param secret: what it takes for its secret; that one when left out, and none when empty.
        """
        words = self.site.network.command(["iscsi-inq", "-i", initiator, f"iscsi://{ISCSI}/{iqn}/1"])
        return run(words, timeout=20, accept=range(256), env=self.account(initiator, secret)).code == 0

    def account(self, initiator: str, secret: str | None = None) -> dict[str, str]:
        """Return the variables by which initiators of libiscsi know the secret of a machine, or another one."""
        known = self.secrets().get(initiator, "") if secret is None else secret
        return {"LIBISCSI_CHAP_USERNAME": initiator, "LIBISCSI_CHAP_PASSWORD": known} if known else {}

    def secrets(self) -> dict[str, str]:
        """Return the secret of each machine by its initiator, from the database; what is no list of targets has none."""
        targets = []
        for text in self.rows("select cast(targets as text) from nodes"):
            with suppress(ValueError, TypeError):
                targets += [kept["target"] for kept in json.loads(text)]
        return {target["client"]: target["data"]["secret"] for target in targets if "secret" in target.get("data", {})}

    def left(self) -> list[str]:
        """Everything that machines have here, a line each; empty when there is none."""
        paths, root = self.site.paths, self.site.root
        kept = self.golden()
        found = [str(path) for path in (paths.root / "iscsi").rglob("*") if not kept & set(path.parts)]
        found += [str(path) for path in (paths.state / "golden").glob("*") if f"golden_{path.name}" not in kept]
        found += [str(path) for pattern in ("nodes/*", "pxelinux.cfg/01-*", "grub/*:*") for path in paths.tftp.glob(pattern)]
        found += [str(path) for place in (paths.work, paths.run / "work") for path in place.glob("*")]
        found += [str(path) for path in (paths.state / "images").glob("*")]
        found += [f"mount {path}" for path in self.mounted() if root in path.parents]
        found += [f"{device.path} of {device.file}" for device in loop_devices() if root in device.file.parents]
        return [*found, *self.targets()]

    def golden(self) -> set[str]:
        """Return the names of the images that are laid down whole, which are kept for the next machine."""
        return {f"golden_{token}" for token in self.rows("select token from golden_volumes where state = 'ready'")}

    def rows(self, query: str) -> list[str]:
        """Return the first column of what a query of the database finds."""
        with self.database() as connection:
            return [str(row[0]) for row in connection.exec_driver_sql(query)]

    @contextmanager
    def database(self) -> Iterator[Connection]:
        """Yield a transaction of the controller's database, beside the controller."""
        engine = create_engine(self.site.database, poolclass=NullPool)
        with engine.begin() as connection:
            yield connection

    def kept(self) -> bytes:
        """Return all that the database holds, as it is on its disk or as its server gives it."""
        if self.site.database.startswith("sqlite:"):
            return b"".join(path.read_bytes() for path in self.site.paths.state.glob("terra.db*"))
        with self.database() as connection:
            tables = inspect(connection).get_table_names()
            rows = [connection.exec_driver_sql(f'select "{name}"::text from "{name}"').scalars().all() for name in tables]  # noqa: S608  # of its own
        return "\n".join(text for some in rows for text in some).encode()

    def lose_database(self) -> None:
        """Lose all that the database holds; one in a server is empty then."""
        if self.site.database.startswith("sqlite:"):
            for path in self.site.paths.state.glob("terra.db*"):
                path.unlink()
            return
        with self.database() as connection:
            connection.exec_driver_sql("drop schema public cascade")
            connection.exec_driver_sql("create schema public")

    def wait_until_nothing_is_left(self) -> None:
        """Wait until nothing is left: work that was asked to end is undone within seconds."""
        wait_until(lambda: not self.left(), seconds=60, what=f"nothing to be left of {self.left()}")

    def wait_for(self, pattern: str) -> None:
        """Wait until there is a path below the root that matches."""
        wait_until(lambda: any(self.site.root.glob(pattern)), seconds=30, what=f"{pattern} to be there", interval=0.005)

    def mounted(self) -> set[Path]:
        """Return the mount points of this process and of the controller's threads, which have mounts of their own."""
        found = {point.path for point in mount_points()}
        if self.site.controller is not None:
            for task in Path(f"/proc/{self.site.controller.pid}/task").glob("*/mountinfo"):
                with suppress(OSError):  # the thread has ended meanwhile
                    found |= {point.path for point in parse_mounts(task.read_text(errors="surrogateescape"))}
        return found

    def wait_until_mounted(self) -> None:
        """Wait until a machine's root is mounted."""
        root = self.site.root
        wait_until(
            lambda: any(root in path.parents and path.name == "root" for path in self.mounted()),
            seconds=30,
            what="a root to be mounted",
            interval=0.005,
        )

    @contextmanager
    def opened(self, lun: str, subvolume: str = "os") -> Iterator[Path]:
        """Mount a subvolume of a LUN file read-only while it is exported; yield its mount point."""
        place = self.path("mnt")
        place.mkdir()
        with (
            loop_device(Path(lun), read_only=True) as device,
            mounted(device, place, filesystem="btrfs", options=("ro", f"subvol=/{subvolume}")),
        ):
            yield place
