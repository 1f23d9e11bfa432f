"""Hosts that share work, and rounds in which one of them is lost: every machine is there once in the end, or not at all."""

from __future__ import annotations

import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from sqlalchemy import NullPool, create_engine, text

from terra_core.config.controller import Paths
from terra_core.errors import TerraError
from terra_core.system.process import Completed, Daemon
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import MANY, SYSTEM
from tests.unit.oci.making import Blob, Item

ROUNDS = int(os.environ.get("TERRA_ROUNDS", "2"))
_NUMBER = re.compile(r"([0-9]+)(\.lun)?$")
"""The number of a disk, in the name of its volume."""
_PROBE = 9


class Sharers(ABC):
    """Hosts on one database and one store: one leads, and the others take work of it.

    A subclass says what the hosts are, and has the URL of their database.

    :cvar machines: so many are asked for in a round.
    :cvar patience: how long all that is left may take to be removed, in seconds.
    :cvar piece: what a piece of work takes, in seconds, where the machine has nothing else to do.
    """

    machines: ClassVar[int] = 3
    patience: ClassVar[float] = 120
    piece: ClassVar[float] = 1.5
    _url: str

    @property
    @abstractmethod
    def root(self) -> Path:
        """The root of the controller that leads."""

    @abstractmethod
    def terra(self, *words: str | Path, accept: Sequence[int] = (0,)) -> Completed:
        """Run terra at the host that leads, to its end."""

    @abstractmethod
    def push(self, name: str, *layers: Sequence[Item | bytes] | Blob) -> str:
        """Push an image of these layers to the registry of all; return its reference."""

    @abstractmethod
    def begin(self, image: str, number: int) -> Daemon:
        """Begin to make the machine of a number, of one digit, at the host that leads."""

    @abstractmethod
    def volumes(self) -> Sequence[str]:
        """Return what the store has: the last two parts of the names of all volumes."""

    @abstractmethod
    def lose_one(self, number: int, random: Random) -> str:
        """Let a host fail, and come back once others do what it did.

        :param number: of the round, from 0.
        :returns: which host, and how, for a person.
        """

    @abstractmethod
    def gather(self) -> None:
        """Let all hosts be there again as they were before a round."""

    def reaching(self) -> AbstractContextManager[object]:
        """Offer to be where the database answers."""
        return nullcontext()

    def sql(self, statement: str) -> Sequence[Any]:
        """Ask the database, or change it."""
        engine = create_engine(self._url, poolclass=NullPool)
        with self.reaching(), engine.begin() as connection:
            found = connection.execute(text(statement))
            return list(found) if found.returns_rows else []

    def attempts(self) -> list[tuple[str, str, str]]:
        """Return the leases: what for, who has it, and where it stands."""
        query = (
            "select coalesce(work.kind, '') as kind, name, state from leases left join work on work.number = leases.number "
            "order by leases.number, attempt"
        )
        return [tuple(row) for row in self.sql(query)]

    def silence(self, name: str) -> None:
        """Let the leases of a host be of a time long gone."""
        self.sql(f"update leases set until = until - 200 where state in ('taken', 'lost') and name = '{name}'")  # noqa: S608

    def wait_for_help(self) -> None:
        """Wait until the host that leads has seen that others wait: its work goes into the queue from then on."""
        image = self.push("probe", SYSTEM)

        def queued() -> bool:
            probe = self.begin(image, _PROBE)
            with Undo() as undo:
                undo.callback(probe.stop)
                ended(probe)
            ((_, _, targets),) = self._machines()
            self.terra("delete", f"cm-0{_PROBE}")
            found = _NUMBER.search(targets[0]["volumes"][0]["name"])
            return found is not None and int(found[1]) > 0  # what came from the queue has that of a lease

        wait_until(queued, seconds=120, what="work to be queued")

    def settled(self) -> None:
        """Wait until nothing is left of any work, after a look at everything."""

        def done() -> bool:
            with suppress(TerraError, OSError):
                self.terra("doctor", "--fix", "--root", self.root, accept=(0, 1))
            return not self.sql("select 1 from leases") and not self.sql("select 1 from work")

        wait_until(done, seconds=self.patience, what="all work to be over", interval=0.5)

    def require_once(self) -> None:
        """Check that there is nothing but what the database names: each volume, each target and each machine's files once."""
        rows = self._machines()
        assert {state for _, state, _ in rows} <= {"ready"}, rows
        targets = [target for *_, own in rows for target in own]
        golden = self.sql("select state, volumes from golden_volumes")
        assert {row.state for row in golden} <= {"ready"}, golden
        volumes = [volume["name"] for target in targets for volume in target["volumes"]]
        volumes += [one["name"] for row in golden for one in row.volumes]
        assert sorted(self.volumes()) == sorted(last_two(name) for name in volumes)
        assert len({target["id"] for target in targets}) == len(targets)
        files = {path.name for path in (Paths(self.root).tftp / "nodes").glob("*")}
        assert files == {hostname for hostname, *_ in rows}, files

    def play_rounds(self) -> None:
        """Play rounds: machines are asked for at once, a host is lost in the middle of that, and all is looked at.

        The image is laid down in every other round, and removed while there are clones of it.
        """
        random = Random(ROUNDS)  # noqa: S311  # no secret
        image = self.push("round", SYSTEM, MANY)
        made = 0
        began = time.monotonic()
        for number in range(ROUNDS):
            self.wait_for_help()
            names = self._play(number, image, random)
            made += len(names)
            if number % 2:
                self._remove_image(image)
                self.require_once()
            if names:
                self.terra("delete", "--force", *names)
            self.require_once()
        seconds, asked = time.monotonic() - began, ROUNDS * self.machines
        print(f"{ROUNDS} rounds with kills: {made} machines made, {asked - made} undone, none twice; {seconds:.0f} s")  # noqa: T201

    def _play(self, number: int, image: str, random: Random) -> list[str]:
        """Play a round; return the names of the machines that are there after it."""
        began, first = time.monotonic(), self._newest() + 1
        with Undo() as undo:
            machines = [self.begin(image, one) for one in range(1, self.machines + 1)]
            for machine in machines:
                undo.callback(machine.stop)
            self._wait_for_pieces(first + random.randrange(self.machines))
            time.sleep(random.uniform(0, self.piece))  # any moment of a piece of work
            attempts = self.attempts()
            lost = self.lose_one(number, random)
            codes = [machine.wait(120) for machine in machines]
        self.gather()
        self.settled()
        self.require_once()
        names = [hostname for hostname, *_ in self._machines()]
        told = {f"cm-0{one}" for one, code in enumerate(codes, 1) if code == 0}
        assert told <= set(names), "who was told that it is made has it"
        seconds = time.monotonic() - began
        print(f"\nround {number}: {lost}, at {attempts}: {len(told)} told, {len(names)} made; {seconds:.0f} s")  # noqa: T201
        return names

    def _newest(self) -> int:
        """Return the number of the newest piece of work that there was ever."""
        return int(self.sql("select case when is_called then last_value else 0 end from work_number_seq")[0][0])

    def _wait_for_pieces(self, number: int) -> None:
        """Wait until a host has taken the piece of work of a number, or a later one; it may be over by then."""

        def taken() -> bool:
            newest = self.sql("select coalesce(max(number), 0) from leases")[0][0]
            if int(newest) >= number:
                return True
            return self._newest() >= number and not self.sql(f"select 1 from work where number >= {number}")  # noqa: S608

        wait_until(taken, seconds=120, what=f"a host to take the work {number}", interval=0.02)

    def _remove_image(self, image: str) -> None:
        """Remove what is laid down of an image."""
        for row in self.sql(f"select distinct digest from golden_volumes where image = '{image}'"):  # noqa: S608
            self.terra("images", "--remove", row.digest)

    def _machines(self) -> list[tuple[str, str, list[dict[str, Any]]]]:
        """Return name, state and targets of each machine, as the database has them."""
        rows = self.sql("select hostname, state, targets from nodes order by hostname")
        return [(row.hostname, row.state, [kept["target"] for kept in row.targets]) for row in rows]


def last_two(name: str) -> str:
    """Return the last two parts of the name of a volume: the first ones are those of a host."""
    return "/".join(Path(name).parts[-2:])


def ended(daemon: Daemon) -> None:
    """Wait for the end of ``terra provision``."""
    assert daemon.wait(120) == 0, daemon.tail()
