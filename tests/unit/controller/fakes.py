"""One plugin for all of the controller's roles, in this process: it keeps files and a list of what it was asked for.

It is another plugin, not a replacement for a part: its hooks hold to what terra_core.hookspecs says.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import importlib_metadata as metadata
import pytest
from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from terra_core.config.controller import Controller, Paths
from terra_core.config.loader import Document, make_document
from terra_core.config.node import DiskGroup, NetworkNode
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, ImageReference, Mac, PluginName
from terra_core.controller.api import Context
from terra_core.controller.database import default_url, open_database
from terra_core.controller.golden import GoldenState
from terra_core.controller.keeping import Keeper
from terra_core.controller.machines import Machines
from terra_core.controller.services import Services
from terra_core.controller.store import Record, Store
from terra_core.errors import TerraError
from terra_core.hookspecs import (
    CONTRACT,
    Backing,
    BootNetwork,
    BootStep,
    BuildRequest,
    BuiltImage,
    CheckedGroup,
    Connected,
    Export,
    FoundSignature,
    NodeBoot,
    PreparedGroup,
    Room,
    Served,
    Sighting,
    Sightings,
    Target,
    TargetRequest,
    Trial,
    Volume,
    VolumeRequest,
    hookimpl,
)
from terra_core.installed import Installed
from terra_core.oci import Digest, ImageDocuments, ImageSource, Layout
from terra_core.oci.signature import PAYLOAD_TYPE, SIGNATURE_KEY
from terra_core.oci.source import PortableImage
from terra_core.plugins import Plugins
from terra_core.service.operations import Operations
from terra_core.system.progress import Event
from terra_core.system.room import measured
from tests.unit.oci.making import LayoutMaker, file, folder, layer, tar

ROLES = dict.fromkeys(("registry", "filesystem", "store", "storage", "boot"), PluginName("fake"))
VERSION = b"6.1.0-42-amd64"
CONTENT = tar(
    folder(b"boot"),
    file(b"boot/vmlinuz-" + VERSION, b"a kernel"),
    file(b"boot/initrd.img-" + VERSION, b"an initrd"),
    folder(b"etc"),
    file(b"etc/hostname", b"image\n"),
)
"""What is in the image that the fake registry has."""


def made_image(place: Path) -> LayoutMaker:
    """Make the image in a layout; it has the same digest every time."""
    maker = LayoutMaker(place)
    maker.image([layer(CONTENT, "plain")])
    return maker


@define
class World:
    """What the fake plugin has done, and what it shall fail at.

    :param fail: hooks that raise an error.
    :param clones: whether its file systems can be clones.
    :param signed_by: whose signatures the registry has of its image.
    :param before: called with each hook's name before it does anything.
    :param sizes: of the volumes that grew, in MB.
    """

    fail: set[str] = field(factory=set)
    clones: bool = False
    before: Callable[[str], None] = lambda hook: None
    calls: list[str] = field(factory=list)
    pulling: threading.Lock = field(factory=threading.Lock)
    signed_by: list[Ed25519PrivateKey] = field(factory=list)
    exported: dict[str, Target] = field(factory=dict)
    published: dict[Hostname, tuple[Mac, str]] = field(factory=dict)
    reports: dict[Hostname, bytes] = field(factory=dict)
    known: tuple[Hostname, ...] = ()
    served: dict[int, tuple[int, int]] = field(factory=dict)
    room: Room | None = None
    connected: dict[int, tuple[Connected, ...]] = field(factory=dict)
    seen: list[Sighting] = field(factory=list)
    sizes: dict[str, int] = field(factory=dict)
    storage_runs: bool = False

    def asked(self, hook: str) -> None:
        """Take note of a call, and fail if that is wanted."""
        self.calls.append(hook)
        self.before(hook)
        if hook in self.fail:
            raise TerraError(f"{hook} failed, as it should")


@frozen(kw_only=True)
class FakeSettings:
    """``[fake]``."""

    a: Any = 0  # whatever a test says


@frozen(eq=False)
class FakePlugin:
    """The plugin."""

    world: World
    contract = CONTRACT
    settings = FakeSettings

    @hookimpl
    def build_image(self, build: BuildRequest, session: Session) -> BuiltImage:
        raise NotImplementedError

    @hookimpl
    def push_image(
        self, reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
    ) -> str:
        raise NotImplementedError

    @hookimpl
    def fetch_signatures(self, reference: ImageReference, digest: Digest, session: Session) -> Sequence[FoundSignature]:
        critical = {"type": "cosign container image signature", "image": {"docker-manifest-digest": str(digest)}}
        payload = json.dumps({"critical": critical}).encode()
        return [
            FoundSignature(
                media_type=PAYLOAD_TYPE,
                content=payload,
                annotations={SIGNATURE_KEY: base64.b64encode(key.sign(payload)).decode()},
            )
            for key in self.world.signed_by
        ]

    @hookimpl
    def save_image(self, image: str, work: Path, session: Session) -> AbstractContextManager[PortableImage]:
        raise NotImplementedError

    @hookimpl
    def try_image(self, image: str, seconds: float, session: Session) -> Trial:
        raise NotImplementedError

    @hookimpl
    def pull_image(
        self, reference: ImageReference, layout: Path, session: Session
    ) -> AbstractContextManager[ImageSource]:
        return self._pulled(reference, layout, session)

    @hookimpl
    def inspect_image(self, reference: ImageReference, session: Session) -> ImageDocuments:
        with tempfile.TemporaryDirectory() as work:
            maker = made_image(Path(work, "layout"))
            image = Layout(maker.path).image()
            content = maker.place(str(image.digest)).read_bytes()
        digest = image.digest
        return ImageDocuments(named=digest, digest=digest, manifest=image.manifest, config=image.config, content=content)

    @contextmanager
    def _pulled(self, reference: ImageReference, layout: Path, session: Session) -> Iterator[ImageSource]:
        with self.world.pulling:
            if not layout.exists():
                made_image(layout)
        self.world.asked("pull_image")
        yield Layout(layout).image()
        session.report(Event("pull", f"pulled {reference}", 1, 1))

    @hookimpl
    def check_disks(self, group: DiskGroup, sizes: Sequence[int], session: Session) -> CheckedGroup:
        self.world.asked("check_disks")
        return CheckedGroup(capacity=sum(sizes), notes=("it is a fake",))

    @hookimpl
    def mount_root(self, group: DiskGroup, session: Session) -> BootStep:
        return BootStep(script="mount the fake\n")

    @hookimpl
    def connect_root(self, targets: Sequence[Target], session: Session) -> BootStep:
        return BootStep(script=f"connect {targets[0].name}\n")

    @hookimpl
    def prepare_disks(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup]:
        self.world.asked("prepare_disks")
        return self._prepared(devices)

    @contextmanager
    def _prepared(self, devices: Sequence[Path]) -> Iterator[PreparedGroup]:
        self.world.asked("prepare_disks entered")
        for device in devices:
            device.write_bytes(b"formatted")
        yield PreparedGroup(mounts=(), kernel_arguments=("terra.root=os",))
        self.world.asked("prepare_disks left")

    @hookimpl
    def verify_disks(self, group: DiskGroup, place: Path, session: Session) -> bool:
        return True

    @hookimpl
    def plan_volume(self, request: VolumeRequest, session: Session) -> Volume:
        self.world.asked("plan_volume")
        path = session.paths.root / "iscsi" / request.hostname / f"{request.number}.lun"
        return Volume(name=str(path), size=request.size, full=bool(request.full))

    @hookimpl
    def measure_store(self, session: Session) -> Room:
        self.world.asked("measure_store")
        return self.world.room or Room(**measured(session.paths.root))

    @hookimpl
    def make_volume(self, volume: Volume, session: Session) -> AbstractContextManager[None]:
        self.world.asked("make_volume")
        return self._made(volume)

    @contextmanager
    def _made(self, volume: Volume) -> Iterator[None]:
        self.world.asked("make_volume entered")
        Path(volume.name).parent.mkdir(parents=True, exist_ok=True)
        Path(volume.name).touch()
        try:
            yield
        except BaseException:
            _remove_file(volume)
            raise

    @hookimpl
    def clone_volume(self, origin: Volume, volume: Volume, session: Session) -> AbstractContextManager[None]:
        self.world.asked("clone_volume")
        return self._cloned(origin, volume)

    @contextmanager
    def _cloned(self, origin: Volume, volume: Volume) -> Iterator[None]:
        with self._made(volume):
            shutil.copyfile(origin.name, volume.name)
            yield

    @hookimpl
    def grow_volume(self, volume: Volume, size: int, session: Session) -> AbstractContextManager[None]:
        self.world.asked("grow_volume")
        return self._grown(volume, size)

    @contextmanager
    def _grown(self, volume: Volume, size: int) -> Iterator[None]:
        self.world.asked("grow_volume entered")
        assert not any(volume in target.volumes for target in self.world.exported.values()), "nobody has it open"
        former = self.world.sizes.get(volume.name)
        self.world.sizes[volume.name] = size
        try:
            yield
        except BaseException:
            self.world.sizes.pop(volume.name)
            if former is not None:
                self.world.sizes[volume.name] = former
            raise

    @hookimpl
    def stamp_volume(self, volume: Volume, session: Session) -> str:
        if not Path(volume.name).is_file():
            raise TerraError(f"{volume.name}: is missing")
        return Path(volume.name).read_text()

    @hookimpl
    def open_volume(self, volume: Volume, session: Session) -> AbstractContextManager[Path]:
        self.world.asked("open_volume")
        return nullcontext(Path(volume.name))

    @hookimpl
    def reach_volume(self, volume: Volume, session: Session) -> Backing:
        self.world.before("reach_volume")
        if not Path(volume.name).is_file():
            raise TerraError(f"{volume.name}: is missing")
        return Backing(kind="file", address=volume.name)

    @hookimpl
    def remove_volume(self, volume: Volume, session: Session) -> bool:
        self.world.asked("remove_volume")
        return _remove_file(volume)

    @hookimpl
    def remove_volumes(self, hostname: Hostname, session: Session) -> bool:
        self.world.asked("remove_volumes")
        place = session.paths.root / "iscsi" / hostname
        found = place.exists()
        shutil.rmtree(place, ignore_errors=True)
        return found

    @hookimpl
    def volume_directory(self, session: Session) -> Path:
        return session.paths.root / "iscsi"

    @hookimpl
    def plan_target(self, request: TargetRequest, session: Session) -> Target:
        self.world.asked("plan_target")
        suffix = "" if request.generation == 1 else f".{request.generation}"
        return Target(
            label=request.label,
            name=f"iqn.2024.san.example.{request.hostname}{suffix}:{'fs' if request.boot else request.label}",
            id=request.number,
            client=f"iqn.2024.node.example:{request.hostname}{suffix}",
            portal=request.portal,
            volumes=request.volumes,
            kernel_arguments=(f"ISCSI_TARGET_NAME={request.hostname}",) if request.boot else (),
        )

    @hookimpl
    def provision_target(self, export: Export, session: Session) -> AbstractContextManager[None]:
        self.world.asked("provision_target")
        return self._provisioned(export)

    @contextmanager
    def _provisioned(self, export: Export) -> Iterator[None]:
        self.world.asked("provision_target entered")
        self.world.exported[export.target.name] = export.target
        try:
            yield
        except BaseException:
            self.world.exported.pop(export.target.name, None)
            raise

    @hookimpl
    def restore_target(self, export: Export, session: Session) -> bool:
        self.world.asked("restore_target")
        changed = export.target.name not in self.world.exported
        self.world.exported[export.target.name] = export.target
        return changed

    @hookimpl
    def release_target(self, target: Target, session: Session) -> bool:
        self.world.asked("release_target")
        return self.world.exported.pop(target.name, None) is not None

    @hookimpl
    def release_host(self, hostname: Hostname, session: Session) -> bool:
        self.world.asked("release_host")
        own = [name for name, target in self.world.exported.items() if f"/{hostname}/" in target.volumes[0].name]
        return [self.world.exported.pop(name) for name in own] != []

    @hookimpl
    def count_served(self, session: Session) -> Mapping[int, Served]:
        self.world.asked("count_served")
        return {number: Served(read=read, written=written) for number, (read, written) in self.world.served.items()}

    @hookimpl
    def find_connected(self, session: Session) -> Mapping[int, Sequence[Connected]]:
        self.world.asked("find_connected")
        return self.world.connected

    @hookimpl
    def start_storage(self, portal: Address, session: Session) -> bool:
        self.world.asked("start_storage")
        started = not self.world.storage_runs
        if started:
            self.world.exported.clear()
        self.world.storage_runs = True
        return started

    @hookimpl
    def stop_storage(self, session: Session) -> bool:
        self.world.asked("stop_storage")
        stopped = self.world.storage_runs
        self.world.storage_runs = False
        return stopped

    @hookimpl
    def publish_boot(self, boot: NodeBoot, session: Session) -> bool:
        self.world.asked("publish_boot")
        content = boot.kernel.read_text() if boot.kernel else self.world.published[boot.hostname][1]
        former = self.world.published.get(boot.hostname)
        self.world.published[boot.hostname] = (boot.mac, content)
        if boot.report is not None:
            self.world.reports[boot.hostname] = boot.report
            return True
        return former != (boot.mac, content) or boot.hostname not in self.world.reports

    @hookimpl
    def withdraw_boot(self, hostname: Hostname, mac: Mac, session: Session) -> bool:
        self.world.asked("withdraw_boot")
        self.world.reports.pop(hostname, None)
        return self.world.published.pop(hostname, None) is not None

    @hookimpl
    def install_boot_image(self, tree: Path, session: Session) -> Sequence[str]:
        self.world.asked("install_boot_image")
        return sorted(path.name for path in (tree / "boot").iterdir())

    @hookimpl
    def start_boot(self, network: BootNetwork, nodes: Sequence[NodeBoot], session: Session) -> bool:
        self.world.asked("start_boot")
        self.world.known = tuple(node.hostname for node in nodes)
        return False

    @hookimpl
    def follow_boots(self, position: str, session: Session) -> Sightings:
        self.world.asked("follow_boots")
        return Sightings(position=str(len(self.world.seen)), seen=tuple(self.world.seen[int(position or 0) :]))

    @hookimpl
    def stop_boot(self, session: Session) -> bool:
        return False


@frozen(eq=False)
class CloningPlugin(FakePlugin):
    """The same, whose file systems can be clones."""

    @hookimpl
    def renew_identity(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup]:
        self.world.asked("renew_identity")
        with tarfile.open(fileobj=io.BytesIO(CONTENT)) as archive:  # nothing is mounted here: what the clone would hold
            archive.extractall(work.parent / "root", filter="data")
        return nullcontext(PreparedGroup(mounts=(), kernel_arguments=(f"terra.root={devices[0].parent.name}",)))


@frozen
class Site:
    """A controller's parts around the fake plugin."""

    world: World
    paths: Paths
    services: Services
    machines: Machines
    operations: Operations

    @property
    def store(self) -> Store:
        """The records."""
        return self.services.store

    @property
    def context(self) -> Context:
        """The parts that the API works with."""
        return Context(
            services=self.services, machines=self.machines, operations=self.operations, keeper=Keeper(self.machines)
        )

    def begin(self, **more: object) -> Record:
        """Reserve a machine."""
        return self.machines.reserve(node_document(**more))

    def provision(self, **more: object) -> Mapping[str, Any]:
        """Reserve and provision a machine."""
        return self.machines.provision(self.begin(**more), lambda event: None)

    def delete(self, hostname: str = "cm-01") -> Mapping[str, Any]:
        """Delete a machine."""
        return self.machines.delete(self.store.begin_delete(hostname), lambda event: None)

    def left(self) -> list[str]:
        """Everything that machines have: files, targets, boot files, records."""
        kept = {str(golden.owner) for golden in self.store.golden.every() if golden.state is GoldenState.READY}
        files = [path for part in (self.paths.root / "iscsi", self.paths.work) for path in part.rglob("*.*")]
        found = [str(path) for path in files if path.parent.name not in kept]
        found += [str(path) for path in (self.paths.state / "golden").glob("*") if f"golden_{path.name}" not in kept]
        found += [str(path) for path in (self.paths.state / "images").glob("*")]
        return [*found, *self.world.exported, *self.world.published, *(record.hostname for record in self.store.every())]


def make_site(root: Path, world: World, *, jobs: int = 2, **keys: Any) -> Site:
    """Return a controller's parts below ``root``, with further keys of controller.toml as its model has them."""
    paths = Paths(root)
    paths.state.mkdir(parents=True, exist_ok=True)
    config = Controller(plugins=ROLES, jobs=jobs, **keys)
    plugins = fake_plugins(world)
    store = Store(open_database(default_url(paths.state)))
    services = Services(config=config, session=Session(source="controller.toml", paths=paths), plugins=plugins, store=store)
    return Site(world, paths, services, Machines(services), Operations(jobs))


def fake_plugins(world: World, **others: World) -> Plugins:
    """Return the fake plugin as the only one that is installed, or beside others of its kind."""

    class Entry:
        def __init__(self, world: World) -> None:
            self.plugin = CloningPlugin(world) if world.clones else FakePlugin(world)

        def load(self) -> object:
            return self.plugin

    found = {"fake": world, **others}
    return Plugins(
        {name: Installed(name, f"terra-{name}", "1", cast(metadata.EntryPoint, Entry(of))) for name, of in found.items()}
    )


def node_table(
    hostname: str = "cm-01",
    mac: str = "54:b2:03:07:f1:d1",
    image: str = "docker.io/crosbymichael/cm-01:v5",
    storage: bool = False,
) -> dict[str, Any]:
    """Return the parsed node.toml of the seed's example output; with a second group when asked for."""
    subvolumes = [
        {"name": "home", "path": "/home"},
        {"name": "log", "path": "/var/log"},
        {"name": "containerd", "path": "/var/lib/containerd"},
    ]
    groups: list[dict[str, Any]] = [
        {"label": "os", "stage": "stage1", "disk": [{"device": "/dev/sda", "size": 128000}], "subvolumes": subvolumes}
    ]
    if storage:
        disks = [{"device": f"/dev/sd{letter}", "size": 64} for letter in "bc"]
        groups.insert(0, {"label": "storage", "type": "raid1", "stage": "stage0", "disk": disks})
    return {"hostname": hostname, "mac": mac, "image": image, "groups": groups, "plugins": {"filesystem": "fake"}}


def node_document(**more: object) -> Document[NetworkNode]:
    """Return the same as the API reads it."""
    return make_document(node_table(**more), NetworkNode, source="node.toml")  # type: ignore[arg-type]  # its parameters are checked there


def _remove_file(volume: Volume) -> bool:
    path = Path(volume.name)
    found = path.exists()
    path.unlink(missing_ok=True)
    if path.parent.exists() and not any(path.parent.iterdir()):
        shutil.rmtree(path.parent)
    return found


def at_step(world: World, wanted: str, action: Callable[[], object]) -> None:
    """Let something happen once, when a hook is about to work."""
    done = threading.Event()

    def before(hook: str) -> None:
        if hook == wanted and not done.is_set():
            done.set()
            action()

    world.before = before


def kill_at(site: Site, step: str, work: Callable[[], object]) -> None:
    """Work up to a step, and keep all that is there then, as a kill does: the clean-up of the work sees none of it."""
    world = site.world
    kept: dict[Path, bytes] = {}
    outside: dict[str, dict[Any, Any]] = {}

    class Killed(KeyboardInterrupt):  # what goes through a plugin as it is
        pass

    def kill() -> None:
        kept.update({path: path.read_bytes() for path in site.paths.root.rglob("*") if path.is_file()})
        outside.update({name: dict(getattr(world, name)) for name in ("exported", "published", "sizes")})
        raise Killed

    at_step(world, step, kill)
    with pytest.raises(Killed):
        work()
    site.operations.stop()
    site.store.close()  # before its files are put back
    for path, content in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, values in outside.items():
        getattr(world, name).clear()
        getattr(world, name).update(values)
