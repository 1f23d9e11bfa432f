"""The work that any host may do for the leader: to lay an image down once, and to make the disks of a machine from that."""

from __future__ import annotations

import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog
from attrs import asdict, evolve, frozen

from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.controller.disks import Disks
from terra_core.controller.golden import Golden, token_of
from terra_core.controller.golden_rows import read_golden
from terra_core.controller.goldens import GOLDEN, Goldens
from terra_core.controller.holding import Holding
from terra_core.controller.laying import Laying
from terra_core.controller.leases import Lease, Outcome, Remains
from terra_core.controller.pulled import PulledImages
from terra_core.controller.records import KeptTarget, Record, SetAside
from terra_core.controller.rows import read_values, sent
from terra_core.controller.services import Services
from terra_core.controller.sharing import Task
from terra_core.deploy import BootFiles
from terra_core.errors import TerraError
from terra_core.fitness import Fit
from terra_core.hookspecs import Store, Volume
from terra_core.oci.source import ImageSource
from terra_core.system.progress import silent
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)
MACHINE = "machine"
"""The kind of work that makes the disks of a machine."""
KINDS = (GOLDEN, MACHINE)
_STEPS = "steps.img"
_MOST_DISKS = 100
_MOST_NUMBERS = 1_000_000_000
"""Stores take numbers of nine digits for the disks of a machine."""


@frozen
class Pieces:
    """Does pieces of work; may be used from several threads.

    :param services: what the controller works with.
    :param disks: the volumes of machines.
    :param laying: lays images down.
    :param goldens: what is laid down once for all machines.
    :param images: pulls images.
    """

    _services: Services
    _disks: Disks
    _laying: Laying
    _goldens: Goldens
    _images: PulledImages

    def do(self, lease: Lease, holding: Holding) -> None:
        """Do a piece of work for another host, which leads.

        :raises TerraError: why it failed; all of it is undone.
        """
        session = self._services.session.reporting_to(holding.report)
        record = read_values(lease.data["record"])
        if not isinstance(record, Record):
            raise TerraError(f"the record that came with the work cannot be read: {record.reason}")
        if lease.kind == GOLDEN:
            began = read_golden(lease.data["golden"])
            with self._pulled(record, session) as (image, fit):
                self._goldens.make_for(began, record, image, fit, session, holding)
            return
        golden = self._services.store.golden.of_layout(record.layout)
        if golden is None or golden.token != lease.data["golden"]:
            raise TerraError(f"what {record.node.image} is laid down on is not there any more", hint="try again")
        with self._pulled(record, session) as (image, fit):
            self._clone(record, golden, image, fit, session, holding)

    def may_share(self, record: Record, golden: Golden, fit: Fit) -> bool:
        """Return whether others are there who may make the disks of a machine, and this host has what it boots."""
        if not self._services.sharing.helped:
            return False
        disks = sum(len(kept.target.volumes) for kept in record.targets)
        return disks < _MOST_DISKS and (not fit.kernel or self._goldens.kernel_files(golden) is not None)

    def have_cloned(
        self, record: Record, golden: Golden, image: ImageSource, fit: Fit, work: Path, session: Session
    ) -> tuple[Record, Sequence[str], BootFiles]:  # fmt: skip
        """Have the disks of a machine made from a golden volume by whoever may; called by the leader.

        :param work: a directory for copies.
        :returns: the machine with these disks, what its kernel line needs to find the root, and copies of what it boots.
        """

        def here(holding: Holding) -> None:
            self._clone(record, golden, image, fit, session.reporting_to(holding.report), holding)

        task = Task(
            kind=MACHINE,
            subject=f"{record.hostname}.{record.generation}",
            data={"record": sent(record), "golden": golden.token},
            said=f"make the disks of {record.hostname}",
            here=here,
        )
        sharing = self._services.sharing
        with sharing.done(task, session.report) as outcome:
            record = self._adopted(record, outcome)
            self._services.store.save(record, beside=partial(sharing.adopt, outcome=outcome))
        steps = work / _STEPS
        steps.touch(0o600)
        steps.write_bytes(b64decode(outcome.said["steps"]))
        copies = self._goldens.kernel_files(golden) if fit.kernel else None
        kernel, initrd = copies or (None, None)
        return record, tuple(outcome.said["found"]), BootFiles(kernel=kernel, initrd=initrd, steps=steps)

    def make(
        self, record: Record, golden: Golden | None, image: ImageSource, fit: Fit, work: Path, session: Session, stack: Undo
    ) -> tuple[Sequence[str], BootFiles]:  # fmt: skip
        """Make the disks of a machine, and its system on them.

        :param golden: what they are clones of; ``None`` where the image is laid down in full.
        :param work: a directory for mounts and copies.
        :param stack: what removes the disks.
        :returns: what the kernel line needs to find the root, and copies of what boots.
        """
        self._disks.make(record.targets, golden, stack, session)
        if golden is not None:
            self._goldens.require_unchanged(golden)
        kernel = None if golden is None else self._goldens.kernel(golden)
        return self._laying.lay_down(record, image, fit, golden, work, kernel, session)

    def remove(self, one: Remains) -> None:
        """Remove what an attempt has left in the store, and here, unless something of that is in use by now.

        :raises TerraError: when it cannot be removed, or nobody can tell whether it is in use.
        """
        if not one.made:
            return
        records = self._services.store.every()
        if any(isinstance(record, SetAside) and not record.whole for record in records):
            raise TerraError("a machine has a record that cannot be read, which may name it", hint="see terra list")
        used = {volume.name for record in records for kept in record.every_target for volume in kept.target.volumes}
        used |= {own.name for golden in self._services.store.golden.every() for own in golden.volumes}
        volumes = structure(one.made["volumes"], tuple[Volume, ...])
        if any(volume.name in used for volume in volumes):
            return
        store = self._services.plugins.named(Store, one.made["store"], source=self._services.session.source)
        removed = [volume.name for volume in volumes if store.remove_volume(volume, self._services.session)]
        token = token_of(one.made["owner"])
        if token:
            shutil.rmtree(self._services.session.paths.state / "golden" / token, ignore_errors=True)
        if removed:
            _log.warning("removed what was left of work", host=one.name, volumes=", ".join(removed))

    def tidy(self) -> None:
        """Remove what this host, which waits, has of images that nobody needs any more."""
        self._images.drop_unneeded()
        self._goldens.remove_copies()

    @contextmanager
    def _pulled(self, record: Record, session: Session) -> Iterator[tuple[ImageSource, Fit]]:
        """Offer the image of a machine, and how the machine starts from it; the leader has told what a user should know."""
        reference = record.node.image
        with self._images.keeping(str(reference)), self._images.pull(reference, record.node.trust, session) as image:
            if str(image.digest) != record.digest:
                said = f"{reference} is {image.digest} by now, and was {record.digest} a moment ago"
                raise TerraError(said, hint="try again")
            yield image, self._laying.fit(record, record.targets, image, session.reporting_to(silent))

    def _clone(
        self, record: Record, golden: Golden, image: ImageSource, fit: Fit, session: Session, holding: Holding
    ) -> None:  # fmt: skip
        targets = self._disks.plan_again(record, first_number(holding.lease))
        volumes = [asdict(volume) for kept in targets for volume in kept.target.volumes]
        record = evolve(record, targets=targets)
        with Undo() as undo:
            holding.will_make({"owner": record.hostname, "store": targets[0].store, "volumes": volumes})
            with self._services.workspace(record.hostname) as work:
                found, files = self.make(record, golden, image, fit, work, session, undo)
                steps = b64encode(files.steps.read_bytes()).decode()
            targets_said = [asdict(kept) for kept in targets]
            holding.finish({"targets": targets_said, "found": list(found), "steps": steps}, undo)

    def _adopted(self, record: Record, outcome: Outcome) -> Record:
        """Return a machine with the disks that were made for it.

        :raises TerraError: when they are not those that were asked for.
        """
        targets = structure(outcome.said["targets"], tuple[KeptTarget, ...])
        adopted = evolve(record, targets=targets)
        if [_shape(kept) for kept in targets] != [_shape(kept) for kept in record.targets]:
            raise TerraError(f"{outcome.name} has made other disks for {record.hostname} than it was asked for")
        return adopted


def first_number(lease: Lease) -> int:
    """Return the number of the first disk that an attempt makes for a machine: 17200 for the second one at the work 17.

    It says whose it is, and no other attempt has it, so that a volume never gets a name that one has had before.
    """
    return (lease.number * 10 + lease.attempt) * _MOST_DISKS % _MOST_NUMBERS


def _shape(kept: KeptTarget) -> KeptTarget:
    volumes = tuple(evolve(volume, name="") for volume in kept.target.volumes)
    return evolve(kept, target=evolve(kept.target, volumes=volumes))
