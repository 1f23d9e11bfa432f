"""Plugin ``simulated``, for the bench of the controller alone: images, file systems and targets that cost nothing.

What it says of targets is kept in a file, as a tgtd of its own would know it: it is lost when ``stop_storage`` is called.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.config.values import Address, ImageReference
from terra_core.hookspecs import (
    CONTRACT,
    BootStep,
    CheckedGroup,
    Export,
    FoundSignature,
    PreparedGroup,
    Served,
    Target,
    TargetRequest,
    hookimpl,
)
from terra_core.oci import Digest, ImageDocuments, ImageSource, Layout
from terra_core.oci.source import PortableImage
from terra_core.system.undo import lasting


class SimulatedPlugin:
    """Fills the roles registry, filesystem and storage."""

    contract = CONTRACT

    def __init__(self) -> None:
        self._exported: dict[Path, set[str]] = {}

    @hookimpl
    def push_image(
        self, reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
    ) -> str:
        """Refuse: nothing is pushed here."""
        raise NotImplementedError

    @hookimpl
    def fetch_signatures(self, reference: ImageReference, digest: Digest, session: Session) -> Sequence[FoundSignature]:
        """Return none."""
        return ()

    @hookimpl
    def inspect_image(self, reference: ImageReference, session: Session) -> ImageDocuments:
        """Refuse: nobody asks in the bench."""
        raise NotImplementedError

    @hookimpl
    def pull_image(
        self, reference: ImageReference, layout: Path, session: Session
    ) -> AbstractContextManager[ImageSource]:
        """Offer the image that the bench has made."""
        return self._pulled(layout, session)

    @contextmanager
    def _pulled(self, layout: Path, session: Session) -> Iterator[ImageSource]:
        if not layout.exists():
            shutil.copytree(session.paths.root / "image", layout)
        yield Layout(layout).image()

    @hookimpl
    def check_disks(self, group: DiskGroup, sizes: Sequence[int], session: Session) -> CheckedGroup:
        """Say that everything fits."""
        return CheckedGroup(capacity=sum(sizes), notes=())

    @hookimpl
    def mount_root(self, group: DiskGroup, session: Session) -> BootStep:
        """Return a step that does nothing."""
        return BootStep(script="true\n")

    @hookimpl
    def prepare_disks(
        self, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
    ) -> AbstractContextManager[PreparedGroup]:
        """Offer disks on which nothing is mounted."""
        return self._prepared()

    @contextmanager
    def _prepared(self) -> Iterator[PreparedGroup]:
        yield PreparedGroup(mounts=(), kernel_arguments=("terra.root=os",))

    @hookimpl
    def verify_disks(self, group: DiskGroup, place: Path, session: Session) -> bool:
        """Say that all is right."""
        return True

    @hookimpl
    def plan_target(self, request: TargetRequest, session: Session) -> Target:
        """Plan a target with the names that terra-iscsi would give it."""
        suffix = "" if request.generation == 1 else f":{request.generation}"
        name = f"iqn.2024.san.terra.internal.{request.hostname}:{'fs' if request.boot else request.label}{suffix}"
        client = f"iqn.2024.node.terra.internal:{request.hostname}{suffix}"
        return Target(
            label=request.label,
            name=name,
            id=request.number,
            client=client,
            portal=request.portal,
            volumes=request.volumes,
            kernel_arguments=(
                f"ISCSI_INITIATOR={client}",
                f"ISCSI_TARGET_NAME={name}",
                f"ISCSI_TARGET_IP={request.portal}",
                "ISCSI_TARGET_PORT=3260",
            ),
        )

    @hookimpl
    def connect_root(self, targets: Sequence[Target], session: Session) -> BootStep:
        """Return a step that does nothing."""
        return BootStep(script="true\n")

    @hookimpl
    def provision_target(self, export: Export, session: Session) -> AbstractContextManager[None]:
        """Offer to note a target."""
        return lasting(
            lambda: self.restore_target(export, session), lambda: self.release_target(export.target, session)
        )

    @hookimpl
    def restore_target(self, export: Export, session: Session) -> bool:
        """Note a target."""
        exported = self._known(session)
        if export.target.name in exported:
            return False
        exported.add(export.target.name)
        self._note(session, f"+{export.target.name}\n")
        return True

    @hookimpl
    def restore_targets(self, exports: Sequence[Export], session: Session) -> Sequence[str]:
        """Note many targets at once."""
        exported = self._known(session)
        new = [export.target.name for export in exports if export.target.name not in exported]
        exported.update(new)
        self._note(session, "".join(f"+{name}\n" for name in new))
        return [""] * len(exports)

    @hookimpl
    def release_target(self, target: Target, session: Session) -> bool:
        """Forget a target."""
        exported = self._known(session)
        if target.name not in exported:
            return False
        exported.discard(target.name)
        self._note(session, f"-{target.name}\n")
        return True

    @hookimpl
    def count_served(self, session: Session) -> Mapping[int, Served]:
        """Return nothing: nobody reads."""
        return {}

    @hookimpl
    def start_storage(self, portal: Address, session: Session) -> bool:
        """Make the file, unless it is there."""
        if _file(session).exists():
            return False
        _file(session).parent.mkdir(parents=True, exist_ok=True)
        _file(session).touch()
        self._exported.clear()
        return True

    @hookimpl
    def stop_storage(self, session: Session) -> bool:
        """Lose all targets."""
        found = _file(session).exists()
        _file(session).unlink(missing_ok=True)
        self._exported.clear()
        return found

    def _known(self, session: Session) -> set[str]:
        if session.paths.root not in self._exported:
            known: set[str] = set()
            for line in _file(session).read_text().splitlines():
                (known.add if line[0] == "+" else known.discard)(line[1:])
            self._exported[session.paths.root] = known
        return self._exported[session.paths.root]

    def _note(self, session: Session, text: str) -> None:
        with _file(session).open("a") as file:
            file.write(text)


def _file(session: Session) -> Path:
    return session.paths.run / "simulated.targets"


plugin = SimulatedPlugin()
