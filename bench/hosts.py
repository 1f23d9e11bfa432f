"""What hosts with disks of their own and one PostgreSQL do: many machines by one host, and by three.

    python bench/hosts.py [--machines N] [--rounds N] [--jobs N] [--share SHARE]

PostgreSQL, a registry with a small image, and hosts with a controller, tgtd and a btrfs of their own, in network namespaces of
one machine; boot files are in a directory of all. Machines are asked for by ``terra apply`` at the host that leads, which gives
them to the others. One host and three take turns, each with a new database and new disks: the first machine, a second one, then
many in one command. With three hosts each lays the image down for itself.

Hosts in one machine share its processors, and three have no more of them than one. So that each is as a machine of its own, all
that runs on a host gets a share of one processor and no more (``--share``, 0 for no bound); PostgreSQL, the registry and the
client have what is left.

Printed are medians, and what each part took of the processors while the many machines were made. Exit code 1 when the mark is
missed; three hosts are no faster than one where that one had all processors busy, which is said then.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from attrs import frozen

from bench.cluster import (
    ADDRESSES,
    MISSED,
    RATIO,
    apply,
    busy_of,
    least_of,
    node_files,
    others_of,
    own_seconds,
    ratio_of,
    show_shares,
)
from bench.provision import btrfs_in_a_file
from lab.hosts import Host, push
from lab.network import Network
from lab.postgresql import Postgresql
from lab.processors import Share
from lab.registry import Registry
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import SYSTEM
from tests.unit.oci.making import LayoutMaker, tar

_LIMIT = 300.0


@frozen
class Parts:
    """What all hosts have in common.

    :param work: a directory.
    :param files: node.toml of the first machine, of the second one, and a directory with those of the others.
    """

    work: Path
    network: Network
    registry: Registry
    server: Postgresql
    files: Sequence[Path]


@frozen(kw_only=True)
class Turn:
    """What one host, or three, took.

    :param first: seconds of the first machine.
    :param second: of the second one.
    :param of_second: processor seconds of the parts of the bench meanwhile.
    :param many: seconds of the others.
    :param used: processor seconds of each part meanwhile, of all else, and of nothing.
    :param spread: how many machines each host had in the end.
    """

    first: float
    second: float
    of_second: float
    many: float
    used: Mapping[str, float]
    spread: Sequence[int]


@contextmanager
def parts(machines: int) -> Iterator[Parts]:
    """Offer a database server and a registry with an image."""
    with Undo() as undo:
        work = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="terra-bench-")))
        work.chmod(0o755)
        network = undo.enter_context(Network("bench"))
        registry = undo.enter_context(Registry(network, work / "registry"))
        server = undo.enter_context(Postgresql(network))
        LayoutMaker(work / "layout").image([tar(*SYSTEM)])
        yield Parts(work, network, registry, server, node_files(work, push(work / "layout", registry, network), machines))


@contextmanager
def hosts(at: Parts, name: str, count: int, jobs: int, share: float) -> Iterator[list[Host]]:
    """Offer hosts with disks of their own and a new database, of which the first one leads.

    :param name: of the database.
    :param jobs: how many machines each works on at once.
    :param share: how much of a processor each has; 0 for no bound.
    """
    with Undo() as undo:
        with at.network.inside():
            url = at.server.make(name)
        started = list[Host]()
        for label, address in list(ADDRESSES.items())[:count]:
            place = at.work / name / label
            place.mkdir(parents=True)
            root = undo.enter_context(btrfs_in_a_file(place))
            host = Host(label, address, root, at.network)
            host.configure_local(url, at.registry, more=f"jobs = {jobs}\n")
            if started:
                host.share(started[0].root, ("tftp",))
            take = undo.enter_context(Share(f"terra-{name}-{label}", share)).take if share else _take_no_notice
            undo.enter_context(host).start()
            for process in host.processes():
                take(process.pid)
            started.append(host)
            if host is started[0]:
                wait_until(host.works, seconds=_LIMIT, what=f"{label} to lead")
        others = {host.label: ("working", False) for host in started[1:]}
        wait_until(lambda: others.items() <= started[0].hosts().items(), seconds=_LIMIT, what="the others to work")
        yield started


def _take_no_notice(pid: int) -> None:
    """Let a process have what it gets."""


def take_turn(at: Parts, name: str, count: int, *, jobs: int, share: float) -> Turn:
    """Make all machines by so many hosts."""
    with hosts(at, name, count, jobs, share) as own:
        (first, _), (second, of_second), (many, used) = (apply(at.network, own, files) for files in at.files)
        nodes = own[-1].ask("/v1/nodes")[1]
        spread = Counter(node["host"] for node in nodes if not node["problem"])
        return Turn(
            first=first,
            second=second,
            of_second=own_seconds(of_second),
            many=many,
            used=used,
            spread=[spread[host.label] for host in own],
        )


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="how many machines each host works on at once")
    parser.add_argument("--share", type=float, default=0.5, help="how much of a processor each host has; 0 for no bound")
    options = parser.parse_args()
    turns: dict[int, list[Turn]] = {1: [], 3: []}
    with parts(options.machines) as at:
        for number in range(options.rounds):
            for count, found in turns.items():
                found.append(take_turn(at, f"of-{count}-{number}", count, jobs=options.jobs, share=options.share))
                print(f"hosts: {count}, {options.machines} machines: {found[-1].many:.1f} s", file=sys.stderr, flush=True)
    every = [*turns[1], *turns[3]]
    if options.share:
        print(f"each host has {options.share:g} of a processor, as a machine of its own")
    many = {count: median(turn.many for turn in each) for count, each in turns.items()}
    print(f"the first machine: {median(turn.first for turn in every):.2f} s; ", end="")
    print(f"the second one: {median(turn.second for turn in turns[1]):.2f} s with one host, ", end="")
    print(f"{median(turn.second for turn in turns[3]):.2f} s with three, which lays the image down on another one")
    for count, each in turns.items():
        said = ", ".join(f"{turn.many:.1f}" for turn in each)
        spread = "; ".join("+".join(map(str, turn.spread)) for turn in each)
        print(f"{options.machines} machines, hosts: {count}{many[count]:10.1f} s   ({said})   machines of each host: {spread}")
    print(f"three hosts to one: {many[3] / many[1]:.2f}, where {RATIO} is wanted")
    show_shares({count: [turn.used for turn in each] for count, each in turns.items()}, options.machines)
    busy, others = median(busy_of(turn.used) for turn in turns[1]), max(others_of(turn.used) for turn in every)
    least = median(least_of(turn.used, many[1]) for turn in turns[3])
    mark = ratio_of(many[3], many[1], busy=busy, others=others, least=least)
    print(f"  {mark.name:<34}{mark.value:8.2f}   bound {mark.bound:6.2f}   {mark.said}")
    return 1 if mark.said == MISSED else 0


if __name__ == "__main__":
    sys.exit(main())
