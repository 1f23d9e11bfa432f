"""Provisioning machines and taking them away: intent into the database first, then everything else, or none of it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import structlog
from attrs import evolve, frozen

from terra_core.config.controller import Controller
from terra_core.config.loader import Document
from terra_core.config.node import OS_LABEL, Node
from terra_core.config.session import Session
from terra_core.config.trust import Trust, with_key
from terra_core.config.values import ImageReference
from terra_core.controller.store import Record, State, Store
from terra_core.deploy import Deployed, deploy, filesystem_of
from terra_core.errors import InterruptedWork, NotFoundError, TerraError
from terra_core.hookspecs import BootNetwork, NodeBoot, Target, TargetRequest
from terra_core.image.apply import apply_layers
from terra_core.image.source import ImageSource
from terra_core.plugins import Filled, Plugins
from terra_core.registry import Registry
from terra_core.system.mounts import mount_points
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Event, Report

_log = structlog.get_logger(__name__)


@frozen(kw_only=True)
class Services:
    """What a controller works with.

    :param config: controller.toml, with the options of the command line.
    :param session: its plugins' tables and its places.
    :param plugins: what is installed.
    :param store: the records.
    """

    config: Controller
    session: Session
    plugins: Plugins
    store: Store

    def role(self, name: str) -> Filled:
        """The plugin that controller.toml selects for a role."""
        return self.plugins.fill(name, self.config.plugins, source=self.session.source)


class Machines:
    """The use cases of a controller.

    :param services: what it works with.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._images: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)  # held where one must not be dropped
        self._boot_service = threading.Lock()
        self._boot_image = threading.Lock()
        self._targets = threading.Lock()  # held where a record and its targets must not part: export, restore, release

    @property
    def session(self) -> Session:
        """The controller's own session."""
        return self._services.session

    def reserve(self, document: Document[Node]) -> Record:
        """Take the name and address of a machine; the checks that need no work are made first.

        :raises ConflictError: when another machine holds one of them.
        """
        node = document.value
        if node.mac is None:
            raise TerraError(f"{document.source}: mac: is required for provisioning")
        for group in node.groups:
            filesystem_of(group, node, self._services.plugins, source=document.source)
        return self._store.reserve(node, node.mac, with_key(document.raw, node.trust), document.tables)

    def provision(self, record: Record, report: Report) -> Mapping[str, Any]:
        """Give a reserved machine its disks, and let it boot.

        Any failure undoes every earlier step.

        :returns: the machine as ``terra provision`` prints it.
        """
        services, session = self._services, self._services.session.reporting_to(report)
        hostname = record.node.hostname
        with ExitStack() as stack:
            stack.push(_when_failing(lambda: self._undo(hostname)))
            work = stack.enter_context(self._workspace(hostname))
            report(Event("pull", f"pull {record.node.image}"))
            with self._pulled(record.node.image, record.node.trust, session) as image:
                record = self._store.save(evolve(record, digest=str(image.digest), targets=self._plan(record)))
                for target in record.targets:
                    offer: AbstractContextManager[object] = services.role("storage").call(
                        "provision_target", AbstractContextManager, target=target, session=session
                    )
                    stack.enter_context(offer)
                deployed = self._lay_down(record, image, work, session)
            arguments = tuple(argument for target in record.targets for argument in target.kernel_arguments)
            record = evolve(record, kernel_arguments=(*deployed.kernel_arguments, *arguments))
            boot = evolve(record.boot, kernel=deployed.kernel, initrd=deployed.initrd)
            record = self._hand_over(record, boot, session)
            self.start_boot(session)
        return record.as_json()

    def delete(self, record: Record, report: Report) -> Mapping[str, Any]:
        """Take a machine away; begun, it is finished, if need be at the next start of the controller."""
        hostname = record.node.hostname
        try:
            report(Event("delete", f"take away the boot files, targets and disks of {hostname}"))
        except InterruptedWork:
            self._store.save(record)
            raise
        with uninterrupted():
            self._take_away(record)
        return {"hostname": hostname}

    def recover(self) -> None:
        """Finish what a controller that was killed had begun: half-provisioned and half-deleted machines go."""
        for record in self._store.all():
            if record.state is not State.READY:
                _log.warning("finishing what was begun", hostname=record.node.hostname, state=record.state.value)
                with suppress(TerraError):  # it is in the log and in the record, and keeps no other machine down
                    self._take_away(record)
        self._clean_up()

    def restore(self) -> None:
        """Bring lost targets and boot files back; a machine for which that fails keeps its record, with the reason."""
        for hostname in [record.node.hostname for record in self._store.all()]:
            with self._targets, suppress(NotFoundError):
                record = self._store.get(hostname)
                problem = self._restore(record) if record.state is State.READY else record.problem
                if problem != record.problem:
                    self._store.set_problem(record, problem)

    def start_boot(self, session: Session) -> bool:
        """Make sure that the network boot service answers, and knows every machine."""
        config = self._services.config
        with self._boot_service:
            nodes = [record.boot for record in self._store.all() if record.state is State.READY]
            network = BootNetwork(address=config.address, gateway=config.gateway)
            return self._services.role("boot").call("start_boot", bool, network=network, nodes=nodes, session=session)

    def start_storage(self) -> bool:
        """Make sure that the storage service answers; tells whether it had to be started."""
        services = self._services
        return services.role("storage").call("start_storage", bool, portal=services.config.portal, session=services.session)

    def stop_unused_storage(self) -> None:
        """Stop the storage service, unless there is a machine that may have its disks on it."""
        if not self._store.all():
            self._services.role("storage").call("stop_storage", bool, session=self.session)

    def install_boot_image(self, reference: ImageReference, report: Report) -> Mapping[str, Any]:
        """Install the network boot loaders of a pxe image."""
        session = self._services.session.reporting_to(report)
        with self._boot_image, self._workspace("pxe") as work, ExitStack() as stack:
            stack.callback(self._drop_image, reference)
            stack.enter_context(self._images[str(reference)])
            image = stack.enter_context(self._pulled(reference, None, session))
            tree = work / "tree"
            tree.mkdir()
            apply_layers(image, tree, report=report)
            files: Sequence[str] = self._services.role("boot").call(
                "install_boot_image", (list, tuple), tree=tree, session=session
            )
        self.start_boot(session)
        return {"image": str(reference), "digest": str(image.digest), "files": sorted(files)}

    def _lay_down(self, record: Record, image: ImageSource, work: Path, session: Session) -> Deployed:
        disks = {target.label: [Path(lun.path) for lun in target.luns] for target in record.targets}
        of_node = evolve(session, source="node.toml", tables=record.tables)
        plugins = self._services.plugins
        return deploy(record.node, lambda _: nullcontext(image), disks, plugins=plugins, session=of_node, work=work)

    def _plan(self, record: Record) -> tuple[Target, ...]:
        services, targets, first_lun = self._services, [], 0
        for group in sorted(record.node.groups, key=lambda group: group.label != OS_LABEL):
            request = TargetRequest(
                hostname=record.node.hostname,
                number=self._store.number(record.node.hostname, group.label),
                generation=record.generation,
                group=group,
                first_lun=first_lun,
                boot=group.label == OS_LABEL,
                portal=services.config.portal,
            )
            targets.append(services.role("storage").call("plan_target", Target, request=request, session=services.session))
            first_lun += len(group.disk)
        return tuple(targets)

    def _pulled(self, reference: ImageReference, trust: Trust | None, session: Session) -> AbstractContextManager[ImageSource]:
        """An image that may still be on its way; signed as the controller wants it, and as whoever asks for it does."""
        place = self._image_place(reference)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        wanted = tuple(dict.fromkeys(one for one in (self._services.config.trust, trust) if one is not None))
        return Registry(plugin=self._services.role("registry"), session=session, trust=wanted).pull(reference, place)

    def _image_place(self, reference: ImageReference) -> Path:
        return self._services.session.places.state / "images" / hashlib.sha256(str(reference).encode()).hexdigest()[:32]

    def _hand_over(self, record: Record, boot: NodeBoot, session: Session) -> Record:
        with self._targets:
            session.report(Event("export", f"export {', '.join(target.iqn for target in record.targets)}"))
            for target in record.targets:
                self._services.role("storage").call("restore_target", bool, target=target, session=session)
            session.report(Event("publish", f"publish the boot files of {record.node.hostname}"))
            self._services.role("boot").call("publish_boot", bool, boot=boot, session=session)
            return self._store.save(evolve(record, state=State.READY))

    def _restore(self, record: Record) -> str:
        """Gives why the machine cannot boot, or nothing."""
        try:
            for target in record.targets:
                self._services.role("storage").call("restore_target", bool, target=target, session=self.session)
            self._services.role("boot").call("publish_boot", bool, boot=record.boot, session=self.session)
        except TerraError as error:
            _log.error("quarantined", hostname=record.node.hostname, reason=str(error))
            return str(error)
        return ""

    def _undo(self, hostname: str) -> None:
        with suppress(TerraError):  # it is in the log and in the record; the client is told why the work failed
            self._take_away(self._store.get(hostname))

    def _take_away(self, record: Record) -> None:
        """Remove all that a machine has, and then its record; what fails is noted there, so that it can be tried again."""
        session = self.session
        hostname, storage = record.node.hostname, self._services.role("storage")
        try:
            with self._targets:
                self._services.role("boot").call("withdraw_boot", bool, hostname=hostname, mac=record.mac, session=session)
                for target in reversed(record.targets):
                    storage.call("release_target", bool, target=target, session=session)
                self._store.forget(record)
        except TerraError as error:
            _log.error("cannot be taken away", hostname=hostname, reason=str(error))
            self._store.save(evolve(record, state=State.DELETING, problem=f"cannot be taken away: {error}"))
            raise
        self._drop_image(record.node.image)
        self.start_boot(session)

    def _drop_image(self, reference: ImageReference) -> None:
        with self._images[str(reference)]:
            if not any(record.node.image == reference for record in self._store.all()):
                shutil.rmtree(self._image_place(reference), ignore_errors=True)

    def _clean_up(self) -> None:
        """Remove what a controller that was killed had pulled and copied for work that is not there any more."""
        if any(self._workspaces in point.path.parents for point in mount_points()):
            _log.error("something is mounted here, and left alone", path=str(self._workspaces))
        else:
            shutil.rmtree(self._workspaces, ignore_errors=True)
        kept = {self._image_place(record.node.image) for record in self._store.all()}
        for place in (self.session.places.state / "images").glob("*"):
            if place not in kept:
                shutil.rmtree(place, ignore_errors=True)

    @property
    def _workspaces(self) -> Path:
        return self.session.places.run / "work"

    @contextmanager
    def _workspace(self, name: str) -> Iterator[Path]:
        self._workspaces.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._workspaces))
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)


def _when_failing(undo: Callable[[], None]) -> Callable[[Any, Any, Any], None]:
    def leave(kind: Any, error: Any, trace: Any) -> None:  # the signature of __exit__
        if kind is not None:
            with uninterrupted():
                undo()

    return leave
