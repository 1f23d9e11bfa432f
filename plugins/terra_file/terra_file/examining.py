"""What ``terra doctor`` finds of volumes: read from the file system, apart from the code that makes and serves them."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote

from terra_core.config.session import Session
from terra_core.hookspecs import Finding, Volume
from terra_file.settings import NAME, Settings

_VOLUME = re.compile(r"[0-9]+\.lun")
_COPY = re.compile(r"\.[0-9]+\.lun\.copy")
_BYTES_OF_MB = 1 << 20
_BACK = "put the file back as it was: Terra never makes it anew; or delete the machine, and provision it again"
_STRANGE = (
    "look whose data it is; where nobody needs it, remove it by hand: Terra never removes a volume that it has no record of"
)


def examine(volumes: Mapping[str, Sequence[Volume]], session: Session) -> list[Finding]:
    """Return what is wrong with volumes, see :meth:`terra_core.hookspecs.Store.examine_volumes`."""
    directory = session.paths.root.absolute() / str(session.settings(NAME, Settings).directory).lstrip("/")
    return [*_wrong(volumes), *_strange(directory, volumes)]


def _wrong(volumes: Mapping[str, Sequence[Volume]]) -> Iterator[Finding]:
    holders: dict[tuple[int, int], str] = {}
    for owner, volume in ((owner, volume) for owner, own in volumes.items() for volume in own):
        path = Path(volume.name)
        try:
            above, status = path.parent.lstat(), path.lstat()
        except OSError as error:
            said = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be looked at: {error.strerror}"
            yield Finding(hostname=owner, problem=f"{path}: the volume {said}", hint=_BACK)
            continue
        if not stat.S_ISDIR(above.st_mode):
            yield Finding(
                hostname=owner, problem=f"{path.parent}: a link or a file stands in place of the directory", hint=_BACK
            )
            continue
        if not stat.S_ISREG(status.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "something else than a file"
            yield Finding(hostname=owner, problem=f"{path}: {kind} stands in place of the volume", hint=_BACK)
            continue
        if status.st_size != volume.size * _BYTES_OF_MB:
            wanted = f"{volume.size * _BYTES_OF_MB} bytes that were made"
            yield Finding(
                hostname=owner, problem=f"{path}: the volume has {status.st_size} bytes, and not the {wanted}", hint=_BACK
            )
        if status.st_mode & 0o077 or status.st_uid:
            yield Finding(
                hostname=owner,
                problem=f"{path}: others than root may open it (mode {status.st_mode & 0o7777:o}, user {status.st_uid})",
                hint=f"chown root {quote(str(path))}; chmod 600 {quote(str(path))}",
            )
        other = holders.setdefault((status.st_dev, status.st_ino), str(path))
        if other != str(path):
            yield Finding(
                hostname=owner,
                problem=f"{path}: is the same file as {other}, and two writers destroy it",
                hint="switch one of them off",
            )


def _strange(directory: Path, volumes: Mapping[str, Sequence[Volume]]) -> Iterator[Finding]:
    known = {volume.name for own in volumes.values() for volume in own}
    for place in sorted(directory.iterdir()) if directory.is_dir() else ():
        try:
            if not place.is_dir() or place.is_symlink():
                continue
            names = sorted(path.name for path in place.iterdir())
        except FileNotFoundError:  # its machine was deleted just now
            continue
        except OSError as error:
            said = f"{place}: cannot be looked at: {error.strerror}"
            yield Finding(hostname=place.name, problem=said, hint="see what its disk has (dmesg)")
            continue
        for path in (place / name for name in names):
            if _VOLUME.fullmatch(path.name) and str(path) not in known:
                yield Finding(hostname=place.name, problem=f"{path}: no machine of the database has this volume", hint=_STRANGE)
            elif _COPY.fullmatch(path.name):
                said = "a copy of a volume was left half-way"
                yield Finding(hostname=place.name, problem=f"{path}: {said}", hint=f"rm {quote(str(path))}")
        if not names and place.name not in volumes:
            hint = f"rmdir {quote(str(place))}"
            yield Finding(hostname=place.name, problem=f"{place}: is empty, and of no machine", hint=hint)
