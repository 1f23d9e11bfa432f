"""What terra-install refuses, with nothing written; and what it says and where."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.disks import Disk, blank
from terra_core.system.mounts import mounted
from terra_core.system.process import run
from tests.integration.install.grounds import Ground, group


@contextmanager
def unchanged(*disks: Disk) -> Iterator[None]:
    """Assert that nothing is written to these disks meanwhile."""
    before = [disk.content() for disk in disks]
    yield
    assert [disk.content() for disk in disks] == before


def refusal(ground: Ground, *words: str | Path, code: int = 1) -> str:
    done = ground.install(*words, accept=(code,))
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    return done.stderr.decode()


@pytest.mark.parametrize("wipe", [False, True])
def test_a_mounted_disk(wipe: bool, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600, 600]) as disks:
        run(["mkfs.btrfs", "--quiet", disks[0].device])
        place = tmp_path / "place"
        place.mkdir()
        with mounted(disks[0].device, place, filesystem="btrfs"):
            node = ground.node(group("os", "raid1", disks))
            said = refusal(ground, *(["--wipe"] if wipe else []), node)
            assert f"{disks[0].device}: is in use, mounted at {place}" in said
            assert "nothing was written to any disk" in said


def test_a_disk_with_a_mounted_partition(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600]) as (disk,):
        run(["sfdisk", "--quiet", disk.device], stdin=b"label: gpt\nsize=300MiB\nsize=200MiB\n")
        run(["partx", "--update", disk.device])
        run(["mkfs.ext4", "-q", disk.partition(1)])
        place = tmp_path / "place"
        place.mkdir()
        with mounted(disk.partition(1), place, filesystem="ext4"):
            said = refusal(ground, "--wipe", ground.node(group("os", "single", [disk])))
            assert f"{disk.device}: is in use, mounted at {place}" in said


@pytest.mark.parametrize(
    ("maker", "found"),
    [
        (["mkfs.ext4", "-q", "-L", "photos"], 'ext4 "photos"'),
        (["mkswap"], "swap"),
        (["mkfs.btrfs", "--quiet", "--label", "os"], 'btrfs "os"'),
        (["mkfs.fat", "-n", "STICK"], 'vfat "STICK"'),
    ],
)
def test_what_is_on_a_disk_stays_without_wipe(maker: list[str], found: str, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600]) as (disk,):
        run([*maker, disk.device])
        node = ground.node(group("os", "single", [disk]))
        with unchanged(disk):
            assert f"{disk.device}: is not blank: it holds {found}" in refusal(ground, node)
        ground.install("--wipe", node)


def test_every_wrong_disk_is_named_at_once(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600, 600]) as disks:
        run(["mkfs.ext4", "-q", disks[1].device])
        file = tmp_path / "image.img"
        file.write_bytes(b"no disk")
        with unchanged(*disks):
            wrong = [disks[0].device, disks[1].device, Path("/dev/no-such-disk"), file, Path("/dev/null")]
            said = refusal(ground, ground.node(group("os", "raid1", wrong)))
        assert "/dev/no-such-disk: there is no such device" in said
        assert f"{file}: is no block device" in said
        assert "/dev/null: is no block device" in said
        assert f"{disks[1].device}: is not blank: it holds ext4" in said


def test_a_disk_that_is_smaller_than_it_has_to_be(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [340]) as (disk,), unchanged(disk):
        said = refusal(ground, ground.node(group("os", "single", [disk])))
        assert "btrfs needs at least 109 MB" in said


def test_an_image_that_is_not_there(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600]) as (disk,), unchanged(disk):
        missing = ground.image.replace("tiny", "nothing")
        assert "nothing:1" in refusal(ground, ground.node(group("os", "single", [disk]), image=missing))


def test_a_registry_without_tls_needs_to_be_asked_for(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600]) as (disk,), unchanged(disk):
        node = ground.node(group("os", "single", [disk]))
        command = [word for word in ground.command(node) if word != "--http"]
        said = run(command, accept=(1,), timeout=120).stderr.decode()
        assert "Error: " in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "hostname: is required and missing"),
        ("hostname = [", "is not TOML"),
        ('hostname = "a;b"\nimage = "x"\ngroups = []\n', "hostname: expected a host name"),
    ],
)
def test_a_wrong_file_is_wrong_usage(text: str, said: str, ground: Ground) -> None:
    node = ground.work / "node.toml"
    node.write_text(text)
    assert said in refusal(ground, node, code=2)


def test_a_wrong_gateway_is_wrong_usage(ground: Ground) -> None:
    assert "--gateway: expected an IP address" in refusal(ground, "--gateway", "10.0.10.1; reboot", "-", code=2)


def test_only_root_installs(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600]) as (disk,), unchanged(disk):
        node = ground.node(group("os", "single", [disk]))
        command = ground.command("-")
        at = command.index("--") + 1
        words = [*command[:at], "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", *command[at:]]
        done = run(words, stdin=node.read_bytes(), accept=(1,))
        assert b"which root alone may do" in done.stderr


def test_the_plan_writes_nothing(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600, 200]) as disks, unchanged(*disks):
        node = ground.node(group("os", "single", disks[:1], home="/home"), group("more", "single", disks[1:]))
        table = ground.install("--plan", node).text
        assert f"{disks[0].device}" in table
        assert "terra-esp 256 MB" in table
        plan = json.loads(ground.install("--plan", "--json", node).text)
        assert [one["device"] for one in plan["disks"]] == [str(disk.device) for disk in disks]
        assert plan["disks"][1]["becomes"] == "more on the whole disk"
        assert plan["groups"][0]["mounts"] == [{"subvolume": "os", "path": "/"}, {"subvolume": "home", "path": "/home"}]


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"\n", 1), (b"y\n", 0)])
def test_on_a_terminal_it_asks_once_and_names_the_disks(answer: bytes, code: int, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600]) as (disk,):
        before = disk.content()
        node = ground.node(group("os", "single", [disk]))
        terminal = ["script", "--quiet", "--return", "--command", shlex.join(ground.command(node)), "/dev/null"]
        said = run(terminal, stdin=answer, accept=(code,), timeout=120).text
        assert said.count("Install on them?") == 1
        assert f"{disk.device}  600.0 MiB" in said
        assert (disk.content() == before) == (code == 1)


def test_with_yes_it_does_not_ask(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600]) as (disk,):
        command = shlex.join(ground.command("--yes", ground.node(group("os", "single", [disk]))))
        said = run(["script", "--quiet", "--return", "--command", command, "/dev/null"], stdin=b"", timeout=120).text
        assert "Install on them?" not in said
        assert "is installed" in said


def test_standard_input(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600]) as (disk,):
        node = ground.node(group("os", "single", [disk]))
        done = run(ground.command("--plan", "--json", "-"), stdin=node.read_bytes(), timeout=120)
        assert json.loads(done.text)["hostname"] == "mt-01"
