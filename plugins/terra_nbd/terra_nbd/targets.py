"""Giving targets to their machines, and taking them away."""

from __future__ import annotations

from collections.abc import Sequence

from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import Export, Target
from terra_core.system.progress import Event
from terra_nbd.planning import Access
from terra_nbd.servers import Servers, Wanted, changing


def restore(export: Export, session: Session) -> bool:
    """Serve a target to its machine alone; return whether its server was started.

    A server that runs as it should is not touched, so its machine notices nothing. Another one is ended first.

    :raises ConflictError: when a file is served to another machine.
    :raises TerraError: when a backing is no file, or the server does not start.
    """
    with changing(session) as servers:
        return _restore(export, servers)


def restore_many(exports: Sequence[Export], session: Session) -> list[str]:
    """Serve many targets as :func:`restore` does one, with one look at what is served.

    :returns: for each target, why it cannot be served; empty where it is.
    """
    reasons = []
    with changing(session) as servers:
        for export in exports:
            try:
                if _restore(export, servers):
                    session.report(Event("mend", f"{export.target.name} is served again"))
            except InterruptedWork:
                raise
            except TerraError as error:
                reasons.append(str(error))
            else:
                reasons.append("")
    return reasons


def release(target: Target, session: Session) -> bool:
    """End the server of a target, its machine connected or not; return whether there was one."""
    with changing(session) as servers:
        return servers.end(target.client)


def release_host(hostname: Hostname, session: Session) -> bool:
    """End every server of a machine; return whether there was any."""
    with changing(session) as servers:
        return servers.end(*(name for name in servers.names if name.rpartition(".")[0] == hostname))


def _restore(export: Export, servers: Servers) -> bool:
    target, access = export.target, Access.of(export.target)
    strange = sorted({backing.kind for backing in export.backings} - {"file"})
    if strange:
        raise TerraError(
            f"{target.name}: nbdkit is asked for volumes of the kind {', '.join(strange)}, and serves files alone",
            hint='choose a store whose volumes are files, such as store = "file", or another storage plugin',
        )
    return servers.ensure(
        Wanted(
            identity=target.client,
            key=access.key,
            portal=target.portal,
            port=access.port,
            files=tuple(backing.address for backing in export.backings),
        )
    )
