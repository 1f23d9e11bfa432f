"""What the controller knows of its machines: the intent, from which everything else is made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

from attrs import asdict, frozen
from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, insert, select, update

from terra_core.config.loader import make_document
from terra_core.config.node import DiskGroup, Node
from terra_core.config.structure import structure
from terra_core.config.values import Hostname, Mac
from terra_core.controller.database import hosts, nodes, target_numbers
from terra_core.errors import ConflictError, NotFoundError
from terra_core.hookspecs import NodeBoot, Target
from terra_core.service.database import explained


class State(Enum):
    """Where a machine's record stands."""

    PROVISIONING = "provisioning"
    READY = "ready"
    DELETING = "deleting"


@frozen(kw_only=True)
class Record:
    """A machine that the controller knows.

    :param node: its node.toml.
    :param document: the same as parsed.
    :param tables: the plugins' tables of it, as parsed.
    :param mac: the address it boots from.
    :param state: where it stands.
    :param generation: how often its host name has been provisioned.
    :param targets: its targets, those of the operating system first.
    :param digest: the manifest of its image; empty until that was pulled.
    :param kernel_arguments: its kernel line.
    :param problem: why it cannot boot right now, or why it could not be taken away, if so.
    """

    node: Node
    document: Mapping[str, Any]
    tables: Mapping[str, Any]
    mac: Mac
    state: State
    generation: int
    targets: tuple[Target, ...] = ()
    digest: str = ""
    kernel_arguments: tuple[str, ...] = ()
    problem: str = ""

    @property
    def boot(self) -> NodeBoot:
        """What the machine boots, from what was published when it was provisioned."""
        return NodeBoot(hostname=self.node.hostname, mac=self.mac, image=self.digest, kernel_arguments=self.kernel_arguments)

    def as_json(self) -> dict[str, Any]:
        """The machine as the API and ``terra provision`` give it."""
        by_label = {target.label: target for target in self.targets}
        return {
            "hostname": self.node.hostname,
            "mac": self.mac,
            "image": str(self.node.image),
            "disk_groups": [_group_json(group, by_label[group.label]) for group in self.node.groups if group.label in by_label],
            "initiator_iqn": self.targets[0].initiator if self.targets else "",
        }


def _group_json(group: DiskGroup, target: Target) -> dict[str, Any]:
    return {
        "label": group.label,
        "stage": group.stage.number,
        "disks": [{"id": lun.id, "device": lun.path, "fs_size": lun.size} for lun in target.luns],
        "subvolumes": [{"name": subvolume.name, "path": subvolume.path} for subvolume in group.subvolumes],
        "target": {"iqn": target.iqn, "id": target.id},
    }


class Store:
    """The records, in a database.

    :param engine: from :func:`terra_core.controller.database.open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Close the database; nothing is asked of it any more."""
        self._engine.dispose()

    def reserve(self, node: Node, mac: Mac, document: Mapping[str, Any], tables: Mapping[str, Any]) -> Record:
        """Take a host name and a hardware address for a machine that is about to be provisioned.

        :raises ConflictError: when another record holds one of them; names it.
        """
        with self._transaction() as connection:
            _refuse_holder(connection, node.hostname, mac)
            generation = 1 + (connection.scalar(select(hosts.c.generation).where(hosts.c.hostname == node.hostname)) or 0)
            if generation == 1:
                connection.execute(insert(hosts).values(hostname=node.hostname, generation=1))
            else:
                connection.execute(update(hosts).where(hosts.c.hostname == node.hostname).values(generation=generation))
            record = Record(
                node=node, document=document, tables=tables, mac=mac, state=State.PROVISIONING, generation=generation
            )
            connection.execute(insert(nodes).values(**_row_of(record)))
        return record

    def number(self, hostname: Hostname, label: str) -> int:
        """A target number that was never given before."""
        with self._transaction() as connection:
            made = connection.execute(insert(target_numbers).values(hostname=hostname, label=label))
            (number,) = made.inserted_primary_key or (0,)
            return int(number)

    def save(self, record: Record) -> Record:
        """Write a record in place of what it was before."""
        with self._transaction() as connection:
            connection.execute(update(nodes).where(_is(record)).values(**_row_of(record)))
        return record

    def set_problem(self, record: Record, problem: str) -> None:
        """Note what is wrong with a machine, and leave the rest of its record as it is by now."""
        with self._transaction() as connection:
            connection.execute(update(nodes).where(_is(record)).values(problem=problem))

    def begin_delete(self, hostname: str) -> Record:
        """Mark a machine as going away; one whose removal failed may be marked again.

        :returns: the record as it was.
        :raises NotFoundError: when there is none of this name.
        :raises ConflictError: when it is being provisioned, or on its way already.
        """
        with self._transaction() as connection:
            record = _find(connection, hostname)
            if record.state is State.PROVISIONING:
                raise ConflictError(f"{hostname} is being provisioned", hint="wait for the end of it, or interrupt it")
            if record.state is State.DELETING and not record.problem:
                raise ConflictError(f"{hostname} is being deleted already", hint="wait for the end of it")
            connection.execute(update(nodes).where(_is(record)).values(state=State.DELETING.value, problem=""))
        return record

    def forget(self, record: Record) -> None:
        """Drop a record; its host name and address are free again."""
        with self._transaction() as connection:
            connection.execute(delete(nodes).where(_is(record)))

    def get(self, hostname: str) -> Record:
        """The record of a machine.

        :raises NotFoundError: when there is none of this name.
        """
        with self._transaction() as connection:
            return _find(connection, hostname)

    def all(self) -> Sequence[Record]:
        """Every record, by host name."""
        with self._transaction() as connection:
            rows = connection.execute(select(nodes).order_by(nodes.c.hostname)).all()
        return [_record_of(row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with explained(self._engine), self._engine.begin() as connection:
            yield connection


def _is(record: Record) -> ColumnElement[bool]:
    """This very machine, and not a later one of the same name."""
    return (nodes.c.hostname == record.node.hostname) & (nodes.c.generation == record.generation)


def _refuse_holder(connection: Connection, hostname: Hostname, mac: Mac) -> None:
    query = select(nodes.c.hostname, nodes.c.mac, nodes.c.state).where((nodes.c.hostname == hostname) | (nodes.c.mac == mac))
    for holder in connection.execute(query):
        what = f"the host name {hostname}" if holder.hostname == hostname else f"the MAC address {mac}"
        raise ConflictError(
            f"{what} belongs to {holder.hostname} ({holder.mac}), which is {holder.state}",
            hint=f"choose another, or delete that machine first: terra delete {holder.hostname}",
        )


def _find(connection: Connection, hostname: str) -> Record:
    row = connection.execute(select(nodes).where(nodes.c.hostname == hostname)).one_or_none()
    if row is None:
        raise NotFoundError(f"no machine is named {hostname!r}", hint="terra list shows all of them")
    return _record_of(row)


def _row_of(record: Record) -> dict[str, Any]:
    return {
        "hostname": record.node.hostname,
        "mac": record.mac,
        "state": record.state.value,
        "generation": record.generation,
        "document": dict(record.document),
        "tables": dict(record.tables),
        "targets": [asdict(target) for target in record.targets],
        "digest": record.digest,
        "kernel_arguments": list(record.kernel_arguments),
        "problem": record.problem,
    }


def _record_of(row: Row[Any]) -> Record:
    node = make_document({key: row.document[key] for key in row.document if key not in row.tables}, Node, source="database")
    return Record(
        node=node.value,
        document=row.document,
        tables=row.tables,
        mac=Mac(row.mac),
        state=State(row.state),
        generation=row.generation,
        targets=tuple(structure(target, Target) for target in row.targets),
        digest=row.digest,
        kernel_arguments=tuple(row.kernel_arguments),
        problem=row.problem,
    )
