"""What ``terra doctor`` finds of volumes: read from the pools, apart from the code that makes and serves them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from terra_ceph.settings import NAME, Settings
from terra_core.config.session import Session
from terra_core.hookspecs import Finding, Volume
from terra_core.system.process import run

_VOLUME = re.compile(r"(.+)\.[0-9]{1,9}")
_SECONDS = 60.0
_BYTES_OF_MB = 1 << 20
_BACK = "bring the image back as it was: Terra never makes it anew; or delete the machine, and provision it again"
_STRANGE = (
    "look whose data it is; where nobody needs it, remove it by hand: Terra never removes a volume that it has no record of"
)


def examine(volumes: Mapping[str, Sequence[Volume]], session: Session) -> list[Finding]:
    """Return what is wrong with volumes, see :meth:`terra_core.hookspecs.Store.examine_volumes`.

    :raises TerraError: when the cluster does not answer.
    """
    settings = session.settings(NAME, Settings)
    recorded = {volume.name.partition("/")[0] for own in volumes.values() for volume in own}
    sizes: dict[str, int] = {}
    for pool in sorted(recorded | {settings.pool}):
        sizes |= _sizes(pool, settings)
    return [*_wrong(volumes, sizes), *_strange(volumes, sizes)]


def _sizes(pool: str, settings: Settings) -> dict[str, int]:
    who = ["--conf", settings.config, "--id", settings.user, "--client_mount_timeout=20"]
    rows = json.loads(run(["rbd", *who, "ls", "--long", "--format", "json", pool], timeout=_SECONDS).text)
    return {f"{pool}/{row['image']}": int(row["size"]) for row in rows if "snapshot" not in row}


def _wrong(volumes: Mapping[str, Sequence[Volume]], sizes: Mapping[str, int]) -> Iterator[Finding]:
    for owner, volume in ((owner, volume) for owner, own in volumes.items() for volume in own):
        found, wanted = sizes.get(volume.name), volume.size * _BYTES_OF_MB
        if found is None:
            yield Finding(hostname=owner, problem=f"{volume.name}: the volume is missing", hint=_BACK)
        elif found != wanted:
            problem = f"{volume.name}: the volume has {found} bytes, and not the {wanted} bytes that were made"
            yield Finding(hostname=owner, problem=problem, hint=_BACK)


def _strange(volumes: Mapping[str, Sequence[Volume]], sizes: Mapping[str, int]) -> Iterator[Finding]:
    known = {volume.name for own in volumes.values() for volume in own}
    for name in sorted(sizes):
        found = _VOLUME.fullmatch(name.partition("/")[2])
        if found and name not in known:
            yield Finding(hostname=found[1], problem=f"{name}: no machine of the database has this volume", hint=_STRANGE)
