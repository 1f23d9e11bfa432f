"""Looking at the versions of a machine's system: which there are, and what was changed in one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from terra_core.config.controller import THIS_MACHINE, Paths
from terra_core.config.loader import tables_of
from terra_core.config.node import OS_LABEL, Node
from terra_core.config.session import Session
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.hookspecs import Filesystem, Roots
from terra_core.image.contained import ContainedRoot
from terra_core.plugins import Plugins
from terra_core.system.mounts import bound
from terra_core.system.namespaces import private_mounts
from terra_core.system.progress import Event, Report, silent
from terra_core.versions.difference import Change, changes
from terra_core.versions.failures import forget_failure
from terra_core.versions.layers import prune
from terra_core.versions.ledger import note_removed
from terra_core.versions.record import PLACE, Record, number_of, read_manifest, read_record

_NEXT = (
    "install it with this Terra's terra-install, and it is known what was laid down; machines of a controller are named: "
    "terra upgrade HOSTNAME --image IMAGE, terra rollback HOSTNAME"
)


@frozen(kw_only=True)
class Difference:
    """How a version differs from what was laid down.

    :param record: how it was laid down.
    :param changes: by path.
    """

    record: Record
    changes: tuple[Change, ...]


@frozen(kw_only=True)
class Version:
    """A version of a machine's system.

    :param name: its name.
    :param running: whether it is the one that was asked about: of a running machine, the one that runs.
    :param record: how it was laid down; ``None`` when that cannot be read.
    :param problem: why it cannot.
    """

    name: str
    running: bool
    record: Record | None
    problem: str = ""


def difference(root: Path, *, report: Report = silent, paths: Paths = THIS_MACHINE) -> Difference:
    """Return how the files of a version differ from what was laid down.

    What is mounted below its root, such as its data and ``/proc``, is no part of it.

    :param root: where it is mounted; ``/`` for the one that runs.
    :param report: takes progress events, and may raise to end the work.
    :param paths: where a mount is made that nobody else sees.
    :raises TerraError: when nobody has written down what was laid down, or something cannot be read.
    """
    with place_for_mounts(root, paths) as work, ContainedRoot(root) as inside:
        record = read_known(inside, root)
        report(Event("diff", f"compare {root} with {record.image}"))
        laid_down = read_manifest(inside)
        with bound(root, work, for_reading=True) as alone:
            return Difference(record=record, changes=tuple(changes(laid_down, alone, left_out=PLACE)))


def versions(root: Path, *, plugins: Plugins | None = None, paths: Paths = THIS_MACHINE) -> tuple[Version, ...]:
    """Return the versions of a machine's system that are in the file system of one of them, in the order of their numbers.

    :param root: where that one is mounted; ``/`` for the one that runs.
    :param plugins: the installed plugins; found when left out.
    :param paths: where mounts are made that nobody else sees.
    :raises TerraError: when nobody has written down what was laid down, or a plugin is missing.
    """
    with place_for_mounts(root, paths) as work, ContainedRoot(root) as inside:
        record = read_known(inside, root)
        with open_versions(record, root, work, plugins or Plugins.discover()) as (_, roots, _):
            found = (_version(name, roots.places[name], roots) for name in sorted(roots.places, key=_order))
            return tuple(version for version in found if version is not None)


def remove(
    name: str,
    root: Path,
    *,
    needed: Mapping[str, str],
    report: Report = silent,
    plugins: Plugins | None = None,
    paths: Paths = THIS_MACHINE,
) -> None:
    """Remove a version, with all that it holds, why it was given up, and the layers that no other one is of.

    To be called by who keeps others from upgrading the machine and from changing what it starts.

    :param root: where the root of another version is mounted; ``/`` for the one that runs.
    :param needed: versions that the machine needs, each with what for.
    :raises TerraError: when there is no such version, or the machine needs it.
    """
    with place_for_mounts(root, paths) as work, ContainedRoot(root) as inside:
        record = read_known(inside, root)
        with open_versions(record, root, work, plugins or Plugins.discover(), report) as (filesystem, roots, session):
            place = roots.places.get(name)
            if place is None or roots.top is None or _version(name, place, roots) is None:
                raise NotFoundError(f"{name}: there is no version of that name", hint="terra versions lists them")
            if name == roots.running:
                raise ConflictError(f"{name}: is the version that runs", hint="start another one, and remove it then")
            if name in needed:
                raise ConflictError(f"{name}: {needed[name]}")
            report(Event("remove", f"remove {name}"))
            with suppress(TerraError):  # a version may be removed because the disk is full
                note_removed(roots.top, name)
            filesystem.remove_root(place, session)
            forget_failure(roots.top, name)
            prune(filesystem, roots.top, session)


@contextmanager
def open_versions(
    record: Record, root: Path, work: Path, plugins: Plugins, report: Report = silent
) -> Iterator[tuple[Filesystem, Roots, Session]]:
    """Yield the roots that lie beside each other in the file system of one of them, and what makes and removes them.

    :param record: how that one was laid down.
    :param root: where it is mounted.
    :param work: from :func:`place_for_mounts`.
    """
    source = f"{root}/{PLACE}"
    session = Session(source=source, tables=tables_of(record.node, Node, plugins.names), report=report)
    filesystem = plugins.fill(Filesystem, {"filesystem": record.filesystem}, source=source)
    with filesystem.open_roots(root, work, session) as roots:
        yield filesystem, roots, session


def _order(name: str) -> tuple[bool, int, str]:
    number = number_of(name)
    return number is None, number or 0, name


def _version(name: str, place: Path, roots: Roots) -> Version | None:
    running = name == roots.running
    try:
        with ContainedRoot(place) as inside:
            record = read_record(inside)
    except TerraError as error:
        return Version(name=name, running=running, record=None, problem=error.message)
    except OSError as error:
        return Version(name=name, running=running, record=None, problem=f"{place}: {error.strerror}")
    return Version(name=name, running=running, record=record) if record else None


def read_known(inside: ContainedRoot, root: Path) -> Record:
    """Return how the version of a root was laid down.

    :param root: where it is mounted, for errors.
    :raises TerraError: when nobody has written that down.
    """
    record = read_record(inside)
    if record is None:
        raise TerraError(f"{root}: nobody has written down what was laid down here, as terra-install does", hint=_NEXT)
    return record


@contextmanager
def place_for_mounts(root: Path, paths: Paths) -> Iterator[Path]:
    """Yield an empty directory for mounts that nobody else sees, after looking at whether there is a root at all."""
    if os.geteuid() != 0:
        raise TerraError("only root can read every file of a system", hint="run this as root, such as with sudo")
    if not root.is_dir():
        raise TerraError(f"{root}: is no directory", hint="name the place where the root of a system is mounted")
    try:
        paths.run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TerraError(f"{paths.run}: {error.strerror}") from error
    with private_mounts(), tempfile.TemporaryDirectory(prefix="versions-", dir=paths.run) as work:
        own = Path(work) / OS_LABEL
        own.mkdir()
        yield own
