"""Targets of a real tgtd in a network of its own, and initiators that may or may not reach them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from lab.network import GATEWAY, ISCSI, Network
from lab.processes import running
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Label
from terra_core.errors import ConflictError, TerraError
from terra_core.hookspecs import Backing, Connected, Export, TargetRequest, Volume
from terra_core.system.process import Completed, Daemon, run
from terra_core.system.waiting import wait_until
from terra_iscsi import plugin
from terra_iscsi.control import Control
from terra_iscsi.management import Change, change_account
from terra_iscsi.planning import secret_of
from terra_iscsi.service import own_control

PORTAL = Address(ISCSI)
MB = 1024 * 1024
DENIED = "Login Failed"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network("iscsi") as made:
        yield made


@pytest.fixture
def session(network: Network, tmp_path: Path) -> Iterator[Session]:
    """Yield a controller's session; its storage service runs in the network."""
    made = Session(tables={"iscsi": {"domain": "crosbymichael.com"}}, paths=Paths(tmp_path / "root"))
    with network.inside():
        plugin.start_storage(PORTAL, made)
        try:
            yield made
        finally:
            plugin.stop_storage(made)


@pytest.fixture
def control(session: Session) -> Control:
    return own_control(session)


@frozen
class Wanted:
    """What a machine shall have."""

    hostname: str
    number: int
    label: str
    sizes: tuple[int, ...]
    generation: int


def request(
    hostname: str = "cm-01", number: int = 2, *, label: str = "os", sizes: tuple[int, ...] = (16,), generation: int = 1
) -> Wanted:
    return Wanted(hostname, number, label, sizes, generation)


def made(session: Session, wanted: Wanted, *former: Export) -> Export:
    """Return a planned target with files as volumes; nothing is exported.

    :param former: other targets of the same machine.
    """
    place = session.paths.root / "files" / f"{wanted.hostname}-{wanted.label}-{wanted.generation}"
    place.mkdir(parents=True, exist_ok=True)
    volumes = tuple(Volume(name=str(place / f"{at}.lun"), size=size) for at, size in enumerate(wanted.sizes))
    for volume in volumes:
        Path(volume.name).touch()
        os.truncate(volume.name, volume.size * MB)
    planned = plugin.plan_target(
        TargetRequest(
            hostname=Hostname(wanted.hostname),
            number=wanted.number,
            generation=wanted.generation,
            label=Label(wanted.label),
            volumes=volumes,
            boot=wanted.label == "os",
            portal=PORTAL,
            planned=tuple(export.target for export in former),
        ),
        session,
    )
    return Export(target=planned, backings=tuple(Backing(kind="file", address=volume.name) for volume in volumes))


def provide(session: Session, wanted: Wanted) -> Export:
    export = made(session, wanted)
    with plugin.provision_target(export, session):
        pass
    return export


def account(export: Export, secret: str | None = None) -> dict[str, str]:
    """Return the variables by which initiators of libiscsi know the secret of a target, or another one."""
    known = secret_of(export.target) if secret is None else secret
    return {"LIBISCSI_CHAP_USERNAME": export.target.client, "LIBISCSI_CHAP_PASSWORD": known} if known else {}


def inquiry(initiator: str, export: Export, lun: int = 1, *, secret: str | None = None) -> str:
    """Return what an initiator learns of a logical unit: what it is, or why not.

    :param secret: what it takes for the target's secret; that one when left out, and none when empty.
    """
    words = ["iscsi-inq", "-i", initiator, f"iscsi://{PORTAL}/{export.target.name}/{lun}"]
    done = run(words, accept=(0, 10), timeout=20, env=account(export, secret))
    return done.text + done.stderr.decode()


@contextmanager
def logged_in(export: Export, initiator: str, log: Path) -> Iterator[Daemon]:
    """Run an initiator that reads without end."""
    words = ["iscsi-perf", "-i", initiator, "-t", "60", f"iscsi://{PORTAL}/{export.target.name}/1"]
    daemon = Daemon(words, log=log, env=account(export))
    try:
        wait_until(lambda: b"iops" in log.read_bytes(), seconds=60, what="the initiator to read")
        yield daemon
    finally:
        daemon.stop(1)


def tgtd(session: Session) -> int:
    return int((session.paths.run / "tgtd.pid").read_text())


def test_the_bound_initiator_reaches_its_disk_and_nobody_else_does(session: Session) -> None:
    target = provide(session, request())
    other = provide(session, request("cm-02", 3))
    assert "DIRECT_ACCESS" in inquiry(target.target.client, target)
    assert DENIED in inquiry(other.target.client, target)
    assert DENIED in inquiry("iqn.2024.node.crosbymichael.com:stranger", target)
    found = run(["iscsi-ls", "-s", "-i", target.target.client, f"iscsi://{PORTAL}"], env=account(target)).text
    assert target.target.name in found
    assert other.target.name not in found
    assert "Lun:1    Type:DIRECT_ACCESS (Size:15M)" in found  # the number of the last block, rounded down
    assert run(["iscsi-ls", "-i", "iqn.2024.node.x:stranger", f"iscsi://{PORTAL}"]).text == ""


def test_a_machine_has_to_know_the_secret_of_its_target(session: Session, control: Control) -> None:
    target, other = provide(session, request()), provide(session, request("cm-02", 3))
    for wrong in ("", "wrong" * 5, secret_of(other.target)):
        assert DENIED in inquiry(target.target.client, target, secret=wrong)
    assert "DIRECT_ACCESS" in inquiry(target.target.client, target)
    further = made(session, request(number=4, label="data"), target)
    assert plugin.restore_target(further, session) is True
    assert "DIRECT_ACCESS" in inquiry(target.target.client, further)
    assert DENIED in inquiry(target.target.client, further, secret="")
    assert control.accounts() == {target.target.client, other.target.client}
    assert plugin.release_target(target.target, session) is True
    assert "DIRECT_ACCESS" in inquiry(target.target.client, further)
    assert DENIED in inquiry(target.target.client, further, secret="")
    assert plugin.release_target(further.target, session) is True
    assert control.accounts() == {other.target.client}
    assert plugin.release_host(Hostname("cm-02"), session) is True
    assert control.accounts() == frozenset()


def test_a_target_without_a_secret_asks_for_none(session: Session, control: Control) -> None:
    secret, former = made(session, request()), made(session, request("cm-02", 3))
    without = evolve(former, target=evolve(former.target, data={}))  # also one of a Terra that knew of none
    assert plugin.restore_targets([secret, without], session) == ["", ""]
    assert "DIRECT_ACCESS" in inquiry(without.target.client, without, secret="")
    assert control.accounts() == {secret.target.client}
    assert plugin.restore_targets([secret, without], session) == ["", ""]


def test_what_somebody_did_to_a_secret_is_mended(session: Session, control: Control, tmp_path: Path) -> None:
    target = made(session, request())
    change_account(control.file, Change.NEW, target.target.client, secret="left by a controller that was killed", seconds=5)
    assert plugin.restore_target(target, session) is True
    with logged_in(target, target.target.client, tmp_path / "log") as initiator:
        for change in (Change.UNBIND, Change.DELETE):
            change_account(control.file, change, target.target.client, target=target.target.id, seconds=5)
            assert control.targets()[0].accounts == ()
            assert plugin.restore_target(target, session) is True
            assert DENIED in inquiry(target.target.client, target, secret="")
        change_account(control.file, Change.NEW, "stranger", secret="of a stranger", seconds=5)
        change_account(control.file, Change.BIND, "stranger", target=target.target.id, seconds=5)
        assert plugin.restore_target(target, session) is True
        assert plugin.restore_target(target, session) is False
        assert control.targets()[0].accounts == (target.target.client,)
        assert control.accounts() == {target.target.client, "stranger"}, "another one's account is not Terra's to remove"
        assert initiator.alive
        assert control.targets()[0].sessions
    assert "DIRECT_ACCESS" in inquiry(target.target.client, target)


def test_no_program_gets_a_secret_as_an_argument(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    begin = subprocess.Popen.__init__

    def noting(self: Any, args: Any, *more: Any, **others: Any) -> None:
        started.append(repr((args, others.get("env"))))
        begin(self, args, *more, **others)

    monkeypatch.setattr(subprocess.Popen, "__init__", noting)
    target = provide(session, request())
    plugin.restore_target(target, session)
    plugin.release_target(target.target, session)
    monkeypatch.undo()
    assert any(target.target.name in words for words in started)
    assert not [words for words in started if secret_of(target.target) in words]
    assert secret_of(target.target).encode() not in (session.paths.run / "tgtd.log").read_bytes()


def test_a_group_of_several_disks(session: Session) -> None:
    target = provide(session, request(label="storage", sizes=(16, 8, 8)))
    for lun in (1, 2, 3):
        assert "DIRECT_ACCESS" in inquiry(target.target.client, target, lun)
    assert "DIRECT_ACCESS" not in inquiry(target.target.client, target, 4)


def test_what_an_initiator_writes_is_in_the_file(session: Session, tmp_path: Path) -> None:
    target = provide(session, request())
    word = tmp_path / "word"
    word.write_bytes(b"written over iSCSI".ljust(512, b"\0"))
    url = f"json:{{'driver': 'iscsi', 'transport': 'tcp', 'portal': '{PORTAL}', 'target': '{target.target.name}', 'lun': 1,"
    url += f" 'initiator-name': '{target.target.client}', 'user': '{target.target.client}', 'password-secret': 'chap'}}"
    secret = tmp_path / "secret"
    secret.write_text(secret_of(target.target))
    run(["qemu-img", "dd", "-f", "raw", "-O", "raw", f"if={word}", f"of={tmp_path / 'copy'}", "bs=512"])
    run(["qemu-io", "--object", f"secret,id=chap,file={secret}", "-c", f"write -s {word} 0 512", "-c", "flush", url])
    assert Path(target.backings[0].address).read_bytes()[:18] == b"written over iSCSI"


def test_what_a_machine_reads_is_counted_while_it_is_logged_in(session: Session, tmp_path: Path) -> None:
    target, other = provide(session, request()), provide(session, request("cm-02", 3))
    assert plugin.count_served(session) == {}
    with logged_in(target, target.target.client, tmp_path / "log"):
        first = plugin.count_served(session)[target.target.id]
        assert first.read > 0
        assert first.written == 0
        wait_until(
            lambda: plugin.count_served(session)[target.target.id].read > first.read, seconds=60, what="it to read more"
        )
        assert other.target.id not in plugin.count_served(session)


def test_who_is_logged_in_is_known_by_name_and_address(session: Session, control: Control, tmp_path: Path) -> None:
    target, _ = provide(session, request()), provide(session, request("cm-02", 3))
    assert plugin.find_connected(session) == {}
    assert "nop_interval=10\nnop_count=5" in control.ask("--mode", "target", "--op", "show", "--tid", "2").text
    for name in ("nop_interval", "nop_count"):  # counts from the next login
        control.ask("--mode", "target", "--op", "update", "--tid", "2", "--name", name, "--value", "1")
    with logged_in(target, target.target.client, tmp_path / "log") as initiator:
        (own,) = plugin.find_connected(session)[target.target.id]
        assert own == Connected(name=target.target.client, address=GATEWAY)
        assert list(plugin.find_connected(session)) == [target.target.id]
        os.kill(initiator.pid, signal.SIGSTOP)  # as when it loses its power: nothing closes the connection
        try:
            wait_until(lambda: not plugin.find_connected(session), seconds=30, what="the machine to be logged out")
        finally:
            os.kill(initiator.pid, signal.SIGCONT)


def test_restoring_again_changes_nothing_and_disturbs_nobody(session: Session, tmp_path: Path) -> None:
    target = provide(session, request())
    with logged_in(target, target.target.client, tmp_path / "log") as initiator:
        before = own_control(session).targets()
        assert plugin.restore_target(target, session) is False
        assert own_control(session).targets() == before
        assert before[0].sessions
        assert initiator.alive


def test_nothing_is_exported_before_it_is_restored(session: Session, control: Control) -> None:
    target = made(session, request())
    assert control.targets() == ()
    assert DENIED in inquiry(target.target.client, target)


def test_permissions_that_somebody_else_gave_are_taken_back(session: Session, control: Control, tmp_path: Path) -> None:
    target = provide(session, request())
    stranger = "iqn.2024.node.x:stranger"
    bind = ("--mode", "target", "--op", "bind", "--tid", "2")
    control.ask(*bind, "--initiator-address", "ALL")
    control.ask(*bind, "--initiator-address", "10.0.0.0/8")
    control.ask(*bind, "--initiator-name", "iqn.2024.node.x:guest")
    with logged_in(target, stranger, tmp_path / "log") as intruder:
        assert plugin.restore_target(target, session) is True
        assert DENIED in inquiry(stranger, target)
        wait_until(lambda: not control.targets()[0].sessions or not intruder.alive, seconds=60, what="the intruder to be out")
    assert control.targets()[0].rules == (target.target.client,)
    assert "DIRECT_ACCESS" in inquiry(target.target.client, target)
    assert plugin.restore_target(target, session) is False


MADE_UP = """x
    LUN information:
    Account information:
    ACL information:
Target {number}: {name}
    System information:
    I_T nexus information:
        I_T nexus: 9
            Initiator: z alias: q"""
LOGIN = """
import ctypes, os, sys, time
library = ctypes.CDLL("libiscsi.so.7")
library.iscsi_create_context.restype = ctypes.c_void_p
client, target, portal, secret, alias = (word.encode() for word in sys.argv[1:])
context = ctypes.c_void_p(library.iscsi_create_context(client))
library.iscsi_set_alias(context, alias)
library.iscsi_set_targetname(context, target)
library.iscsi_set_session_type(context, 2)
library.iscsi_set_initiator_username_pwd(context, client, secret)
assert library.iscsi_full_connect_sync(context, portal, 1) == 0
print("logged in", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("number", "name"), [(1, "{}"), (1, "iqn.2020.com.example:none"), (7, "iqn.2024.san.crosbymichael.com.cm-07:fs")]
)
def test_a_machine_that_makes_up_targets_by_its_alias_harms_no_other(
    number: int, name: str, session: Session, control: Control, tmp_path: Path
) -> None:  # fmt: skip
    victim, maker = provide(session, request("cm-02", 1)), provide(session, request())
    alias = MADE_UP.format(number=number, name=name.format(victim.target.name))
    own = [maker.target.client, maker.target.name, f"{PORTAL}:3260", secret_of(maker.target)]
    client = Daemon([sys.executable, "-c", LOGIN, *own, alias], log=tmp_path / "log")
    try:
        wait_until(lambda: b"logged in" in client.log.read_bytes(), seconds=60, what="the machine to log in")
        for _ in range(2):
            (problem,) = plugin.restore_targets([victim], session)
            assert "made up, by the alias of a machine" in problem
        assert "DIRECT_ACCESS" in inquiry(victim.target.client, victim)
        found = plugin.examine_targets({"cm-01": [maker.target], "cm-02": [victim.target]}, session)
        assert found
    finally:
        client.stop(5)
    wait_until(lambda: not any(one.sessions for one in control.targets()), seconds=60, what="the machine to be out")
    assert list(plugin.restore_targets([victim, maker], session)) == ["", ""]


def test_a_name_that_was_bound_as_an_address_is_bound_right(session: Session, control: Control) -> None:
    target = provide(session, request())
    words = ("--mode", "target", "--tid", "2")
    control.ask(*words, "--op", "unbind", "--initiator-name", target.target.client)
    control.ask(*words, "--op", "bind", "--initiator-address", target.target.client)
    assert DENIED in inquiry(target.target.client, target)
    assert plugin.restore_target(target, session) is True
    assert "DIRECT_ACCESS" in inquiry(target.target.client, target)
    assert plugin.restore_target(target, session) is False


def test_logical_units_that_somebody_else_changed(session: Session, control: Control, tmp_path: Path) -> None:
    target = provide(session, request())
    (tmp_path / "foreign").write_bytes(bytes(MB))
    unit = ("--mode", "logicalunit", "--tid", "2")
    control.ask(*unit, "--op", "new", "--lun", "2", "--backing-store", str(tmp_path / "foreign"))
    assert plugin.restore_target(target, session) is True
    assert dict(control.targets()[0].luns) == {1: target.backings[0].address}
    control.ask(*unit, "--op", "delete", "--lun", "1")
    assert plugin.restore_target(target, session) is True
    assert dict(control.targets()[0].luns) == {1: target.backings[0].address}
    assert control.targets()[0].rules == (target.target.client,)


def test_a_number_or_a_name_that_is_taken(session: Session, control: Control) -> None:
    control.ask("--mode", "target", "--op", "new", "--tid", "2", "--targetname", "iqn.2020.com.example:disk")
    target = made(session, request())
    with pytest.raises(ConflictError, match=r"tgtd has iqn\.2020\.com\.example:disk as target 2"):
        plugin.restore_target(target, session)
    control.ask("--mode", "target", "--op", "new", "--tid", "9", "--targetname", target.target.name)
    control.ask("--mode", "target", "--op", "delete", "--tid", "2")
    with pytest.raises(ConflictError, match="as target 9"):
        plugin.restore_target(target, session)


def test_a_file_is_exported_once(session: Session, control: Control) -> None:
    target = made(session, request())
    control.ask("--mode", "target", "--op", "new", "--tid", "7", "--targetname", "iqn.2020.com.example:disk")
    file = target.backings[0].address
    control.ask("--mode", "logicalunit", "--op", "new", "--tid", "7", "--lun", "1", "--backing-store", file)
    with pytest.raises(ConflictError, match=r"is exported by iqn\.2020\.com\.example:disk as well"):
        plugin.restore_target(target, session)


def test_a_target_is_not_left_half_made(session: Session, control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Control.ask

    def then_ctrl_c(self: Control, *words: str, accept: Collection[int] = (0,), seconds: float = 60) -> Completed:
        done = ask(self, *words, accept=accept, seconds=seconds)
        if "logicalunit" in words:
            raise KeyboardInterrupt
        return done

    target = made(session, request(sizes=(16, 16)))
    monkeypatch.setattr(Control, "ask", then_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        plugin.restore_target(target, session)
    monkeypatch.undo()
    assert control.targets() == ()
    assert plugin.restore_target(target, session) is True


def test_a_target_is_released_while_its_initiator_reads(session: Session, control: Control, tmp_path: Path) -> None:
    target = provide(session, request())
    with logged_in(target, target.target.client, tmp_path / "log"):
        assert plugin.release_target(target.target, session) is True
        assert control.targets() == ()
        assert Path(target.backings[0].address).exists(), "the volume is the store's"
        assert DENIED in inquiry(target.target.client, target)
    assert plugin.release_target(target.target, session) is False


def test_releasing_leaves_the_neighbours_alone(session: Session, control: Control, tmp_path: Path) -> None:
    first = provide(session, request(number=2))
    second = provide(session, request(number=3, label="storage"))
    neighbour = provide(session, request("cm-02", 4))
    with logged_in(neighbour, neighbour.target.client, tmp_path / "log") as initiator:
        assert plugin.release_target(first.target, session) is True
        assert [one.iqn for one in control.targets()] == [second.target.name, neighbour.target.name]
        assert initiator.alive
    assert plugin.release_target(second.target, session) is True


def test_many_at_once_are_exported_with_two_looks(
    session: Session, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = [made(session, request(f"cm-{at}", 100 + at)) for at in range(20)]
    looks: list[tuple[str, ...]] = []
    ask = Control.ask

    def counting(self: Control, *words: str, accept: Collection[int] = (0,), **more: float) -> Completed:
        looks.extend([words] if words == ("--mode", "target", "--op", "show") else [])
        return ask(self, *words, accept=accept, **more)

    monkeypatch.setattr(Control, "ask", counting)
    assert plugin.restore_targets(targets, session) == [""] * 20
    assert len(looks) == 2
    assert plugin.restore_targets(targets, session) == [""] * 20
    assert len(looks) == 3, "and one while all is well"
    wanted = {(one.target.id, one.target.name, (one.target.client,)) for one in targets}
    assert {(one.id, one.iqn, one.rules) for one in control.targets()} == wanted
    assert "DIRECT_ACCESS" in inquiry(targets[7].target.client, targets[7])


def test_what_is_wrong_with_one_of_many_keeps_no_other_down(session: Session, control: Control) -> None:
    targets = [made(session, request(f"cm-{at}", 100 + at)) for at in range(5)]
    control.ask("--mode", "target", "--op", "new", "--tid", "101", "--targetname", "iqn.2020.com.example:disk")
    targets[3] = evolve(targets[3], backings=(Backing(kind="drbd", address="cm-3"),))
    reasons = plugin.restore_targets(targets, session)
    assert [bool(reason) for reason in reasons] == [False, True, False, True, False]
    assert "tgtd has iqn.2020.com.example:disk as target 101" in reasons[1]
    assert "tgtd is asked for volumes of the kind drbd" in reasons[3]
    assert {one.iqn for one in control.targets()} >= {targets[at].target.name for at in (0, 2, 4)}


def test_all_of_a_host_is_released_though_nobody_knows_its_targets(session: Session, control: Control) -> None:
    _, other = provide(session, request(sizes=(16, 16))), provide(session, request("cm-02", 3))
    assert plugin.release_host(Hostname("cm-01"), session) is True
    assert [one.iqn for one in control.targets()] == [other.target.name]
    assert plugin.release_host(Hostname("cm-01"), session) is False


def test_the_old_initiator_cannot_reach_the_next_generation(session: Session, tmp_path: Path) -> None:
    old = provide(session, request(number=2))
    with logged_in(old, old.target.client, tmp_path / "log"):
        plugin.release_target(old.target, session)
        new = provide(session, request(number=3, generation=2))
        assert (new.target.name, new.target.client) == (f"{old.target.name}:2", f"{old.target.client}:2")
        Path(new.backings[0].address).write_bytes(bytes(16 * MB))
        assert DENIED in inquiry(old.target.client, new)
        assert DENIED in inquiry(old.target.client, old)
        assert own_control(session).targets()[0].sessions == ()
    assert "DIRECT_ACCESS" in inquiry(new.target.client, new)


def test_a_killed_tgtd_comes_back_with_the_same_targets(session: Session, control: Control, tmp_path: Path) -> None:
    targets = [provide(session, request("cm-01", 2)), provide(session, request("cm-02", 3, sizes=(8, 8)))]
    before = control.targets()
    with logged_in(targets[0], targets[0].target.client, tmp_path / "log"):
        os.kill(tgtd(session), signal.SIGKILL)
        wait_until(lambda: not control.answers(), seconds=60, what="tgtd to be gone")
        with pytest.raises(TerraError, match="no tgtd answers"):
            plugin.restore_target(targets[0], session)
        assert plugin.start_storage(PORTAL, session) is True
        assert [plugin.restore_target(target, session) for target in targets] == [True, True]
    wait_until(lambda: not control.targets()[0].sessions, seconds=60, what="the initiator to be gone")
    assert control.targets() == before
    assert "DIRECT_ACCESS" in inquiry(targets[1].target.client, targets[1], 2)
    assert DENIED in inquiry(targets[1].target.client, targets[1], 2, secret="")


def test_a_target_is_released_when_no_tgtd_runs(session: Session) -> None:
    target = provide(session, request())
    assert plugin.stop_storage(session) is True
    assert plugin.release_target(target.target, session) is False
    assert plugin.start_storage(PORTAL, session) is True
    assert own_control(session).targets() == (), "and it does not come back with the service"


def test_two_at_once(session: Session, control: Control, network: Network) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        with network.inside():
            try:
                target = provide(session, request(f"cm-{number}", number))
                if number % 2:
                    plugin.release_target(target.target, session)
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(one.id for one in control.targets()) == [2, 4, 6]


def test_every_tgtd_is_gone_in_the_end(network: Network, tmp_path: Path) -> None:
    session = Session(paths=Paths(tmp_path / "root"))
    with network.inside():
        plugin.start_storage(PORTAL, session)
        provide(session, request())
        assert plugin.stop_storage(session) is True
    assert not running(lambda process: process.name == "tgtd" and process in network.processes())
