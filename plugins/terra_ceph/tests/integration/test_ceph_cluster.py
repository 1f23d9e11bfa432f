"""Hosts that share a cluster: clones, a target of tgtd's rbd, an OSD that dies, and a host that is fenced."""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iso.daemons import start
from lab.ceph import POOL, Ceph
from lab.namespace import Namespace
from lab.network import PREFIX, Network
from terra_ceph import plugin
from terra_ceph.fencing import fence, fenced, unfence
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Label
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.hookspecs import Export, Target, TargetRequest, Volume, VolumeRequest
from terra_core.system.process import run
from terra_core.system.waiting import WaitedInVain, wait_until
from terra_core.testing.conformance import killed_within
from terra_iscsi import plugin as iscsi

MB = 1024 * 1024
A, B = Address("10.0.10.31"), Address("10.0.10.32")
CLONES = int(os.environ.get("TERRA_CLONES", "100"))
SPARE_BYTES = 8 * MB


class Host(Namespace):
    """A host with a network card of its own.

    :param address: its address in the network.
    """

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name)
        self.address = address

    def join(self) -> None:
        """Give ``eth0`` its address."""
        self.ip("address", "add", f"{self.address}/{PREFIX}", "dev", "eth0")
        self.ip("link", "set", "eth0", "up")


@pytest.fixture(scope="module")
def hosts(network: Network, ceph: Ceph) -> Iterator[tuple[Host, Host]]:
    """Two hosts that reach the cluster, each as a user of its own."""
    ceph.add_user("host-a", "mon", "profile rbd", "osd", f"profile rbd pool={POOL}")
    ceph.add_user("host-b", "mon", 'profile rbd, allow command "osd blocklist"', "osd", f"profile rbd pool={POOL}")
    with Host("host-a", A) as a, Host("host-b", B) as b, network.wire("h1", a.name), network.wire("h2", b.name):
        a.join()
        b.join()
        yield a, b


@pytest.fixture
def sessions(ceph: Ceph, tmp_path: Path) -> Iterator[dict[str, Session]]:
    """Sessions of controllers on the hosts a and b."""
    yield {
        name: Session(
            tables={"ceph": {"config": str(ceph.config), "user": f"host-{name}"}, "iscsi": {"domain": "terra.test"}},
            paths=Paths(tmp_path / name),
        )
        for name in ("a", "b")
    }
    ceph.empty()


def made(session: Session, hostname: str, size: int = 64, content: bytes = b"") -> Volume:
    volume = plugin.plan_volume(VolumeRequest(hostname=Hostname(hostname), number=0, size=size), session)
    with plugin.make_volume(volume, session):
        if content:
            write(session, volume, content)
    return volume


def write(session: Session, volume: Volume, content: bytes, at: int = 0) -> None:
    with plugin.open_volume(volume, session) as device, device.open("r+b") as file:
        file.seek(at)
        file.write(content)


def read(session: Session, volume: Volume, length: int) -> bytes:
    with plugin.open_volume(volume, session) as device, device.open("rb") as file:
        return file.read(length)


def target_of(session: Session, volume: Volume, portal: Address) -> Target:
    return iscsi.plan_target(
        TargetRequest(
            hostname=Hostname("cm-01"), number=2, generation=1, label=Label("os"), volumes=(volume,), boot=True, portal=portal
        ),
        session,
    )


def initiator(target: Target, secret: str | None = None) -> dict[str, str]:
    known = target.data["secret"] if secret is None else secret
    return {"LIBISCSI_CHAP_USERNAME": target.client, "LIBISCSI_CHAP_PASSWORD": known}


def disk_of(target: Target, secret: str | None = None) -> str:
    """Return a disk behind a target as qemu-img and qemu-io take it, whose iSCSI is libiscsi's."""
    known = target.data["secret"] if secret is None else secret
    where = f"driver=iscsi,transport=tcp,portal={target.portal}:3260,target={target.name},lun=1,user={target.client}"
    return f"{where},password={known},initiator-name={target.client}"


def io(target: Target, *commands: str, secret: str | None = None) -> str:
    """Return what qemu-io says of commands, which it does over iSCSI."""
    words = [word for command in commands for word in ("-c", command)]
    done = run(["qemu-io", "--image-opts", disk_of(target, secret), *words], accept=(0, 1), timeout=120)
    return done.text + done.stderr.decode(errors="replace")


def owned(ceph: Ceph, volume: Volume) -> int:
    """Return the bytes that an image has for itself, without what it shares with its origin."""
    (row,) = json.loads(ceph.rbd("du", volume.name, "--format", "json").text)["images"]
    return int(row["used_size"])


def processor_seconds() -> float:
    """Return what all programs took that this process has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_machine_reaches_its_image_by_iscsi_with_its_secret_alone_and_goes_on_without_one_osd(
    network: Network, ceph: Ceph, hosts: tuple[Host, Host], sessions: dict[str, Session]
) -> None:
    session = sessions["a"]
    with hosts[0].inside():
        volume = made(session, "cm-01", content=b"\x2a" * 4096)
        target = target_of(session, volume, A)
        backing = plugin.reach_volume(volume, session)
        assert backing.options == {"conf": str(ceph.config), "id": "host-a"}
        iscsi.start_storage(A, session)
        try:
            with iscsi.provision_target(Export(target=target, backings=(backing,)), session):
                pass
            assert iscsi.restore_target(Export(target=target, backings=(backing,)), session) is False, "it is as it should be"
            with network.inside():  # a machine's side
                assert "4 KiB, 1 ops" in io(target, "read -P 42 0 4k")
                assert "4 KiB, 1 ops" in io(target, "write -P 43 1M 4k", "flush")
                for wrong in ("", "wrong" * 5):
                    assert "4 KiB, 1 ops" not in io(target, "read 0 4k", secret=wrong)
                words = ["iscsi-inq", "-i", target.client, f"iscsi://{A}/{target.name}/1"]
                assert "DIRECT_ACCESS" in run(words, env=initiator(target)).text
                killed = ceph.osds[2]
                os.kill(killed, signal.SIGKILL)
                began = time.monotonic()
                assert "4 KiB, 1 ops" in io(target, "read -P 43 1M 4k", "write -P 44 2M 4k", "flush")
                print(f"after kill -9 of one OSD: {time.monotonic() - began:.1f} s")  # noqa: T201  # the figures
            assert iscsi.release_target(target, session) is True
        finally:
            iscsi.stop_storage(session)
            ceph.restart_osd(2)
        with pytest.raises(ConflictError, match=r"terra/cm-01\.0: is there already"):
            made(session, "cm-01")
        assert read(session, volume, 4096) == b"\x2a" * 4096
        assert plugin.remove_volume(volume, session) is True


def test_a_fenced_host_writes_nothing_more_and_another_one_goes_on(
    network: Network, hosts: tuple[Host, Host], sessions: dict[str, Session]
) -> None:
    a, b = hosts
    with a.inside():
        volume = made(sessions["a"], "cm-01", content=b"\x01" * MB)
        target = target_of(sessions["a"], volume, A)
        iscsi.start_storage(A, sessions["a"])
        backing = plugin.reach_volume(volume, sessions["a"])
        with iscsi.provision_target(Export(target=target, backings=(backing,)), sessions["a"]):
            pass
    try:
        with network.inside():
            assert "4 KiB, 1 ops" in io(target, "write -P 2 0 4k", "flush")
        with b.inside():
            fence(A, sessions["b"])
            assert A in fenced(sessions["b"])
            assert read(sessions["b"], volume, 8192) == b"\x02" * 4096 + b"\x01" * 4096, "what was acknowledged is there"
            write(sessions["b"], volume, b"\x03" * 8192)
        with network.inside():
            for at in ("0", "512k", "32M"):
                assert "4 KiB, 1 ops" not in io(target, f"write -P 4 {at} 4k", "flush")
        with a.inside(), pytest.raises(TerraError, match="refuses this host, which was fenced"):
            write(sessions["a"], volume, b"\x05" * 4096)
        with b.inside():
            assert read(sessions["b"], volume, MB) == b"\x03" * 8192 + b"\x01" * (MB - 8192), "the fenced host wrote nothing"
            assert unfence(A, sessions["b"]) is True
            assert unfence(A, sessions["b"]) is False
        with a.inside():
            write(sessions["a"], volume, b"\x06" * 4096)
            assert read(sessions["a"], volume, 4096) == b"\x06" * 4096, "it was let in again"
    finally:
        with b.inside():
            unfence(A, sessions["b"])
        with a.inside():
            iscsi.stop_storage(sessions["a"])


@pytest.mark.cluster
def test_what_is_acknowledged_to_a_machine_is_in_the_cluster_and_not_in_a_cache_of_tgtds(
    network: Network, ceph: Ceph, hosts: tuple[Host, Host], sessions: dict[str, Session], tmp_path: Path
) -> None:
    session, log = sessions["a"], tmp_path / "log"
    with hosts[0].inside():
        volume = made(session, "cm-01", content=b"\x2a" * 4096)
        target = target_of(session, volume, A)
        iscsi.start_storage(A, session)
    try:
        with hosts[0].inside():
            export = Export(target=target, backings=(plugin.reach_volume(volume, session),))
            with iscsi.provision_target(export, session):
                pass
        with network.inside():
            assert "4 KiB, 1 ops" in io(target, "write -P 43 1M 4k", "flush"), "librbd's cache writes through until a flush"
        for osd in ceph.osds:
            os.kill(osd, signal.SIGSTOP)
        try:
            words = ["stdbuf", "-oL", "qemu-io", "-t", "writeback", "--image-opts", disk_of(target), "-c", "write -P 44 2M 4k"]
            writer = start(network.command(words), log=log)
            with pytest.raises(WaitedInVain):
                wait_until(lambda: b"wrote" in log.read_bytes(), seconds=4, what="an acknowledged write")
        finally:
            for osd in ceph.osds:
                os.kill(osd, signal.SIGCONT)
        assert writer.wait(60) == 0
        assert b"wrote 4096/4096" in log.read_bytes()
    finally:
        with hosts[0].inside():
            iscsi.stop_storage(session)


@pytest.mark.cluster
def test_a_hundred_clones_are_made_fast_and_own_little(
    ceph: Ceph, hosts: tuple[Host, Host], sessions: dict[str, Session]
) -> None:
    session = sessions["a"]
    with hosts[0].inside():
        golden = made(session, "golden_0123456789abcdef", 1024)
        with plugin.open_volume(golden, session) as device:
            run(["mkfs.btrfs", "--quiet", "--label", "os", device])
            with device.open("r+b") as file:
                for at in range(256, 320):
                    file.seek(at * MB)
                    file.write(os.urandom(MB))
        stamp = plugin.stamp_volume(golden, session)
        clones, seconds, before = [], [], processor_seconds()
        for number in range(CLONES):
            request = VolumeRequest(hostname=Hostname(f"cm-{number:03}"), number=0, size=1024)
            planned = plugin.plan_volume(request, session)
            began = time.monotonic()
            with plugin.clone_volume(golden, planned, session):
                pass
            seconds.append(time.monotonic() - began)
            clones.append(planned)
        median, each = statistics.median(seconds), (processor_seconds() - before) / CLONES
        slowest = max(seconds)
        print(f"{CLONES} clones: {median:.2f} s each, {slowest:.2f} at most, {each:.2f} of a processor")  # noqa: T201  # the figures
        assert plugin.stamp_volume(golden, session) == stamp
        own = []
        for clone in clones[:3]:
            with plugin.open_volume(clone, session) as device:
                run(["btrfstune", "-f", "-m", device])
                with device.open("r+b") as file:
                    for at in range(8):  # what makes a machine one of its own: a few small files, far apart
                        file.seek(at * 100 * MB + 4096)
                        file.write(os.urandom(4096))
            own.append(owned(ceph, clone))
        own += [owned(ceph, clones[-1])]
        print(f"a clone with its own identity owns {max(own) / MB:.2f} MB, before that {own[-1]} bytes")  # noqa: T201  # the figures
        assert max(own) < SPARE_BYTES
        assert each < 0.5
        assert median < 0.5 or os.getloadavg()[0] > (os.cpu_count() or 1), "and nothing else kept the machine busy"
        assert plugin.remove_volume(golden, session) is True
        assert read(session, clones[0], 8), "clones need no golden volume"
        removed = [plugin.remove_volume(clone, session) for clone in clones]
        assert all(removed)
        assert json.loads(ceph.rbd("ls", POOL, "--format", "json").text) == []
        trash = ceph.rbd("trash", "ls", POOL, "--all", "--format", "json").text
        assert json.loads(trash) == [], "the data went with the last clone"


@pytest.mark.cluster
def test_room_and_what_is_wrong_is_said(ceph: Ceph, hosts: tuple[Host, Host], sessions: dict[str, Session]) -> None:
    session = sessions["a"]
    with hosts[0].inside():
        room = plugin.measure_store(session)
        assert 0 < room.reserve < room.free <= room.size < 9 * 1024 * MB
        elsewhere = Session(tables={"ceph": {"config": str(ceph.config), "pool": "none"}}, paths=session.paths)
        with pytest.raises(NotFoundError, match="no pool 'none'"):
            plugin.measure_store(elsewhere)
        with pytest.raises(NotFoundError, match="has no such pool"):
            made(elsewhere, "cm-01")
        stranger = Session(tables={"ceph": {"config": str(ceph.config), "user": "nobody"}}, paths=session.paths)
        with pytest.raises(TerraError):
            made(stranger, "cm-01")
    with Namespace("away") as away, away.inside(), pytest.raises(TerraError, match="does not answer"):
        made(session, "cm-01")


@pytest.mark.cluster
def test_what_a_killed_controller_had_open_is_opened_again_and_removed(
    hosts: tuple[Host, Host], sessions: dict[str, Session]
) -> None:
    session = sessions["a"]
    with hosts[0].inside():
        volume = made(session, "cm-01", content=b"first")
        killed_within(lambda: plugin.open_volume(volume, session), lambda device: device.write_bytes(b"lost?"))
        assert read(session, volume, 5) in (b"first", b"lost?")
        write(session, volume, b"again")
        killed_within(lambda: plugin.open_volume(volume, session))
        assert read(session, volume, 5) == b"again"
        assert list((session.paths.run / "ceph").iterdir()) == [], "nothing is left of what was shown as a file"
        killed_within(lambda: plugin.open_volume(volume, session))
        assert plugin.remove_volume(volume, session) is True
        assert list((session.paths.run / "ceph").iterdir()) == []


@pytest.mark.cluster
def test_a_golden_volume_leaves_the_trash_also_when_whoever_removed_its_last_clone_was_killed_over_it(
    ceph: Ceph, hosts: tuple[Host, Host], sessions: dict[str, Session]
) -> None:
    session = sessions["a"]

    def trash() -> list[str]:
        return [row["name"] for row in json.loads(ceph.rbd("trash", "ls", POOL, "--all", "--format", "json").text)]

    with hosts[0].inside():
        others = made(session, "cm-01")
        golden = made(session, "golden_0123456789abcdef", content=b"system")
        requests = [VolumeRequest(hostname=Hostname(name), number=0, size=64) for name in ("cm-02", "cm-03")]
        clones = [plugin.plan_volume(request, session) for request in requests]
        for clone in clones:
            with plugin.clone_volume(golden, clone, session):
                pass
        assert plugin.remove_volume(golden, session) is True
        ceph.rbd("trash", "mv", others.name)
        for clone, left in zip(clones, (["cm-01.0", "golden_0123456789abcdef.0"], ["cm-01.0"]), strict=True):
            ceph.rbd("rm", "--no-progress", clone.name)  # which is how far it came
            assert plugin.remove_volume(clone, session) is False
            assert sorted(trash()) == left, "what somebody else has put there stays"


@pytest.mark.cluster
def test_the_users_of_hosts_may_use_their_pool_alone(
    ceph: Ceph, hosts: tuple[Host, Host], sessions: dict[str, Session]
) -> None:
    ceph.ceph("osd", "pool", "create", "others", "1", "1")
    other = Session(
        tables={"ceph": {"config": str(ceph.config), "user": "host-a", "pool": "others"}}, paths=sessions["a"].paths
    )
    with hosts[0].inside(), pytest.raises(TerraError):
        made(other, "cm-01")
