"""Targets of real servers in a network of its own, and clients that may or may not reach them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from lab.network import CONTROLLER, GATEWAY, ISCSI, Network
from lab.processes import Process
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Label
from terra_core.errors import ConflictError, TerraError
from terra_core.hookspecs import Backing, Connected, Export, TargetRequest, Volume
from terra_core.system.process import Completed, Daemon, run
from terra_core.system.waiting import wait_until
from terra_nbd import plugin
from terra_nbd.planning import Access
from terra_nbd.servers import Servers

PORTAL = Address(ISCSI)
MB = 1024 * 1024
REPOSITORY = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network("nbd") as made:
        yield made


@pytest.fixture(autouse=True)
def _inside(network: Network) -> Iterator[None]:
    with network.inside():
        yield


@contextmanager
def controller(root: Path) -> Iterator[Session]:
    session = Session(paths=Paths(root))
    try:
        yield session
    finally:
        plugin.stop_storage(session)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with controller(tmp_path / "root") as made:
        plugin.start_storage(PORTAL, made)
        yield made


def made(session: Session, hostname: str = "cm-01", number: int = 2, *, disks: int = 1, portal: Address = PORTAL) -> Export:
    """Return a planned target with files as volumes; nothing is served."""
    place = session.paths.root / "files" / f"{hostname}-{number}"
    place.mkdir(parents=True, exist_ok=True)
    volumes = tuple(Volume(name=str(place / f"{at}.lun"), size=16) for at in range(disks))
    for volume in volumes:
        Path(volume.name).touch()
        os.truncate(volume.name, volume.size * MB)
    request = TargetRequest(
        hostname=Hostname(hostname), number=number, generation=1, label=Label("os"), volumes=volumes, boot=True, portal=portal
    )
    planned = plugin.plan_target(request, session)
    return Export(target=planned, backings=tuple(Backing(kind="file", address=volume.name) for volume in volumes))


def provide(session: Session, hostname: str = "cm-01", number: int = 2, *, disks: int = 1) -> Export:
    export = made(session, hostname, number, disks=disks)
    with plugin.provision_target(export, session):
        pass
    return export


def keys_of(export: Export, directory: Path, *, identity: str = "") -> Path:
    """Write the key file of a machine's archive of boot steps; return its path."""
    directory.mkdir(exist_ok=True)
    (keys,) = plugin.connect_root([export.target], Session()).files
    content = keys.content.decode()
    path = directory / "keys.psk"
    path.write_text(content.replace(export.target.client, identity) if identity else content)
    return path


def info(export: Export, keys: Path | None, *, identity: str = "", disk: str = "0", port: int = 0) -> str:
    """Return what a client learns of a disk: its size, or why not."""
    address = f"{PORTAL}:{port or Access.of(export.target).port}"
    uri = f"nbds://{identity or export.target.client}@{address}/{disk}?tls-psk-file={keys}" if keys else f"nbd://{address}/{disk}"
    done = run(["nbdinfo", "--size", uri], accept=(0, 1), timeout=20)
    return done.text.strip() or done.stderr.decode()


def client(export: Export, keys: Path, disk: int = 0) -> list[str]:
    """Return the options by which a program of QEMU reaches a disk as a machine does."""
    server = f"server.type=inet,server.host={export.target.portal},server.port={Access.of(export.target).port}"
    credentials = f"tls-creds-psk,id=tls,endpoint=client,dir={keys.parent},username={export.target.client}"
    return ["--object", credentials, "--image-opts", f"driver=nbd,{server},export={disk},tls-creds=tls,reconnect-delay=60"]


def ask(export: Export, keys: Path, *commands: str, disk: int = 0, accept: tuple[int, ...] = (0,)) -> Completed:
    words = [word for command in commands for word in ("-c", command)]
    return run(["qemu-io", *client(export, keys, disk), *words], accept=accept, timeout=90)


@contextmanager
def connected(export: Export, keys: Path, socket: Path) -> Iterator[list[str]]:
    """Run a qemu-nbd as a machine does, with a socket in place of the device; yield the options that reach it."""
    log = socket.with_suffix(".log")
    daemon = Daemon(["qemu-nbd", "--persistent", "--socket", socket, "--discard=unmap", *client(export, keys)], log=log)
    try:
        wait_until(lambda: socket.exists() or not daemon.alive, seconds=60, what="the client to be connected")
        assert daemon.alive, daemon.tail()
        yield ["qemu-io", "-f", "raw", f"nbd+unix:///?socket={socket}"]
    finally:
        daemon.stop(2)


def servers(network: Network) -> list[Process]:
    return [process for process in network.processes() if process.name == "nbdkit"]


def place_of(export: Export, session: Session) -> Path:
    return session.paths.run / "nbd" / export.target.client


def pid_of(export: Export, session: Session) -> int:
    file = place_of(export, session) / "pid"  # nbdkit listens, and writes it then
    wait_until(lambda: file.is_file() and file.read_text().endswith("\n"), seconds=60, what=f"{file} to be written")
    return int(file.read_text())


def kill(export: Export, session: Session, network: Network) -> None:
    pid = pid_of(export, session)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in [process.pid for process in servers(network)], seconds=60, what="the server to be gone")


def test_the_machine_reaches_its_disks_and_nobody_else_does(session: Session, tmp_path: Path) -> None:
    export, other = provide(session, disks=2), provide(session, "cm-02", 3)
    keys, strange = keys_of(export, tmp_path / "keys"), keys_of(other, tmp_path / "other")
    assert info(export, keys) == info(export, keys, disk="1") == str(16 * MB)
    assert not info(export, keys, disk="2").strip().isdigit(), "there is no third one"
    for refused in (
        info(export, None),
        info(export, strange, identity=other.target.client),
        info(export, strange),
        info(export, keys_of(other, tmp_path / "forged", identity=export.target.client)),
        info(export, keys, identity="cm-01"),
    ):
        assert "nbdinfo:" in refused, refused
        assert str(16 * MB) not in refused


def test_who_reads_from_a_disk_is_connected_and_who_only_opens_its_port_is_not(session: Session, tmp_path: Path) -> None:
    export = provide(session)
    with (
        socket.create_connection((PORTAL, Access.of(export.target).port)) as stranger,
        connected(export, keys_of(export, tmp_path / "keys"), tmp_path / "socket") as words,
    ):
        stranger.sendall(b"\x16\x03\x01" + bytes(4096))
        assert plugin.find_connected(session) == {}
        run([*words, "-c", "write -P 5 0 64k", "-c", "read 0 64k"], timeout=90)
        assert plugin.find_connected(session) == {2: (Connected(name=export.target.client, address=GATEWAY),)}
    wait_until(lambda: not plugin.find_connected(session), seconds=60, what="the machine to be gone")


def test_nobody_can_list_the_disks(session: Session, tmp_path: Path) -> None:
    export = provide(session)
    keys = keys_of(export, tmp_path / "keys")
    address = f"{export.target.client}@{PORTAL}:{Access.of(export.target).port}"
    listed = run(["nbdinfo", "--list", f"nbds://{address}/?tls-psk-file={keys}"], accept=(0, 1))
    assert "export=" not in listed.text
    plain = run(["nbdinfo", "--list", f"nbd://{address.partition('@')[2]}/"], accept=(0, 1))
    assert "export=" not in plain.text


@pytest.mark.parametrize("path", ["../keys.psk", "..", "/etc/passwd", "keys.psk", ""])
def test_no_file_beside_the_disks_is_served(session: Session, tmp_path: Path, path: str) -> None:
    export = provide(session)
    assert "nbdinfo:" in info(export, keys_of(export, tmp_path / "keys"), disk=path)


def test_what_a_machine_writes_is_in_its_file_and_what_it_discards_is_not(session: Session, tmp_path: Path) -> None:
    export = provide(session, disks=2)
    keys = keys_of(export, tmp_path / "keys")
    file = Path(export.backings[1].address)
    ask(export, keys, "write -P 7 1M 4M", "flush", disk=1)
    assert file.read_bytes()[MB : 2 * MB] == bytes([7]) * MB
    used = file.stat().st_blocks
    assert Path(export.backings[0].address).stat().st_blocks == 0
    ask(export, keys, "discard 1M 4M", "flush", disk=1)
    assert file.stat().st_blocks < used - 4000
    assert file.stat().st_size == 16 * MB


def test_nothing_is_served_before_it_is_provisioned(session: Session, network: Network) -> None:
    made(session)
    assert servers(network) == []


def test_restoring_again_changes_nothing_and_disturbs_nobody(session: Session, network: Network, tmp_path: Path) -> None:
    export = provide(session)
    with connected(export, keys_of(export, tmp_path / "keys"), tmp_path / "socket") as through:
        before = servers(network)
        assert plugin.restore_target(export, session) is False
        assert plugin.restore_targets([export], session) == [""]
        assert plugin.start_storage(PORTAL, session) is False
        assert servers(network) == before
        run([*through, "-c", "write -P 3 0 64k"])


def test_a_machine_outlasts_a_server_that_is_killed(session: Session, network: Network, tmp_path: Path) -> None:
    export, neighbour = provide(session), provide(session, "cm-02", 3)
    untouched = pid_of(neighbour, session)
    with connected(export, keys_of(export, tmp_path / "keys"), tmp_path / "socket") as through:
        run([*through, "-c", "write -P 3 0 64k", "-c", "flush"])
        kill(export, session, network)
        late = Daemon([*through, "-c", "write -P 4 64k 64k", "-c", "flush"], log=tmp_path / "late")
        assert plugin.start_storage(PORTAL, session) is True, "a server was gone"
        assert plugin.restore_targets([export, neighbour], session) == ["", ""]
        assert plugin.start_storage(PORTAL, session) is False
        assert late.wait(60) == 0, late.tail()
    content = Path(export.backings[0].address).read_bytes()
    assert content[: 64 << 10] == bytes([3]) * (64 << 10)
    assert content[64 << 10 : 128 << 10] == bytes([4]) * (64 << 10)
    assert pid_of(neighbour, session) == untouched


def test_servers_outlive_whoever_started_them(session: Session, network: Network, tmp_path: Path) -> None:
    first = provide(session)
    script = (
        "import os, signal; from pathlib import Path; from terra_nbd import plugin\n"
        "from terra_core.config.controller import Paths; from terra_core.config.session import Session\n"
        "from terra_core.config.values import Address, Label; from terra_core.hookspecs import Backing, Export, Target\n"
        f"target = Target(label=Label('os'), name='t', id=2, client={first.target.client!r}, portal=Address({ISCSI!r}),\n"
        f"  volumes=(), data={dict(first.target.data)!r})\n"
        f"export = Export(target=target, backings=(Backing(kind='file', address={first.backings[0].address!r}),))\n"
        f"session = Session(paths=Paths(Path({str(session.paths.root)!r})))\n"
        "assert plugin.restore_target(export, session)\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    plugin.release_target(first.target, session)
    ended = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, start_new_session=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    (process,) = servers(network)
    assert info(first, keys_of(first, tmp_path / "keys")) == str(16 * MB)
    assert plugin.restore_target(first, session) is False
    assert servers(network) == [process]
    assert plugin.release_target(first.target, session) is True
    assert servers(network) == []


def test_a_controller_that_was_killed_while_it_began_a_server(session: Session, network: Network, tmp_path: Path) -> None:
    export = made(session)
    place = place_of(export, session)
    place.mkdir(parents=True)
    (place / "keys.psk").write_text("half of a k")
    assert plugin.restore_target(export, session) is True
    assert info(export, keys_of(export, tmp_path / "keys")) == str(16 * MB)
    kill(export, session, network)
    assert plugin.release_target(export.target, session) is True, "what it left counts"
    assert not place.exists()


def test_keys_and_links_that_somebody_changed(session: Session, tmp_path: Path) -> None:
    export = provide(session)
    keys = keys_of(export, tmp_path / "keys")
    (place_of(export, session) / "keys.psk").write_text("stranger:00\n")
    assert plugin.restore_target(export, session) is True
    assert info(export, keys) == str(16 * MB)
    (tmp_path / "foreign").write_bytes(bytes(MB))
    (place_of(export, session) / "disks/1").symlink_to(tmp_path / "foreign")
    assert info(export, keys, disk="1") == str(MB)
    assert plugin.restore_target(export, session) is True
    assert "nbdinfo:" in info(export, keys, disk="1")
    assert plugin.restore_target(export, session) is False


def test_a_server_that_runs_twice_is_one_again(session: Session, network: Network) -> None:
    export = provide(session)
    place = place_of(export, session)
    words = ["nbdkit", "--foreground", f"--ipaddr={CONTROLLER}", f"--port={Access.of(export.target).port}", "--tls=require",
             f"--tls-psk={place}/keys.psk", "file", f"dir={place}/disks"]  # fmt: skip
    second = Daemon(words, log=place / "log", env={"TERRA_NBD": str(place.parent)}, outlives=True)
    wait_until(lambda: second.pid in [process.pid for process in servers(network)], seconds=60, what="it to run")
    assert plugin.restore_target(export, session) is True
    assert [process.pid for process in servers(network)] == [pid_of(export, session)]


def test_a_file_is_served_once(session: Session, network: Network) -> None:
    first, second = provide(session), made(session, "cm-02", 3)
    second = evolve(second, backings=first.backings)
    with pytest.raises(ConflictError, match=rf"{first.backings[0].address}: is served to cm-01\.2 as well"):
        plugin.restore_target(second, session)
    assert len(servers(network)) == 1


def test_a_port_that_somebody_else_took(session: Session, network: Network, tmp_path: Path) -> None:
    export = made(session)
    port = Access.of(export.target).port
    other = Daemon(["nbdkit", "--foreground", f"--ipaddr={PORTAL}", f"--port={port}", "memory", "1M"], log=tmp_path / "log")
    try:
        wait_until(lambda: "1048576" in info(export, None, disk=""), seconds=60, what="the other one to listen")
        with pytest.raises(TerraError, match=rf"(?s)cannot serve cm-01\.2 on {PORTAL}, port {port}: .*Address already in use"):
            plugin.restore_target(export, session)
        assert not place_of(export, session).exists()
        assert plugin.start_storage(PORTAL, session) is False, "what could not be started is not missed again and again"
        assert other.alive
    finally:
        other.stop()
    assert plugin.restore_target(export, session) is True


def test_a_target_is_released_while_its_machine_is_connected(session: Session, network: Network, tmp_path: Path) -> None:
    export, neighbour = provide(session), provide(session, "cm-02", 3)
    keys = keys_of(export, tmp_path / "keys")
    with connected(export, keys, tmp_path / "socket") as through:
        run([*through, "-c", "write -P 3 0 64k", "-c", "flush"])
        assert plugin.release_target(export.target, session) is True
        assert [process.pid for process in servers(network)] == [pid_of(neighbour, session)]
        assert "Connection refused" in info(export, keys)
    assert not place_of(export, session).exists()
    assert Path(export.backings[0].address).exists(), "the volume is the store's"
    assert plugin.release_target(export.target, session) is False


def test_a_deleted_machine_does_not_reach_the_next_one_on_its_port(session: Session, tmp_path: Path) -> None:
    old = provide(session)
    keys = keys_of(old, tmp_path / "keys")
    port = Access.of(old.target).port
    with connected(old, keys, tmp_path / "socket"):
        plugin.release_target(old.target, session)
        new = made(session, number=3)
        new = evolve(new, target=evolve(new.target, data={**new.target.data, "port": str(port)}))
        assert plugin.restore_target(new, session) is True
        assert "nbdinfo:" in info(old, keys)
        assert "nbdinfo:" in info(new, keys_of(old, tmp_path / "forged", identity=new.target.client))
        assert info(new, keys_of(new, tmp_path / "new")) == str(16 * MB)
        assert not any(Path(new.backings[0].address).read_bytes())


def test_all_of_a_host_is_released_though_nobody_knows_its_targets(session: Session, network: Network) -> None:
    provide(session), provide(session, number=3)
    others = [provide(session, "cm-01.x", 4), provide(session, "cm-011", 5)]
    assert plugin.release_host(Hostname("cm-01"), session) is True
    assert sorted(process.pid for process in servers(network)) == sorted(pid_of(other, session) for other in others)
    assert plugin.release_host(Hostname("cm-01"), session) is False


def test_many_are_restored_with_one_look(session: Session, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = [made(session, f"cm-{at}", 100 + at) for at in range(12)]
    looks: list[Session] = []
    look = Servers.look

    def counting(of: Session) -> Servers:
        looks.append(of)
        return look(of)

    monkeypatch.setattr(Servers, "look", counting)
    assert plugin.restore_targets(exports, session) == [""] * 12
    assert len(looks) == 1
    assert len(servers(network)) == 12
    before = servers(network)
    assert plugin.restore_targets(exports, session) == [""] * 12
    assert servers(network) == before


def test_what_is_wrong_with_one_of_many_keeps_no_other_down(session: Session, network: Network) -> None:
    exports = [made(session, f"cm-{at}", 100 + at) for at in range(4)]
    exports[1] = evolve(exports[1], backings=(Backing(kind="rbd", address="pool/cm-1"),))
    exports[2] = evolve(exports[2], target=evolve(exports[2].target, data={}))
    reasons = plugin.restore_targets(exports, session)
    assert [bool(reason) for reason in reasons] == [False, True, True, False]
    assert "nbdkit is asked for volumes of the kind rbd" in reasons[1]
    assert "its record has no port or no key" in reasons[2]
    assert len(servers(network)) == 2


def test_two_controllers_side_by_side(session: Session, network: Network, tmp_path: Path) -> None:
    export = provide(session)
    with controller(tmp_path / "second") as second:
        assert plugin.start_storage(PORTAL, second) is True
        other = provide(second)
        assert Access.of(other.target).port != Access.of(export.target).port
        assert len(servers(network)) == 2
        assert plugin.stop_storage(second) is True
        assert [process.pid for process in servers(network)] == [pid_of(export, session)]


def test_a_pid_file_that_names_somebody_else_harms_nobody(session: Session, network: Network, tmp_path: Path) -> None:
    export = provide(session)
    bystander = Daemon(["sleep", "60"], log=tmp_path / "log")
    try:
        (place_of(export, session) / "pid").write_text(f"{bystander.pid}\n")
        assert plugin.restore_target(export, session) is False
        assert plugin.release_target(export.target, session) is True
        assert servers(network) == []
        assert bystander.alive
    finally:
        bystander.stop()


def test_a_server_that_is_stopped_is_ended_all_the_same(session: Session, network: Network) -> None:
    export = provide(session)
    os.kill(pid_of(export, session), signal.SIGSTOP)
    assert plugin.release_target(export.target, session) is True
    assert servers(network) == []


def test_everything_is_ended_and_nothing_left(session: Session, network: Network) -> None:
    provide(session), provide(session, "cm-02", 3)
    assert plugin.stop_storage(session) is True
    assert servers(network) == []
    assert [path.name for path in session.paths.run.iterdir()] == ["nbd.lock"]
    assert plugin.stop_storage(session) is False


def test_an_address_that_is_none_of_this_machine(session: Session) -> None:
    with pytest.raises(TerraError, match=r"10\.9\.9\.9: is not an address of this machine"):
        plugin.start_storage(Address("10.9.9.9"), session)


def test_a_target_of_ipv6(session: Session, tmp_path: Path) -> None:
    export = made(session, portal=Address("::1"))
    assert plugin.restore_target(export, session) is True
    keys = keys_of(export, tmp_path / "keys")
    ask(export, keys, "write -P 7 0 64k", "flush")
    assert Path(export.backings[0].address).read_bytes()[:4] == bytes([7]) * 4


def test_the_key_is_for_root_alone_and_in_no_command_line(session: Session, network: Network) -> None:
    export = provide(session)
    assert (place_of(export, session) / "keys.psk").stat().st_mode & 0o777 == 0o600
    assert (place_of(export, session).parent).stat().st_mode & 0o777 == 0o700
    (server,) = servers(network)
    assert export.target.data["key"] not in server.command
    assert export.target.data["key"] not in Path(f"/proc/{server.pid}/environ").read_text()


def test_two_at_once(session: Session, network: Network) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        with network.inside():
            try:
                export = provide(session, f"cm-{number}", number)
                if number % 2:
                    plugin.release_target(export.target, session)
                plugin.start_storage(PORTAL, session)
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(servers(network)) == 3
    assert plugin.start_storage(PORTAL, session) is False
