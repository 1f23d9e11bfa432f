"""The controllers of a database: what each says of itself, and when it was heard of last."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from attrs import asdict, fields, frozen
from sqlalchemy import Connection, Engine, case, delete, func, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from terra_core.controller.database import controllers, drained, golden_volumes, has_column, lead, nodes, report_tokens
from terra_core.controller.happening import utc
from terra_core.controller.homes import machines_of_hosts
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.service.database import explained
from terra_core.service.database_server import POSTGRESQL

_LAST_MOMENT = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_SHOWN = 5
SILENT_SECONDS = 20.0
"""A host that was not heard of for so long is silent."""


class Doing(Enum):
    """What a controller says that it does."""

    WORKING = "working"
    WAITING = "waiting"
    STOPPED = "stopped"


SILENT = "silent"
"""The state of a host that says nothing any more."""
DRAINING, DRAINED = "draining", "drained"
"""The states of a host that is drained: it has the lead still, and finishes what it has begun; it waits, and takes no lead."""
FENCED = "fenced"
"""The state of a host that another one has shut out of the store to take its place, until somebody lets it in again."""


@frozen(kw_only=True)
class Own:
    """What a controller says of itself.

    :param name: its name among those of its database.
    :param identity: which process it is; made anew at each start.
    :param url: where its API answers.
    :param portal: where its storage service answers.
    :param store: the plugin that has its volumes.
    :param version: of Terra.
    :param reports: where machines that have booted report to it.
    :param pass_digest: the digest of what it shows when it passes a request on to another host; empty where it passes none on.
    :param local_digest: the digest of what stands for its own token then.
    :param local_store: 1 where its volumes are its own, 0 where all hosts reach them.
    """

    name: str
    identity: str
    url: str
    portal: str
    store: str
    version: str
    reports: str = ""
    pass_digest: str = ""
    local_digest: str = ""
    local_store: int = 0


@frozen(kw_only=True)
class Host:
    """A controller of the database.

    :param own: what it says of itself.
    :param state: what it does, in a word.
    :param leads: whether it has the lead.
    :param started: since when it runs, in seconds since 1970.
    :param seen: when it was heard of last, in seconds since 1970.
    :param silence: how long ago that is, in seconds.
    :param drained: whether it takes no lead.
    :param machines: how many machines it has the disks of, where its store is its own.
    :param trouble: what keeps those from booting, as it said last.
    """

    own: Own
    state: str
    leads: bool
    started: float
    seen: float
    silence: float
    drained: bool
    machines: int = 0
    trouble: str = ""

    @property
    def runs(self) -> bool:
        """Whether it is there, as far as anybody knows."""
        return self.state not in (SILENT, Doing.STOPPED.value) and self.silence <= SILENT_SECONDS

    @property
    def may_lead(self) -> bool:
        """Whether it has the lead, or takes it when nobody has."""
        return self.runs and not self.drained and self.state != FENCED

    @property
    def said_of_machines(self) -> str:
        """What keeps the machines from booting that it alone has the disks of; empty for nothing that is known."""
        if self.state == SILENT:
            return f"{self.own.name} has its disks, and is silent"
        return self.trouble if self.runs else ""

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "name": self.own.name,
            "state": self.state,
            "leads": self.leads,
            "url": self.own.url,
            "portal": self.own.portal,
            "store": self.own.store,
            "version": self.own.version,
            "started": utc(datetime.fromtimestamp(self.started, UTC)),
            "seen": utc(datetime.fromtimestamp(self.seen, UTC)),
            "drained": self.drained,
            **({"local_store": True, "machines": self.machines, "trouble": self.trouble} if self.own.local_store else {}),
        }


@frozen
class HostRows:
    """The rows of controllers, in their database. A row is written by its controller alone, until somebody forgets it.

    :param engine: from :func:`terra_core.controller.database.open_database`.
    """

    _engine: Engine

    def announce(self, own: Own, doing: Doing) -> None:
        """Write a controller's row anew; one that is fenced stays so.

        A SQLite file has one controller: a row of another name is of a former name of it.
        """
        with self._transaction() as connection:
            now = present(connection)
            sole = connection.dialect.name == "sqlite"
            state = FENCED if _is_fenced(connection, own.name) else doing.value
            connection.execute(delete(controllers) if sole else delete(controllers).where(controllers.c.name == own.name))
            connection.execute(insert(controllers).values(**asdict(own), state=state, started=now, seen=now))

    def beat(self, own: Own, doing: Doing, trouble: str = "") -> None:
        """Note that a controller is there, and what it does; one whose row was forgotten meanwhile announces itself again.

        One that was fenced since it has started is not noted: it has to end, and to begin anew.

        :param trouble: what keeps all of its machines from booting; empty for nothing.
        """
        mine = (controllers.c.name == own.name) & (controllers.c.identity == own.identity)
        with self._transaction() as connection:
            state = case((controllers.c.state == FENCED, FENCED), else_=doing.value)
            change = update(controllers).where(mine).values(state=state, seen=present(connection), trouble=trouble)
            known = connection.execute(change).rowcount or _is_fenced(connection, own.name)
        if not known:
            self.announce(own, doing)

    def every(self) -> Sequence[Host]:
        """Return all of them by name."""
        with self._transaction() as connection:
            return read_hosts(connection)

    def find(self, name: str) -> Host | None:
        """Return the one of a name; ``None`` where there is none."""
        return host_of(self.every(), name)

    def serving(self, own: Own) -> Sequence[str]:
        """Return the names of the other hosts that may serve machines: those that worked, and did not end in order."""
        working = (controllers.c.state == Doing.WORKING.value) & (controllers.c.name != own.name)
        with self._transaction() as connection:
            return list(connection.scalars(select(controllers.c.name).where(working).order_by(controllers.c.name)))

    def fence(self, name: str) -> None:
        """Note that a host is shut out of the store; what it says from now on counts when it has started again."""
        with self._transaction() as connection:
            mine = controllers.c.name == name
            connection.execute(update(controllers).where(mine).values(state=FENCED, identity=""))

    def require_returned(self, name: str) -> Host:
        """Return a host that is fenced and has started again since, so that nothing of it has a volume open.

        :raises NotFoundError: when there is none of this name.
        :raises ConflictError: when it is not fenced, or has not started again.
        """
        found = _named(self.every(), name)
        if found.state != FENCED:
            raise ConflictError(f"the host {name} is not fenced: it is {found.state}")
        if not found.own.identity or not found.runs:
            raise ConflictError(
                f"the host {name} is fenced, and its controller has not started since",
                hint=f"start it, which ends what has volumes open; where it is gone for good: terra hosts --forget {name}",
            )
        return found

    def let_in(self, name: str) -> Host:
        """Note that a host is not shut out any more; return it."""
        with self._transaction() as connection:
            fenced = (controllers.c.name == name) & (controllers.c.state == FENCED)
            connection.execute(update(controllers).where(fenced).values(state=Doing.WAITING.value))
        return _named(self.every(), name)

    def forget(self, name: str, *, with_machines: bool = False) -> Host:
        """Drop the row of a controller that is not there any more, and what is known of the machines that go with it.

        :param with_machines: whether the machines are given up that it alone has the disks of.
        :raises NotFoundError: when there is none of this name.
        :raises ConflictError: when it runs, or has machines that are not given up.
        """
        with self._transaction() as connection:
            found = _gone(connection, name, with_machines=with_machines)
            own = select(nodes.c.hostname).where(nodes.c.host == name)
            connection.execute(delete(report_tokens).where(report_tokens.c.hostname.in_(own)))
            for table in (nodes, golden_volumes):
                connection.execute(delete(table).where(table.c.host == name))
            connection.execute(delete(controllers).where(controllers.c.name == name))
            connection.execute(delete(drained).where(drained.c.name == name))
            return found

    def drain(self, name: str) -> Host:
        """Let a host take no lead, and give it to another one if it has it; return the host. One that is drained stays so.

        :raises NotFoundError: when there is none of this name.
        :raises ConflictError: when it has the lead, and nobody is there who could take it.
        """
        with self._transaction() as connection:
            hosts = read_hosts(connection)
            found = _named(hosts, name)
            if not found.drained:
                if found.leads and not any(host.may_lead for host in hosts if host.own.name != name):
                    hint = "start the controller of another host first, or let one lead again: terra host resume NAME"
                    raise ConflictError(f"{name} has the lead, and no other host is there that could take it", hint=hint)
                with suppress(IntegrityError), connection.begin_nested():  # somebody else drains it at the same time
                    connection.execute(insert(drained).values(name=name, since=present(connection)))
            return _named(read_hosts(connection), name)

    def resume(self, name: str) -> Host:
        """Let a host that was drained take the lead again when nobody has it; return the host.

        :raises NotFoundError: when there is none of this name.
        """
        with self._transaction() as connection:
            _named(read_hosts(connection), name)
            connection.execute(delete(drained).where(drained.c.name == name))
            return _named(read_hosts(connection), name)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with explained(self._engine), self._engine.begin() as connection:
            yield connection


def present(connection: Connection) -> float:
    """Return the time of the database's clock, in seconds since 1970: hosts have clocks that differ."""
    if connection.dialect.name != POSTGRESQL:
        return time.time()
    return float(connection.scalar(select(func.extract("epoch", func.clock_timestamp()))) or 0)


def _is_fenced(connection: Connection, name: str) -> bool:
    return bool(connection.scalar(select(controllers.c.state).where(controllers.c.name == name)) == FENCED)


def read_hosts(connection: Connection) -> Sequence[Host]:
    """Return the controllers of a database by name."""
    now = present(connection)
    leader = connection.execute(select(lead.c.identity)).scalar()
    rows = connection.execute(select(controllers).order_by(controllers.c.name)).all()
    names = set(connection.scalars(select(drained.c.name)))
    machines = machines_of_hosts(connection) if any(row.local_store for row in rows) else {}
    return [_host(row, now, leader, is_drained=row.name in names, machines=machines.get(row.name, 0)) for row in rows]


def host_of(hosts: Sequence[Host], name: object) -> Host | None:
    """Return the host of a name; ``None`` where there is none."""
    return next((host for host in hosts if host.own.name == name), None)


def is_drained(connection: Connection, name: str) -> bool:
    """Return whether a host takes no lead."""
    return connection.scalar(select(drained.c.name).where(drained.c.name == name)) is not None


def may_another_lead(connection: Connection, name: str) -> bool:
    """Return whether a host other than this one is there that would take the lead."""
    return any(host.may_lead for host in read_hosts(connection) if host.own.name != name)


def _gone(connection: Connection, name: str, *, with_machines: bool) -> Host:
    found = _named(read_hosts(connection), name)
    if found.runs:
        raise ConflictError(f"the host {name} is there: it is {found.state}", hint="stop its controller first")
    own = list(connection.scalars(select(nodes.c.hostname).where(nodes.c.host == name).order_by(nodes.c.hostname)))
    if own and not with_machines:
        more = f" and {len(own) - _SHOWN} more" if len(own) > _SHOWN else ""
        raise ConflictError(
            f"the host {name} alone has the disks of machines: {', '.join(own[:_SHOWN])}{more}",
            hint=f"start its controller again; where it is gone for good, and they with it: "
            f"terra hosts --forget {name} --with-machines",
        )
    return found


def _named(hosts: Sequence[Host], name: str) -> Host:
    found = host_of(hosts, name)
    if found is None:
        raise NotFoundError(f"no host is named {name!r}", hint="terra hosts shows all of them")
    return found


def require_place(
    connection: Connection, name: str, portal: str, store: str, *, owns: bool, migrates: bool = False, local: bool = False
) -> None:
    """Refuse a controller that could not take over from the other ones of its database; of any schema.

    One that ended in order is asked the same when it starts again, so that the address or the store of all can be changed.

    :param name: its name.
    :param portal: where its storage service answers.
    :param store: the plugin that has its volumes.
    :param owns: whether it has volumes of its own, which the others do not reach.
    :param migrates: whether the database is about to get the tables of another version.
    :param local: whether its store is its own, so that it takes over nothing but the lead.
    :raises TerraError: naming one of the others.
    """
    if connection.dialect.name != POSTGRESQL or not inspect(connection).has_table(controllers.name):
        return
    columns = [controllers.c.name, controllers.c.portal, controllers.c.store, controllers.c.state, controllers.c.seen]
    if has_column(connection, controllers.c.local_store):
        columns.append(controllers.c.local_store)
    others = select(*columns).where(controllers.c.name != name).order_by(controllers.c.name)
    gone = "where that one is gone for good: terra hosts --forget"
    now = present(connection)
    for other in connection.execute(others):
        ended = other.state == Doing.STOPPED.value
        if migrates and not ended and now - other.seen <= SILENT_SECONDS:
            raise TerraError(
                f"{name}: the database is of another version of Terra, and {other.name} works with it",
                hint="stop all controllers of the database before one of the next version is started",
            )
        if _is_as_local(other, name, portal, local=local):
            continue
        if owns:
            raise TerraError(
                f"{name}: the volumes of this database are {other.name}'s, and the store here has none of them",
                hint=f"let both have one store, or give this controller a database of its own; {gone} {other.name}",
            )
        if not ended and other.store != store:
            raise TerraError(
                f"{name}: {other.name} has machines' volumes in the store {other.store!r}, and this controller in {store!r}",
                hint=f"let both have one store ([plugins] of controller.toml); {gone} {other.name}",
            )
        if not ended and other.portal != portal:
            raise TerraError(
                f"{name}: machines reach their disks at {other.portal}, where {other.name} has them, and not at {portal}",
                hint=f"give both the same storage_address in controller.toml, which moves from one to the other; "
                f"{gone} {other.name}",
            )


def _is_as_local(other: Any, name: str, portal: str, *, local: bool) -> bool:  # a row of SQLAlchemy's
    """Return whether both hosts have stores of their own, so that neither takes over more than the lead.

    :raises TerraError: when one of them has, or both have their disks at one address.
    """
    if bool(other._mapping.get(controllers.c.local_store.name)) != local:
        kinds = ("one that all hosts reach", "a store of its own")
        raise TerraError(
            f"{name}: this controller has {kinds[local]}, and {other.name} has {kinds[not local]}",
            hint="set local_store in controller.toml of all hosts of the database, or of none; where that one is gone: "
            f"terra hosts --forget {other.name}",
        )
    if local and other.state != Doing.STOPPED.value and portal and other.portal == portal:
        raise TerraError(
            f"{name}: machines reach their disks on {other.name} at {portal}, and {name} has disks of its own",
            hint="give each host a storage_address of its own in controller.toml",
        )
    return local


def _state(row: Any, now: float) -> str:  # a row of SQLAlchemy's
    lasts = row.state in (Doing.STOPPED.value, FENCED)
    return SILENT if not lasts and now - _moment(row.seen) > SILENT_SECONDS else str(row.state)


def _moment(raw: object) -> float:
    """Return a time of a row in seconds since 1970; 0 for one that is none, as a damaged database may have it."""
    return float(raw) if isinstance(raw, int | float) and 0 <= raw <= _LAST_MOMENT else 0.0


def _host(row: Any, now: float, leader: str | None, *, is_drained: bool, machines: int) -> Host:  # a row of SQLAlchemy's
    started, seen = _moment(row.started), _moment(row.seen)
    silence, state = max(now - seen, 0.0), _state(row, now)
    own = Own(**{one.name: getattr(row, one.name) for one in fields(Own)})
    leads = state == Doing.WORKING.value if leader is None else state != Doing.STOPPED.value and row.identity == leader
    if is_drained and state in (Doing.WORKING.value, Doing.WAITING.value):
        state = DRAINING if leads else DRAINED
    return Host(
        own=own,
        state=state,
        leads=leads,
        started=started,
        seen=seen,
        silence=silence,
        drained=is_drained,
        machines=machines,
        trouble=str(row.trouble),
    )
