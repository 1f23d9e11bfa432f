"""The controller's records on a real site: one that cannot be read, a database that is lost, a service that hangs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.network import CONTROLLER
from lab.processes import Process
from lab.site import terra_command
from terra_core.system.process import run
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import Ground
from tftp_lab.clients import fetch

OTHER = "52:54:00:00:00:02"
STATES = ("sqlite", "postgresql")


@pytest.fixture(autouse=True)
def _clean(ground: Ground) -> Iterator[None]:
    yield
    ground.clear()


def tgtd(ground: Ground) -> Process:
    (found,) = [one for one in ground.site.network.processes() if one.name == "tgtd"]
    return found


@pytest.mark.parametrize(
    "change",
    [
        "state = 'upgrading'",
        """document = '{"picture": "a"}'""",
        """targets = '"x"'""",
        pytest.param("document = '{'", marks=pytest.mark.sqlite),
        pytest.param("document = replace(document, 'image', 'picture')", marks=pytest.mark.sqlite),
        pytest.param("targets = 'x'", marks=pytest.mark.sqlite),
    ],
)
def test_a_record_that_cannot_be_read_is_named_and_can_be_deleted(ground: Ground, small: str, change: str) -> None:
    former = ground.provision(small)
    shown = ground.provision(small, "cm-02", OTHER)
    ground.site.stop_controller()
    ground.terra("controller", "--stop", "--root", ground.site.root)
    with ground.database() as connection:
        connection.exec_driver_sql(f"update nodes set {change} where hostname = 'cm-01'")  # noqa: S608  # no text from outside
    ground.site.start_controller()
    assert [(node["hostname"], node["state"]) for node in ground.nodes()] == [("cm-01", "failed"), ("cm-02", "ready")]
    assert ground.may_log_in(shown["initiator_iqn"], shown["disk_groups"][0]["target"]["iqn"])
    listed = ground.terra("list")
    assert "cm-02" in listed.text
    assert "cm-01 is set aside: its record cannot be read: " in listed.stderr.decode()
    assert "a record cannot be read and is set aside" in ground.site.log.read_text()
    ground.terra("delete", "cm-01")
    assert [node["hostname"] for node in ground.nodes()] == ["cm-02"]
    assert list(ground.targets()) == [shown["disk_groups"][0]["target"]["iqn"]]
    assert not (ground.site.paths.root / "iscsi" / "cm-01").exists()
    later = ground.provision(small)
    assert later["initiator_iqn"] != former["initiator_iqn"], "no name is used twice"


@pytest.mark.sqlite
def test_a_database_that_is_lost_is_not_replaced_by_an_empty_one(ground: Ground, small: str) -> None:
    ground.provision(small)
    targets = ground.targets()
    ground.site.stop_controller()
    database = ground.site.paths.state / "terra.db"
    kept = database.rename(database.with_name("kept"))
    words = ("--controller", CONTROLLER, "controller", "--root", ground.site.root)
    for _ in range(2):
        said = ground.terra(*words, accept=(1,)).stderr.decode()
        volumes = ground.site.paths.root / "iscsi"
        assert f"{database}: the database is empty, and {volumes} is of machines that it does not know" in said
        assert "put the database back" in said
        assert not database.exists()
    assert ground.targets() == targets, "machines go on"
    kept.rename(database)
    ground.site.start_controller()
    assert [node["state"] for node in ground.nodes()] == ["ready"]


def test_a_tgtd_that_hangs_is_said_of_every_machine_and_is_over_when_it_goes_on(ground: Ground, small: str) -> None:
    ground.provision(small)
    hung = tgtd(ground)
    os.kill(hung.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: "tgtd has not answered" in ground.nodes()[0]["problem"], seconds=30, what="it to be said")
        assert ground.nodes()[0]["state"] == "ready"
        with ground.site.network.inside(), urllib.request.urlopen(f"http://{CONTROLLER}:9000/healthz", timeout=5) as answer:
            assert json.load(answer) == {"status": "degraded", "degraded": ["storage"]}
        assert "cm-01 cannot boot: tgtd has not answered" in ground.terra("list").stderr.decode()
    finally:
        os.kill(hung.pid, signal.SIGCONT)
    wait_until(lambda: ground.nodes()[0]["problem"] == "", seconds=30, what="it to be over")
    assert tgtd(ground) == hung
    assert ground.site.log.read_text().count("a service cannot be kept up") == 1, "and the log has it once"


def test_a_controller_that_is_lost_is_restored_from_its_backup(ground: Ground, small: str) -> None:
    site, paths = ground.site, ground.site.paths
    kept, lost = ground.provision(small), ground.provision(small, "cm-02", OTHER)
    archive = ground.path("backup")
    said = ground.terra("backup", "--root", site.root, archive).stderr.decode()
    assert "the volumes of machines are not among them" in said
    assert archive.stat().st_mode & 0o777 == 0o600
    later = ground.provision(small, "cm-03", "52:54:00:00:00:03")  # nobody will know of it
    refused = ground.terra("restore", "--root", site.root, archive, accept=(1,)).stderr.decode()
    assert "a controller runs here already" in refused
    token = paths.token.read_text()
    site.stop_controller()
    ground.terra("controller", "--stop", "--root", site.root)
    volume = ground.path("volume")
    Path(paths.root / "iscsi/cm-01/0.lun").rename(volume)
    ground.lose_database()
    for part in ("etc", "var", "tftp", "iscsi", "run"):
        shutil.rmtree(paths.root / part)
    run([terra_command(), "restore", "--root", site.root, archive])
    (paths.root / "iscsi/cm-01").mkdir(parents=True)
    volume.rename(paths.root / "iscsi/cm-01/0.lun")
    site.start_controller()
    assert paths.token.read_text() == token
    nodes = {node["hostname"]: node for node in ground.nodes()}
    assert sorted(nodes) == ["cm-01", "cm-02"]
    assert nodes["cm-01"]["problem"] == ""
    assert "iscsi/cm-02/0.lun" in nodes["cm-02"]["problem"], "the volume that is missing is named"
    assert ground.may_log_in(kept["initiator_iqn"], kept["disk_groups"][0]["target"]["iqn"])
    assert not ground.may_log_in(lost["initiator_iqn"], lost["disk_groups"][0]["target"]["iqn"])
    with site.network.inside():
        assert fetch(CONTROLLER, "nodes/cm-01/vmlinuz") == b"a kernel " * 1000
    again = ground.provision(small, "cm-03", "52:54:00:00:00:03")
    assert again["initiator_iqn"] != later["initiator_iqn"], "no name is used twice, also of machines that nobody knows of"
