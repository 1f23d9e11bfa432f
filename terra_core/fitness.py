"""Whether a machine can start from an image, checked before anything is written: its kernel, and every path that is mounted
or overwritten."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from attrs import Factory, frozen

from terra_core.config.node import Node, is_needed_first
from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem
from terra_core.errors import TerraError
from terra_core.image.contained import ContainedRoot
from terra_core.image.kernels import FIT_FOR_A_MENU, Pair, find_kernels, modules_of
from terra_core.image.merged import Link, MergedTree, Place
from terra_core.image.ramdisk import Contents, contents
from terra_core.image.survey import Survey, survey
from terra_core.machine.modules import INDEX
from terra_core.machine.steps import BootSteps, problems_of
from terra_core.machine.system import HOOK, STEPS
from terra_core.oci.source import ImageSource

_IMAGE = "image"
_WRITTEN = ("etc/hostname", "etc/hosts", "etc/machine-id", "etc/fstab")
_READ_BY_THE_BOOT_LOADER = ("boot", "boot/grub")
_WRITTEN_FOR_A_DISK = ("boot/grub/grub.cfg", STEPS, HOOK)
"""What is written besides into a system that starts from its own disks."""
_KEPT_SURVEYS = 4


@frozen(kw_only=True)
class Fit:
    """An image that a machine can start from.

    :param steps: the steps that find its root.
    :param chosen: the kernel that boots, and the initial RAM disk that belongs to it; ``None`` when the image has none.
    :param held: the content of that RAM disk; ``None`` when there is none.
    :param places: where each subvolume of node.toml is mounted, by its path there, where links of the image lead elsewhere.
    :param notes: what a user should know.
    """

    steps: BootSteps
    chosen: Pair | None = None
    held: Contents | None = None
    places: Mapping[str, str] = Factory(dict)
    notes: tuple[str, ...] = ()

    @property
    def kernel(self) -> str:
        """The path of the kernel, without a leading slash; empty when the image has none."""
        return self.chosen.kernel if self.chosen else ""

    @property
    def initrd(self) -> str:
        """The path of the initial RAM disk."""
        return self.chosen.initrd if self.chosen else ""


class Surveys:
    """The last surveys, so that an image is surveyed once for many machines."""

    def __init__(self) -> None:
        self._kept: dict[str, Survey] = {}
        self._looking: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def of(self, image: ImageSource) -> Survey:
        """Return the survey of an image; may be called from several threads.

        :raises TerraError: when the image is broken.
        """
        digest = str(image.digest)
        with self._looking[digest]:
            found = self._kept.pop(digest, None) or survey(image, INDEX)
            self._kept[digest] = found
        for former in list(self._kept)[:-_KEPT_SURVEYS]:
            self._kept.pop(former, None)
            self._looking.pop(former, None)
        return found


def fit(found: Survey, node: Node, steps: BootSteps, *, source: str, boot_loader: bool, own_kernel: bool) -> Fit:
    """Return how a machine starts from an image.

    :param found: the image.
    :param steps: what the machine goes through to find its root.
    :param source: node.toml, for messages.
    :param boot_loader: whether a boot loader that knows no links reads its menu and the kernel from the root.
    :param own_kernel: whether the image has to have a kernel; otherwise an image without one is booted by another kernel.
    :raises TerraError: with everything that stands against it, by the key of node.toml; a :class:`ConfigError` where that is
        not the image alone.
    """
    places: dict[str, str] = {}
    own = [entry.path for step in steps.all for entry in step.system]
    written = tuple(dict.fromkeys([*_WRITTEN, *own, *(_WRITTEN_FOR_A_DISK if boot_loader else ())]))
    problems = [
        *_kernel_problems(found, steps, own_kernel=own_kernel),
        *_place_problems(found.tree, node, places),
        *_written_problems(found.tree, written),
        *(_boot_problems(found) if boot_loader else ()),
    ]
    if problems and all(problem.path == _IMAGE for problem in problems):
        raise TerraError("\n".join(f"{source}: {problem}" for problem in problems))
    if problems:
        raise DocumentError(source, problems)
    return Fit(
        steps=steps, chosen=found.kernels.chosen, held=found.ramdisk, places=places, notes=tuple(_notes(found, places, written))
    )


def fit_of_root(inside: ContainedRoot, steps: BootSteps) -> Fit:
    """Return how a machine starts from an image that is laid down, where that could not be looked at before.

    :param steps: what the machine goes through to find its root.
    :raises TerraError: when its kernels are broken, or the steps cannot run in its RAM disk.
    """
    kernels = find_kernels(inside)
    if kernels.chosen is None and kernels.pairs:
        raise TerraError(f"the image has no kernel that can be booted: {'; '.join(pair.problem for pair in kernels.pairs)}")
    if kernels.chosen is None:
        return Fit(steps=steps, notes=tuple(kernels.notes))
    held = contents(inside.pieces(kernels.chosen.initrd))
    directory = modules_of(inside, kernels.chosen)
    index = {name: inside.read_small(f"{directory}/{name}", limit=most) for name, most in INDEX.items()} if directory else {}
    problem = next(problems_of(steps, kernels.chosen.initrd, held, index), "")
    if problem:
        raise TerraError(problem)
    return Fit(steps=steps, chosen=kernels.chosen, held=held, notes=tuple(kernels.notes))


def _kernel_problems(found: Survey, steps: BootSteps, *, own_kernel: bool) -> Iterator[Problem]:
    chosen = found.kernels.chosen
    if chosen is None and found.kernels.pairs:
        reasons = "; ".join(pair.problem for pair in found.kernels.pairs)
        yield Problem(_IMAGE, f"has no kernel that can be booted: {reasons}")
    elif chosen is None and own_kernel:
        yield Problem(_IMAGE, "has no kernel with an initial RAM disk in /boot, so nothing can be booted from a disk")
    elif chosen is not None and found.ramdisk is not None:
        for text in problems_of(steps, chosen.initrd, found.ramdisk, found.modules):
            yield Problem(_IMAGE, text)


def _place_problems(tree: MergedTree, node: Node, places: dict[str, str]) -> Iterator[Problem]:
    """Yield what stands against each subvolume; ``places`` receives where they are mounted."""
    first: dict[str, str] = {}
    for at, group in enumerate(node.groups):
        for number, subvolume in enumerate(group.subvolumes):
            key = f"groups[{at}].subvolumes[{number}].path"
            place = tree.find(subvolume.path.encode())
            problem = _mount_problem(tree, place)
            where = "/" + place.path.decode(errors="surrogateescape")
            if not problem and where != subvolume.path:
                problem = _leads_wrong(where)
            if problem:
                yield Problem(key, f"{subvolume.path} {problem}")
                continue
            if where in first:
                yield Problem(key, f"{subvolume.path} is the same directory of the image as {first[where]}, through its links")
            first.setdefault(where, subvolume.path)
            places[subvolume.path] = where
    keys = {
        places[subvolume.path]: f"groups[{at}].subvolumes[{number}].path"
        for at, group in enumerate(node.groups)
        for number, subvolume in enumerate(group.subvolumes)
        if subvolume.path in places
    }
    for pair in sorted(tree.linked):
        ends = ["/" + end.decode(errors="surrogateescape") for end in pair]
        mounts = [_mount_of(end, keys) for end in ends]
        if mounts[0] != mounts[1]:
            text = f"the image has a hard link between {ends[0]} and {ends[1]}, which have to be in one subvolume"
            yield Problem(keys[max(mounts, key=len)], text)


def _mount_of(directory: str, mounts: Collection[str]) -> str:
    """Return the mount that a directory is on; an empty string for the root."""
    return max((mount for mount in mounts if f"{directory}/".startswith(f"{mount}/")), key=len, default="")


def _mount_problem(tree: MergedTree, place: Place) -> str:
    if place.blocked:
        return f"leads nowhere in the image: {place.blocked}"
    if not (place.node is None or isinstance(place.node, dict)):
        return "is no directory in the image, so no subvolume can be mounted there"
    former = tree.stood_elsewhere(place.path)
    if former:
        name = former.decode(errors="backslashreplace")
        return f"cannot be a subvolume: /{name} is a link or a file in one layer of the image, and not any more in a later one"
    return ""


def _leads_wrong(where: str) -> str:
    if where == "/" or is_needed_first(where):
        return f"leads to {where} in the image, which has to be there before the machine mounts a subvolume"
    if not where.isprintable() or any(character.isspace() for character in where):
        return f"leads to {where!r} in the image, which cannot stand in fstab"
    return ""


def _written_problems(tree: MergedTree, written: Sequence[str]) -> Iterator[Problem]:
    """Yield what keeps files from being written, each reason once."""
    said: set[str] = set()
    for path in written:
        if reason := _no_directory(tree, path.rpartition("/")[0]):
            if reason not in said:
                yield Problem(_IMAGE, f"its {reason}, and /{path} is written there")
            said.add(reason)
        elif isinstance(tree.find(path.encode(), follow=False).node, dict):
            yield Problem(_IMAGE, f"its /{path} is a directory, and Terra writes a file of that name")


def _no_directory(tree: MergedTree, path: str) -> str:
    """Return what keeps a directory from being made with those that it is in; nothing when it is there, or can be made."""
    parts = path.split("/")
    for at in range(1, len(parts) + 1):
        above = "/".join(parts[:at])
        place = tree.find(above.encode())
        if place.blocked or not (place.node is None or isinstance(place.node, dict)):
            return f"/{above} is no directory"
        if place.missing and isinstance(tree.find(above.encode(), follow=False).node, Link):
            return f"/{above} is a link that leads nowhere"
    return ""


def _boot_problems(found: Survey) -> Iterator[Problem]:
    for path in _READ_BY_THE_BOOT_LOADER:
        node = found.tree.find(path.encode(), follow=False).node
        if not (node is None or isinstance(node, dict)):
            yield Problem(_IMAGE, f"its /{path} is no directory, and the boot loader of a machine follows no link there")
            return
    chosen = found.kernels.chosen
    for path in (chosen.kernel, chosen.initrd) if chosen else ():
        if not FIT_FOR_A_MENU.fullmatch(path):
            yield Problem(_IMAGE, f"its kernel needs {'/' + path!r}, which is no place or no name that a boot menu takes")


def _notes(found: Survey, places: Mapping[str, str], written: Sequence[str]) -> Iterator[str]:
    yield from found.kernels.notes
    chosen = found.kernels.chosen
    if chosen is None:
        yield "warning: the image has no kernel of its own, so the machine boots another one, for which it has no modules"
    elif found.ramdisk is not None and found.ramdisk.unread:
        reason = found.ramdisk.unread
        yield f"warning: /{chosen.initrd} cannot be looked into ({reason}): whether it finds the root shows when it boots"
    for path, where in places.items():
        if path != where:
            yield f"{path} is a link in the image: its subvolume is mounted at {where}"
    for path in written:
        node = found.tree.find(path.encode(), follow=False).node
        if isinstance(node, Link):
            yield f"/{path} of the image is a link, and is replaced by a file"
