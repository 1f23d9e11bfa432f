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

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from attrs import frozen

from bench.cluster import ADDRESSES, Common, Taken, by_turns, common, compare, judge, make_all, options_of
from bench.provision import btrfs_in_a_file
from lab.hosts import Host
from lab.processors import Share
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

_LIMIT = 300.0


@frozen
class Turn:
    """A turn of one host, or three.

    :param taken: what it took.
    :param spread: how many machines each host had in the end.
    """

    taken: Taken
    spread: Sequence[int]


@contextmanager
def hosts(at: Common, name: str, count: int, jobs: int, share: float) -> Iterator[list[Host]]:
    """Offer hosts with disks of their own and a new database, of which the first one leads.

    :param name: of the database.
    :param jobs: how many machines each works on at once.
    :param share: how much of a processor each has; 0 for no bound.
    """
    with Undo() as undo:
        url, started = at.database(name), list[Host]()
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


def take_turn(at: Common, name: str, count: int, *, jobs: int, share: float) -> Turn:
    """Make all machines by so many hosts."""
    with hosts(at, name, count, jobs, share) as own:
        taken = make_all(at, own)
        spread = Counter(node["host"] for node in own[-1].ask("/v1/nodes")[1] if not node["problem"])
        return Turn(taken, [spread[host.label] for host in own])


def main() -> int:
    """Measure, print, and judge."""
    parser = options_of(__doc__)
    parser.add_argument("--share", type=float, default=0.5, help="how much of a processor each host has; 0 for no bound")
    options = parser.parse_args()
    with common(options.machines) as at:

        def take(count: int, number: int) -> Turn:
            return take_turn(at, f"of-{count}-{number}", count, jobs=options.jobs, share=options.share)

        turns = by_turns(options.rounds, take)
    every = [*turns[1], *turns[3]]
    if options.share:
        print(f"each host has {options.share:g} of a processor, as a machine of its own")
    print(f"the first machine: {median(turn.taken.first for turn in every):.2f} s; ", end="")
    print(f"the second one: {median(turn.taken.second for turn in turns[1]):.2f} s with one host, ", end="")
    print(f"{median(turn.taken.second for turn in turns[3]):.2f} s with three, which lays the image down on another one")
    print(f"machines of each of three hosts: {'; '.join('+'.join(map(str, turn.spread)) for turn in turns[3])}")
    return judge([compare({count: [turn.taken for turn in each] for count, each in turns.items()}, options.machines)])


if __name__ == "__main__":
    sys.exit(main())
