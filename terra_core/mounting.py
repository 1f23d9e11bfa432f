"""The mounts of a machine: made here in order, and named in its fstab(5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from terra_core.config.kernel_line import join_arguments
from terra_core.errors import PluginError, TerraError
from terra_core.hookspecs import Mount
from terra_core.system.mounts import bound, directory_mounted, mounted
from terra_core.system.progress import Event, Report

FSTAB = "etc/fstab"
"""The path of fstab(5) in a machine's root."""
FURTHER = "systemd.mount-extra="
"""How a word of the kernel line begins that mounts a group which a machine got later."""


def in_order(mounts: Sequence[Mount]) -> list[Mount]:
    """Return mounts so that each comes after those that its place and its directory are on, by path otherwise.

    :raises PluginError: when two have the same place, some need each other in a circle, or fstab(5) cannot name one.
    """
    by_path: dict[str, Mount] = {}
    for mount in sorted(mounts, key=_parts):
        if mount.directory and mount.path != "/":
            raise PluginError(f"{mount.path}: only a root can be a directory of a file system")
        if by_path.setdefault(mount.path, mount) is not mount:
            raise PluginError(f"{mount.path}: two plugins want to mount something there")
    made: dict[str, Mount] = {}
    begun: set[str] = set()

    def make(mount: Mount) -> None:
        if mount.path in made:
            return
        if mount.path in begun:
            raise PluginError(f"{mount.path}: is mounted from a directory that only it leads to")
        begun.add(mount.path)
        for path in (*_above(mount.path), *([mount.bound, *_above(mount.bound)] if mount.bound else [])):
            if path in by_path:
                make(by_path[path])
        made[mount.path] = mount

    for mount in by_path.values():
        make(mount)
    return list(made.values())


def make_mounts(mounts: Sequence[Mount], root: Path, stack: ExitStack) -> None:
    """Mount all of a machine below a directory, before anything of an image is there.

    :param mounts: in order.
    :param stack: unmounts them.
    :raises TerraError: when one can't be mounted.
    """
    for mount in mounts:
        place = root / mount.path.lstrip("/")
        _make_directory(place)
        if mount.bound:
            directory = root / mount.bound.lstrip("/")
            _make_directory(directory)
            stack.enter_context(bound(directory, place))
        else:
            stack.enter_context(mount_device(mount, place))


def _make_directory(place: Path) -> None:
    """Make a directory and those that it is in, which every user of the machine can pass whatever the caller's umask is."""
    if not place.exists():
        _make_directory(place.parent)
        place.mkdir()
        place.chmod(0o755)


def mount_device(mount: Mount, place: Path, options: Sequence[str] | None = None) -> AbstractContextManager[Path]:
    """Offer to mount what is on a device, and not bound from elsewhere.

    :param place: an empty directory.
    :param options: in place of those that the mount has.
    """
    chosen = mount.options if options is None else options
    if mount.directory:
        return directory_mounted(mount.device, mount.directory, place, filesystem=mount.filesystem, options=chosen)
    return mounted(mount.device, place, filesystem=mount.filesystem, options=chosen)


def render_fstab(mounts: Sequence[Mount]) -> str:
    """Render fstab(5) for a machine; a file system other than its root's may be missing without holding up its boot.

    :param mounts: in order.
    """
    lines = ["# Written by Terra when the image was laid down."]
    needed = [mount.source for mount in mounts if mount.path == "/"]
    whole = [mount.path for mount in mounts if mount.source in needed and mount.path != "/"]
    for mount in mounts:
        source, kind = (mount.bound, "none") if mount.bound else (mount.source, mount.filesystem)
        is_needed = mount.source in needed or any(path in whole for path in _above(mount.bound or "/"))
        options = (*(["bind"] if mount.bound else []), *mount.options, *([] if is_needed else ["nofail"]))
        lines.append(f"{source} {mount.path} {kind} {','.join(options) or 'defaults'} 0 0")
    return "\n".join(lines) + "\n"


def render_mount_words(mounts: Sequence[Mount], report: Report) -> tuple[str, ...]:
    """Return what has a machine mount file systems by its kernel line (systemd-fstab-generator(8)).

    The script ``boot=terra`` makes units of it, since systemd reads it from 254 on only. A colon ends a part of such a word, so
    an option that has one is left away, and said.

    :param mounts: in order.
    :raises TerraError: when something of a mount cannot stand in a kernel line.
    """
    words = []
    for mount in mounts:
        source, kind = (mount.bound, "none") if mount.bound else (mount.source, mount.filesystem)
        for path in (path for path in (mount.path, source) if ":" in path):
            raise TerraError(f"{path}: a colon ends a part of systemd.mount-extra", hint="mount it at a path without one")
        options = [*(["bind"] if mount.bound else []), *(one for one in mount.options if ":" not in one), "nofail"]
        for option in (one for one in mount.options if ":" in one):
            report(Event("mount", f"warning: {mount.path} is mounted without {option}, which no kernel line can say"))
        words.append(f"{FURTHER}{source}:{mount.path}:{kind}:{','.join(options)}")
    join_arguments(words)
    return tuple(words)


def _parts(mount: Mount) -> list[str]:
    return [part for part in mount.path.split("/") if part]


def _above(path: str) -> Iterator[str]:
    """Yield the directories that a path is in, the last one ``/``."""
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path
