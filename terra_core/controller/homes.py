"""Hosts with stores of their own: each works for the machines alone that it has the disks of (decision 0107)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, func, inspect, select, update

from terra_core.controller.database import controllers, golden_volumes, has_column, identity_of, nodes
from terra_core.controller.mark import check_mark, marked, set_mark
from terra_core.errors import TerraError
from terra_core.service.database import explained
from terra_core.service.database_server import POSTGRESQL

_log = structlog.get_logger(__name__)
_MANY = 5
_ALL_OR_NONE = "local_store of controller.toml counts for all hosts of a database, or for none"


def mark_of(identity: str, host: str) -> str:
    """Return the mark of a directory of volumes.

    :param identity: that of the database which knows them.
    :param host: the host whose store it is alone; empty where it is in common, or there is one host.
    """
    return f"{identity} {host}" if host else identity


def machines_of_hosts(connection: Connection) -> Mapping[str, int]:
    """Return how many machines have their disks on each host with a store of its own."""
    query = select(nodes.c.host, func.count()).where(nodes.c.host != "").group_by(nodes.c.host)
    return {str(host): int(count) for host, count in connection.execute(query)}


def check_home(connection: Connection, volumes: Path | None, database: str, name: str, *, local: bool, used: bool) -> None:
    """Refuse a directory of volumes that is not the one of this host and this database; nothing is written.

    :param connection: to the database, of any schema.
    :param volumes: the directory, which need not be there; ``None`` for a store without one.
    :param database: what the database is called, for errors.
    :param name: this host.
    :param local: whether the volumes are this host's alone.
    :param used: whether a machine was ever provisioned with the database.
    :raises TerraError: saying how to go on.
    """
    counts = machines_of_hosts(connection) if has_column(connection, nodes.c.host) else {}
    others = _others(connection, name)
    if not local and (strange := {host: count for host, count in counts.items() if host != name or others}):
        said = ", ".join(f"{count} on {host}" for host, count in sorted(strange.items())[:_MANY])
        raise TerraError(f"{name}: machines of this database have their disks on hosts of their own: {said}", hint=_ALL_OR_NONE)
    if volumes is None:
        if local:
            hint = "leave local_store out of controller.toml, as each host reaches the volumes"
            raise TerraError(f"{name}: its store has no directory here, and is none of its own", hint=hint)
        return
    (identity, _), mark = identity_of(connection), marked(volumes)
    if not local:
        if mark != mark_of(identity, name):
            check_mark(volumes, database, identity, used=used)
        return
    if mark == mark_of(identity, name):
        return
    owner = mark.partition(" ")[2] if mark.startswith(f"{identity} ") else ""
    if mark not in ("", identity) and not owner:
        check_mark(volumes, database, identity, used=used)
    _require_own(volumes, name, owner, machines=counts.get(name, 0), strange=others or not used)


def _require_own(volumes: Path, name: str, owner: str, *, machines: int, strange: bool) -> None:
    """Refuse a directory that is not marked as this host's, unless it may become that.

    :param owner: the host whose mark it has; empty where it has none, or that of hosts which have it in common.
    :param machines: how many machines have their disks here, as the database says.
    :param strange: whether what is in it cannot be of this host's machines.
    """
    if owner:
        raise TerraError(
            f"{volumes}: the volumes there are those of the host {owner}, and this is {name}",
            hint=f'mount its own directory there; where the host was renamed, give it its name back (name = "{owner}")',
        )
    if machines:
        raise TerraError(
            f"the database says that {name} has the disks of {machines} machines, and {volumes} has no mark of theirs",
            hint=f"is its file system mounted? Where the disks are lost, give the machines up, at another host: "
            f"terra hosts --forget {name} --with-machines",
        )
    left = next(volumes.glob("*/*"), None)
    if left is not None and strange:
        raise TerraError(
            f"{name}: {left} is the disk of a machine that is none of this host's",
            hint=f"what hosts have in common, or is another database's, is no store of its own: move away what is in {volumes}",
        )


def settle_hosts(engine: Engine, name: str, *, local: bool) -> None:
    """Note that the machines of a lone controller have their disks on this host, or that of a host which is alone again.

    :func:`check_home` has found that nobody else could have them. Called once nobody else can have the name, and with the mark
    there: who is killed before that does it at the next start.
    """
    former, host = ("", name) if local else (name, "")
    with explained(engine), engine.begin() as connection:
        if _others(connection, name):
            return
        for table in (nodes, golden_volumes):
            changed = connection.execute(update(table).where(table.c.host == former).values(host=host)).rowcount
            if changed and table is nodes:
                said = "the disks of machines are this host's alone" if local else "all hosts have one store"
                _log.info(said, machines=changed)


def mark_home(volumes: Path | None, engine: Engine, host: str) -> None:
    """Mark a directory of volumes as a host's alone, once nobody else can have its name; not where it is no host's alone.

    :raises TerraError: when another host has marked it meanwhile.
    """
    if volumes is not None and host:
        with explained(engine), engine.begin() as connection:
            identity = identity_of(connection)[0]
        owner = marked(volumes).removeprefix(identity).strip()
        if owner not in ("", host):
            raise TerraError(f"{volumes}: the volumes there are those of the host {owner}, and this is {host}")
        set_mark(volumes, mark_of(identity, host))


def _others(connection: Connection, name: str) -> bool:
    """Return whether other hosts have this database."""
    if connection.dialect.name != POSTGRESQL or not inspect(connection).has_table(controllers.name):
        return False
    return connection.scalar(select(controllers.c.name).where(controllers.c.name != name).limit(1)) is not None
