"""A Ceph cluster: one monitor, one manager, three OSDs on files."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from iso.daemons import start, wait_ready
from lab.network import PREFIX, Network
from lab.place import Place
from terra_core.system.process import Argument, Completed, Daemon, run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

CEPH = "10.0.10.9"
"""The address of the monitor and all OSDs, a further one of the network's bridge."""
POOL = "terra"
_OSDS = 3
_START = 180.0
_END = 20.0
_SETTINGS = """\
[global]
fsid = {fsid}
mon host = {address}
public network = {network}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 2
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg autoscale mode = off
osd objectstore = bluestore
osd heartbeat grace = 60
bluestore block create = true
bluestore block size = 3221225472
bluestore cache size = 67108864
mon data avail warn = 1
mon data avail crit = 1
mon osd down out interval = 600
mgr initial modules =
rbd default clone format = 2
mon data = {data}/mon
mgr data = {data}/mgr
osd data = {data}/osd.$id
keyring = {data}/keyring
run dir = {place}
admin socket = {place}/$name.$pid.asok
pid file =
log file = {data}/$name.log
"""
_ADMIN = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")


class Ceph:
    """Debian's Ceph in a network, with data that end with it and a pool ``terra`` for ``client.terra``.

    :param network: where it runs.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._place = Place("ceph")
        self._resources = Undo()
        self._data = Path()
        self._osds: dict[int, Daemon] = {}

    @property
    def config(self) -> Path:
        """The file that clients need: it names the monitor and the keyring of all users."""
        return self._data / "ceph.conf"

    @property
    def osds(self) -> list[int]:
        """The process ids of the OSDs."""
        return [daemon.pid for daemon in self._osds.values()]

    def __enter__(self) -> Self:
        with Undo() as resources:
            resources.enter_context(self._place)
            self._data = Path(tempfile.mkdtemp(prefix="ceph-"))
            resources.callback(shutil.rmtree, self._data, ignore_errors=True)
            self._place.claim(self._data)
            self._network.ip("address", "add", f"{CEPH}/{PREFIX}", "dev", "br0")
            resources.callback(self._network.ip, "address", "delete", f"{CEPH}/{PREFIX}", "dev", "br0")
            self._configure()
            self._start_monitor(resources)
            with ThreadPoolExecutor(_OSDS) as pool:
                list(pool.map(self._prepare_osd, range(_OSDS)))
            for number in range(_OSDS):
                self._start_osd(number, resources)
            self._make_pool()
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def ceph(self, *words: str, stdin: bytes | None = None) -> Completed:
        """Run ``ceph`` as an administrator."""
        return self.run("ceph", "--connect-timeout", "60", *words, stdin=stdin)

    def rbd(self, *words: str) -> Completed:
        """Run ``rbd`` as an administrator."""
        return self.run("rbd", *words)

    def run(self, program: str, *words: Argument, stdin: bytes | None = None) -> Completed:
        """Run a program of Ceph's as an administrator."""
        return run(self._network.command([program, "--conf", self.config, *words]), stdin=stdin, timeout=_START)

    def add_user(self, name: str, *caps: str) -> None:
        """Make a user, and put its key into the keyring that clients read.

        :param caps: what it may do, such as ``mon``, ``profile rbd``.
        """
        key = self.ceph("auth", "get-or-create", f"client.{name}", *caps).text
        with (self._data / "keyring").open("a") as file:
            file.write(f"{key}\n")

    def empty(self) -> None:
        """Remove all that is in the pool, also of images that have clones or are in the trash."""
        self.run("rados", "purge", POOL, "--yes-i-really-really-mean-it")

    def restart_osd(self, number: int) -> None:
        """Start an OSD again that was killed, and wait until all data is where it should be."""
        _end(self._osds[number])
        self._start_osd(number, self._resources)
        wait_until(self._is_whole, seconds=_START, what="all data to be where it should be", interval=0.5)

    def _is_whole(self) -> bool:
        states = json.loads(self.ceph("status", "--format", "json").text)
        groups = states["pgmap"]["pgs_by_state"]
        return states["osdmap"]["num_up_osds"] == _OSDS and [one["state_name"] for one in groups] == ["active+clean"]

    def _configure(self) -> None:
        fsid, network = str(uuid.uuid4()), f"{CEPH}/32"
        text = _SETTINGS.format(fsid=fsid, address=CEPH, network=network, data=self._data, place=self._place.path)
        self.config.write_text(text)
        keyring, made = self._data / "keyring", ["--gen-key", "-n"]
        run(["ceph-authtool", "--create-keyring", keyring, *made, "mon.", "--cap", "mon", "allow *"])
        run(["ceph-authtool", keyring, *made, "client.admin", *_ADMIN])
        run(["ceph-authtool", keyring, *made, "mgr.x", "--cap", "mon", "allow profile mgr", "--cap", "osd", "allow *"])
        where = f"[v2:{CEPH}:3300,v1:{CEPH}:6789]"
        run(["monmaptool", "--create", "--addv", "a", where, "--fsid", fsid, self._data / "monmap"])
        for name in ("mon", "mgr"):
            (self._data / name).mkdir()
        shutil.copy(keyring, self._data / "mgr/keyring")
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", self._data / "monmap", "--keyring", keyring)

    def _start_monitor(self, resources: Undo) -> None:
        monitor = self._start(["ceph-mon", "-f", "-i", "a"], resources)
        self._start(["ceph-mgr", "-f", "-i", "x"], resources)
        wait_ready(monitor, self._has_quorum, seconds=_START, what="the monitor to answer")
        self.ceph("config", "set", "mon", "auth_allow_insecure_global_id_reclaim", "false")

    def _has_quorum(self) -> bool:
        return bool(self.ceph("mon", "stat").text)

    def _prepare_osd(self, number: int) -> None:
        place, own = self._data / f"osd.{number}", str(uuid.uuid4())
        place.mkdir()
        secret = run(["ceph-authtool", "--gen-print-key"]).text.strip()
        self.ceph("osd", "new", own, str(number), "-i", "-", stdin=f'{{"cephx_secret": "{secret}"}}'.encode())
        key = place / "keyring"
        key.write_text(f"[osd.{number}]\nkey = {secret}\n")
        self.run("ceph-osd", "-i", str(number), "--mkfs", "--osd-uuid", own, "--keyring", key)

    def _start_osd(self, number: int, resources: Undo) -> None:
        key = self._data / f"osd.{number}/keyring"
        self._osds[number] = self._start(["ceph-osd", "-f", "-i", str(number), "--keyring", key], resources)

    def _start(self, words: Sequence[Argument], resources: Undo) -> Daemon:
        program, *rest = words
        log = self._data / f"{program}.{len(list(self._data.glob('*.out')))}.out"
        daemon = start(self._network.command([program, "--conf", self.config, *rest]), log=log)
        resources.callback(_end, daemon)
        return daemon

    def _make_pool(self) -> None:
        self.ceph("osd", "pool", "create", POOL, "8", "8")
        self.add_user("terra", "mon", "profile rbd", "osd", f"profile rbd pool={POOL}")
        self.rbd("pool", "init", POOL)
        self.ceph("osd", "pool", "application", "enable", POOL, "rbd")
        wait_until(self._knows_room, seconds=_START, what="the manager to count the pool", interval=0.5)

    def _knows_room(self) -> bool:
        return f'"name":"{POOL}"' in self.ceph("df", "--format", "json").text.replace(" ", "")


def _end(daemon: Daemon) -> None:
    """End a daemon at once: nobody reads its data again."""
    if daemon.alive:
        daemon.signal(signal.SIGKILL)
    daemon.wait(_END)
