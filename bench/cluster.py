"""What hosts with one Ceph cluster and one PostgreSQL do: clones, the second machine, many machines by one host and by three.

    python bench/cluster.py [--machines N] [--rounds N] [--clones N] [--jobs N]

A cluster of three OSDs, PostgreSQL, a registry with a small image, and each host with a controller of its own, in network
namespaces of one machine. Machines are asked for by ``terra apply`` at the host that leads. One host and three take turns, each
with a new database and an empty pool: the first machine lays the image down, then a second one, then many in one command. In
the turns with three hosts, the one that leads is killed in the end, and another one exports all disks; keepalived does not run.

Printed are medians, and what each part took of the processors while the many machines were made. Exit code 1 when a mark is
missed; three hosts are no faster than one where that one had all processors busy, which is said then.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import TypeVar

from attrs import field, frozen

from lab.ceph import POOL, Ceph
from lab.hosts import Host, add_user, hosts_of
from lab.network import Network
from lab.postgresql import Postgresql
from lab.processes import Process
from lab.registry import Registry
from terra_ceph import plugin
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.hookspecs import Volume, VolumeRequest
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import SYSTEM
from tests.unit.oci.making import LayoutMaker, tar

CLONE_SECONDS, SECOND_SECONDS, OWN_BYTES, RATIO = 0.5, 2.0, 8 << 20, 0.6
BUSY = 0.85
"""Where one host leaves less than the rest of this share of all processors to further ones, they are what it is bound by."""
OTHERS = 0.5
"""With more than this share of the processors for others, times compare nothing."""
ADDRESSES = {"host-a": "10.0.10.31", "host-b": "10.0.10.32", "host-c": "10.0.10.33"}
MISSED = "MISSED"
T = TypeVar("T")
_SIZE = 256
_MB = 1 << 20
_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = len(os.sched_getaffinity(0))
_EXPORTED = "all disks are exported"
_LIMIT = 300.0
_CONTROLLERS, _CLIENT = "controllers and their programs", "terra apply"
_ELSE, _IDLE = "all else, the kernel's threads too", "nothing"
_PARTS = {
    "tgtd": "tgtd",
    "dnsmasq": "dnsmasq",
    "ceph-osd": "OSDs",
    "ceph-mon": "monitor and manager",
    "ceph-mgr": "monitor and manager",
    "postgres": "PostgreSQL",
    "docker-registr": "registry",
}


@frozen
class Common:
    """What hosts have in common, wherever their disks are.

    :param work: a directory.
    :param files: node.toml of the first machine, of the second one, and a directory with those of the others.
    """

    work: Path
    network: Network
    registry: Registry
    server: Postgresql
    files: Sequence[Path]

    def database(self, name: str) -> str:
        """Make a database; return its URL."""
        with self.network.inside():
            return self.server.make(name)


@frozen(kw_only=True)
class Taken:
    """What one host, or three, took to make machines.

    :param first: seconds of the first machine.
    :param second: of the second one.
    :param of_second: processor seconds of the parts of the bench meanwhile.
    :param many: seconds of the others.
    :param used: processor seconds of each part meanwhile, of all else, and of nothing.
    """

    first: float
    second: float
    of_second: float
    many: float
    used: Mapping[str, float]

    @property
    def busy(self) -> float:
        """The share of all processors that was taken while the many machines were made, by whatever ran."""
        return 1.0 - self.used[_IDLE] / sum(self.used.values())

    @property
    def others(self) -> float:
        """The share of them that was not the bench's."""
        return self.used[_ELSE] / sum(self.used.values())

    def least(self, seconds: float) -> float:
        """Return what part of some seconds all processors need, if none of them waits, for what the many machines took."""
        return _own_seconds(self.used) / _CORES / seconds


@frozen(kw_only=True)
class Turn:
    """A turn of one host, or three.

    :param taken: what it took.
    :param own: bytes that each machine has for itself.
    :param moved: seconds from the end of the host that led until another one had exported all disks.
    :param clones: seconds of each clone that was made by itself.
    """

    taken: Taken
    own: Sequence[int]
    moved: float = 0.0
    clones: Sequence[float] = field(factory=tuple)


@frozen
class Mark:
    """A value that has to stay at a bound or below.

    :param name: what it is.
    :param reason: why it cannot, where that is no fault of Terra's.
    """

    name: str
    value: float
    bound: float
    reason: str = ""

    @property
    def said(self) -> str:
        """Whether it does."""
        return "held" if self.value <= self.bound else self.reason or MISSED


@contextmanager
def common(machines: int) -> Iterator[Common]:
    """Offer a database server and a registry with an image."""
    with Undo() as undo:
        work = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="terra-bench-")))
        work.chmod(0o755)
        network = undo.enter_context(Network("bench"))
        registry = undo.enter_context(Registry(network, work / "registry"))
        server = undo.enter_context(Postgresql(network))
        LayoutMaker(work / "layout").image([tar(*SYSTEM)])
        image = registry.push(work / "layout", "small")
        yield Common(work, network, registry, server, _node_files(work, image, machines))


def _node_files(work: Path, image: str, machines: int) -> Sequence[Path]:
    """Write node.toml of the first machine, of the second one, and of others into a directory; return these."""
    many = work / "many"
    many.mkdir()
    files = [work / "first.toml", work / "second.toml", *(many / f"{at}.toml" for at in range(machines))]
    for number, file in enumerate(files, 1):
        file.write_text(
            f'hostname = "node-{number:03}"\nmac = "52:54:00:00:{number >> 8:02x}:{number & 255:02x}"\nimage = "{image}"\n'
            f'[[groups]]\nlabel = "os"\n[[groups.disk]]\ndevice = "/dev/sda"\nsize = {_SIZE}\n'
            '[[groups.subvolumes]]\nname = "home"\npath = "/home"\n[[groups.subvolumes]]\nname = "log"\npath = "/var/log"\n'
        )
    return [*files[:2], many]


@contextmanager
def hosts(at: Common, ceph: Ceph, name: str, count: int, jobs: int) -> Iterator[list[Host]]:
    """Offer hosts with a new database, of which the first one works; all that they have made goes in the end.

    :param name: of the database.
    :param jobs: how many machines each works on at once.
    """
    addresses = dict(list(ADDRESSES.items())[:count])
    more = f"jobs = {jobs}\n"
    with hosts_of(addresses, at.work / name, at.database(name), ceph, at.registry, at.network, more=more) as own:
        yield list(own.values())


def take_turn(at: Common, ceph: Ceph, name: str, count: int, *, jobs: int, clones: int) -> Turn:
    """Make all machines by so many hosts.

    :param clones: how many clones are made by themselves, too.
    """
    with hosts(at, ceph, name, count, jobs) as own:
        taken, made = make_all(at, own), _owned(ceph)
        cloned = _clone(at, ceph, own[0], clones) if clones else ()
        moved = _move(own) if count > 1 else 0.0
    return Turn(taken=taken, own=made, moved=moved, clones=cloned)


def make_all(at: Common, own: Sequence[Host]) -> Taken:
    """Make the first machine, the second one, and the others, as the first host is asked to."""
    (first, _), (second, of_second), (many, used) = (_apply(at.network, own, files) for files in at.files)
    return Taken(first=first, second=second, of_second=_own_seconds(of_second), many=many, used=used)


def _own_seconds(used: Mapping[str, float]) -> float:
    """Return the processor seconds of all parts of the bench."""
    return sum(taken for part, taken in used.items() if part not in (_ELSE, _IDLE))


def _apply(network: Network, own: Sequence[Host], files: Path) -> tuple[float, Mapping[str, float]]:
    """Apply files at the first host; return the seconds that it took, and the processor seconds of each part meanwhile."""
    before, all_before, began = _used(network, own), _all_used(), time.monotonic()
    own[0].terra("apply", "--jobs", "64", files, seconds=7200)
    seconds = time.monotonic() - began
    (busy, idle), after = (now - former for now, former in zip(_all_used(), all_before, strict=True)), _used(network, own)
    used = {part: taken - before[part] for part, taken in after.items()}
    return seconds, {**used, _ELSE: max(busy - sum(used.values()), 0.0), _IDLE: idle}


def _all_used() -> tuple[float, float]:
    """Return the seconds of all processors so far: those in which something ran, and those in which nothing did."""
    words = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = words[3] + words[4]  # proc(5): idle, and waiting for a disk
    return (sum(words) - idle) / _TICKS, idle / _TICKS


def _used(network: Network, own: Sequence[Host]) -> defaultdict[str, float]:
    """Return the processor seconds of each part so far; programs count with the one that has waited for them."""
    client = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = defaultdict[str, float](float)
    used[_CLIENT] = client.ru_utime + client.ru_stime
    running: list[Process] = network.processes()
    for host in own:
        used[_CONTROLLERS] += _seconds(host.controller.pid)
        running += host.processes()
    for process in running:
        if process.name in _PARTS:
            used[_PARTS[process.name]] += _seconds(process.pid)
    return used


def _seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(word) for word in words[11:15]) / _TICKS  # its own, and those of the programs that it has waited for


def _owned(ceph: Ceph) -> list[int]:
    """Return the bytes that each machine's volume has for itself, without what it shares with the golden one."""
    rows = json.loads(ceph.rbd("du", "--pool", POOL, "--format", "json").text)["images"]
    return [int(row["used_size"]) for row in rows if row["name"].startswith("node-") and "snapshot" not in row]


def _clone(at: Common, ceph: Ceph, host: Host, count: int) -> list[float]:
    """Make clones of what is laid down; return the seconds of each."""
    session = Session(tables={"ceph": {"config": str(ceph.config), "user": host.label}}, paths=Paths(at.work / "clones"))
    names = json.loads(ceph.rbd("ls", POOL, "--format", "json").text)
    golden = Volume(name=f"{POOL}/{next(name for name in names if name.startswith('golden'))}", size=_SIZE)
    seconds = []
    with host.inside():
        for number in range(count):
            planned = plugin.plan_volume(VolumeRequest(hostname=Hostname(f"clone-{number:03}"), number=0, size=_SIZE), session)
            began = time.monotonic()
            with plugin.clone_volume(golden, planned, session):
                pass
            seconds.append(time.monotonic() - began)
    return seconds


def _move(own: Sequence[Host]) -> float:
    """Kill the host that leads; return the seconds until another one has exported all disks."""
    began = time.monotonic()
    own[0].kill()

    def exported() -> bool:
        return any(_EXPORTED in host.log.read_text() for host in own[1:])

    wait_until(exported, seconds=_LIMIT, what="another host to export all disks", interval=0.05)
    return time.monotonic() - began


def show(turns: Mapping[int, Sequence[Turn]], machines: int) -> list[Mark]:
    """Print what the turns took; return the marks.

    :param turns: by the number of hosts.
    """
    every, three = [*turns[1], *turns[3]], turns[3]
    clones = [seconds for turn in turns[1] for seconds in turn.clones]
    second = median(turn.taken.second for turn in every)
    own = [owned for turn in every for owned in turn.own]
    print(f"{len(clones)} clones: {median(clones):.3f} s each, {max(clones):.3f} s at most")
    of_second = median(turn.taken.of_second for turn in every)
    print(f"the first machine: {median(turn.taken.first for turn in every):.2f} s; ", end="")
    print(f"the second one: {second:.2f} s, with {of_second:.2f} processor seconds")
    print(f"{len(own)} machines own {median(own) / _MB:.2f} MB each, {max(own) / _MB:.2f} MB at most")
    said = ", ".join(f"{turn.moved:.1f}" for turn in three)
    print(f"the host that led was killed: another one had exported {machines + 2} disks after {said} s")
    return [
        Mark("seconds of a clone", median(clones), CLONE_SECONDS),
        Mark("seconds of the second machine", second, SECOND_SECONDS),
        Mark("MB of a machine's own, at most", max(own) / _MB, OWN_BYTES / _MB),
        compare({count: [turn.taken for turn in each] for count, each in turns.items()}, machines),
    ]


def compare(turns: Mapping[int, Sequence[Taken]], machines: int) -> Mark:
    """Print what many machines took, and what took the processors meanwhile; return the mark of three hosts against one.

    :param turns: by the number of hosts.
    """
    many = {count: median(turn.many for turn in each) for count, each in turns.items()}
    for count, each in turns.items():
        said = ", ".join(f"{turn.many:.1f}" for turn in each)
        print(f"{machines} machines, hosts: {count}{many[count]:10.1f} s   ({said})")
    ratio, busy = many[3] / many[1], median(turn.busy for turn in turns[1])
    print(f"three hosts to one: {ratio:.2f}")
    _show_shares(turns, machines)
    print(f"with one host the processors were taken for {busy * 100:.0f} % of the time")
    least = median(turn.least(many[1]) for turn in turns[3])
    print(f"what three hosts took of {_CORES} processors alone takes {least:.2f} of the time of one")
    others = max(turn.others for each in turns.values() for turn in each)
    if others > OTHERS:
        print(f"up to {others * 100:.0f} % of the processors were not the bench's: the seconds are those of a busy machine")
    by_processors = ratio > RATIO and (busy >= BUSY or least > RATIO)
    return Mark("three hosts to one", ratio, RATIO, "bound by the processors" if by_processors else "")


def _show_shares(turns: Mapping[int, Sequence[Taken]], machines: int) -> None:
    """Print what each part took of the processors while many machines were made."""
    print(f"processor seconds of the {machines} machines, and shares of {_CORES} processors; one host, three hosts")
    first = turns[1][0].used
    for part in sorted(first, key=lambda part: -first[part]):
        shown = []
        for each in turns.values():
            taken = mean(turn.used.get(part, 0.0) for turn in each)
            whole = mean(sum(turn.used.values()) for turn in each)
            shown.append(f"{taken:9.2f} s {taken / whole * 100:5.1f} %")
        print(f"  {part:<36}{'   '.join(shown)}")


def judge(marks: Sequence[Mark]) -> int:
    """Print marks; return the exit code."""
    for mark in marks:
        print(f"  {mark.name:<34}{mark.value:8.2f}   bound {mark.bound:6.2f}   {mark.said}")
    return 1 if any(mark.said == MISSED for mark in marks) else 0


def by_turns(rounds: int, take: Callable[[int, int], T]) -> Mapping[int, Sequence[T]]:
    """Let one host and three take turns; return what each took, by the number of hosts.

    :param take: takes a turn, with the number of hosts and that of the round.
    """
    turns: dict[int, list[T]] = {1: [], 3: []}
    for number in range(rounds):
        for count, found in turns.items():
            began = time.monotonic()
            found.append(take(count, number))
            print(f"hosts: {count}, round {number + 1}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    return turns


def options_of(said: str | None) -> argparse.ArgumentParser:
    """Return the options of a bench of hosts.

    :param said: what it measures.
    """
    parser = argparse.ArgumentParser(description=said)
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="how many machines each host works on at once")
    return parser


def main() -> int:
    """Measure, print, and judge."""
    parser = options_of(__doc__)
    parser.add_argument("--clones", type=int, default=100)
    options = parser.parse_args()
    with common(options.machines) as at, Ceph(at.network) as ceph:
        for name in ADDRESSES:
            add_user(ceph, name)

        def take(count: int, number: int) -> Turn:
            clones = options.clones if count == 1 and number == 0 else 0
            return take_turn(at, ceph, f"of-{count}-{number}", count, jobs=options.jobs, clones=clones)

        marks = show(by_turns(options.rounds, take), options.machines)
    return judge(marks)


if __name__ == "__main__":
    sys.exit(main())
