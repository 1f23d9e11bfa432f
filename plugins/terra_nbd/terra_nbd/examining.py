"""What ``terra doctor`` finds of NBD targets: read from /proc and their directories, apart from the code that makes them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from terra_core.config.session import Session
from terra_core.errors import words_of
from terra_core.hookspecs import Finding, Target
from terra_core.system.evidence import Seen, processes

_SECONDS = 5.0
_MENDS = "the controller mends that within a minute where it runs; terra doctor --fix asks it to do it now"


def examine(targets: Mapping[str, Sequence[Target]], session: Session) -> list[Finding]:
    """Return what is wrong with targets, see :meth:`terra_core.hookspecs.Storage.examine_targets`."""
    base = session.paths.run.absolute() / "nbd"
    running: dict[str, list[Seen]] = {}
    for process in processes("nbdkit"):
        key = next((word.removeprefix("--tls-psk=") for word in process.arguments if word.startswith("--tls-psk=")), "")
        if base in Path(key).parents:
            running.setdefault(Path(key).parent.name, []).append(process)
    wanted = {target.client: (owner, target) for owner, own in targets.items() for target in own}
    found = [
        Finding(hostname=owner, problem=f"{target.name}: {problem}", hint=_MENDS)
        for identity, (owner, target) in wanted.items()
        for problem in _differences(target, base / identity, running.get(identity, []))
    ]
    places = {path.name for path in base.iterdir()} if base.is_dir() else set()
    for identity in sorted((places | set(running)) - set(wanted)):
        ids = " ".join(str(process.pid) for process in running.get(identity, ()))
        hint = f"if no machine uses it: {f'kill {ids}; ' if ids else ''}rm -r {base / identity}"
        said = "served, and no machine of the database has it"
        found.append(Finding(hostname=identity.rpartition(".")[0], problem=f"the NBD target {identity} is {said}", hint=hint))
    return found


def _differences(target: Target, place: Path, servers: Sequence[Seen]) -> Iterator[str]:
    if len(servers) != 1:
        yield f"{len(servers)} servers (nbdkit) run for it, and not one"
        return
    port = target.data.get("port", "")
    lacking = {f"--ipaddr={target.portal}", f"--port={port}", "--tls=require"} - set(servers[0].arguments)
    if lacking:
        yield f"its server runs without {' '.join(sorted(lacking))}"
    try:
        same = (place / "keys.psk").read_text() == f"{target.client}:{target.data.get('key')}\n"
        links = {path.name: str(path.readlink()) for path in (place / "disks").iterdir()}
    except (OSError, ValueError) as error:
        yield f"its directory cannot be read: {words_of(error)}"
        return
    if not same:
        yield "its server has another key than the machine"
    if links != {str(at): volume.name for at, volume in enumerate(target.volumes)}:
        yield f"its server has the disks {sorted(links.values())}, and the database {[one.name for one in target.volumes]}"
    if not _connects(target.portal, port):
        yield f"nothing answers on {target.portal} port {port}"


def _connects(portal: str, port: str) -> bool:
    try:
        with socket.create_connection((portal, int(port)), timeout=_SECONDS):
            return True
    except (OSError, ValueError):
        return False
