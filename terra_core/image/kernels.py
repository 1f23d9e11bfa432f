"""Which kernel of an image a machine boots, and the initial RAM disk that belongs to it: one rule, wherever it boots from.

Debian and Ubuntu name the pair ``vmlinuz-V`` and ``initrd.img-V``, Fedora ``vmlinuz-V`` and ``initramfs-V.img``, SUSE
``vmlinuz-V`` and ``initrd-V``, Alpine ``vmlinuz-lts`` and ``initramfs-lts``; images that are made for image-based updates keep
both beside the modules, in ``/usr/lib/modules/V``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Protocol

from attrs import frozen

_KERNEL = re.compile(r"(?:vmlinu[xz]|kernel|bzImage|Image)(?:-([A-Za-z0-9.+~_-]+))?")
_INITRDS = (
    *("initrd.img-{}", "initramfs-{}.img", "initrd-{}", "initramfs-{}", "initrd-{}.img"),
    *("initramfs.img-{}", "initrd-{}.gz", "initramfs-{}.gz"),
)
_INITRDS_ALONE = ("initrd.img", "initramfs.img", "initrd", "initramfs", "initrd.gz")
_MODULES = "usr/lib/modules"
_DEPENDENCIES = "modules.dep"
_NAME = r"[A-Za-z0-9_+~][A-Za-z0-9.+~_-]*"
FIT_FOR_A_MENU = re.compile(rf"(?:(?:usr/)?boot/(?:{_NAME}/)*|(?:usr/)?lib/modules/{_NAME}/)?{_NAME}")
"""The paths from which a boot loader can read a kernel or an initial RAM disk: characters without a meaning in its menu."""
_NAMED = re.compile(_NAME)
_RESCUE = re.compile(r"(?:0-)?rescue\b")
_OLD = re.compile(r".*[.~-](?:old|bak|orig|prev|dpkg-[a-z]+|rpmsave|rpmorig)")
_RELEASE_CANDIDATE = re.compile(r"[-~]rc\Z")


class Tree(Protocol):
    """The files of an image, laid down or not; links are followed as the machine would."""

    def names(self, path: str) -> Collection[str]:
        """Return the names in a directory; none when there is no such directory."""

    def file_at(self, path: str) -> str:
        """Return the path of the regular file at ``path`` without any link in it; an empty string when there is none."""


@frozen(kw_only=True)
class Pair:
    """A kernel and the initial RAM disk with the matching name.

    :param kernel: its path in the image, without a leading slash.
    :param initrd: the path of the other; empty when there is none.
    :param version: what their names share; empty where they have no version.
    :param problem: why nothing can boot them; empty when something can.
    """

    kernel: str
    initrd: str
    version: str
    problem: str = ""


@frozen
class Kernels:
    """The kernels of an image, the one that is booted first.

    :param pairs: all of them; those that nothing can boot come last.
    """

    pairs: tuple[Pair, ...]

    @property
    def chosen(self) -> Pair | None:
        """The kernel and RAM disk that machines boot; ``None`` when there are none that they could."""
        return next((pair for pair in self.pairs if not pair.problem), None)

    @property
    def notes(self) -> Iterator[str]:
        """The lines that tell a user about the choice."""
        chosen = self.chosen
        if chosen is None:
            return
        others = {pair.version for pair in self.pairs if not pair.problem and pair.version} - {chosen.version}
        if others:
            yield f"of the image's kernels, /{chosen.kernel} is booted, and not {', '.join(sorted(others))}"
        for pair in self.pairs:
            if pair.problem and pair.version and version_key(_number(pair.version)) > version_key(_number(chosen.version)):
                yield f"warning: passed over: {pair.problem}"


def find_kernels(tree: Tree) -> Kernels:
    """Find the kernels of an image, in ``/``, in ``/boot`` and among the modules.

    The kernel that the links ``vmlinuz`` and ``initrd.img`` name is booted, those in ``/`` before those in ``/boot``: a
    machine's boot loader follows them too, so that a kernel that is installed later is booted. Without them, it is the newest
    complete version, in its plainest flavour.
    """
    linked = [pair for directory in ("", "boot") if (pair := _linked(tree, directory))]
    pairs = sorted([*_within(tree, "boot"), *_within(tree, ""), *_among_modules(tree)], key=_rank, reverse=True)
    found: dict[str, Pair] = {}
    for pair in (*linked, *pairs):
        found.setdefault(pair.kernel, pair)
    return Kernels(tuple(found.values()))


def modules_of(tree: Tree, pair: Pair) -> str:
    """Return the directory of a kernel's modules; empty when there is none.

    A kernel whose name has no version belongs to the only modules that the image has.
    """
    for above in (_MODULES, "lib/modules"):
        path = f"{above}/{pair.version}"
        if pair.version and _DEPENDENCIES in tree.names(path):
            return path
        versions = [version for version in sorted(tree.names(above)) if _NAMED.fullmatch(version)]
        whole = [path for version in versions if _DEPENDENCIES in tree.names(path := f"{above}/{version}")]
        if not pair.version and len(whole) == 1:
            return whole[0]
    return ""


def _linked(tree: Tree, directory: str) -> Pair | None:
    kernel, initrd = (tree.file_at(f"{directory}/{name}".lstrip("/")) for name in ("vmlinuz", "initrd.img"))
    if not (kernel and initrd):
        return None
    named = _KERNEL.fullmatch(kernel.rpartition("/")[2])
    return Pair(kernel=kernel, initrd=initrd, version=(named[1] or "") if named else "")


def _within(tree: Tree, directory: str) -> Iterator[Pair]:
    names = tree.names(directory or ".")
    for name in sorted(names):
        found = _KERNEL.fullmatch(name)
        if found is not None and (found[1] or name in ("vmlinuz", "vmlinux", "bzImage", "kernel")):
            yield _pair(tree, f"{directory}/{name}".lstrip("/"), found[1] or "", [directory])


def _among_modules(tree: Tree) -> Iterator[Pair]:
    for version in sorted(tree.names(_MODULES)):
        path = f"{_MODULES}/{version}"
        if "vmlinuz" in tree.names(path) and _NAMED.fullmatch(version):
            yield _pair(tree, f"{path}/vmlinuz", version, [path, "boot"])


def _pair(tree: Tree, kernel: str, version: str, directories: Collection[str]) -> Pair:
    names = [form.format(version) for form in _INITRDS] if version else list(_INITRDS_ALONE)
    places = [
        f"{directory}/{name}".lstrip("/")
        for directory in directories
        for name in (*names, *(_INITRDS_ALONE if directory.startswith(_MODULES) else ()))
        if name in tree.names(directory or ".")
    ]
    real = tree.file_at(kernel)
    if not real:
        problem = f"/{kernel} of the image's tree is missing, or is no regular file"
        return Pair(kernel=kernel, initrd=next(iter(places), ""), version=version, problem=problem)
    initrd = next(filter(None, map(tree.file_at, places)), "")
    problem = ""
    if not initrd and places:
        problem = f"/{places[0]} of the image's tree, the initial RAM disk of /{kernel}, is missing, or is no regular file"
    elif not initrd:
        problem = f"/{kernel} has no initial RAM disk: neither {names[0]} nor {names[1]} is beside it"
    return Pair(kernel=real, initrd=initrd, version=version, problem=problem)


def _rank(pair: Pair) -> tuple[object, ...]:
    flavour = pair.version.removeprefix(_number(pair.version))
    return (
        not pair.problem,
        not _RESCUE.match(pair.version),
        not _OLD.fullmatch(pair.version),
        version_key(_number(pair.version)),
        -len(flavour),
        version_key(pair.version),
    )


def _number(version: str) -> str:
    """Return a version without its flavour: ``6.1.0-42`` of ``6.1.0-42-cloud-amd64``, ``6.12-rc2`` of ``6.12-rc2-arm64``."""
    parts = version.partition("+")[0].split("-")
    kept = 0
    while kept < len(parts) and (parts[kept][:1].isdigit() or parts[kept].startswith("rc")):
        kept += 1
    return "-".join(parts[:kept])


def version_key(version: str) -> list[tuple[int, int, str]]:
    """Return the key that versions are sorted by: numbers as numbers, a release candidate before its release."""
    parts = [part for part in re.split(r"(\d+)", version) if part]
    key = [(1, int(part), "") if part.isdigit() else (-1 if _RELEASE_CANDIDATE.match(part) else 0, 0, part) for part in parts]
    return [*key, (0, 0, "")]
