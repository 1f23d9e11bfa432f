"""Taking over what is a machine's own from the system that it had into the next version of it, while it is off."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.config.node import OS_LABEL, NetworkNode
from terra_core.config.session import Session
from terra_core.deploy import MountedSystem
from terra_core.hookspecs import Mount
from terra_core.image.carry import carry, copy
from terra_core.image.contained import ContainedRoot
from terra_core.image.removal import remove
from terra_core.mounting import FSTAB, in_order, mount_device
from terra_core.plugins import Plugins, filesystem_of
from terra_core.system.progress import Event
from terra_core.system.reading import lines_of
from terra_core.system.undo import Undo
from terra_core.uniqueness import own_files

_COPY_SECONDS = 6 * 3600
_LIMIT = 1 << 20
_READ_ONLY = ("ro", "noexec")


@frozen(kw_only=True)
class FormerSystem:
    """The system that a machine had, mounted for reading.

    The machine may have written anything there: each part is mounted at a place of its own, and no link in it is followed.

    :param root: its root.
    :param parts: its subvolumes, by the path at which the machine mounts them.
    """

    root: ContainedRoot
    parts: Mapping[str, ContainedRoot]


@contextmanager
def former_system(
    node: NetworkNode, devices: Sequence[Path], *, plugins: Plugins, session: Session, work: Path
) -> Iterator[FormerSystem]:
    """Mount a copy of the system of a machine; to be called where nobody else sees mounts.

    :param node: the machine.
    :param devices: copies of the disks of its system, which get an identity of their own.
    :param session: the session of its file.
    :param work: an empty directory for mounts.
    :raises TerraError: when they hold no such file system, or it cannot be mounted.
    """
    group = next(group for group in node.groups if group.label == OS_LABEL)
    filesystem = filesystem_of(group, node, plugins, source=session.source)
    own = work / "group"
    own.mkdir()
    with Undo() as stack:
        prepared = stack.enter_context(filesystem.renew_identity(group, devices, own, session))
        mounts = in_order(prepared.mounts)
        opened = {one.path: _opened(one, work / f"part-{at}", stack) for at, one in enumerate(mounts) if not one.bound}
        parts = {path: one for path, one in opened.items() if path != "/"}
        for mount in (one for one in mounts if one.bound):
            whole = max((path for path in opened if f"{mount.bound}/".startswith(f"{path.rstrip('/')}/")), key=len)
            parts[mount.path] = _within(opened[whole], mount.bound.removeprefix(whole), stack)
            parts.pop(whole, None)  # it is where directories are mounted from
        parts |= {path: _within(opened["/"], path, stack) for path in prepared.directories}
        yield FormerSystem(root=opened["/"], parts=parts)


def carry_over(
    former: FormerSystem, new: MountedSystem, node: NetworkNode, places: Mapping[str, str], session: Session
) -> None:
    """Take over the files that make a machine itself, what its file names, and its subvolumes.

    It can be repeated: what is there of an earlier time is replaced.

    :param former: what the machine had.
    :param new: the next version, with its own mounts.
    :param node: the machine.
    :param places: where mounts go by their paths in ``node``, where links of the image lead elsewhere.
    :raises TerraError: naming what cannot be copied.
    """

    def say(text: str) -> None:
        session.report(Event("carry", text))

    own = _text(new.inside)  # now: what is taken over may hold that of the machine
    for path in sorted(former.parts):  # one that is within another comes after it
        session.report(Event("carry", f"take over {path}"))
        _replace(former.parts[path], new.inside, places.get(path, path).strip("/"), say)
    session.report(Event("carry", f"take over what {node.hostname} has of its own"))
    mounts = [name.strip("/") for path in former.parts for name in (path, places.get(path, path))]
    named = [path.strip("/") for path in node.upgrade.kept]
    there = [path for path in named if former.root.look(path, follow=False) is not None]  # of what is not, the image's is used
    kept = [one for path in there for one in beside(mounts, path, former.root, new.inside)]
    carry(sorted({*own_files(former.root, ()), *kept}), former.root, new.inside, say=say)
    fstab = merged_fstab(own, _text(former.root))
    new.inside.write(FSTAB, fstab.encode(errors="surrogateescape"), mode=0o644)


def beside(mounts: Collection[str], path: str, former: ContainedRoot, new: ContainedRoot) -> Iterator[str]:
    """Yield a path that is to be taken over; where something is mounted below it, all that is in it besides.

    :param mounts: where something is mounted, which is taken over by itself, without a leading slash as all paths here.
    """
    if any(path == mount or path.startswith(f"{mount}/") for mount in mounts):
        return
    if not any(mount.startswith(f"{path}/") for mount in mounts):
        yield path
        return
    for name in sorted(former.names(path) | new.names(path)):
        yield from beside(mounts, f"{path}/{name}", former, new)


def merged_fstab(own: str, former: str) -> str:
    """Return the fstab(5) of the next version: its own mounts, and every other one that the machine had.

    :param own: what was written for the next version.
    :param former: that of the machine.
    """
    known = {fields[1] for fields in map(str.split, lines_of(own)) if len(fields) > 1 and not fields[0].startswith("#")}
    further = [line for line in lines_of(former) if _is_further(line.split(), known)]
    return "".join(f"{line}\n" for line in (*lines_of(own), *further))


def _is_further(fields: Sequence[str], known: set[str]) -> bool:
    return len(fields) > 3 and not fields[0].startswith("#") and fields[1] not in known


def _replace(source: ContainedRoot, target: ContainedRoot, path: str, say: Callable[[str], object]) -> None:
    """Put all that a directory holds in the place of what another one holds; what is mounted below that stays mounted."""
    target.directory(path)
    with source.opened("") as former, target.opened(path) as new:
        for name in os.listdir(new):  # noqa: PTH208  # pathlib lists no descriptor
            remove(new, os.fsencode(name))
        copy(former, new, ".", path, seconds=_COPY_SECONDS, say=say)


def _text(root: ContainedRoot) -> str:
    return root.read_small(FSTAB, limit=_LIMIT).decode(errors="surrogateescape")


def _opened(mount: Mount, place: Path, stack: ExitStack) -> ContainedRoot:
    place.mkdir()
    options = [one for one in mount.options if not one.startswith("x-")]
    stack.enter_context(mount_device(mount, place, (*options, *_READ_ONLY)))
    return stack.enter_context(ContainedRoot(place))


def _within(root: ContainedRoot, path: str, stack: ExitStack) -> ContainedRoot:
    """Return a directory of a root as a root of its own."""
    directory = stack.enter_context(root.opened(path.strip("/")))
    return stack.enter_context(ContainedRoot(Path(f"/proc/{os.getpid()}/fd/{directory}/.")))
