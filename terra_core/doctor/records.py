"""Reading the controller's database without the controller's code, and without writing to it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from attrs import Factory, evolve, frozen
from sqlalchemy import Connection, Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.config.structure import structure
from terra_core.errors import ConfigError, TerraError
from terra_core.hookspecs import NodeBoot, Target, Volume
from terra_core.system.undo import Undo

T = TypeVar("T")
UNFINISHED = ("provisioning", "deleting")
_WRONG = (ConfigError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
_BOTH = ("trial", "returning")
"""The phases of an upgrade in which a machine reaches both versions."""
_TRIAL_WORDS = ("terra.trial", "panic=10", "softlockup_panic=1")
"""What the kernel line of a version on trial begins with."""
_BUSY_SECONDS = 10
_CONNECT_SECONDS = 5
_SERVER_HINT = "is its URL right, and does its server run? Machines keep their disks meanwhile"


@frozen(kw_only=True)
class Kept:
    """A target of a machine, with the plugins that made it, and whether it is there yet."""

    storage: str
    store: str
    contract: int
    target: Target
    made: bool = True


@frozen(kw_only=True)
class Machine:
    """A machine of the database.

    :param state: its state, in the database's word.
    :param image: the reference of its image; empty where it cannot be read.
    :param problem: what the controller has noted.
    :param unreadable: why a part of its row cannot be read, if so.
    :param filesystems: the plugins of its groups that its file names.
    :param unmade: whether its file says more than is there: a change of it was begun.
    :param resting: targets of another version of its system, whose volumes are there, and that it does not reach.
    :param line: what its boot files say, where that is not what its row says.
    :param host: the host that has its disks, where hosts have stores of their own.
    """

    hostname: str
    mac: str
    state: str
    digest: str = ""
    image: str = ""
    kernel_arguments: tuple[str, ...] = ()
    targets: tuple[Kept, ...] = ()
    problem: str = ""
    unreadable: str = ""
    filesystems: frozenset[str] = frozenset()
    unmade: bool = False
    resting: tuple[Kept, ...] = ()
    line: tuple[str, tuple[str, ...]] | None = None
    host: str = ""

    @property
    def settled(self) -> bool:
        """Whether it is to be served, and all of it can be compared."""
        return self.state not in UNFINISHED and not self.unreadable and not self.unmade

    @property
    def boot(self) -> NodeBoot:
        """What it boots."""
        digest, words = self.line or (self.digest, self.kernel_arguments)
        made: Any = (self.hostname, self.mac, digest)  # texts, whatever their types are called
        return NodeBoot(hostname=made[0], mac=made[1], image=made[2], kernel_arguments=words)


@frozen(kw_only=True)
class Laid:
    """What an image is laid down on, for machines to be clones of."""

    token: str
    image: str
    state: str
    store: str
    volumes: tuple[Volume, ...] = ()
    unreadable: str = ""
    host: str = ""

    @property
    def owner(self) -> str:
        """The name under which the store has the volumes."""
        return f"golden_{self.token}"


@frozen(kw_only=True)
class Host:
    """A controller of the database.

    :param state: what it said last that it does.
    :param seen: when that was, in seconds since 1970 by the database's clock.
    :param silence: how long ago that is, in seconds.
    :param drained: whether it takes no lead.
    """

    name: str
    state: str
    seen: float
    silence: float
    drained: bool = False


@frozen(kw_only=True)
class Attempt:
    """Work of the leader's that a host has taken, whose volumes are no machine's yet, or never were.

    :param host: the host.
    :param owner: under which name the store has the volumes.
    :param volumes: their names.
    :param lost: whether the host has lost it, and has not said that it is undone.
    :param silence: for how long nothing is heard of it, in seconds; less than 0 while it goes on.
    """

    host: str
    owner: str
    volumes: tuple[str, ...]
    lost: bool
    silence: float


@frozen(kw_only=True)
class Known:
    """All that the database says.

    :param identity: which database it is.
    :param hosts: the controllers of a database on a server; a file has one, which is looked for by its process.
    :param attempts: what hosts make for the leader.
    :param leader: the host that had the lead last.
    """

    identity: str = ""
    hosts: tuple[Host, ...] = ()
    machines: Mapping[str, Machine] = Factory(dict)
    laid: Mapping[str, Laid] = Factory(dict)
    attempts: tuple[Attempt, ...] = ()
    leader: str = ""

    def of(self, host: str) -> Known:
        """Return what of it is of a host with a store of its own."""
        return evolve(
            self,
            machines={name: machine for name, machine in self.machines.items() if machine.host == host},
            laid={name: one for name, one in self.laid.items() if one.host == host},
        )


def file_of(url: str) -> Path | None:
    """Return the file of a SQLite database; ``None`` for a database on a server, and for what is no URL."""
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        return None
    return Path(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else None


def has_password(url: str) -> bool:
    """Return whether the URL of a database holds a password."""
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        return False
    return bool(parsed.password or parsed.query.get("password"))


def read(url: str) -> Known:
    """Read all of it, in one transaction.

    :raises TerraError: when it cannot be read, or is damaged.
    """
    with _opened(url) as connection:
        names = set(inspect(connection).get_table_names())
        if "nodes" not in names:
            return Known()
        identity = connection.execute(text("select value from about where key = 'identity'")).scalar()
        machines = [_machine(row) for row in _rows(connection, "nodes")]
        laid = [_laid(row) for row in _rows(connection, "golden_volumes")] if "golden_volumes" in names else []
        drained = {str(row["name"]) for row in _rows(connection, "drained")} if "drained" in names else set[str]()
        hosts = tuple(_hosts(connection, drained)) if "controllers" in names else ()
        attempts = tuple(_attempts(connection)) if "leases" in names else ()
        leader = next((str(row["name"]) for row in _rows(connection, "lead")), "") if "lead" in names else ""
    return Known(
        identity=str(identity or ""),
        hosts=hosts,
        machines={machine.hostname: machine for machine in machines},
        laid={one.owner: one for one in laid},
        attempts=attempts,
        leader=leader,
    )


@contextmanager
def _opened(url: str) -> Iterator[Connection]:
    file = file_of(url)
    where = str(file) if file is not None else "the database of controller.toml"
    with Undo() as undo:
        try:
            engine = create_engine("sqlite://", creator=lambda: _file(file)) if file is not None else _server(url)
            undo.callback(engine.dispose)
            connection = undo.enter_context(engine.connect())
            if file is not None:
                said = str(connection.exec_driver_sql("pragma quick_check").scalar())
                if said != "ok":
                    raise TerraError(f"{file}: the database is damaged: {said}", hint="put a good copy in its place")
            yield connection
        except ImportError as error:
            hint = "install what speaks to it, such as for PostgreSQL: pip install 'terra-core[service,postgresql]'"
            raise TerraError(f"{where}: cannot be read: {error}", hint=hint) from error
        except ValueError:  # what SQLAlchemy took for a port may be a password
            raise TerraError(f"{where}: cannot be read: its URL has no valid port", hint=_SERVER_HINT) from None
        except SQLAlchemyError as error:
            said = " ".join(str(getattr(error, "orig", None) or type(error).__name__).split())
            hint = "put a good copy in its place; see docs/operations.md"
            raise TerraError(f"{where}: cannot be read: {said}", hint=_SERVER_HINT if file is None else hint) from error


def _server(url: str) -> Engine:
    """Return an engine whose transactions see one state of the database, and change none."""
    if make_url(url).get_backend_name() != "postgresql":
        return create_engine(url)
    own = {} if "connect_timeout" in make_url(url).query else {"connect_timeout": _CONNECT_SECONDS}
    engine = create_engine(url, isolation_level="REPEATABLE READ", hide_parameters=True, connect_args=own)
    return engine.execution_options(postgresql_readonly=True)


def _file(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
    connection.text_factory = lambda raw: raw.decode(errors="backslashreplace")
    return connection


def _rows(connection: Connection, table: str) -> Sequence[Mapping[str, Any]]:
    return [dict(row) for row in connection.execute(text(f"select * from {table}")).mappings()]  # noqa: S608  # one of three names


def _machine(row: Mapping[str, Any]) -> Machine:
    hostname, mac, state = (str(row[name]) for name in ("hostname", "mac", "state"))
    host = str(row.get("host", ""))
    image, filesystems = "", frozenset[str]()
    try:
        document = _json(row["document"])
        image, filesystems = str(document["image"]), frozenset(_filesystems(document))
        tables = _json(row["tables"])
        own = {key: document[key] for key in document if key not in tables}
        node = make_document(own, NetworkNode, source="database").value
        targets = tuple(_kept(one) for one in _json(row["targets"]))
        upgrade = _json(row.get("upgrade", "{}"))
        other = tuple(_kept(one) for one in (upgrade.get("other") or {}).get("targets", ()))
        both = upgrade.get("phase") in _BOTH or upgrade.get("restored") is True
        words = structure(_json(row["kernel_arguments"]), tuple[str, ...])
        return Machine(
            hostname=hostname,
            mac=mac,
            state=state,
            digest=str(row["digest"]),
            image=image,
            kernel_arguments=(*_TRIAL_WORDS, *words) if upgrade.get("phase") == "trial" else words,
            targets=(*targets, *(other if both else ())),
            problem=str(row["problem"]),
            filesystems=filesystems,
            unmade=_unmade(node, targets) or upgrade.get("phase") == "preparing",
            resting=() if both else other,
            line=_line(upgrade.get("back")),
            host=host,
        )
    except _WRONG as error:
        said = " ".join(str(error).split()) or type(error).__name__
        return Machine(
            hostname=hostname, mac=mac, state=state, image=image, unreadable=said, filesystems=filesystems, host=host
        )


def _kept(raw: Mapping[str, Any]) -> Kept:
    """Return a target of a row; what a later Terra keeps beside is no reason to call the row unreadable."""
    names = ("storage", "store", "contract", "target", "made")
    return structure({name: raw[name] for name in names if name in raw}, Kept)


def _unmade(node: NetworkNode, targets: Sequence[Kept]) -> bool:
    there = {str(kept.target.label): [volume.size for volume in kept.target.volumes] for kept in targets if kept.made}
    return there != {str(group.label): [disk.size for disk in group.disk] for group in node.groups}


def _line(back: Mapping[str, Any] | None) -> tuple[str, tuple[str, ...]] | None:
    return None if not back else (str(back["digest"]), structure(back["kernel_arguments"], tuple[str, ...]))


def _filesystems(document: Mapping[str, Any]) -> Iterator[str]:
    chosen = document.get("plugins", {}).get("filesystem")
    groups = (group.get("filesystem") for group in document.get("groups", ()))
    yield from (str(name) for name in (chosen, *groups) if name)


def _laid(row: Mapping[str, Any]) -> Laid:
    token, image, state, store = (str(row[name]) for name in ("token", "image", "state", "store"))
    host = str(row.get("host", ""))
    try:
        volumes = tuple(Volume(name=str(one["name"]), size=int(one["size"])) for one in _json(row["volumes"]))
    except _WRONG as error:
        said = str(error) or type(error).__name__
        return Laid(token=token, image=image, state=state, store=store, unreadable=said, host=host)
    return Laid(token=token, image=image, state=state, store=store, volumes=volumes, host=host)


def _attempts(connection: Connection) -> Iterator[Attempt]:
    if connection.dialect.name != "postgresql":
        return
    now = _now(connection)
    for row in _rows(connection, "leases"):
        made = _json(row["made"]) or {}
        yield Attempt(
            host=str(row["name"]),
            owner=str(made.get("owner", "")),
            volumes=tuple(str(volume["name"]) for volume in made.get("volumes", ())),
            lost=row["state"] == "lost",
            silence=now - float(row["until"]),
        )


def _now(connection: Connection) -> float:
    return float(connection.execute(text("select extract(epoch from clock_timestamp())")).scalar() or 0)


def _hosts(connection: Connection, drained: Collection[str]) -> Iterator[Host]:
    if connection.dialect.name != "postgresql":
        return
    now = _now(connection)
    for row in _rows(connection, "controllers"):
        seen = float(row["seen"])
        name = str(row["name"])
        yield Host(name=name, state=str(row["state"]), seen=seen, silence=now - seen, drained=name in drained)


def _json(value: Any) -> Any:  # text in SQLite, and parsed by the driver of PostgreSQL
    return json.loads(value) if isinstance(value, str) else value
