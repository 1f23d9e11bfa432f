"""Upgrading: look, plan, and lay the next version down beside the one that runs."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from attrs import evolve, frozen

from terra_core.config.controller import THIS_MACHINE, Paths
from terra_core.config.loader import Document
from terra_core.config.node import Firmware, Node
from terra_core.config.session import Session
from terra_core.config.values import ImageReference, pinned
from terra_core.deploy import root_steps, write_steps
from terra_core.documents import make, settled
from terra_core.errors import ConflictError, TerraError
from terra_core.fitness import fit_of_root
from terra_core.hookspecs import Bootloader, Filesystem, LocalBoot, Registry, RenderedFile, Roots
from terra_core.image.apply import apply_layers
from terra_core.image.carry import carry
from terra_core.image.contained import ContainedRoot
from terra_core.image.room import room_in
from terra_core.images import Images
from terra_core.machine.system import STEPS
from terra_core.mounting import FSTAB
from terra_core.oci.source import ImageDocuments, ImageSource
from terra_core.plugins import Plugins
from terra_core.selection import INSTALLED
from terra_core.system.files import sync_directory
from terra_core.system.mounts import bound
from terra_core.system.process import run
from terra_core.system.progress import Event, Report, silent
from terra_core.system.undo import Undo
from terra_core.uniqueness import make_unique, own_files
from terra_core.upgrade.fstab import fstab_for
from terra_core.upgrade.health import EXPECTED, UNIT, Network, expectation
from terra_core.upgrade.leftovers import STAGED, left_over
from terra_core.upgrade.observe import network
from terra_core.upgrade.plan import Plan, next_name, room_of, sorted_out, surplus
from terra_core.upgrade.share import share
from terra_core.upgrade.starts import DiskStart, filesystem_at, read_starts, start_disks
from terra_core.upgrade.trial import Opened, State, on_trial, starts_locked, trying, upgrades_locked
from terra_core.versions.difference import changes
from terra_core.versions.failures import failures, forget_failure, make_room
from terra_core.versions.layers import held, keeper, prune
from terra_core.versions.ledger import note_removed, read_ledger
from terra_core.versions.look import place_for_mounts, read_known
from terra_core.versions.record import PLACE, Record, number_of, read_manifest, read_record, write_record

_RESOLV_CONF = "etc/resolv.conf"
_SYNC_SECONDS = 3600
_MB = 1024 * 1024
_NO_ROOM = os.strerror(errno.ENOSPC)
"""How errors say that a disk is full, also those of programs: they run in the locale C."""
_CLOCK = 10**9
"""How far a time of a file may lie before the clock of the process, in nanoseconds: the kernel's own for files is coarse."""


@frozen(kw_only=True)
class Upgrade:
    """An upgrade that is planned, and of which nothing is written yet.

    :param plan: what it will do.
    """

    plan: Plan
    _document: Document[Node]
    _reference: ImageReference
    _found: ImageDocuments
    _images: Images
    _filesystem: Filesystem
    _plugins: Plugins
    _session: Session
    _alone: Path
    _roots: Roots
    _top: Path
    _work: Path
    _network: Network | None
    _bootloader: Bootloader
    _disks: Sequence[DiskStart]
    _paths: Paths

    def carry_out(self) -> bool:
        """Do it; return whether there was something to do. The version that runs stays as it is.

        What makes the next start try the new version is written last, when all of that is on the disks.

        :raises TerraError: naming the step; nothing of the new version is left then, unless only that last step failed.
        """
        if not self.plan.there:
            self._make()
        if self.plan.tried:
            self._try(self.plan.tried)
        return bool(self.plan.tried or not self.plan.there)

    def _try(self, version: str) -> None:
        with self._choosing() as opened:
            opened.forget(version)
            make_room(self._top)
            told = opened.write(f"let the next start try {version}", partial(trying, version))
            for problem in told.problems:
                opened.say(f"warning: {problem}")

    @contextmanager
    def _choosing(self) -> Iterator[Opened]:
        """Let nobody else change what the machine starts for the time of a block; it may have changed since the plan."""
        with starts_locked(self._paths):
            now = State(
                running=self._roots.running,
                disks=read_starts(self._disks, self._bootloader, self._session),
                failed=failures(self._top),
            )
            yield Opened(now, self._roots, self._filesystem, self._bootloader, self._session)

    def _make(self) -> None:
        target = self._top / self.plan.version
        staged = self._top / STAGED
        staged.parent.mkdir(exist_ok=True, mode=0o700)
        self._remove(staged)  # of an upgrade that was killed
        with Undo() as undo:
            count, layers = held(self._top, list(map(str, self._found.config.diff_ids)))
            if count != self.plan.present:
                raise ConflictError("layers of the image came or went since the upgrade was planned", hint="try it again")
            undo.push(self._give_back)
            undo.callback(self._remove, staged)
            self._filesystem.copy_root(layers, staged, "", self._session)
            self._lay_down(staged)
            self._session.report(Event("sync", "write everything to the disks"))
            run(["sync", "--file-system", staged], timeout=_SYNC_SECONDS)
            staged.rename(target)
            undo.pop_all()
        sync_directory(self._top)
        run(["sync", "--file-system", self._top], timeout=_SYNC_SECONDS)
        with self._choosing() as opened:
            for version in self.plan.removed:
                self._remove_version(version, opened.state)
        prune(self._filesystem, self._top, self._session)

    def _remove_version(self, version: str, now: State) -> None:
        """Remove a version that was one too many when the upgrade was planned, unless somebody has chosen it since."""
        needed = now.needed_without(self.plan.given_way)
        if version in needed:
            self._session.report(Event("remove", f"{version} stays: it {needed[version]}"))
            return
        self._session.report(Event("remove", f"remove {version}: there is one version too many"))
        with suppress(TerraError):  # the disk may be full, and this is what makes room
            note_removed(self._top, version)
        self._filesystem.remove_root(self._top / version, self._session)
        forget_failure(self._top, version)

    def _give_back(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Remove the layers that a further attempt would begin with where the disks have no room for them."""
        if error is not None and _NO_ROOM in str(error):
            prune(self._filesystem, self._top, self._session)

    def _remove(self, staged: Path) -> None:
        if staged.exists():
            self._filesystem.remove_root(staged, self._session)

    def _lay_down(self, staged: Path) -> None:
        report = self._session.report
        wanted = [layer.digest for layer in self.plan.layers[self.plan.present :]]
        with room_in(staged) as room, self._images.pull(self._reference, room, layers=wanted) as source:
            self._apply(source, staged, room.name)
        bare = self._work / "bare"
        bare.mkdir()
        with (
            bound(self._alone, bare, for_reading=True, links=False),
            ContainedRoot(self._alone) as former,
            ContainedRoot(staged) as inside,
        ):
            report(Event("identity", f"take over what {self._document.value.hostname} has of its own"))
            for text in make_unique(inside):
                report(Event("identity", text))
            kept = [path.lstrip("/") for path in self.plan.kept]
            if inside.target(_RESOLV_CONF):  # the new image has a program that writes it
                kept = [path for path in kept if path != _RESOLV_CONF]
            carry(kept, former, inside, bare=bare, say=lambda text: report(Event("identity", text)))
            inside.write(FSTAB, fstab_for(former, self.plan.former.version, self.plan.version), mode=0o644)
            self._make_places(inside)
            if inside.look(UNIT) is None:
                lacks = f"warning: {self.plan.image} lacks the component machine, by which a version says that it is healthy"
                report(Event("trial", f"{lacks}: it is started once, and not kept"))
            since = time.time_ns() - _CLOCK
            files = self._write_steps(inside)
            share(staged, self._alone, since=since, left_out=PLACE)  # a kernel that stays the same has the same steps
            report(Event("record", "write down what was laid down"))
            write_record(self._record(), inside, staged, self._work, files)
            for file in files:
                inside.write(file.path, file.content, mode=file.mode)
            if self._network is not None:
                inside.write(EXPECTED, expectation(self._network), mode=0o600)

    def _apply(self, source: ImageSource, staged: Path, room: str) -> None:
        keep = keeper(self._filesystem, staged, self._roots, source, spared=room, session=self._session)
        report, since = self._session.report, time.time_ns() - _CLOCK

        def after(count: int) -> None:
            nonlocal since
            report(Event("share", f"let files of layer {count} share their blocks with equal ones"))
            share(staged, self._alone, since=since, left_out=room)  # before it is copied, with blocks of its own
            since = time.time_ns() - _CLOCK
            keep(count)

        apply_layers(source, staged, report=report, spared=room, first=self.plan.present, after=after)

    def _make_places(self, inside: ContainedRoot) -> None:
        """Make the directories that the machine mounts its subvolumes at; a link there would lead its data elsewhere."""
        for path in (one.path.strip("/") for group in self._document.value.groups for one in group.subvolumes):
            inside.directory(path)
            with inside.opened(path) as descriptor:
                led = inside.path_of(descriptor)
            if led != path:
                raise TerraError(
                    f"/{path} of the new image is a link to another place, and the machine mounts a subvolume there",
                    hint="build the image with a directory there, or install the machine anew",
                )

    def _write_steps(self, inside: ContainedRoot) -> Sequence[RenderedFile]:
        """Write the boot steps; return the files that let the version start."""
        found = fit_of_root(inside, root_steps(self._document.value, self._plugins, self._session))
        if not found.kernel:
            raise TerraError(f"{self.plan.image} has no kernel, so the machine cannot start from it")
        write_steps(inside, found)
        if not self.plan.former.kernel_arguments:  # laid down by an earlier Terra: the menu of the first version starts all
            return ()
        node, mounted = self._document.value, filesystem_at(self._alone)
        boot = LocalBoot(
            hostname=node.hostname,
            disks=(),
            firmware=Firmware.BOTH,
            filesystem=mounted.uuid,
            type=mounted.kind,
            root=self.plan.version,
            kernel=found.kernel,
            initrd=found.initrd,
            steps=STEPS,
            kernel_arguments=(*self.plan.former.kernel_arguments, *node.kernel_arguments),
        )
        return self._bootloader.render_menu(boot, self._session)

    def _record(self) -> Record:
        return evolve(
            self.plan.former,
            version=self.plan.version,
            image=self.plan.image,
            digest=self.plan.digest,
            layers=tuple(map(str, self._found.config.diff_ids)),
            laid=datetime.now(UTC).isoformat(timespec="seconds"),
            node={**self._document.raw, "image": self.plan.image},
        )


@contextmanager
def upgrade(
    image: ImageReference | None,
    root: Path,
    *,
    trial: bool = True,
    plain_http: bool = False,
    report: Report = silent,
    paths: Paths = THIS_MACHINE,
    plugins: Plugins | None = None,
) -> Iterator[Upgrade]:
    """Plan an upgrade of a machine, and check all that can be checked; nothing is written to any disk by this.

    One at a time on a machine.

    :param image: the next image; the one of the machine's node.toml, as its tag names it now, when left out.
    :param root: where the root of the version to upgrade is mounted; ``/`` for the one that runs.
    :param trial: whether the next start tries it.
    :param plain_http: whether the registry of the image may be talked to without TLS.
    :param report: takes progress events, and may raise to end the work.
    :param paths: where the lock is, and where mounts are made that nobody else sees.
    :param plugins: the installed plugins; found when left out.
    :raises TerraError: with what stands against it.
    """
    plugins = plugins or Plugins.discover()
    with (
        place_for_mounts(root, paths) as alone,
        upgrades_locked(paths, report),
    ):
        with ContainedRoot(root) as inside:
            record = read_known(inside, root)
            manifest = read_manifest(inside)
        document = _document(record, image, root, plugins)
        session = document.session(report, paths=paths, plain_http=plain_http)
        node = document.value
        filesystem = plugins.fill(Filesystem, {"filesystem": record.filesystem}, source=document.source)
        if not filesystem.brings("copy_root"):
            raise TerraError(
                f"{root}: a system on {record.filesystem} has one version, and no other can be laid down beside it",
                hint="install the machine anew with terra-install, or on a filesystem whose plugin can copy a root",
            )
        bootloader = plugins.fill(Bootloader, {"bootloader": record.bootloader}, source=document.source)
        images = Images(
            plugin=plugins.fill(Registry, node.plugins, source=document.source),
            session=session,
            trust=() if node.trust is None else (node.trust,),
        )
        found = images.inspect(node.image)
        work = alone.parent / "work"
        work.mkdir()
        with bound(root, alone, for_reading=True), filesystem.open_roots(root, work, session) as roots:
            if roots.top is None:
                raise TerraError(
                    f"{root}: is all of its file system, so no other version can lie beside it",
                    hint="an earlier Terra laid it down so, or somebody else; install the machine anew with terra-install",
                )
            now = State(
                running=roots.running,
                trying=on_trial(root, roots.running),
                disks=read_starts(start_disks(alone), bootloader, session),
                failed=failures(roots.top),
            )
            if now.trying and roots.running not in now.kept:
                raise ConflictError(
                    f"{roots.running} runs on trial, and nobody has judged it yet", hint="wait until it is kept or given up"
                )
            for problem in node.upgrade.refused():
                report(Event("plan", f"warning: not kept: {problem.text}"))
            report(Event("diff", f"compare {root} with {record.image}"))
            changed = changes(manifest, alone, left_out=PLACE)
            with ContainedRoot(alone) as inside:
                own = own_files(inside, {one.path.lstrip("/") for one in changed})
                resolving = inside.look(_RESOLV_CONF, follow=False)
                # What the machine has not, and never had, is the next image's to bring.
                keep = [path for path in node.upgrade.kept if path[1:] in manifest or inside.look(path[1:], follow=False)]
            if resolving is not None and stat.S_ISREG(resolving.st_mode):
                own.append(_RESOLV_CONF)
            kept, lost = sorted_out(changed, [*own, FSTAB], keep)
            records = _records(roots.places)
            there = _of_digest(str(found.digest), records)
            version = next_name([*roots.places, *now.failed, *now.once, *now.tried], read_ledger(roots.top).number)
            obstacle = _obstacle(there, now) if trial else ""
            tried = (there or version) if trial and not obstacle and there not in (now.running, *now.kept) else ""
            given_way = now.once if tried else ()  # what was to be tried makes way for what is tried instead
            spared = {roots.running, *now.needed_without(given_way)}
            plan = Plan(
                former=evolve(record, version=roots.running),
                image=str(node.image),
                digest=str(found.digest),
                version=version,
                there=there,
                tried=tried,
                obstacle=obstacle,
                removed=() if there else surplus(_made_by_terra(records), spared, now.failed, node.upgrade.versions),
                given_way=given_way,
                layers=found.manifest.layers,
                present=held(roots.top, list(map(str, found.config.diff_ids)))[0],
                kept=tuple(kept),
                lost=tuple(lost),
            )
            if not (there or roots.shares):
                plan = evolve(plan, needed=room_of(manifest) + plan.fetched)
                _require_room(plan, roots.top)
            yield Upgrade(
                plan=plan,
                document=document,
                reference=pinned(node.image, str(found.named)),
                found=found,
                images=images,
                filesystem=filesystem,
                plugins=plugins,
                session=session,
                alone=alone,
                roots=roots,
                top=roots.top,
                work=work,
                network=network() if root == Path("/") else None,
                bootloader=bootloader,
                disks=now.disks,
                paths=paths,
            )


def _document(record: Record, image: ImageReference | None, root: Path, plugins: Plugins) -> Document[Node]:
    raw = {**record.node, **({"image": str(image)} if image else {})}
    document = make(raw, Node, source=f"node.toml of {root}", plugins=plugins)
    groups = [group.filesystem for group in document.value.groups if group.filesystem]
    return settled(document, INSTALLED, plugins, document.value.plugins, beside=groups)


def _records(places: Mapping[str, Path]) -> dict[str, Record]:
    """Return how each version was laid down that says so."""
    found = {}
    for name, place in sorted(places.items()):
        try:
            with ContainedRoot(place) as inside:
                record = read_record(inside)
        except (TerraError, OSError):
            continue
        if record is not None:
            found[name] = record
    return found


def _of_digest(digest: str, records: Mapping[str, Record]) -> str:
    """Return the newest version that is of an image; empty when there is none.

    A snapshot that a person made is none, nor is data of a user that looks like one: what is there is started by itself.
    """
    found = [name for name in _made_by_terra(records) if records[name].digest == digest]
    return max(found, key=lambda name: number_of(name) or 0, default="")


def _made_by_terra(records: Mapping[str, Record]) -> list[str]:
    """Return the versions that an installation or an upgrade has made: the record of a copy has the name of what it is of."""
    return [name for name, one in records.items() if one.version == name and number_of(name) is not None]


def _require_room(plan: Plan, top: Path) -> None:
    """Refuse what has no room, by what the version that runs takes: how much the next one does shows when it is unpacked.

    What an upgrade that was killed has left counts as free: it is removed before the next version is laid down.
    """
    found = os.statvfs(top)
    free = found.f_bavail * found.f_frsize + left_over(top)
    if free < plan.needed:
        raise TerraError(
            f"{plan.version} needs about {-(-plan.needed // _MB)} MB, as versions share nothing on {plan.former.filesystem}, "
            f"and {free // _MB} MB are free: no version is removed before the next one is there",
            hint="make room, such as by: terra versions --remove NAME",
        )


def _obstacle(there: str, now: State) -> str:
    """Return why the next start does not try a version; empty when nothing stands against it."""
    if not now.able:
        return "; ".join(now.problems) or "the machine's root is on no partition of a disk"
    if there in now.failed:
        return f"{there} was given up before: {now.failed[there].reason} (terra rollback --to {there} starts it all the same)"
    return ""
