"""How a controller bears many machines: beside one with ten of them, in turns, so that whatever else runs here hits both.

    python bench/controller.py [--machines N] [--rounds N] [--real]

Each controller is a process in a network of its own, with the real database, API, store of files, boot tree and dnsmasq. One
machine is provisioned by it; then it is stopped, and all others are copies of that one's row, volume and boot files. Images
and file systems are simulated, and so are targets without ``--real`` (bench/simulated). All files are in memory. Exit code 1
when a mark is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define, field
from sqlalchemy import insert, select

from iso.daemons import start, wait_ready
from lab.network import BRIDGE, Network
from lab.site import terra_command
from terra_core.client.controller import ControllerClient
from terra_core.config.controller import API_PORT, Paths
from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.controller.database import default_url, hosts, nodes, open_database, report_tokens, target_numbers
from terra_core.service.tokens import read_token
from terra_core.system.process import Argument, Daemon, run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from tests.unit.oci.making import LayoutMaker, file, folder, layer, tar

ADDRESS = "10.1.0.3"
"""Of the controllers and their portals, in a network with room for all machines."""
_FEW = 10
_IMAGE = "registry.example/terraos:13"
_FIRST, _MAC = "node-00001", "52:54:00:00:00:01"
_SIZE = 64
_MB = 1 << 20
_CONVERGED = "all machines are as the database says"
_TICKS = os.sysconf("SC_CLK_TCK")
_KERNEL = b"6.1.0-42-amd64"


@define
class Bench:
    """A controller with a number of machines.

    :param count: the number.
    """

    count: int
    root: Path
    network: Network
    plugins: Path
    daemon: Daemon | None = None
    seconds: dict[str, list[float]] = field(factory=dict)

    @property
    def paths(self) -> Paths:
        """Where the controller keeps what it owns."""
        return Paths(self.root)

    @property
    def log(self) -> Path:
        """The output of the controller."""
        return self.root / "controller.log"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of Terra's commands."""
        return {
            "PYTHONPATH": str(self.plugins),
            "TERRA_CONTROLLER": ADDRESS,
            "TERRA_TOKEN_FILE": str(self.paths.token),
        }

    def client(self) -> ControllerClient:
        """Return a client; it is used in the network."""
        return ControllerClient(f"http://{ADDRESS}:{API_PORT}", token=read_token(self.paths.token))

    def start(self) -> float:
        """Start the controller; return the seconds until all machines are as the database says."""
        began = time.monotonic()
        words: list[Argument] = ["--controller", ADDRESS, "controller", "--iscsi", ADDRESS, "--root", self.root]
        args = self.network.command([terra_command(), *words])
        self.daemon = start(args, log=self.log, env=self.environment)
        wait_ready(self.daemon, lambda: _CONVERGED in self.log.read_text(), seconds=1800, what="the controller")
        return time.monotonic() - began

    def stop(self) -> None:
        """Stop the controller; its services go on."""
        if self.daemon is not None:
            self.daemon.stop(60)
            self.daemon = None

    def take_down(self) -> None:
        """Stop everything."""
        self.stop()
        run(
            self.network.command([terra_command(), "controller", "--stop", "--root", self.root]),
            env=self.environment,
            timeout=600,
        )

    def provision(self, number: int) -> None:
        """Provision a machine by the API, and wait for it."""
        table = {
            "hostname": f"node-{number:05}",
            "mac": _mac(number),
            "image": _IMAGE,
            "groups": [
                {
                    "label": "os",
                    "disk": [{"device": "/dev/sda", "size": _SIZE}],
                    "subvolumes": [{"name": "home", "path": "/home"}, {"name": "log", "path": "/var/log"}],
                }
            ],
        }
        with self.network.inside():
            self.client().provision(make_document(table, NetworkNode, source="node.toml"))

    def delete(self, number: int) -> None:
        """Delete a machine by the API, and wait for it."""
        with self.network.inside():
            self.client().delete(f"node-{number:05}")

    def list(self) -> None:
        """Run ``terra list``."""
        shown = self._terra("list")
        if shown.count("\n") != self.count + 1:
            raise SystemExit(f"terra list shows {shown.count(chr(10))} lines for {self.count} machines:\n{shown[:1000]}")

    def ask(self) -> None:
        """Get the list from the API."""
        with self.network.inside():
            answer = self.client()._client.get("/v1/nodes")  # what the server alone takes
        if len(answer) != self.count:
            raise SystemExit(f"the API lists {len(answer)} of {self.count} machines")

    def _terra(self, *words: str) -> str:
        with self.network.inside():
            return run([terra_command(), *words], env=self.environment, timeout=600).text

    def populate(self) -> None:
        """Make all other machines copies of the first one."""
        engine = open_database(default_url(self.paths.state))
        with engine.begin() as connection:
            row = dict(connection.execute(select(nodes)).one()._mapping)
            numbers = range(2, self.count + 1)
            connection.execute(insert(hosts), [{"hostname": f"node-{at:05}", "generation": 1} for at in numbers])
            label = row["targets"][0]["target"]["label"]
            rows = [{"number": at, "hostname": f"node-{at:05}", "label": label} for at in numbers]
            connection.execute(insert(target_numbers), rows)
            connection.execute(insert(nodes), [_copy_of(row, at) for at in numbers])
            tokens = [dict(one._mapping) for one in connection.execute(select(report_tokens))]
            others = [_copy_of_token(one, at) for one in tokens for at in numbers]
            connection.execute(insert(report_tokens), others)
        engine.dispose()
        files = [path for path in self.paths.tftp.rglob("*") if path.is_file() and (_FIRST in str(path) or _of_mac(path))]
        for at in numbers:
            volume = self.root / "iscsi" / f"node-{at:05}/0.lun"
            volume.parent.mkdir(mode=0o700)
            volume.touch(0o600)
            os.truncate(volume, _SIZE * _MB)
            for path in files:
                _copy_file(path, Path(_renamed(str(path), at)), at)

    def used(self) -> float:
        """Return the processor seconds that the controller and the programs that it has run have used."""
        return _processor_seconds(self._pid)

    @property
    def _pid(self) -> int:
        if self.daemon is None:
            raise RuntimeError("it does not run")
        return self.daemon.pid

    def memory(self) -> tuple[float, float]:
        """Return the controller's RSS and PSS in MB."""
        lines = Path(f"/proc/{self._pid}/smaps_rollup").read_text().splitlines()
        found = {words[0]: int(words[1]) / 1024 for words in (line.split() for line in lines) if words[0] in ("Rss:", "Pss:")}
        return found["Rss:"], found["Pss:"]

    def measure(self, name: str, work: Callable[[], object]) -> None:
        """Do something once, and note how long it took."""
        began = time.monotonic()
        work()
        self.seconds.setdefault(name, []).append(time.monotonic() - began)


@contextmanager
def bench(count: int, work: Path, plugins: Path, *, real: bool) -> Iterator[Bench]:
    """Offer a controller that runs, with so many machines."""
    with Undo() as undo:
        root = work / f"of-{count}"
        root.mkdir(mode=0o755)
        network = undo.enter_context(Network(f"bench{count}"))
        network.ip("address", "add", f"{ADDRESS}/16", "dev", BRIDGE)
        one = Bench(count, root, network, plugins)
        one.paths.etc.mkdir(parents=True)
        storage = "" if real else 'storage = "simulated"\n'
        (one.paths.etc / "controller.toml").write_text(
            f'[plugins]\nregistry = "simulated"\nfilesystem = "simulated"\n{storage}'
            '[tftp]\ndhcp = "server"\nrange = ["10.1.1.0", "10.1.254.255"]\n'
        )
        _make_image(root / "image")
        undo.callback(one.take_down)
        one.start()
        one.provision(1)
        one.take_down()
        one.populate()
        yield one


def _make_image(place: Path) -> None:
    content = tar(
        folder(b"boot"),
        file(b"boot/vmlinuz-" + _KERNEL, b"a kernel"),
        file(b"boot/initrd.img-" + _KERNEL, b"an initrd"),
        folder(b"etc"),
        file(b"etc/hostname", b"image\n"),
    )
    LayoutMaker(place).image([layer(content, "plain")])


def _mac(number: int) -> str:
    return f"52:54:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def _renamed(text: str, number: int) -> str:
    text = text.replace(_FIRST, f"node-{number:05}").replace(_MAC, _mac(number))
    return text.replace(_MAC.replace(":", "-"), _mac(number).replace(":", "-"))


def _of_mac(path: Path) -> bool:
    return any(word in path.name for word in (_MAC, _MAC.replace(":", "-")))


def _copy_of(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(_renamed(json.dumps(dict(row)), number))
    for kept in copy["targets"]:
        kept["target"]["id"] = number
    return copy


def _copy_of_token(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the row of a machine's token for reports; a machine without one would be given one while the bench measures."""
    digest = hashlib.sha256(f"{row['digest']}{number}".encode()).hexdigest()
    return {**row, "digest": digest, "hostname": f"node-{number:05}"}


def _copy_file(path: Path, copy: Path, number: int) -> None:
    copy.parent.mkdir(exist_ok=True)
    try:
        copy.write_text(_renamed(path.read_text(), number))
    except UnicodeDecodeError:
        copy.hardlink_to(path)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(word) for word in fields[11:15]) / _TICKS  # its own, and those of the programs that it has waited for


def idle(benches: Sequence[Bench], seconds: float) -> list[float]:
    """Return the share of a processor that each controller takes while nobody asks it anything."""
    before = [one.used() for one in benches]
    time.sleep(seconds)  # what is measured is time
    return [(one.used() - former) / seconds for one, former in zip(benches, before, strict=True)]


def in_turns(few: Bench, many: Bench, name: str, work: Callable[[Bench], object], rounds: int) -> float:
    """Do something with both in turns; print the medians, and return their ratio."""
    for _ in range(rounds):
        for one in (few, many):
            one.measure(name, lambda one=one: work(one))  # type: ignore[misc]  # mypy knows no default of a lambda
    small, large = (median(one.seconds[name]) for one in (few, many))
    print(f"{name:<42}{small:9.3f} s {large:9.3f} s   ratio {large / small:6.2f}", flush=True)
    return large / small


def _start(few: Bench, many: Bench, name: str) -> float:
    """Start both one after the other; print the seconds, and return those of the second one."""
    seconds = [one.start() for one in (few, many)]
    print(f"{name:<42}{seconds[0]:9.2f} s {seconds[1]:9.2f} s")
    print(f"{'  processor seconds of it':<42}{few.used():9.2f} s {many.used():9.2f} s", flush=True)
    return seconds[1]


def _change(one: Bench) -> None:
    one.provision(60001)
    one.delete(60001)


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--idle", type=float, default=30)
    parser.add_argument("--real", action="store_true", help="let tgtd export the targets")
    options = parser.parse_args()
    with Undo() as undo:
        work = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="terra-bench-", dir="/dev/shm")))  # the bench's own
        work.chmod(0o755)
        plugins = _installed(work / "plugins")
        few, many = (undo.enter_context(bench(count, work, plugins, real=options.real)) for count in (_FEW, options.machines))
        print(f"{'':<42}{_FEW:>9}   {options.machines:>9} machines{', in tgtd' if options.real else ''}")
        cold = _start(few, many, "start, nothing exported")
        for one in (few, many):
            one.stop()
        warm = _start(few, many, "start, everything exported")
        before = [one.memory() for one in (few, many)]
        shares = idle((few, many), options.idle)
        print(f"{f'processor, idle for {options.idle:g} s':<42}{shares[0] * 100:9.1f} % {shares[1] * 100:9.1f} %")
        listed = in_turns(few, many, "terra list", Bench.list, options.rounds)
        in_turns(few, many, "GET /v1/nodes", Bench.ask, options.rounds)
        changed = in_turns(few, many, "one change: a machine more, and it goes", _change, options.rounds)
        after = [one.memory() for one in (few, many)]
        for name, found in (("memory after the start", before), ("memory in the end", after)):
            print(f"{name + ', RSS':<42}{found[0][0]:9.0f} MB{found[1][0]:9.0f} MB")
            print(f"{name + ', PSS':<42}{found[0][1]:9.0f} MB{found[1][1]:9.0f} MB")
        marks = [
            ("terra list, to that of 10 machines", listed, 3.0),
            ("one change, to that with 10 machines", changed, 2.0),
            ("seconds of a start", max(cold, warm), 30.0),
            ("MB of memory", after[1][0], 400.0),
            ("MB of memory with 10 machines, idle", before[0][0], 120.0),
        ]
        if options.real:
            killed = _killed(many)
            print(f"tgtd was killed: all targets back after {killed:.2f} s")
            marks.append(("seconds until tgtd has all targets again", killed, max(10.0, options.machines / 10)))
    for name, value, mark in marks:
        print(f"  {name:<42}{value:8.2f}   bound {mark:6.2f}   {'held' if value < mark else 'MISSED'}")
    return 0 if all(value < mark for _, value, mark in marks) else 1


def _killed(one: Bench) -> float:
    """Kill tgtd; return the seconds until it exports all targets again."""
    from terra_core.config.session import Session
    from terra_iscsi.service import own_control

    control = own_control(Session(paths=one.paths))
    pid = int((one.paths.run / "tgtd.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()

    def back() -> bool:
        with one.network.inside():
            return control.answers() and len(control.targets()) == one.count

    wait_until(back, seconds=600, what="all targets", interval=0.1)
    return time.monotonic() - began


def _installed(place: Path) -> Path:
    """Install the simulated plugin into a directory."""
    shutil.copytree(Path(__file__).with_name("simulated"), place)
    metadata = place / "terra_simulated-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: terra-simulated\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text("[terra.plugins]\nsimulated = terra_simulated:plugin\n")
    return place


if __name__ == "__main__":
    sys.exit(main())
