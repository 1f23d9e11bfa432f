"""Two hosts with disks of their own on one database: each works for its own machines, and either one answers for both."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import update

from lab.network import ISCSI
from lab.postgresql import Postgresql
from lab.site import START, confined, terra_command
from terra_core.config.controller import Controller, Paths
from terra_core.config.values import Address, Hostname
from terra_core.controller.daemon import open_store
from terra_core.controller.database import controllers
from terra_core.controller.homes import machines_of_hosts, mark_home, mark_of, settle_hosts
from terra_core.controller.hosts import Doing, HostRows
from terra_core.controller.machines import Machines
from terra_core.controller.mark import marked
from terra_core.controller.presence import own_of
from terra_core.controller.records import Record
from terra_core.controller.store import Store
from terra_core.errors import TerraError
from terra_core.system.process import run
from terra_core.system.progress import silent
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import MANY, MUCH, SYSTEM
from tests.integration.controller.test_hosts import Both, hosts_of, states
from tests.unit.controller.fakes import ROLES, World, make_site, node_document
from tests.unit.oci.making import layer, tar

PORTAL = "10.0.10.6"
"""Where the storage service of the second host answers."""
LOCAL = "local_store = true\n"


class Two(Both):
    """Both hosts."""

    def programs(self) -> tuple[set[str], set[str]]:
        """Return the services that run on each host."""
        networks = (self.ground.site.network, self.second.network)
        first, second = ({one.name for one in network.processes()} & {"tgtd", "dnsmasq"} for network in networks)
        return first, second

    def clear(self) -> None:
        """Delete every machine, and what is laid down on either host."""
        for name in self.owners():
            self.ground.terra("delete", "--force", name)
        for asked, host in ((self.first, "san-01"), (self.other, "san-02")):
            for digest in {image["digest"] for image in asked("GET", "/v1/images")[1] if image["host"] == host}:
                assert asked("DELETE", f"/v1/images/{digest}")[0] == 200

    def storages(self) -> set[int]:
        """Return the processes of the storage services."""
        networks = (self.ground.site.network, self.second.network)
        return {one.pid for network in networks for one in network.processes() if one.name == "tgtd"}

    def reserved(self, host: str) -> dict[str, str]:
        """Return the address of each machine that the boot service of a host has, once that knows all machines."""
        file = Paths(self.ground.site.root if host == "first" else self.second.root).run / "tftp/reservations"

        def found() -> dict[str, str]:
            rows = [line.split(",") for line in file.read_text().splitlines()]
            return {row[-2].removesuffix(".terra"): row[1] for row in rows}

        wait_until(lambda: found().keys() == self.owners().keys(), seconds=20, what="all reservations")
        return found()

    def provision(self, image: str, number: int, host: str = "") -> dict[str, Any]:
        """Provision a machine by the first host; return what terra prints."""
        more = f'host = "{host}"\n' if host else ""
        node = self.ground.node(image, f"cm-0{number}", f"52:54:00:00:00:0{number}")
        node.write_text(more + node.read_text())
        shown: dict[str, Any] = json.loads(self.ground.terra("provision", node).text)
        return shown

    def owners(self) -> dict[str, str]:
        """Return the host of each machine, as both hosts say it."""
        first, second = (asked("GET", "/v1/nodes")[1] for asked in (self.first, self.other))
        found = {node["hostname"]: node["host"] for node in first}
        assert {node["hostname"]: node["host"] for node in second} == found
        return found

    def volumes(self) -> tuple[set[str], set[str]]:
        """Return the machines that have volumes on each host."""
        roots = (self.ground.site.root, self.second.root)
        first, second = ({path.parent.name for path in (root / "iscsi").glob("cm-*/*")} for root in roots)
        return first, second

    def reaches(self, shown: dict[str, Any], portal: str) -> bool:
        """Return whether a portal shows a machine its target."""
        words = ["iscsi-ls", "-i", shown["initiator_iqn"], f"iscsi://{portal}"]
        found = run(self.second.network.command(words), timeout=20, accept=range(256)).text
        return shown["disk_groups"][0]["target"]["iqn"] in found


@pytest.fixture(scope="module")
def both(postgresql: Postgresql) -> Iterator[Two]:
    """Start both hosts; the first one leads."""
    with hosts_of(Two, postgresql.make("local"), LOCAL, portal=PORTAL) as both:
        yield both


@pytest.fixture
def two(both: Two) -> Iterator[Two]:
    """Offer both hosts, and leave nothing there."""
    with Undo() as undo:
        undo.callback(both.clear)
        yield both


def test_each_host_has_its_own_machines_and_either_one_answers_for_both(two: Two) -> None:
    image = two.ground.push("small", SYSTEM)
    assert states(two.first("GET", "/v1/hosts")) == {"san-01": ("working", True), "san-02": ("working", False)}
    assert two.programs() == ({"tgtd", "dnsmasq"}, {"tgtd"})
    shown = [two.provision(image, number) for number in range(1, 5)]
    assert sorted(two.owners().values()) == ["san-01", "san-01", "san-02", "san-02"]
    assert {one["hostname"]: one["host"] for one in shown} == two.owners()
    own = {name: {machine for machine, host in two.owners().items() if host == name} for name in ("san-01", "san-02")}
    assert two.volumes() == (own["san-01"], own["san-02"])
    for one in shown:
        here, there = (ISCSI, PORTAL) if one["host"] == "san-01" else (PORTAL, ISCSI)
        assert two.reaches(one, here)
        assert not two.reaches(one, there)
        menu = (two.ground.site.paths.tftp / f"pxelinux.cfg/01-{one['mac'].replace(':', '-')}").read_text()
        assert f"ISCSI_TARGET_IP={here}" in menu
    assert len([line for line in two.second.terra("list").text.splitlines() if line.split()[-1] in own]) == 4
    assert {one["host"] for one in json.loads(two.ground.terra("images", "-o", "json").text)} == set(own)
    reserved = two.ground.site.paths.run / "tftp/reservations"
    wait_until(lambda: all(f"{name}." in reserved.read_text() for name in two.owners()), seconds=10, what="all reservations")
    for name, root in (("san-01", two.ground.site.root), ("san-02", two.second.root)):
        network = two.ground.site.network if name == "san-01" else two.second.network
        words = network.command([terra_command(), "doctor", "--root", root, "-o", "json"])
        looked = json.loads(run(words, timeout=60, accept=(0, 1)).text)
        assert [one["problem"] for one in looked["off"] if "boot loaders" not in one["problem"]] == []
        assert looked["machines"] == len(own[name])
    mine, other = min(own["san-01"]), min(own["san-02"])
    assert "host        san-02" in two.ground.terra("status", other).text
    assert "trouble" not in two.ground.terra("status", other).text
    assert "provision is done" in two.ground.terra("logs", other).text
    two.ground.terra("delete", other)
    two.second.terra("delete", mine)
    assert two.volumes() == (own["san-01"] - {mine}, own["san-02"] - {other})
    assert "no machine is named" in two.ground.terra("delete", other, accept=(1,)).stderr.decode()
    two.clear()
    assert two.volumes() == (set(), set())


def test_a_machine_goes_to_the_host_that_its_file_names_and_stays_there(two: Two) -> None:
    image = two.ground.push("small", SYSTEM)
    assert two.provision(image, 1, "san-02")["host"] == "san-02"
    assert two.provision(image, 2, "san-02")["host"] == "san-02"
    node = two.ground.node(image, "cm-03", "52:54:00:00:00:03")
    text = node.read_text()
    node.write_text(f'host = "san-09"\n{text}')
    for words in (("provision", node), ("apply", node)):
        told = two.ground.terra(*words, accept=(1, 2))
        assert "expected one of the hosts that there are, san-01, san-02" in told.text + told.stderr.decode()
    node.write_text(f'host = "san-02"\n{text}'.replace("size = 256", "size = 320"))
    two.ground.terra("apply", node)
    node.write_text(f'host = "san-01"\n{text}'.replace("size = 256", "size = 320"))
    told = two.ground.terra("apply", node, accept=(1,))
    assert "its data would have to move" in told.text + told.stderr.decode()
    node.write_text(text.replace("size = 256", "size = 384"))
    two.ground.terra("apply", node)
    lun = two.second.root / "iscsi/cm-03/0.lun"
    assert lun.stat().st_size == 384 << 20
    assert two.owners() == dict.fromkeys(("cm-01", "cm-02", "cm-03"), "san-02")


def test_the_lead_moves_with_the_boot_service_and_machines_stay(two: Two) -> None:
    image = two.ground.push("small", SYSTEM)
    shown = [two.provision(image, number, host) for number, host in ((1, "san-01"), (2, "san-02"))]
    before, addresses = two.storages(), two.reserved("first")
    assert set(addresses) == {"cm-01", "cm-02"}
    said = two.ground.terra("host", "drain", "san-01").stderr.decode()
    assert "its 1 machines stay, and are served and changed there as before" in said
    wait_until(lambda: two.programs() == ({"tgtd"}, {"tgtd", "dnsmasq"}), seconds=20, what="the boot service to move")
    assert states(two.other("GET", "/v1/hosts")) == {"san-01": ("drained", False), "san-02": ("working", True)}
    assert two.reaches(shown[0], ISCSI)
    assert two.reaches(shown[1], PORTAL)
    assert two.reserved("second") == addresses, "each machine keeps its address"
    assert "san-01 is drained" in _refused(two, image, "san-01")
    assert two.provision(image, 3)["host"] == two.provision(image, 4)["host"] == "san-02", "a drained host gets no new machine"
    two.second.terra("delete", "cm-01")
    assert "cm-01" not in two.owners()
    two.ground.terra("host", "resume", "san-01")
    assert two.provision(image, 1)["host"] == "san-01"
    assert two.storages() == before, "nobody touched the storage services"
    two.second.terra("host", "drain", "san-02")
    wait_until(lambda: two.programs() == ({"tgtd", "dnsmasq"}, {"tgtd"}), seconds=30, what="the boot service to come back")
    two.second.terra("host", "resume", "san-02")


def _refused(two: Two, image: str, host: str) -> str:
    node = two.ground.node(image, "cm-09", "52:54:00:00:00:09")
    node.write_text(f'host = "{host}"\n{node.read_text()}')
    return two.ground.terra("provision", node, accept=(1,)).stderr.decode()


def test_what_a_host_does_is_followed_and_interrupted_at_the_other_one(two: Two) -> None:
    image = two.ground.push("small", SYSTEM)
    node = two.ground.node(image, "cm-01", "52:54:00:00:00:01")
    body = {
        "hostname": "cm-01",
        "mac": "52:54:00:00:00:01",
        "image": image,
        "host": "san-02",
        "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": 256}]}],
    }
    status, begun = two.first("POST", "/v1/nodes", body)
    assert (status, begun["operation"].rpartition(".")[0]) == (202, "san-02"), begun
    identity = begun["operation"]
    wait_until(lambda: two.first("GET", f"/v1/operations/{identity}")[1]["state"] == "done", seconds=60, what="it to be done")
    assert two.other("GET", f"/v1/operations/{identity}")[1] == two.first("GET", f"/v1/operations/{identity}")[1]
    assert two.first("GET", "/v1/operations/san-09.x")[0] == 404
    assert two.first("DELETE", f"/v1/operations/{identity}")[0] == 202
    assert node.exists()


def test_each_host_comes_back_to_its_own_machines(two: Two) -> None:
    image = two.ground.push("small", SYSTEM)
    shown = [two.provision(image, number, host) for number, host in ((1, "san-01"), (2, "san-02"))]
    before = two.rows()["nodes"]
    site, second = two.ground.site, two.second
    assert second.controller is not None
    assert site.controller is not None
    second.controller.signal(signal.SIGKILL)
    second.controller.wait(10)
    status, said = two.first("DELETE", "/v1/nodes/cm-02")
    assert (status, "san-02 has its disks, and does not answer" in said["detail"]) == (503, True), said
    assert two.first("GET", "/v1/nodes/cm-02")[0] == 200
    assert two.provision(image, 3, "san-01")["host"] == "san-01"
    two.ground.terra("delete", "cm-03")
    run(second.network.command([terra_command(), "controller", "--stop", "--root", second.root]), timeout=60)
    second.start()
    wait_until(lambda: two.reaches(shown[1], PORTAL), seconds=30, what="its targets to be exported again")
    site.controller.signal(signal.SIGKILL)
    site.controller.wait(10)
    wait_until(lambda: "dnsmasq" in two.programs()[1], seconds=30, what="the boot service to move")
    assert two.other("GET", "/v1/nodes")[0] == 200
    site.start_controller()
    wait_until(lambda: two.programs() == ({"tgtd"}, {"tgtd", "dnsmasq"}), seconds=30, what="one boot service to be there")
    wait_until(lambda: two.rows()["nodes"] == before, seconds=20, what="machines to be as before")
    for one, portal in zip(shown, (ISCSI, PORTAL), strict=True):
        assert two.reaches(one, portal)
    assert all(node["problem"] == "" for node in two.first("GET", "/v1/nodes")[1])


def test_what_a_host_was_in_the_middle_of_is_undone_by_itself_alone(two: Two) -> None:
    slow = two.ground.push("slow", SYSTEM, MANY, layer(tar(*MUCH), "plain"))
    node = two.ground.node(slow, "cm-01", "52:54:00:00:00:01")
    node.write_text(f'host = "san-02"\n{node.read_text()}')
    site, second = two.ground.site, two.second
    assert second.controller is not None
    provisioning = two.ground.start("provision", node)
    try:
        wait_until(lambda: any(second.root.glob("iscsi/golden_*/*")), seconds=60, what="it to be laid down", interval=0.01)
        second.controller.signal(signal.SIGKILL)
        second.controller.wait(10)
        assert provisioning.wait(60) != 0
    finally:
        provisioning.stop()
    site.stop_controller()
    site.start_controller()
    two.ground.terra("doctor", "--fix", "--root", site.root, accept=(0, 1))
    (left,) = two.first("GET", "/v1/nodes")[1]
    assert (left["hostname"], left["host"], left["state"]) == ("cm-01", "san-02", "provisioning")
    assert any(second.root.glob("iscsi/golden_*/*"))
    assert two.first("DELETE", "/v1/nodes/cm-01")[0] == 503
    second.start()
    wait_until(lambda: two.first("GET", "/v1/nodes")[1] == [], seconds=30, what="its own host to undo it")
    wait_until(lambda: not any(second.root.glob("iscsi/*/*")), seconds=30, what="nothing to be left of it")
    wait_until(lambda: sum("dnsmasq" in one for one in two.programs()) == 1, seconds=30, what="one boot service to be there")


def test_a_directory_of_another_host_and_a_store_in_common_are_refused(two: Two) -> None:
    site = two.ground.site
    image = two.ground.push("small", SYSTEM)
    two.provision(image, 1, "san-02")
    config = (two.second.root / "etc/terra/controller.toml").read_text()

    def refused(name: str, text: str, *, volumes: Any = None) -> str:
        root = two.ground.path(name)
        Paths(root).etc.mkdir(parents=True)
        (root / "etc/terra/controller.toml").write_text(text)
        if volumes is not None:
            (root / "iscsi").symlink_to(volumes)
        words = ["--controller", "10.0.10.1", *START[3:-1], "10.0.10.1", "--root", str(root)]
        command = site.network.command([*confined(), terra_command(), *words])
        return run(command, timeout=60, accept=(1,)).stderr.decode()

    third = config.replace("san-02", "san-03")
    common = third.replace(LOCAL, "")
    assert "machines of this database have their disks on hosts of their own: 1 on san-02" in refused("common", common)
    assert "are those of the host san-01, and this is san-03" in refused("third", third, volumes=site.root / "iscsi")
    two.second.stop()
    try:
        assert "the database says that san-02 has the disks of 1 machines" in refused("second", config)
    finally:
        two.second.start()
    two.clear()
    assert "this controller has one that all hosts reach, and san-01 has a store of its own" in refused("none", common)


def test_a_lone_controller_becomes_the_first_of_several_and_is_alone_again(postgresql: Postgresql, tmp_path: Path) -> None:
    url, site = postgresql.make("lone"), make_site(tmp_path / "one", World(clones=True))
    volumes = site.paths.root / "iscsi"

    begin: list[Callable[[Path, Store], None]] = []

    def opened(name: str, *, local: bool, root: Path = site.paths.root) -> Store:
        config = Controller(name=Hostname(name), address=Address(f"10.0.10.{len(name)}"), database=url, local_store=local)
        config = evolve(config, plugins=ROLES)
        store = open_store(config, Paths(root), root / "iscsi")
        for settle in begin:  # as a controller does once nobody else can have its name
            settle(root / "iscsi", store)
        return store

    def mark(volumes: Path, store: Store) -> None:
        mark_home(volumes, store.engine, store.host)

    def note(_: Path, store: Store) -> None:
        settle_hosts(store.engine, store.host or "san-01", local=bool(store.host))

    lone = opened("san-01", local=False)
    machines = Machines(evolve(site.services, store=lone))
    machines.provision(machines.reserve(node_document()), silent)
    (layout,) = (record.layout for record in lone.every() if isinstance(record, Record))
    lone.close()
    for step in (mark, note):  # one that is killed in between goes on at the next start
        opened("san-01", local=True).close()
        begin.append(step)
    for _ in range(2):
        store = opened("san-01", local=True)
        assert [(record.hostname, record.host) for record in store.every()] == [("cm-01", "san-01")]
        (golden,) = store.golden.every()
        assert golden.layout == layout
        assert machines_of(store) == {"san-01": 1}
        store.close()
    store = opened("san-01", local=True)
    assert store.known_volumes == volumes
    HostRows(store.engine).announce(own_of(Controller(name=Hostname("san-01"), local_store=True), "", "fake"), Doing.WORKING)
    other = opened("second-01", local=True, root=tmp_path / "two")
    assert (other.every(), len(other.everywhere())) == ((), 1)
    HostRows(other.engine).announce(own_of(Controller(name=Hostname("second-01"), local_store=True), "", "fake"), Doing.WORKING)
    for said, name, local, root in (
        ("machines of this database have their disks on hosts of their own: 1 on san-01", "san-01", False, site.paths.root),
        ("the volumes there are those of the host san-01, and this is third-host", "third-host", True, site.paths.root),
        ("machines of this database have their disks on hosts of their own", "third-host", False, tmp_path / "three"),
    ):
        with pytest.raises(TerraError, match=said):
            opened(name, local=local, root=root)
    with store.engine.begin() as connection:
        connection.execute(update(controllers).values(seen=controllers.c.seen - 60))
    HostRows(store.engine).forget("second-01")
    other.close()
    store.close()
    lone = opened("san-01", local=False)
    assert [(record.hostname, record.host) for record in lone.every()] == [("cm-01", "")]
    assert marked(volumes) == mark_of(marked(volumes).split()[0], "")
    lone.close()
    site.operations.stop()


def machines_of(store: Store) -> Mapping[str, int]:
    """Return how many machines each host has."""
    with store.engine.begin() as connection:
        return machines_of_hosts(connection)
