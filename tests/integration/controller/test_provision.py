"""A machine comes and goes, with real parts: registry, btrfs, tgtd, dnsmasq; and what is in its way."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from lab.network import CONTROLLER, GATEWAY, ISCSI
from terra_core.config.kernel_line import bootif
from terra_core.config.values import Mac
from terra_core.system.process import Completed, Daemon, run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import INITRD, KERNEL, MAC, SYSTEM, Ground
from tests.unit.oci.making import END, file, folder, hardlink, layer, symlink, tar
from tftp_lab.clients import TftpError, accept, discover, fetch

IQN = "iqn.2024.san.terra.example.cm-01:fs"
INITIATOR = "iqn.2024.node.terra.example:cm-01"
OTHER = "52:54:00:00:00:02"


@pytest.fixture(autouse=True)
def _nothing_before(ground: Ground, request: pytest.FixtureRequest) -> None:
    """Begin every test with an empty site, except those that look at one machine; fail when it was not left empty."""
    if "machine" not in request.fixturenames:
        ground.clear()
        assert ground.left() == []


@pytest.fixture(scope="module")
def machine(ground: Ground, small: str) -> Completed:
    """Provision a machine for the first tests to look at; return what terra printed."""
    return ground.terra("provision", ground.node(small))


def read(ground: Ground, path: str) -> bytes:
    with ground.site.network.inside():
        return fetch(CONTROLLER, path)


def refused(ground: Ground, *words: str | Path, code: int = 1) -> str:
    done = ground.terra(*words, accept=(code,))
    assert done.stdout == b""
    message = done.stderr.decode()
    assert "Traceback" not in message
    return message


def test_a_machine_gets_all_that_it_needs(ground: Ground, small: str, machine: Completed) -> None:
    shown = json.loads(machine.text)
    number = shown["disk_groups"][0]["target"]["id"]
    lun = str(ground.site.paths.root / "iscsi" / "cm-01/0.lun")
    assert shown == {
        "hostname": "cm-01",
        "mac": MAC,
        "image": small,
        "disk_groups": [
            {
                "label": "os",
                "stage": 1,
                "disks": [{"id": 1, "device": lun, "fs_size": 256}],
                "subvolumes": [
                    {"name": "home", "path": "/home"},
                    {"name": "log", "path": "/var/log"},
                    {"name": "containerd", "path": "/var/lib/containerd"},
                ],
                "target": {"iqn": shown["disk_groups"][0]["target"]["iqn"], "id": number},
            }
        ],
        "initiator_iqn": shown["initiator_iqn"],
    }
    assert machine.text == json.dumps(shown, indent=1) + "\n"
    said = machine.stderr.decode()
    assert "cm-01 is provisioned" in said
    assert [step for step in ("pull", "format", "apply", "export", "publish") if f"{step}: " not in said] == []
    assert json.loads(ground.terra("info").text)["nodes"] == {"ready": 1}
    head, row = ground.terra("list").text.splitlines()
    assert head.split() == ["HOSTNAME", "MAC", "IMAGE", "INITIATOR", "TARGET"]
    assert row.split() == ["cm-01", MAC, small, shown["initiator_iqn"], shown["disk_groups"][0]["target"]["iqn"]]
    assert row.index(MAC) == head.index("MAC")


def test_the_disk_holds_the_image_and_the_machines_identity(ground: Ground, machine: Completed) -> None:
    lun = json.loads(machine.text)["disk_groups"][0]["disks"][0]["device"]
    assert Path(lun).stat().st_size == 256 * 1024 * 1024
    assert stat.S_IMODE(Path(lun).stat().st_mode) == 0o600
    with ground.opened(lun) as root:
        assert (root / "etc/hostname").read_text() == "cm-01\n"
        assert "127.0.1.1 cm-01\n" in (root / "etc/hosts").read_text()
        assert "example" not in (root / "etc/hosts").read_text()
        assert (root / "etc/machine-id").read_text() == ""
        assert stat.S_IMODE((root / "usr/bin/sudo").stat().st_mode) == 0o4755
        lines = [line.split() for line in (root / "etc/fstab").read_text().splitlines()[1:]]
        assert [(line[1], line[2]) for line in lines] == [
            ("/", "btrfs"), ("/home", "btrfs"), ("/var/lib/containerd", "btrfs"), ("/var/log", "btrfs")
        ]  # fmt: skip
        uuid = run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", lun]).text.strip()
        assert all("subvol=" in line[3] and line[0] == f"UUID={uuid}" for line in lines)
        assert not any("nofail" in line[3] for line in lines), "a machine is not itself without the file system of its root"
        assert list((root / "home").iterdir()) == [], "the subvolume is mounted there, not copied"
    with ground.opened(lun, "home") as home:
        profile = home / "terra/.profile"
        assert (profile.read_text(), profile.stat().st_uid, profile.stat().st_gid) == ("umask 022\n", 1000, 1000)
        assert stat.S_IMODE((home / "terra").stat().st_mode) == 0o700
    for name in ("log", "containerd"):
        with ground.opened(lun, name) as empty:
            assert list(empty.iterdir()) == []


def test_the_target_is_there_for_its_initiator_and_for_nobody_else(ground: Ground, machine: Completed) -> None:
    shown = json.loads(machine.text)
    initiator, iqn = shown["initiator_iqn"], shown["disk_groups"][0]["target"]["iqn"]
    assert ground.targets() == {iqn: (initiator,)}
    assert ground.reachable(initiator) == [iqn]
    assert ground.may_log_in(initiator, iqn)
    for stranger in (f"{initiator}-2", INITIATOR.replace("cm-01", "cm-02"), "iqn.2024.node.terra.example:", "ALL"):
        assert ground.reachable(stranger) == []
        assert not ground.may_log_in(stranger, iqn)


def test_the_boot_files_are_served_and_lead_to_the_machines_own_disk(ground: Ground, machine: Completed) -> None:
    shown = json.loads(machine.text)
    menus = [read(ground, path).decode() for path in (f"pxelinux.cfg/01-{MAC.replace(':', '-')}", f"grub/{MAC}.cfg")]
    lun = shown["disk_groups"][0]["disks"][0]["device"]
    for menu in menus:
        for word in (
            "boot=terra",
            f"terra.uuid={run(['blkid', '--probe', '--match-tag', 'UUID', '--output', 'value', lun]).text.strip()}",
            f"ISCSI_INITIATOR={shown['initiator_iqn']}",
            f"ISCSI_TARGET_NAME={shown['disk_groups'][0]['target']['iqn']}",
            f"ISCSI_TARGET_IP={ISCSI}",
            "nodes/cm-01/vmlinuz",
            "nodes/cm-01/initrd.img",
        ):
            assert word in menu
    content = {bytes(item.name): item.data for item in SYSTEM}
    assert read(ground, "nodes/cm-01/vmlinuz") == content[b"boot/" + KERNEL]
    assert read(ground, "nodes/cm-01/initrd.img") == content[b"boot/" + INITRD]


def test_an_unknown_machine_is_offered_nothing_of_another_one(ground: Ground, machine: Completed) -> None:
    shown = json.loads(machine.text)
    with pytest.raises(TftpError):
        read(ground, f"pxelinux.cfg/01-{OTHER.replace(':', '-')}")
    with pytest.raises(TftpError):
        read(ground, f"grub/{OTHER}.cfg")
    for path in ("pxelinux.cfg/default", "grub/grub.cfg"):
        menu = read(ground, path).decode()
        assert "iqn." not in menu
        assert "cm-01" not in menu
        assert shown["initiator_iqn"] not in menu


def test_the_same_name_or_address_is_a_conflict_that_names_the_holder(ground: Ground, small: str, machine: Completed) -> None:
    before = ground.nodes()
    for hostname, mac in (("cm-01", OTHER), ("CM-01", OTHER), ("cm-02", MAC), ("cm-02", MAC.upper().replace(":", "-"))):
        message = refused(ground, "provision", ground.node(small, hostname, mac))
        assert f"belongs to cm-01 ({MAC}), which is ready" in message
        assert "terra delete cm-01" in message
    assert ground.nodes() == before


def test_a_deleted_machine_leaves_nothing_and_its_initiator_reaches_no_later_disk(ground: Ground, small: str) -> None:
    first = ground.provision(small)
    done = ground.terra("delete", "CM-01")
    assert (done.stdout, "cm-01 is deleted" in done.stderr.decode()) == (b"", True)
    assert ground.left() == []
    assert ground.nodes() == []
    second = ground.provision(small)
    assert second["initiator_iqn"] != first["initiator_iqn"]
    assert second["disk_groups"][0]["target"]["iqn"] != first["disk_groups"][0]["target"]["iqn"]
    assert second["disk_groups"][0]["target"]["id"] > first["disk_groups"][0]["target"]["id"]
    assert ground.reachable(first["initiator_iqn"]) == []
    assert not ground.may_log_in(first["initiator_iqn"], second["disk_groups"][0]["target"]["iqn"])


def test_a_machine_with_several_groups_has_a_target_for_each(ground: Ground, small: str) -> None:
    more = '[[groups]]\nlabel = "storage"\ntype = "raid1"\n' + "".join(
        f'[[groups.disk]]\ndevice = "/dev/sd{letter}"\nsize = 256\n' for letter in "bc"
    ) + '[[groups.subvolumes]]\nname = "data"\npath = "/srv/data"\n'  # fmt: skip
    shown = ground.provision(small, more=more)
    storage = shown["disk_groups"][1]
    assert [disk["device"].rsplit("/", 1)[1] for disk in storage["disks"]] == ["1.lun", "2.lun"]
    targets = [group["target"]["iqn"] for group in shown["disk_groups"]]
    assert sorted(ground.reachable(shown["initiator_iqn"])) == sorted(targets)
    assert ground.terra("list").text.splitlines()[1].split()[-1] == ",".join(targets)


def test_two_at_once_for_one_name_have_one_winner(ground: Ground, small: str) -> None:
    started = [ground.start("provision", ground.node(small, mac=mac)) for mac in (MAC, OTHER)]
    codes = sorted(one.wait(60) for one in started)
    assert codes == [0, 1]
    assert [node["state"] for node in ground.nodes()] == ["ready"]
    assert sum("belongs to cm-01" in one.log.read_text() for one in started) == 1


def test_deleting_what_is_not_there(ground: Ground) -> None:
    assert "no machine is named 'cm-09'" in refused(ground, "delete", "cm-09")
    assert "HOSTNAME: expected a host name" in refused(ground, "delete", "../x", code=2)


def test_an_image_that_is_not_there_leaves_nothing(ground: Ground) -> None:
    image = f"{ground.site.registry.address}/stellarproject/nothing:1"
    message = refused(ground, "provision", ground.node(image))
    assert image in message or "nothing" in message
    assert ground.left() == []


def test_a_registry_that_is_not_there_leaves_nothing(ground: Ground) -> None:
    refused(ground, "provision", ground.node(f"{GATEWAY}:5000/x/y:1"))
    assert ground.left() == []


@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("linker", [symlink(b"out", b"/tmp"), hardlink(b"passwd", b"out/../../../../etc/passwd")]),
        ("rootless", [symlink(b".", b"/etc")]),
    ],
)
def test_a_hostile_layer_leaves_nothing_and_changes_nothing(ground: Ground, name: str, items: list[object]) -> None:
    image = ground.push(name, SYSTEM, items)  # type: ignore[arg-type]  # items of a tar
    refused(ground, "provision", ground.node(image))
    assert ground.left() == []
    assert ground.nodes() == []


def test_a_path_that_leads_above_the_root_stays_below_it(ground: Ground) -> None:
    image = ground.push("climber", SYSTEM, [file(b"../../../../../../../../tmp/terra-was-here")])
    shown = ground.provision(image)
    assert not Path("/tmp/terra-was-here").exists()
    with ground.opened(shown["disk_groups"][0]["disks"][0]["device"]) as root:
        assert (root / "tmp/terra-was-here").exists()


def test_a_layer_that_is_cut_short_leaves_nothing(ground: Ground) -> None:
    image = ground.push("cut", layer(tar(*SYSTEM, file(b"usr/big", b"x" * 100_000), end=b"")[:-50_000]))
    refused(ground, "provision", ground.node(image))
    assert ground.left() == []


@pytest.mark.parametrize(("size", "message"), [(1, "has 1 MB, and btrfs needs"), (100, "btrfs needs"), (128, "No space left")])
def test_a_disk_that_is_too_small_leaves_nothing(ground: Ground, big: str, size: int, message: str) -> None:
    assert message in refused(ground, "provision", ground.node(big, size=size))
    assert ground.left() == []


@pytest.mark.parametrize("target", [b"/etc/shadow", b"../../../../../../../../../../etc/shadow", b"/proc/self/root/etc/shadow"])
def test_a_kernel_that_is_a_link_to_the_host_does_not_get_into_the_boot_tree(ground: Ground, target: bytes) -> None:
    image = ground.push("leaky", [folder(b"boot"), folder(b"etc"), symlink(b"boot/" + KERNEL, target), file(b"boot/" + INITRD)])
    message = refused(ground, "provision", ground.node(image))
    assert f"/boot/{KERNEL.decode()} of the image's tree is missing" in message
    assert ground.left() == []


def test_a_kernel_that_is_a_link_within_the_image_is_the_images(ground: Ground) -> None:
    shadow = file(b"etc/shadow", b"the image's own\n")
    links = [symlink(b"boot/" + name, b"/etc/shadow") for name in (KERNEL, INITRD)]
    image = ground.push("inner", [folder(b"boot"), folder(b"etc"), shadow, *links])
    ground.provision(image)
    assert (ground.site.paths.tftp / "nodes/cm-01/vmlinuz").read_bytes() == b"the image's own\n"


def test_an_image_without_a_kernel_needs_a_pxe_image_with_one(ground: Ground) -> None:
    image = ground.push("bare", [folder(b"etc")])
    message = refused(ground, "provision", ground.node(image))
    assert "has no kernel, and no pxe image with one is installed" in message
    assert ground.left() == []


def test_a_boot_directory_that_is_a_link_to_the_hosts_shows_no_host_file(ground: Ground) -> None:
    image = ground.push("elsewhere", [folder(b"etc"), symlink(b"boot", b"/../../../../../../etc")])
    refused(ground, "provision", ground.node(image))
    assert ground.left() == []


def test_a_pxe_image_is_installed_and_not_kept(ground: Ground) -> None:
    image = ground.push("pxe", [folder(b"boot"), file(b"boot/nothing-here")])
    message = refused(ground, "pxe", image)
    assert "Error: " in message
    assert ground.left() == []


@pytest.mark.parametrize(
    ("numbers", "moment"),
    [
        ([signal.SIGINT], "var/lib/terra/work/cm-01-*"),
        ([signal.SIGINT], "var/lib/terra/images/*"),
        ([signal.SIGINT], "mounted"),
        ([signal.SIGTERM], "mounted"),
        ([signal.SIGINT, signal.SIGINT, signal.SIGTERM], "mounted"),
    ],
)
def test_an_interrupted_provision_leaves_nothing(ground: Ground, slow: str, numbers: list[int], moment: str) -> None:
    provision = ground.start("provision", ground.node(slow))
    if moment == "mounted":
        ground.wait_until_mounted()
    else:
        ground.wait_for(moment)
    for number in numbers:
        provision.signal(number)
    assert provision.wait(30) == 130
    wait_until(lambda: not ground.nodes(), seconds=20 if numbers[1:] else 0, what="it to be undone without a listener")
    assert ground.left() == []
    assert "Traceback" not in provision.log.read_text()


def test_deleting_during_provisioning_is_a_conflict(ground: Ground, slow: str) -> None:
    provision = ground.start("provision", ground.node(slow))
    ground.wait_until_mounted()
    assert "cm-01 is being provisioned" in refused(ground, "delete", "cm-01")
    assert "cm-01 is provisioning" in ground.terra("list").stderr.decode()
    assert provision.wait(60) == 0


def test_one_that_fails_disturbs_no_other_one(ground: Ground, slow: str) -> None:
    image = ground.push("rotten", SYSTEM, layer(tar(*SYSTEM, end=END)[:-5000]))
    good = ground.start("provision", ground.node(slow))
    ground.wait_until_mounted()
    refused(ground, "provision", ground.node(image, "cm-02", OTHER))
    assert good.wait(60) == 0, good.log.read_text()
    assert [(node["hostname"], node["state"]) for node in ground.nodes()] == [("cm-01", "ready")]


def test_the_api_refuses_50_mb_from_a_client_that_just_sends(ground: Ground) -> None:
    token = ground.site.environment()["TERRA_TOKEN"]
    with ground.site.network.connect(CONTROLLER, 9000, timeout=10) as connection:
        head = f"POST /v1/nodes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 52428800\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 4096)
        assert connection.recv(4096).split()[1] == b"413"


def test_nobody_but_root_reads_the_token(ground: Ground) -> None:
    token = ground.site.paths.token
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat"]
    assert b"Permission denied" in run([*words, token], accept=(1,)).stderr


def test_what_a_machine_does_is_told_in_order_also_by_the_next_controller(ground: Ground, small: str) -> None:
    shown, network = ground.provision(small), ground.site.network
    iqn, initiator = shown["disk_groups"][0]["target"]["iqn"], shown["initiator_iqn"]
    follower = ground.start("logs", "cm-01", "--follow")
    with Undo() as undo:
        undo.callback(follower.stop)
        network.ip("link", "add", "port", "type", "veth", "peer", "name", "machine")
        undo.callback(network.ip, "link", "delete", "port")
        network.ip("link", "set", "port", "master", "br0", "up")
        network.ip("link", "set", "machine", "up")
        with network.inside():
            address = accept("machine", MAC, discover("machine", MAC, architecture=0)).address
        network.ip("address", "add", f"{address}/32", "dev", "lo")
        undo.callback(network.ip, "address", "delete", f"{address}/32", "dev", "lo")
        assert status(ground)["state"] == "ready"
        with network.inside():
            fetch(CONTROLLER, f"pxelinux.cfg/{bootif(Mac(MAC))}", source=GATEWAY)
            fetch(CONTROLLER, f"pxelinux.cfg/{bootif(Mac(MAC))}", source=address)
        wait_until(lambda: status(ground)["state"] == "booting", seconds=60, what="the boot files to be seen")
        words = network.command(["iscsi-perf", "-i", initiator, "-t", "600", f"iscsi://{ISCSI}/{iqn}/1"])
        reading = Daemon(words, log=ground.path("perf"), env=ground.account(initiator))
        undo.callback(reading.stop)
        wait_until(lambda: kinds(ground)[-1] == "login", seconds=60, what="the login to be seen")
        found = status(ground)
        assert (found["state"], found["connected"][0]["name"]) == ("booting", initiator)
        before = kinds(ground)
        assert before == ["operation", "operation", "operation", "dhcp", "dhcp", "file", "login"]
        told = follower.log.read_text().splitlines()
        assert [line.split()[1] for line in told] == before
        assert told[-1].endswith(f"is connected to its disks os from {found['connected'][0]['address']}")
        ground.site.stop_controller()
        ground.site.start_controller()
        assert (status(ground)["state"], kinds(ground)) == ("booting", before)
        reading.stop()
        wait_until(lambda: status(ground)["state"] == "ready", seconds=60, what="the end of the connection to be seen")
    assert kinds(ground) == [*before, "login"]
    wide = ground.terra("list", "-o", "wide").text.splitlines()
    assert wide[0].split()[:5] == ["HOSTNAME", "MAC", "IMAGE", "INITIATOR", "TARGET"]
    assert "ready" in wide[1]


def status(ground: Ground) -> Any:
    return json.loads(ground.terra("status", "cm-01", "-o", "json").text)


def kinds(ground: Ground) -> list[str]:
    return [json.loads(line)["kind"] for line in ground.terra("logs", "cm-01", "-o", "json").text.splitlines()]
