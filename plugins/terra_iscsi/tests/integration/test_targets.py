"""Targets of a real tgtd in a network of its own, and initiators that may or may not reach them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from lab.network import ISCSI, Network
from lab.processes import running
from terra_core.config.controller import Paths
from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.config.values import Address, Hostname
from terra_core.errors import ConflictError, TerraError
from terra_core.hookspecs import Target, TargetRequest
from terra_core.system.process import Completed, Daemon, run
from terra_core.system.waiting import wait_until
from terra_iscsi import plugin
from terra_iscsi.control import Control
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
    """A controller's session; its storage service runs in the network."""
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


def request(hostname: str = "cm-01", number: int = 2, *, label: str = "os", sizes: tuple[int, ...] = (16,),
            first_lun: int = 0, generation: int = 1) -> TargetRequest:  # fmt: skip
    raw = {
        "label": label,
        "type": "single",
        "disk": [{"device": f"/dev/sd{letter}", "size": size} for letter, size in zip("abcdef", sizes, strict=False)],
    }
    return TargetRequest(
        hostname=Hostname(hostname),
        number=number,
        generation=generation,
        group=structure(raw, DiskGroup),
        first_lun=first_lun,
        boot=label == "os",
        portal=PORTAL,
    )


def allocated(session: Session, wanted: TargetRequest) -> AbstractContextManager[Target]:
    return plugin.provision_target(plugin.plan_target(wanted, session), session)


def provide(session: Session, wanted: TargetRequest) -> Target:
    with allocated(session, wanted) as target:
        assert plugin.restore_target(target, session)
    return target


def provide_files(session: Session, wanted: TargetRequest) -> Target:
    with allocated(session, wanted) as target:
        return target


def inquiry(initiator: str, target: Target, lun: int = 1) -> str:
    """What an initiator learns of a logical unit: what it is, or why not."""
    done = run(["iscsi-inq", "-i", initiator, f"iscsi://{PORTAL}/{target.iqn}/{lun}"], accept=(0, 10), timeout=20)
    return done.text + done.stderr.decode()


@contextmanager
def logged_in(target: Target, initiator: str, log: Path) -> Iterator[Daemon]:
    """An initiator that reads and reads."""
    daemon = Daemon(["iscsi-perf", "-i", initiator, "-t", "60", f"iscsi://{PORTAL}/{target.iqn}/1"], log=log)
    try:
        wait_until(lambda: b"iops" in log.read_bytes(), seconds=10, what="the initiator to read")
        yield daemon
    finally:
        daemon.stop(1)


def tgtd(session: Session) -> int:
    return int((session.paths.run / "tgtd.pid").read_text())


def test_the_bound_initiator_reaches_its_disk_and_nobody_else_does(session: Session) -> None:
    target = provide(session, request())
    other = provide(session, request("cm-02", 3))
    assert "DIRECT_ACCESS" in inquiry(target.initiator, target)
    assert DENIED in inquiry(other.initiator, target)
    assert DENIED in inquiry("iqn.2024.node.crosbymichael.com:stranger", target)
    found = run(["iscsi-ls", "-s", "-i", target.initiator, f"iscsi://{PORTAL}"]).text
    assert target.iqn in found
    assert other.iqn not in found
    assert "Lun:1    Type:DIRECT_ACCESS (Size:15M)" in found  # the number of the last block, rounded down
    assert run(["iscsi-ls", "-i", "iqn.2024.node.x:stranger", f"iscsi://{PORTAL}"]).text == ""


def test_a_group_of_several_disks(session: Session) -> None:
    target = provide(session, request(label="storage", sizes=(16, 8, 8), first_lun=1))
    assert [Path(lun.path).name for lun in target.luns] == ["1.lun", "2.lun", "3.lun"]
    assert [Path(lun.path).stat().st_size // MB for lun in target.luns] == [16, 8, 8]
    for lun in target.luns:
        assert "DIRECT_ACCESS" in inquiry(target.initiator, target, lun.id)


def test_what_an_initiator_writes_is_in_the_file(session: Session, tmp_path: Path) -> None:
    target = provide(session, request())
    word = tmp_path / "word"
    word.write_bytes(b"written over iSCSI".ljust(512, b"\0"))
    url = f"json:{{'driver': 'iscsi', 'transport': 'tcp', 'portal': '{PORTAL}', 'target': '{target.iqn}', 'lun': 1,"
    url += f" 'initiator-name': '{target.initiator}'}}"
    run(["qemu-img", "dd", "-f", "raw", "-O", "raw", f"if={word}", f"of={tmp_path / 'copy'}", "bs=512"])
    run(["qemu-io", "-c", f"write -s {word} 0 512", "-c", "flush", url])
    assert Path(target.luns[0].path).read_bytes()[:18] == b"written over iSCSI"


def test_restoring_again_changes_nothing_and_disturbs_nobody(session: Session, tmp_path: Path) -> None:
    target = provide(session, request())
    with logged_in(target, target.initiator, tmp_path / "log") as initiator:
        before = own_control(session).targets()
        assert plugin.restore_target(target, session) is False
        assert own_control(session).targets() == before
        assert before[0].sessions
        assert initiator.alive


def test_nothing_is_exported_before_it_is_restored(session: Session, control: Control) -> None:
    with allocated(session, request()) as target:
        assert control.targets() == ()
        assert DENIED in inquiry(target.initiator, target)


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
        wait_until(lambda: not control.targets()[0].sessions or not intruder.alive, seconds=5, what="the intruder to be out")
    assert control.targets()[0].rules == (target.initiator,)
    assert "DIRECT_ACCESS" in inquiry(target.initiator, target)
    assert plugin.restore_target(target, session) is False


def test_a_name_that_was_bound_as_an_address_is_bound_right(session: Session, control: Control) -> None:
    target = provide(session, request())
    words = ("--mode", "target", "--tid", "2")
    control.ask(*words, "--op", "unbind", "--initiator-name", target.initiator)
    control.ask(*words, "--op", "bind", "--initiator-address", target.initiator)
    assert DENIED in inquiry(target.initiator, target)
    assert plugin.restore_target(target, session) is True
    assert "DIRECT_ACCESS" in inquiry(target.initiator, target)
    assert plugin.restore_target(target, session) is False


def test_logical_units_that_somebody_else_changed(session: Session, control: Control, tmp_path: Path) -> None:
    target = provide(session, request())
    (tmp_path / "foreign").write_bytes(bytes(MB))
    unit = ("--mode", "logicalunit", "--tid", "2")
    control.ask(*unit, "--op", "new", "--lun", "2", "--backing-store", str(tmp_path / "foreign"))
    assert plugin.restore_target(target, session) is True
    assert dict(control.targets()[0].luns) == {1: target.luns[0].path}
    control.ask(*unit, "--op", "delete", "--lun", "1")
    assert plugin.restore_target(target, session) is True
    assert dict(control.targets()[0].luns) == {1: target.luns[0].path}
    assert control.targets()[0].rules == (target.initiator,)


def test_a_number_or_a_name_that_is_taken(session: Session, control: Control) -> None:
    control.ask("--mode", "target", "--op", "new", "--tid", "2", "--targetname", "iqn.2020.com.example:disk")
    with allocated(session, request()) as target:
        with pytest.raises(ConflictError, match=r"tgtd has iqn\.2020\.com\.example:disk as target 2"):
            plugin.restore_target(target, session)
        control.ask("--mode", "target", "--op", "new", "--tid", "9", "--targetname", target.iqn)
        control.ask("--mode", "target", "--op", "delete", "--tid", "2")
        with pytest.raises(ConflictError, match="as target 9"):
            plugin.restore_target(target, session)


def test_a_file_is_exported_once(session: Session, control: Control) -> None:
    with allocated(session, request()) as target:
        control.ask("--mode", "target", "--op", "new", "--tid", "7", "--targetname", "iqn.2020.com.example:disk")
        file = target.luns[0].path
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

    with allocated(session, request(sizes=(16, 16))) as target:
        monkeypatch.setattr(Control, "ask", then_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            plugin.restore_target(target, session)
        monkeypatch.undo()
        assert control.targets() == ()
        assert plugin.restore_target(target, session) is True


@pytest.mark.parametrize("fault", ["missing", "truncated", "symlink", "directory", "host-symlink"])
def test_a_lun_file_that_is_not_what_it_was_is_never_made_anew(
    fault: str, session: Session, control: Control, tmp_path: Path
) -> None:
    with allocated(session, request()) as target:
        pass
    file = Path(target.luns[0].path)
    if fault == "truncated":
        os.truncate(file, 8 * MB)
    elif fault == "host-symlink":
        file.parent.rename(tmp_path / "moved")
        file.parent.symlink_to(tmp_path / "moved")
    else:
        file.rename(tmp_path / "moved")
        if fault == "symlink":
            file.symlink_to(tmp_path / "moved")
        elif fault == "directory":
            file.mkdir()
    before = sorted(path.lstat().st_mode for path in session.paths.iscsi.rglob("*"))
    with pytest.raises(TerraError, match=r"LUN file|is a link"):
        plugin.restore_target(target, session)
    assert sorted(path.lstat().st_mode for path in session.paths.iscsi.rglob("*")) == before
    assert control.targets() == ()


def test_a_target_is_released_while_its_initiator_reads(session: Session, control: Control, tmp_path: Path) -> None:
    target = provide(session, request())
    with logged_in(target, target.initiator, tmp_path / "log"):
        assert plugin.release_target(target, session) is True
        assert control.targets() == ()
        assert not list(session.paths.iscsi.iterdir())
        assert DENIED in inquiry(target.initiator, target)
    assert plugin.release_target(target, session) is False


def test_releasing_leaves_the_neighbours_alone(session: Session, control: Control, tmp_path: Path) -> None:
    first = provide(session, request(number=2))
    second = provide(session, request(number=3, label="storage", first_lun=1))
    neighbour = provide(session, request("cm-02", 4))
    with logged_in(neighbour, neighbour.initiator, tmp_path / "log") as initiator:
        assert plugin.release_target(first, session) is True
        assert [one.iqn for one in control.targets()] == [second.iqn, neighbour.iqn]
        assert Path(second.luns[0].path).exists()
        assert initiator.alive
    assert plugin.release_target(second, session) is True
    assert not Path(second.luns[0].path).parent.exists()


def test_many_at_once_are_exported_with_two_looks(
    session: Session, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = [provide_files(session, request(f"cm-{at}", 100 + at)) for at in range(20)]
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
    assert {(one.id, one.iqn, one.rules) for one in control.targets()} == {(t.id, t.iqn, (t.initiator,)) for t in targets}
    assert "DIRECT_ACCESS" in inquiry(targets[7].initiator, targets[7])


def test_what_is_wrong_with_one_of_many_keeps_no_other_down(session: Session, control: Control) -> None:
    targets = [provide_files(session, request(f"cm-{at}", 100 + at)) for at in range(5)]
    control.ask("--mode", "target", "--op", "new", "--tid", "101", "--targetname", "iqn.2020.com.example:disk")
    Path(targets[3].luns[0].path).unlink()
    reasons = plugin.restore_targets(targets, session)
    assert [bool(reason) for reason in reasons] == [False, True, False, True, False]
    assert "tgtd has iqn.2020.com.example:disk as target 101" in reasons[1]
    assert "the LUN file is missing" in reasons[3]
    assert {one.iqn for one in control.targets()} >= {targets[at].iqn for at in (0, 2, 4)}


def test_all_of_a_host_is_released_though_nobody_knows_its_targets(session: Session, control: Control) -> None:
    own, other = provide(session, request(sizes=(16, 16))), provide(session, request("cm-02", 3))
    assert plugin.release_host(Hostname("cm-01"), session) is True
    assert [one.iqn for one in control.targets()] == [other.iqn]
    assert not Path(own.luns[0].path).parent.exists()
    assert Path(other.luns[0].path).exists()
    assert plugin.release_host(Hostname("cm-01"), session) is False


def test_the_old_initiator_cannot_reach_the_next_generation(session: Session, tmp_path: Path) -> None:
    old = provide(session, request(number=2))
    with logged_in(old, old.initiator, tmp_path / "log"):
        plugin.release_target(old, session)
        new = provide(session, request(number=3, generation=2))
        assert (new.iqn, new.initiator) == (f"{old.iqn}:2", f"{old.initiator}:2")
        Path(new.luns[0].path).write_bytes(bytes(16 * MB))
        assert DENIED in inquiry(old.initiator, new)
        assert DENIED in inquiry(old.initiator, old)
        assert own_control(session).targets()[0].sessions == ()
    assert "DIRECT_ACCESS" in inquiry(new.initiator, new)


def test_a_killed_tgtd_comes_back_with_the_same_targets(session: Session, control: Control, tmp_path: Path) -> None:
    targets = [provide(session, request("cm-01", 2)), provide(session, request("cm-02", 3, sizes=(8, 8)))]
    before = control.targets()
    with logged_in(targets[0], targets[0].initiator, tmp_path / "log"):
        os.kill(tgtd(session), signal.SIGKILL)
        wait_until(lambda: not control.answers(), seconds=5, what="tgtd to be gone")
        with pytest.raises(TerraError, match="no tgtd answers"):
            plugin.restore_target(targets[0], session)
        assert plugin.start_storage(PORTAL, session) is True
        assert [plugin.restore_target(target, session) for target in targets] == [True, True]
    wait_until(lambda: not control.targets()[0].sessions, seconds=5, what="the initiator to be gone")
    assert control.targets() == before
    assert "DIRECT_ACCESS" in inquiry(targets[1].initiator, targets[1], 2)


def test_a_target_is_released_when_no_tgtd_runs(session: Session) -> None:
    target = provide(session, request())
    assert plugin.stop_storage(session) is True
    assert plugin.release_target(target, session) is True
    assert not Path(target.luns[0].path).exists()
    assert plugin.release_target(target, session) is False


def test_two_at_once(session: Session, control: Control, network: Network) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        with network.inside():
            try:
                target = provide(session, request(f"cm-{number}", number))
                if number % 2:
                    plugin.release_target(target, session)
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
