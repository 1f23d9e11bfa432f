"""Laying an image down on the disks of a machine: what is looked at before, and what is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import Factory, evolve, frozen

from terra_core.config.node import OS_LABEL
from terra_core.config.session import Session
from terra_core.controller.disks import MB, Disks
from terra_core.controller.golden import Golden
from terra_core.controller.records import KeptTarget, Record
from terra_core.deploy import BootFiles, mounted_system, root_steps
from terra_core.errors import TerraError
from terra_core.fitness import Fit, Surveys, fit
from terra_core.oci.source import ImageSource
from terra_core.plugins import Plugins, filesystem_of
from terra_core.system.progress import Event


@frozen
class Laying:
    """Lays images down; may be used from several threads.

    :param plugins: what is installed.
    :param disks: the volumes of machines.
    """

    plugins: Plugins
    disks: Disks
    _surveys: Surveys = Factory(Surveys)

    def fit(self, record: Record, targets: Sequence[KeptTarget], image: ImageSource, session: Session) -> Fit:
        """Look at the image before anything is made for the machine; what a user should know is told."""
        of_node = session_of(record, session)
        steps = root_steps(record.node, self.plugins, of_node, connect=self.disks.connect(targets, session))
        session.report(Event("check", f"look at what {record.node.image} has"))
        seen = self._surveys.of(image)
        found = fit(seen, record.node, steps, source=of_node.source, boot_loader=False, own_kernel=False)
        for note in found.notes:
            session.report(Event("check", note))
        return found

    def check_disks(self, record: Record, image: ImageSource, session: Session) -> None:
        """Ask the filesystem plugins before anything is made; what a user should know is told."""
        node, of_node = record.node, session_of(record, session)
        for group in node.groups:
            sizes = [disk.size * MB for disk in group.disk if disk.size is not None]
            filesystem = filesystem_of(group, node, self.plugins, source=of_node.source)
            checked = filesystem.check_disks(group, sizes, of_node)
            for note in checked.notes:
                session.report(Event("check", f"{group.label}: {note}"))
            needed = sum(layer.size for layer in image.manifest.layers)
            if group.label == OS_LABEL and checked.capacity < needed:
                raise TerraError(
                    f"the group {OS_LABEL!r} has room for {checked.capacity // MB} MB, and the image {node.image} has "
                    f"{needed // MB} MB before it is unpacked",
                    hint="give its disks a larger size in node.toml",
                )

    def lay_image(
        self, record: Record, volumes: Mapping[str, Sequence[Path]], image: ImageSource, fit: Fit, golden: Golden, work: Path,
        kernel: Path, session: Session,
    ) -> None:  # fmt: skip
        """Lay down what is the same for every machine of an image and layout, and mark it as that.

        :param record: the first machine.
        :param volumes: the golden volumes as local disks, by the label of their group.
        :param work: an empty directory for mounts.
        :param kernel: the directory for copies of what boots.
        :raises ConflictError: when the image takes more than the store has for it.
        """
        of_node = session_of(record, self.disks.watching(session))
        with mounted_system(
            record.node, volumes, plugins=self.plugins, session=of_node, work=work, places=fit.places
        ) as system:
            system.lay_image(image)
            system.mark(golden.mark_name, golden.mark)
            system.copy_kernel(fit, kernel)
            session.report(Event("sync", "write everything to the disks"))
            system.sync()
        self.disks.require_room()

    def lay_down(
        self, record: Record, image: ImageSource, fit: Fit, golden: Golden | None, work: Path, kernel: Path | None,
        session: Session,
    ) -> tuple[Sequence[str], BootFiles]:  # fmt: skip
        """Make the system of a machine on its volumes.

        :param golden: what these are clones of; ``None`` when they are empty, and the image is laid down in full.
        :param work: an empty directory for mounts and copies.
        :param kernel: where copies of what the image boots are, if anywhere.
        :returns: what the kernel line needs to find the root, and copies of what boots.
        :raises ConflictError: when the image takes more than the store has for it.
        :raises TerraError: when a clone is not of the image that the record names.
        """
        of_node = session_of(record, self.disks.watching(session) if golden is None else session)
        with (
            self.disks.opened(record.targets, session) as disks,
            mounted_system(
                record.node,
                disks,
                plugins=self.plugins,
                session=of_node,
                work=work,
                places=fit.places,
                cloned=golden is not None,
            ) as system,
        ):
            if golden is None:
                system.lay_down(image)
            else:
                golden.require_marks(system.take_marks(golden.mark_name), system.marked, record.digest)
                system.make_own()
            files = system.copy_boot_files(fit, work, kept=kernel)
            session.report(Event("sync", "write everything to the disks"))
            system.sync()
            if golden is None:
                self.disks.require_room()
            return system.kernel_arguments, files


def session_of(record: Record, session: Session) -> Session:
    """Return the session of a machine's own file."""
    return evolve(session, source="node.toml", tables=record.tables)
