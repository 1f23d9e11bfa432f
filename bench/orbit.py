"""How long ``ob create`` takes, against ``docker run -d`` with a network attached; and ``ob list`` of many containers.

    python bench/orbit.py [ROUNDS] [CONTAINERS]

The two take turns on one engine, with one image and a bridge with addresses of a pool each, so that whatever else the machine
does hits both. Exit code 1 when a figure is above its bound.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from lab.engine import Engine
from lab.network import Network
from orbit_lab.agent import Agent
from orbit_lab.host import Host
from terra_core.system.process import Argument, run
from terra_core.testing.tiny import write_tiny_root

RATIO = 1.5
LIST_SECONDS = 1.0
_VHOST = """\
id = "{name}"
image = "tiny:1"

[[networks]]
  type = "bridge"
  name = "ob1"
  [networks.ipam]
    type = "host-local"
    subnet = "10.88.0.0/16"
"""


def measure(agent: Agent, work: Path, rounds: int) -> tuple[float, float]:
    """Create and remove a container ``rounds`` times each way, after one round that only fills caches.

    :returns: the medians of ``docker run`` and of ``ob create``, in seconds.
    """
    docker: list[float] = []
    ob: list[float] = []
    vhost = work / "vhost.toml"
    vhost.write_text(_VHOST.format(name="bench"))
    env = {"DOCKER_HOST": agent.engine.host}

    def engine(*words: Argument) -> None:
        run(agent.host.network.command(["docker", *words]), env=env, timeout=120)

    engine("network", "create", "--driver", "bridge", "--subnet", "10.99.0.0/16", "bench")
    try:
        for turn in range(rounds + 1):
            ways: list[tuple[list[float], list[Argument], list[Argument]]] = [
                (docker, ["run", "-d", "--name", "bench", "--network", "bench", "tiny:1"], ["rm", "--force", "bench"]),
                (ob, ["create", vhost], ["delete", "--time", "0", "bench"]),
            ]
            for times, create, remove in ways:
                ask: Callable[..., object] = engine if times is docker else agent.ob
                taken = _timed(ask, create)
                ask(*remove)
                if turn:
                    times.append(taken)
    finally:
        engine("network", "rm", "bench")
    return median(docker), median(ob)


def measure_list(agent: Agent, work: Path, count: int, rounds: int) -> float:
    """Return the median seconds of ``ob list`` with ``count`` containers that run."""
    for number in range(count):
        vhost = work / "many.toml"
        vhost.write_text(_VHOST.format(name=f"bench-{number}"))
        agent.ob("create", vhost)
    times = [_timed(agent.ob, ["list"]) for _ in range(rounds + 1)]
    rows = agent.rows()
    assert len(rows) == count, rows
    assert all(row["status"] == "running" and row["addresses"] and row["memory"] for row in rows)
    return median(times[1:])


def _timed(ask: Callable[..., object], words: Sequence[Argument]) -> float:
    began = time.perf_counter()
    ask(*words)
    return time.perf_counter() - began


def main() -> int:
    """Measure, print, and judge."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="terra-bench-")))
        network = stack.enter_context(Network("bench"))
        engine = stack.enter_context(Engine(work / "engine", network))
        write_tiny_root(work / "tiny.tar")
        engine.import_image(work / "tiny.tar", "tiny:1", ['CMD ["/bin/sleep", "1000000"]'])
        host = stack.enter_context(Host(network, "10.0.10.20"))
        agent = stack.enter_context(Agent(engine, host))
        docker, ob = measure(agent, work, rounds)
        print(f"{'docker run -d':<16}{docker * 1000:8.0f} ms")
        print(f"{'ob create':<16}{ob * 1000:8.0f} ms")
        print(f"{'ratio':<16}{ob / docker:8.2f}    bound {RATIO:g}, medians of {rounds} rounds", flush=True)
        listed = measure_list(agent, work, count, rounds)
        print(f"{'ob list':<16}{listed * 1000:8.0f} ms    bound {LIST_SECONDS * 1000:g} ms, {count} containers")
    return 0 if ob / docker <= RATIO and listed <= LIST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
