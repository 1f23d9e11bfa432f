"""Machines that become what their files say, with real parts: what is changed in place is looked at as a machine sees it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.network import CONTROLLER, ISCSI
from terra_core.system.process import run
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import MAC, Ground
from tftp_lab.clients import TftpError, fetch

OTHER = "52:54:00:00:00:02"
MB = 1024 * 1024
DATA = (
    '\n[[groups]]\nlabel = "data"\n[[groups.disk]]\ndevice = "/dev/sdb"\nsize = 128\n'
    '[[groups.subvolumes]]\nname = "srv"\npath = "/srv"\n'
)


@pytest.fixture(autouse=True)
def _nothing_after(ground: Ground) -> Iterator[None]:
    if ground.site.controller is None or not ground.site.controller.alive:
        ground.site.start_controller()
    yield
    ground.clear()
    assert ground.left() == []


def write(ground: Ground, image: str, place: Path, hostname: str = "cm-01", mac: str = MAC, **more: Any) -> Path:
    """Write a node.toml to a place of its own."""
    words = more.pop("words", ())
    text = ground.node(image, hostname, mac, **more).read_text()
    place.write_text(f"kernel_arguments = {json.dumps(list(words))}\n{text}" if words else text)
    return place


def rows(ground: Ground, *words: str | Path, code: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ground.terra("apply", "-o", "json", *words, accept=(code,)).text)
    return found


def capacity(ground: Ground, initiator: str, iqn: str) -> int:
    """Return the size of a disk in bytes as READ CAPACITY tells it to the machine."""
    words = ["iscsi-readcapacity16", "-i", initiator, "-s", f"iscsi://{ISCSI}/{iqn}/1"]
    return int(run(ground.site.network.command(words), timeout=20, env=ground.account(initiator)).text)


def menu(ground: Ground, mac: str) -> str:
    with ground.site.network.inside():
        return fetch(CONTROLLER, f"grub/{mac}.cfg").decode()


def boots(ground: Ground, mac: str) -> bool:
    """Return whether a machine of this address gets a menu; without a boot service none does."""
    try:
        return bool(menu(ground, mac))
    except (TftpError, OSError):
        return False


def test_a_directory_is_applied_and_the_second_time_nothing_is_done(ground: Ground, small: str) -> None:
    place = ground.path("site")
    place.mkdir()
    for at in range(1, 7):
        write(ground, small, place / f"cm-{at:02}.toml", f"cm-{at:02}", f"52:54:00:00:00:{at:02x}")
    (place / "bad.toml").write_text('hostname = "cm-99"\nimage = "a b"\nmac = "52"\n')
    plan = ground.terra("apply", "--plan", place, accept=(2,))
    assert plan.text.count("is made (") == 6
    assert "bad.toml: image: " in plan.stderr.decode()
    assert "bad.toml: mac: " in plan.stderr.decode()
    assert ground.nodes() == []
    first = ground.terra("apply", place, accept=(2,))
    said = first.stderr.decode()
    assert "6 created, 0 changed, 0 unchanged, 1 failed" in said
    assert said.index("bad.toml: image: ") < said.index("cm-01: pull: "), "what is wrong is said before the first change"
    assert all(f"cm-{at:02}: done: it is as its file says" in said for at in range(1, 7))
    before = {node["hostname"]: node for node in ground.nodes()}
    luns = {path: path.stat().st_mtime_ns for path in (ground.site.paths.root / "iscsi").rglob("*.lun")}
    (place / "bad.toml").unlink()
    again = ground.terra("apply", place)
    assert "0 created, 0 changed, 6 unchanged, 0 failed" in again.stderr.decode()
    assert {node["hostname"]: node for node in ground.nodes()} == before
    assert {path: path.stat().st_mtime_ns for path in luns} == luns
    twice = write(ground, small, place / "twice.toml", "cm-07", "52:54:00:00:00:01")
    refused = ground.terra("apply", place, accept=(2,))
    assert f"{place / 'cm-01.toml'} and {twice}: have the MAC address 52:54:00:00:00:01 both" in refused.stderr.decode()
    assert len(ground.nodes()) == 6
    conflict = ground.terra("provision", place / "cm-01.toml", accept=(1,))
    assert "terra apply node.toml" in conflict.stderr.decode()
    gone = ground.terra("delete", *before)
    assert gone.stderr.decode().count(" is deleted") == 6


def test_what_can_be_changed_in_place_is_as_the_machine_sees_it(ground: Ground, small: str) -> None:
    file = ground.path("cm-01.toml")
    (made,) = rows(ground, write(ground, small, file))
    system = made["node"]["disk_groups"][0]
    initiator, iqn = made["node"]["initiator_iqn"], system["target"]["iqn"]
    former = menu(ground, MAC)
    assert capacity(ground, initiator, iqn) == 256 * MB
    before = run(["btrfs", "filesystem", "show", system["disks"][0]["device"]]).text
    write(ground, small, file, mac=OTHER, size=512, more=DATA, words=("console=ttyS1,115200",))
    (planned,) = rows(ground, "--plan", file)
    assert [change["path"] for change in planned["plan"]["changes"]] == [
        "mac", "kernel_arguments", "groups[os].disk[0].size", "groups[data]"
    ]  # fmt: skip
    assert menu(ground, MAC) == former
    (changed,) = rows(ground, file)
    assert changed["outcome"] == "changed"
    further = changed["node"]["disk_groups"][1]
    assert capacity(ground, initiator, iqn) == 512 * MB
    assert capacity(ground, initiator, further["target"]["iqn"]) == 128 * MB
    assert run(["btrfs", "filesystem", "show", system["disks"][0]["device"]]).text == before, "the machine grows it itself"
    assert not boots(ground, MAC)
    line = menu(ground, OTHER)
    uuid = run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", further["disks"][0]["device"]]).text.strip()
    mount = f"systemd.mount-extra=UUID={uuid}:/srv:btrfs:subvol=/srv,x-systemd.growfs,nofail"
    for word in ("console=ttyS1,115200", f"terra.target={further['target']['iqn']}", mount):
        assert f" {word} " in f" {line.split('linux ')[1].splitlines()[0]} "
    with ground.opened(further["disks"][0]["device"], "srv") as srv:
        assert list(srv.iterdir()) == []
    (again,) = rows(ground, file)
    assert again["outcome"] == "unchanged"
    write(ground, small, file, mac=OTHER, more='[[groups.subvolumes]]\nname = "x"\npath = "/x"\n')
    (refused,) = rows(ground, file, code=1)
    assert refused["plan"]["action"] == "refused"
    assert {change["path"] for change in refused["plan"]["changes"] if not change["possible"]} == {
        "groups[os].disk[0].size", "groups[os].subvolumes", "groups[data]"
    }  # fmt: skip
    assert menu(ground, OTHER) == line, "nothing of it is done"
    write(ground, small, file, "cm-02", MAC)
    (freed,) = rows(ground, file)
    assert freed["outcome"] == "created", "the former address is free"


@pytest.mark.parametrize(
    "moment",
    [
        lambda ground: ground.wait_for("iscsi/cm-01/1.lun"),
        lambda ground: wait_until(lambda: boots(ground, OTHER), seconds=60, what="the menu", interval=0.002),
        lambda ground: wait_until(
            lambda: (ground.site.paths.root / "iscsi/cm-01/0.lun").stat().st_size == 512 * MB,
            seconds=60,
            what="the disk to be larger",
            interval=0.001,
        ),
    ],
    ids=["when the further disk is there", "when the menu is there", "when the disk is larger"],
)
def test_a_controller_that_is_killed_meanwhile_finishes_the_change(
    ground: Ground, small: str, moment: Callable[[Ground], None]
) -> None:
    file = ground.path("cm-01.toml")
    rows(ground, write(ground, small, file))
    write(ground, small, file, mac=OTHER, size=512, more=DATA)
    apply = ground.start("apply", file)
    moment(ground)
    controller = ground.site.controller
    assert controller is not None
    os.kill(controller.pid, signal.SIGKILL)
    apply.wait(60)
    controller.wait(10)
    ground.site.start_controller()
    wait_until(lambda: not boots(ground, MAC) and boots(ground, OTHER), seconds=60, what="the new address to boot")
    (node,) = ground.nodes()
    assert (node["mac"], node["problem"]) == (OTHER, "")
    sizes = [group["disks"][0]["fs_size"] for group in node["disk_groups"]]
    assert sizes == [512, 128]
    for group, size in zip(node["disk_groups"], sizes, strict=True):
        assert capacity(ground, node["initiator_iqn"], group["target"]["iqn"]) == size * MB
    assert rows(ground, file)[0]["outcome"] == "unchanged"


def test_an_apply_of_several_that_is_ended_is_undone_for_all_of_them(ground: Ground, slow: str) -> None:
    place = ground.path("several")
    place.mkdir()
    for at in (1, 2):
        write(ground, slow, place / f"cm-{at:02}.toml", f"cm-{at:02}", f"52:54:00:00:00:{at:02x}")
    apply = ground.start("apply", place)
    ground.wait_until_mounted()
    apply.signal(signal.SIGTERM)
    assert apply.wait(60) == 130
    assert "Traceback" not in apply.log.read_text()
    ground.wait_until_nothing_is_left()
    assert ground.nodes() == []


def test_of_fifty_that_apply_one_machine_at_once_one_makes_it(ground: Ground, small: str) -> None:
    from terra_core.client.controller import ControllerClient
    from terra_core.config.node import NetworkNode
    from terra_core.documents import load
    from terra_core.errors import ConflictError

    document = load(ground.node(small), NetworkNode)
    client = ControllerClient(CONTROLLER, token=ground.site.environment()["TERRA_TOKEN"])

    def one(_: int) -> str:
        with ground.site.network.inside():
            try:
                return client.apply(document).hostname
            except ConflictError as error:
                return f"conflict: {error.message}"

    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(one, range(50)))
    assert "cm-01" in results
    assert {result.partition(":")[0] for result in results} <= {"cm-01", "conflict"}
    assert [node["hostname"] for node in ground.nodes()] == ["cm-01"]
    assert len(ground.targets()) == 1
