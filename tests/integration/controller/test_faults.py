"""Whatever is killed, and whenever: the controller comes back to what its database says, and machines notice nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from attrs import evolve

from lab.network import CONTROLLER
from lab.processes import Process, running, zombies
from lab.site import terra_command
from terra_core.errors import CommandError
from terra_core.system.mounts import loop_devices
from terra_core.system.process import run
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import MAC, Ground
from tests.integration.somebody import somebodys_namespace
from tftp_lab.clients import fetch

OTHER = "52:54:00:00:00:02"
MOMENTS: dict[str, Callable[[Ground], None]] = {
    "while it pulls": lambda ground: ground.wait_for("var/lib/terra/images/*"),
    "when the disk is there": lambda ground: ground.wait_for("iscsi/cm-01/0.lun"),
    "while it lays down": lambda ground: ground.wait_until_mounted(),
    "when the kernel is copied": lambda ground: ground.wait_for("var/lib/terra/golden/*/initrd.img"),
    "when the boot files are there": lambda ground: ground.wait_for("tftp/nodes/cm-01/initrd.img"),
}


@pytest.fixture(autouse=True)
def _nothing_before_and_after(ground: Ground) -> None:
    """Begin every test with an empty site and a controller that runs."""
    if ground.site.controller is None or not ground.site.controller.alive:
        ground.site.start_controller()
    ground.clear()
    assert ground.left() == []


def kill_controller(ground: Ground) -> None:
    controller = ground.site.controller
    assert controller is not None
    controller.signal(signal.SIGKILL)
    assert controller.wait(10) == -signal.SIGKILL


def service(ground: Ground, name: str) -> Process:
    """Return the daemon of this name in the site's network."""
    (found,) = [process for process in ground.site.network.processes() if process.name == name]
    return found


def services(ground: Ground) -> dict[str, Process]:
    """Return the daemons that outlive a controller, without their parents, which change when it ends."""
    return {name: evolve(service(ground, name), parent=0) for name in ("tgtd", "dnsmasq")}


def menu(ground: Ground) -> str:
    with ground.site.network.inside():
        return fetch(CONTROLLER, f"pxelinux.cfg/01-{MAC.replace(':', '-')}").decode()


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_while_provisioning(ground: Ground, slow: str, small: str, moment: str) -> None:
    provision = ground.start("provision", ground.node(slow))
    MOMENTS[moment](ground)
    kill_controller(ground)
    assert provision.wait(30) == 1
    assert "the connection ended before the work did" in provision.log.read_text()
    before = services(ground)
    ground.site.start_controller()
    assert services(ground) == before, "the services went on"
    nodes = ground.nodes()
    if nodes:
        assert moment == "when the boot files are there"
        assert [(node["state"], node["problem"]) for node in nodes] == [("ready", "")]
        assert ground.reachable(nodes[0]["initiator_iqn"]) == [nodes[0]["disk_groups"][0]["target"]["iqn"]]
    else:
        assert ground.left() == []
        assert ground.provision(small)["hostname"] == "cm-01"


def test_kill_9_while_deleting(ground: Ground, small: str) -> None:
    ground.provision(small)
    delete = ground.start("delete", "cm-01")
    wait_until(lambda: not (ground.site.paths.tftp / "nodes/cm-01").exists(), seconds=60, what="it to begin", interval=0.001)
    kill_controller(ground)
    delete.wait(30)
    ground.site.start_controller()
    assert ground.nodes() == []
    assert ground.left() == []


def test_a_restart_touches_no_machine(ground: Ground, small: str) -> None:
    shown = ground.provision(small)
    disk = Path(shown["disk_groups"][0]["disks"][0]["device"])
    before = (services(ground), ground.targets(), disk.stat().st_ino, disk.stat().st_mtime_ns, menu(ground), ground.nodes())
    kill_controller(ground)
    ground.site.start_controller()
    ground.site.stop_controller()
    assert (services(ground), ground.targets()) == before[:2], "they outlive it"
    ground.site.start_controller()
    after = (services(ground), ground.targets(), disk.stat().st_ino, disk.stat().st_mtime_ns, menu(ground), ground.nodes())
    assert after == before


def test_sigterm_while_provisioning_undoes_it_and_ends_well(ground: Ground, slow: str, small: str) -> None:
    ground.provision(small, "cm-02", OTHER)
    before = (services(ground), ground.targets())
    provision = ground.start("provision", ground.node(slow))
    ground.wait_until_mounted()
    controller = ground.site.controller
    assert controller is not None
    controller.signal(signal.SIGTERM)
    assert controller.wait(8) == 0
    assert provision.wait(5) == 130
    assert "provision of cm-01 was interrupted" in provision.log.read_text()
    assert (services(ground), ground.targets()) == before
    assert not (ground.site.paths.root / "iscsi" / "cm-01").exists()
    assert "Traceback" not in controller.log.read_text()
    assert "ended; storage and boot services go on" in controller.log.read_text()
    ground.site.start_controller()
    assert [node["hostname"] for node in ground.nodes()] == ["cm-02"]


def test_ctrl_c_ends_it(ground: Ground) -> None:
    controller = ground.site.controller
    assert controller is not None
    controller.signal(signal.SIGINT)
    assert controller.wait(8) == 130
    assert "Traceback" not in controller.log.read_text()


def test_sigterm_while_starting_ends_it(ground: Ground) -> None:
    ground.site.stop_controller()
    begun = ground.start("--controller", CONTROLLER, "controller", "--root", ground.site.root)
    wait_until(lambda: _locked(ground), seconds=60, what="it to begin", interval=0.005)
    begun.signal(signal.SIGTERM)
    assert begun.wait(10) == 0
    assert "Traceback" not in begun.log.read_text()


def _locked(ground: Ground) -> bool:
    lock = (ground.site.paths.run / "controller.lock").stat().st_ino
    return any(f":{lock} " in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.mark.parametrize("name", ["tgtd", "dnsmasq"])
def test_a_service_that_is_killed_is_back_with_all_that_it_had(ground: Ground, small: str, name: str) -> None:
    shown = [ground.provision(small), ground.provision(small, "cm-02", OTHER)]
    before = ground.targets(), menu(ground)

    def back(killed: Process) -> bool:
        found = [one for one in ground.site.network.processes() if one.name == name and one != killed]
        return bool(found) and ground.targets() == before[0]

    for _ in range(2):  # the second one is this controller's own child, whoever started the first
        killed = service(ground, name)
        os.kill(killed.pid, signal.SIGKILL)
        wait_until(partial(back, killed), seconds=60, what=f"{name} to be back")
    assert ground.site.controller is not None
    assert zombies(ground.site.controller.pid) == []
    for machine in shown:
        assert ground.reachable(machine["initiator_iqn"]) == [machine["disk_groups"][0]["target"]["iqn"]]
    wait_until(lambda: _quiet(lambda: menu(ground)) == before[1], seconds=60, what="the boot files to be served")
    # The second one may have been killed before it was up, which is a problem until the next one is.
    wait_until(lambda: [node["problem"] for node in ground.nodes()] == ["", ""], seconds=60, what="all to be well")
    log = ground.site.controller.log.read_text() if ground.site.controller else ""
    gone = {"tgtd": "the storage service was gone", "dnsmasq": "the boot service was gone or did not answer,"}[name]
    assert f"{gone} and has been started again" in log


def _quiet(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except OSError:
        return ""


def test_a_disk_that_was_tampered_with_is_quarantined_and_the_others_go_on(ground: Ground, small: str) -> None:
    ground.provision(small)
    ground.provision(small, "cm-02", OTHER)
    lun = ground.site.paths.root / "iscsi" / "cm-01/0.lun"
    lun.rename(lun.with_suffix(".away"))
    secret = ground.path("secret")
    secret.write_text("of the host")

    def lose_targets(problem: str) -> None:
        os.kill(service(ground, "tgtd").pid, signal.SIGKILL)
        wait_until(lambda: problem in ground.nodes()[0]["problem"], seconds=60, what=f"it to be said that the LUN {problem}")
        wait_until(lambda: len(ground.targets()) == 1, seconds=60, what="the other machine's target to be back")
        assert "cm-01 cannot boot: " in ground.terra("list").stderr.decode()

    lose_targets("is missing")
    lun.symlink_to(secret)
    lose_targets("a symbolic link stands in place")
    lun.unlink()
    lun.with_suffix(".away").rename(lun)
    ground.site.stop_controller()
    ground.site.start_controller()
    assert [node["problem"] for node in ground.nodes()] == ["", ""]
    assert len(ground.targets()) == 2
    assert secret.read_text() == "of the host"


def test_a_second_controller_on_the_same_root_is_refused(ground: Ground) -> None:
    before = services(ground)
    done = ground.terra("--controller", "10.0.10.1", "controller", "--root", ground.site.root, accept=(1,))
    assert f"{ground.site.root}: a controller runs here already (process " in done.stderr.decode()
    assert "--root DIR" in done.stderr.decode()
    assert services(ground) == before
    stop = ground.terra("controller", "--stop", "--root", ground.site.root, accept=(1,))
    assert "a controller runs here already" in stop.stderr.decode()
    assert services(ground) == before
    assert ground.nodes() == []


@pytest.mark.parametrize(
    ("address", "portal", "port", "message"),
    [
        (CONTROLLER, "10.0.10.1", 9000, "cannot listen on 10.0.10.3 port 9000: Address already in use"),
        ("10.9.9.9", "10.0.10.1", 9000, "cannot listen on 10.9.9.9 port 9000: Cannot assign requested address"),
        ("10.0.10.1", "10.0.10.4", 9000, "10.0.10.4:3260: another iSCSI service answers there already"),
        (CONTROLLER, "10.0.10.1", 9010, "cannot answer on 10.0.10.3: its UDP port 69 (TFTP) is taken"),
        (CONTROLLER, "10.0.10.1", 8999, "cannot listen on 10.0.10.3 port 9000: Address already in use"),
    ],
)
def test_a_taken_port_is_said_and_nothing_is_left_of_the_start(
    ground: Ground, address: str, portal: str, port: int, message: str
) -> None:
    root = ground.path("other")
    before = ground.site.network.processes()
    (root / "etc/terra").mkdir(parents=True)
    (root / "etc/terra/controller.toml").write_text(f"port = {port}\n")
    began = ground.start("--controller", address, "controller", "--iscsi", portal, "--root", root)
    try:
        code = began.wait(30)
    except CommandError:  # it started all the same
        began.stop(10)
        ground.terra("controller", "--stop", "--root", root)
        raise
    assert code == 1
    said = began.log.read_text()
    assert message in said
    assert "Traceback" not in said
    assert ground.site.network.processes() == before


def test_two_controllers_live_side_by_side_one_of_them_with_tls(ground: Ground, small: str) -> None:
    ground.provision(small)
    root = ground.path("tls")
    (root / "etc/terra").mkdir(parents=True)
    certificate, key = root / "certificate.pem", root / "key.pem"
    _make_certificate(ground, certificate, key)
    config = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n[docker]\ninsecure = ["10.0.10.3:5000"]\n'
    (root / "etc/terra/controller.toml").write_text(config)
    second = ground.start("--controller", "10.0.10.1", "controller", "--root", root)
    try:
        wait_until(lambda: "ready" in second.log.read_text() or not second.alive, seconds=30, what="it to be ready")
        assert "api=https://10.0.10.1:9000" in second.log.read_text(), second.log.read_text()
        environment = {"TERRA_TOKEN": (root / "etc/terra/token").read_text().strip(), "TERRA_CONTROLLER": "https://10.0.10.1"}
        trusted = _terra(ground, environment, certificate)
        assert trusted("provision", ground.node(small)) == 0
        assert trusted("list") == 0
        assert (root / "iscsi/cm-01/0.lun").is_file()
        assert _terra(ground, environment, None)("list") == 1
        assert _terra(ground, {**environment, "TERRA_TOKEN": "another-token-0123"}, certificate)("list") == 1
        assert trusted("delete", "cm-01") == 0
    finally:
        second.stop(20)
        ground.terra("controller", "--stop", "--root", root)
    assert [node["hostname"] for node in ground.nodes()] == ["cm-01"]
    assert len(ground.targets()) == 1


def _make_certificate(ground: Ground, certificate: Path, key: Path) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=10.0.10.1"]
    run([*words, "-addext", "subjectAltName=IP:10.0.10.1", "-keyout", key, "-out", certificate])


def _terra(ground: Ground, environment: dict[str, str], certificate: Path | None) -> Callable[..., int]:
    trust = {"REQUESTS_CA_BUNDLE": str(certificate)} if certificate else {}

    def call(*words: str | Path) -> int:
        args = ground.site.network.command([terra_command(), *words])
        return run(args, env={**environment, **trust}, accept=(0, 1), timeout=60).code

    return call


def test_a_certificate_that_is_not_there_is_said(ground: Ground) -> None:
    root = ground.path("no-tls")
    (root / "etc/terra").mkdir(parents=True)
    (root / "etc/terra/controller.toml").write_text('[tls]\ncertificate = "/nowhere.pem"\nkey = "/nowhere.pem"\n')
    before = ground.site.network.processes()
    done = ground.terra("--controller", "10.0.10.1", "controller", "--root", root, accept=(1,))
    message = "the API cannot use the certificate /nowhere.pem with the key /nowhere.pem: No such file or directory"
    assert message in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert ground.site.network.processes() == before


@pytest.mark.sqlite
def test_a_damaged_database_is_refused_and_not_replaced(ground: Ground, small: str) -> None:
    ground.provision(small)
    targets = ground.targets()
    ground.site.stop_controller()
    database = ground.site.paths.state / "terra.db"
    assert not database.with_name("terra.db-wal").exists(), "all of it is in one file"
    good = database.read_bytes()
    database.write_bytes(b"no database " * 1000)
    done = ground.terra("--controller", CONTROLLER, "controller", "--root", ground.site.root, accept=(1,))
    assert "the database cannot be used: file is not a database" in done.stderr.decode()
    assert database.read_bytes() == b"no database " * 1000
    assert ground.targets() == targets, "machines go on"
    database.write_bytes(good)
    ground.site.start_controller()
    assert [node["state"] for node in ground.nodes()] == ["ready"]


def test_stop_takes_the_services_down_and_a_start_brings_all_of_it_back(ground: Ground, small: str) -> None:
    shown = ground.provision(small)
    before = ground.targets()
    ground.site.stop_controller()
    done = ground.terra("controller", "--stop", "--root", ground.site.root)
    assert "stopped: boot, storage" in done.stderr.decode()
    assert [one.name for one in ground.site.network.processes() if one.name in ("tgtd", "dnsmasq")] == []
    assert (ground.site.paths.root / "iscsi" / "cm-01/0.lun").is_file()
    again = ground.terra("controller", "--stop", "--root", ground.site.root)
    assert "stopped: nothing ran" in again.stderr.decode()
    ground.site.start_controller()
    assert ground.targets() == before
    assert ground.may_log_in(shown["initiator_iqn"], shown["disk_groups"][0]["target"]["iqn"])


def test_a_full_disk_fails_one_machine_and_no_other(ground: Ground, small: str, big: str) -> None:
    ground.site.stop_controller()
    ground.terra("controller", "--stop", "--root", ground.site.root)
    store = ground.site.paths.root / "iscsi"
    store.mkdir(exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", store])
    try:
        ground.site.start_controller()
        ground.provision(small, "cm-02", OTHER)
        failed = ground.terra("provision", ground.node(big), accept=(1,))
        told = failed.stderr.decode().rpartition("Error: ")[2]
        assert re.match(rf"{re.escape(str(store))}/golden_\w+/0\.lun: the disk that it is on is full\n", told)
        assert "Traceback" not in failed.stderr.decode()
        assert [(node["hostname"], node["state"], node["problem"]) for node in ground.nodes()] == [("cm-02", "ready", "")]
        assert {path.name for path in store.iterdir()} == {"cm-02", *ground.golden()}
    finally:
        ground.clear()
        ground.site.stop_controller()
        ground.terra("controller", "--stop", "--root", ground.site.root)
        run(["umount", store])


def test_no_process_of_terra_runs_beside_the_controller(ground: Ground) -> None:
    assert ground.site.controller is not None
    inside = {one.pid for one in ground.site.network.processes() if one.name == "terra"}
    assert inside == {ground.site.controller.pid}
    assert running(lambda process: process.name == "losetup" and str(ground.site.root) in process.command) == []


def test_somebody_makes_a_namespace_while_it_lays_down(ground: Ground, slow: str) -> None:
    """Make a namespace meanwhile, as every container engine does: it would keep the machine's disk mounted."""
    provision = ground.start("provision", ground.node(slow))
    ground.wait_until_mounted()
    with somebodys_namespace():
        assert provision.wait(60) == 0, provision.log.read_text()
        assert [one for one in ground.left() if "/dev/loop" in one or one.startswith("mount")] == []


def test_what_somebody_holds_of_a_killed_controller_is_set_aside(ground: Ground, small: str) -> None:
    kill_controller(ground)
    paths = ground.site.paths
    place, lun = paths.run / "work/cm-09-x/root", paths.root / "iscsi" / "cm-09/0.lun"
    for directory in (place, lun.parent):
        directory.mkdir(parents=True)
    with lun.open("xb") as file:
        file.truncate(16 * 1024 * 1024)
    run(["mkfs.ext4", "-q", lun])
    device = run(["losetup", "--find", "--show", lun]).text.strip()
    run(["mount", device, place])
    with somebodys_namespace():
        ground.site.start_controller()
        assert ground.provision(small)["hostname"] == "cm-01"
    shutil.rmtree(lun.parent)
    wait_until(lambda: not any(str(one.path) == device for one in loop_devices()), seconds=60, what=f"{device} to go")
