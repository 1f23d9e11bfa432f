"""What the controller knows of its golden volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import asdict, evolve, frozen
from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from terra_core.config.structure import structure
from terra_core.controller.database import golden_volumes, nodes
from terra_core.controller.golden import Golden, GoldenState, GoldenVolume
from terra_core.errors import ConfigError
from terra_core.service.database import explained

_WRONG = (ConfigError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
_LAST_MOMENT = 253_402_300_799
"""The end of the year 9999, in seconds since 1970."""


@frozen
class GoldenRows:
    """The rows, in the controller's database.

    :param engine: from :func:`terra_core.controller.database.open_database`.
    :param host: the host whose they are, where hosts have stores of their own; layouts have other keys there on each host.
    """

    _engine: Engine
    _host: str = ""

    def add(self, golden: Golden) -> None:
        """Write a row for one that is about to be made."""
        with self._transaction() as connection:
            connection.execute(insert(golden_volumes).values(**row_of_golden(golden), host=self._host))

    def finish(
        self,
        golden: Golden,
        volumes: Sequence[GoldenVolume],
        *,
        token: str = "",
        beside: Callable[[Connection], None] = lambda _: None,
    ) -> Golden:
        """Note that one is ready.

        :param volumes: its volumes, with their stamps.
        :param token: its name, where it was made under another one.
        :param beside: does more in the same transaction, before it.
        :returns: it as it is then.
        """
        ready = evolve(golden, token=token or golden.token, volumes=tuple(volumes), state=GoldenState.READY)
        changed = {"token": ready.token, "volumes": [asdict(volume) for volume in volumes], "state": ready.state.value}
        with self._transaction() as connection:
            beside(connection)
            connection.execute(update(golden_volumes).where(golden_volumes.c.token == golden.token).values(**changed))
        return ready

    def forget(self, golden: Golden) -> None:
        """Drop a row."""
        with self._transaction() as connection:
            connection.execute(delete(golden_volumes).where(golden_volumes.c.token == golden.token))

    def use(self, layout: str, now: int) -> None:
        """Note that a machine of this image and layout was made."""
        with self._transaction() as connection:
            connection.execute(update(golden_volumes).where(golden_volumes.c.layout == layout).values(used=now))

    def leave(self, hostname: str, now: int) -> None:
        """Note that a machine goes, whose record is still there; also one that is set aside."""
        of_machine = select(nodes.c.layout).where(nodes.c.hostname == hostname).scalar_subquery()
        with self._transaction() as connection:
            connection.execute(update(golden_volumes).where(golden_volumes.c.layout == of_machine).values(used=now))

    def pin(self, tokens: Sequence[str], *, pinned: bool) -> None:
        """Keep these also when they are unused, or no longer."""
        with self._transaction() as connection:
            change = update(golden_volumes).where(golden_volumes.c.token.in_(tokens))
            connection.execute(change.values(pinned=int(pinned)))

    def of_layout(self, layout: str) -> Golden | None:
        """Return the one of an image and layout, if there is one."""
        with self._transaction() as connection:
            row = connection.execute(select(golden_volumes).where(golden_volumes.c.layout == layout)).one_or_none()
        return None if row is None else read_golden(row._mapping)

    def every(self) -> Sequence[Golden]:
        """Return all of them, by image; where hosts have stores of their own, those of this one."""
        return [golden for golden, host in self.everywhere() if host == self._host]

    def everywhere(self) -> Sequence[tuple[Golden, str]]:
        """Return those of all hosts, by image, each with its host, which is empty where hosts have one store."""
        with self._transaction() as connection:
            found = [(read_golden(row._mapping), str(row.host)) for row in connection.execute(select(golden_volumes))]
        key = lambda one: (one[0].image, one[0].digest, one[0].described, one[1])  # noqa: E731  # a server has an order of its own
        return sorted(found, key=key)

    def machines(self) -> Mapping[str, int]:
        """Return how many machines there are of each layout."""
        query = select(nodes.c.layout, func.count()).where(nodes.c.layout != "").group_by(nodes.c.layout)
        with self._transaction() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with explained(self._engine), self._engine.begin() as connection:
            yield connection


def row_of_golden(golden: Golden) -> dict[str, Any]:
    """Return a golden volume as its row."""
    return {
        **{name: getattr(golden, name) for name in ("token", "layout", "image", "digest", "described", "store", "contract")},
        "volumes": [asdict(volume) for volume in golden.volumes],
        "state": golden.state.value,
        "used": golden.used,
        "pinned": int(golden.pinned),
    }


def read_golden(values: Mapping[Any, Any]) -> Golden:
    """Return a row as a golden volume; where its volumes or state cannot be read, it is one without any, and says why."""
    problem, state = "", GoldenState.MAKING
    volumes: tuple[GoldenVolume, ...] = ()
    contract = used = pinned = 0
    try:
        contract, pinned = int(values["contract"]), int(values["pinned"])
        used = min(max(int(values["used"]), 0), _LAST_MOMENT)
        volumes = structure(values["volumes"], tuple[GoldenVolume, ...])
        state = structure(values["state"], GoldenState)
    except _WRONG as error:
        problem = f"its row cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
    return Golden(
        token=str(values["token"]),
        layout=str(values["layout"]),
        image=str(values["image"]),
        digest=str(values["digest"]),
        described=str(values["described"]),
        store=str(values["store"]),
        contract=contract,
        volumes=volumes,
        state=state,
        used=used,
        pinned=bool(pinned),
        problem=problem,
    )
