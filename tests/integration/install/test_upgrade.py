"""The next version beside the one that runs: what is fetched, shared, kept and lost, and what a killed upgrade leaves."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.disks import MB, blank
from lab.network import Network
from lab.registry import Registry
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.errors import ConflictError
from terra_core.hookspecs import Bootloader, StartChoice
from terra_core.install.disks import part_device
from terra_core.plugins import Plugins
from terra_core.system.locks import locked
from terra_core.system.mounts import directory_mounted, mounted
from terra_core.system.process import run
from terra_core.system.waiting import wait_until
from terra_core.upgrade.trial import former, give_up, go_back, keep, settle, state, tidy, try_once
from terra_core.upgrade.use import upgrade as upgrading
from terra_core.versions.manifest import make_manifest
from terra_core.versions.record import PLACE
from tests.integration.controller.test_carrying import deep
from tests.integration.install.grounds import SYSTEM, Ground, group
from tests.unit.oci.making import Item, LayoutMaker, file, folder, tar

TERRA = Path(sys.executable).parent / "terra"
BIG = 24 * MB
CHANGED = 2 * MB


def content(seed: int, size: int) -> bytes:
    return hashlib.shake_128(bytes([seed])).digest(size)


def programs(version: int) -> bytes:
    """Return the layer that a new build of an image changes: one program in it is another one."""
    return tar(
        folder(b"usr/share"),
        file(b"usr/share/same", content(1, BIG)),
        file(b"usr/share/program", content(100 + version, CHANGED), mode=0o4755),
        file(b"etc/release", f"version {version}\n".encode()),
        *([file(b"usr/share/.wh.doomed")] if version == 2 else []),
    )


def push(network: Network, registry: Registry, work: Path, tag: str, layers: list[bytes]) -> str:
    reference = f"{registry.address}/stellarproject/next:{tag}"
    LayoutMaker(work / f"layout-{tag}").image(layers)
    source = f"oci:{work / f'layout-{tag}'}:latest"
    words = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", source, f"docker://{reference}"]
    run(network.command(words), timeout=120)
    return reference


@pytest.fixture(scope="module")
def images(network: Network, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Push an image and its next version, which differ in the highest of three layers; return their names."""
    work = tmp_path_factory.mktemp("images")
    doomed: tuple[Item, ...] = (folder(b"usr"), folder(b"usr/share"), file(b"usr/share/doomed", b"gone in the next one"))
    lower = [tar(*SYSTEM), tar(*doomed)]
    first, second = (push(network, registry, work, str(at), [*lower, programs(at)]) for at in (1, 2))
    return first, second


def used(place: Path) -> int:
    """Return the bytes of a file system that are taken, when all is on the disk."""
    run(["btrfs", "subvolume", "sync", place], timeout=120)
    run(["btrfs", "filesystem", "sync", place])
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def upgrade(ground: Ground, root: Path, *words: str, accept: tuple[int, ...] = (0,)) -> Any:
    command = ground.network.command([TERRA, "upgrade", "--http", "--root", root, "-o", "json", *words])
    told = run(command, timeout=300, accept=accept)
    return json.loads(told.stdout) if told.stdout else told.stderr.decode()


@contextmanager
def looked_into(part: Path, work: Path) -> Iterator[tuple[Path, Path]]:
    """Mount the root ``os`` of a machine on btrfs, and what all its roots are in."""
    place, top = work / "root", work / "top"
    place.mkdir(exist_ok=True)
    top.mkdir(exist_ok=True)
    with (
        mounted(part, place, filesystem="btrfs", options=("subvol=/os",)) as root,
        mounted(part, top, filesystem="btrfs", options=("subvolid=5",)),
    ):
        yield root, top


def test_the_next_version_is_laid_down_beside_the_one_that_runs(
    ground: Ground, images: tuple[str, str], tmp_path: Path
) -> None:
    with blank(tmp_path, [1200]) as (disk,):
        keep = '[upgrade]\nkeep = ["/etc/app/keys", "/srv/none"]\n'
        node = ground.node(group("os", "single", [disk], home="/home"), keep, image=images[0])
        ground.install(node)
        part = part_device(disk.device, 3)
        place = tmp_path / "root"
        with looked_into(part, tmp_path) as (root, top):
            lived_in(root)
            before = used(top)
            plan = upgrade(ground, root, "--plan", images[1])
            assert (plan["layers"], plan["layers_present"]) == (3, 2)
            assert (plan["tried"], plan["obstacle"], plan["removed"]) == ("os.1", "", [])
            assert CHANGED + BIG <= plan["bytes"] <= CHANGED + BIG + MB
            assert {"/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key", "/etc/app/keys", "/etc/fstab"} <= set(plan["kept"])
            assert {one["path"]: one["change"] for one in plan["lost"]} == {
                "/etc/app/other": "added", "/etc/release": "changed", "/usr/share/mine": "added",
            }  # fmt: skip
            assert sorted(path.name for path in top.iterdir()) == [".terra", "home", "os"]
            killed_on_its_way(ground, root, top, images[1])
            run(["btrfs", "subvolume", "create", top / ".terra/new"])
            tidy(root)
            assert not (top / ".terra/new").exists(), "each start of the machine does that"
            killed_on_its_way(ground, root, top, images[1], tidied=False)
            assert [disk.choice for disk in state(root).disks] == [StartChoice(kept="os")]
            upgrade(ground, root, images[1])
            assert [disk.choice for disk in state(root).disks] == [StartChoice(kept="os", once="os.1")]
            assert used(top) - before < 1.2 * CHANGED + 16 * MB
            as_the_image_and_the_machine_say(root, top / "os.1")
            again = upgrade(ground, root, images[1])
            assert (again["there"], again["to"]["version"]) == ("os.1", "os.1"), "the second time nothing is laid down"
            assert sorted(path.name for path in top.iterdir()) == [".terra", "home", "os", "os.1"]
            own = sorted(path.name for path in (top / ".terra").iterdir())
            assert own == ["failed", "layers", "ledger.json"], "a reason has room"
            assert len([*(top / ".terra/layers").iterdir()]) == 4, "two that both images have, and the last one of each"
            rows = json.loads(run([TERRA, "versions", "-o", "json", "--root", root]).stdout)
            assert [(row["version"], row["state"], row["image"]) for row in rows] == [
                ("os", "running", images[0]), ("os.1", "tried at the next start", images[1]),
            ]  # fmt: skip
            assert [(row["kept"], row["tried_next"]) for row in rows] == [(True, False), (False, True)]
            menu = (top / "os.1/boot/grub/grub.cfg").read_text()
            assert menu == (root / "boot/grub/grub.cfg").read_text().replace('"os"', '"os.1"').replace('"/os"', '"/os.1"')
        with mounted(part, place, filesystem="btrfs", options=("subvol=/os.1",)) as root:
            assert json.loads(run([TERRA, "diff", "-o", "json", "--root", root]).stdout)["changes"] == []
            assert upgrade(ground, root, "--plan")["there"] == "os.1", "node.toml has the image that it is of"
            assert upgrade(ground, root, "--plan", images[0])["there"] == "os"
            needed = "is the version that the machine starts by itself"
            for name, why in (("os.1", "is the version that runs"), ("os", needed), ("home", "no version")):
                told = run([TERRA, "versions", "--remove", name, "--root", root], accept=(1,)).stderr.decode()
                assert why in " ".join(told.split())
        with looked_into(part, tmp_path) as (root, top):
            forged(top / "home", top / "os" / PLACE)
            told = run([TERRA, "versions", "--remove", "os.1", "--root", root], accept=(1,)).stderr.decode()
            assert "is to be tried at the next start" in " ".join(told.split())
            give_up("os.1", "it does not please", root)
            run([TERRA, "versions", "--remove", "os.1", "--root", root])
            assert sorted(path.name for path in top.iterdir()) == [".terra", "home", "os"]
            assert len([*(top / ".terra/layers").iterdir()]) == 3, "those of the image that is left"
            rows = json.loads(run([TERRA, "versions", "-o", "json", "--root", root]).stdout)
            assert [row["version"] for row in rows] == ["os"]


def test_what_is_named_and_not_there_is_the_next_images_and_what_is_too_deep_is_said(
    ground: Ground, network: Network, registry: Registry, tmp_path: Path
) -> None:
    both = (folder(b"etc/gone"), file(b"etc/gone/of-the-image", b"1\n"))
    app = (folder(b"etc/app"), file(b"etc/app/settings", b"of the image\n"))
    first = push(network, registry, tmp_path, "named-1", [tar(*SYSTEM, *both)])
    second = push(network, registry, tmp_path, "named-2", [tar(*SYSTEM, *both, *app)])
    with blank(tmp_path, [900]) as (disk,):
        named = '[upgrade]\nkeep = ["/etc/app", "/etc/gone", "/srv/own/keys"]\n'
        ground.install(ground.node(group("os", "single", [disk]), named, image=first))
        with looked_into(part_device(disk.device, 3), tmp_path) as (root, top):
            shutil.rmtree(root / "etc/gone")
            (root / "srv/own/keys").mkdir(parents=True)
            (root / "srv/own").chmod(0o700)
            os.setxattr(root / "srv/own", "user.note", b"mine")
            deep(root / "srv/own/keys")
            plan = upgrade(ground, root, "--plan", second)
            assert {"/etc/gone", "/srv/own/keys"} <= set(plan["kept"])
            assert "/etc/app" not in plan["kept"]
            assert plan["lost"] == []
            told = run(ground.network.command([TERRA, "upgrade", "--http", "--root", root, second]), timeout=300).stderr
            assert "warning: not all of /srv/own/keys is taken over" in " ".join(told.decode().split())
            new = top / "os.1"
            assert (new / "etc/app/settings").read_text() == "of the image\n", "the machine has never had it"
            assert not (new / "etc/gone").exists(), "somebody has removed it, and named it"
            assert stat.S_IMODE((new / "srv/own").stat().st_mode) == 0o700
            assert os.getxattr(new / "srv/own", "user.note") == b"mine"
            names_all_of_usr(root)
            told = run(ground.network.command([TERRA, "upgrade", "--http", "--plan", "--root", root, first])).stderr
            assert "warning: not kept: /usr is what an image is made of" in " ".join(told.decode().split())


def names_all_of_usr(root: Path) -> None:
    """Let the machine be one that an earlier Terra has installed, which took that."""
    record = root / PLACE / "record.json"
    raw = json.loads(record.read_text())
    raw["node"]["upgrade"]["keep"] += ["/usr"]
    record.write_text(json.dumps(raw))


def rows_of(root: Path) -> dict[str, Any]:
    rows = json.loads(run([TERRA, "versions", "-o", "json", "--root", root]).stdout)
    return {row["version"]: row for row in rows}


@pytest.mark.parametrize("firmware", ["bios", "both"])
def test_a_version_is_tried_kept_and_given_up_on_every_disk(
    ground: Ground, images: tuple[str, str], tmp_path: Path, firmware: str
) -> None:
    with blank(tmp_path, [1100, 1100]) as disks:
        lines = [f'boot = "{firmware}"', 'filesystem = "btrfs"']
        ground.install(ground.node(group("os", "raid1", disks, *lines), image=images[0]))
        parts, esps = ([part_device(disk.device, at) for disk in disks] for at in (3, 2))
        place = tmp_path / "root"
        place.mkdir()
        run(["btrfs", "device", "scan", "--forget", *parts], accept=(0, 1))
        run(["btrfs", "device", "scan", *parts])
        with mounted(parts[0], place, filesystem="btrfs", options=("subvol=/os",)) as root:
            now = state(root)
            assert {disk.partition for disk in now.disks} == set(esps)
            assert (now.running, now.kept, now.once, now.problems) == ("os", ("os",), (), ())
            upgrade(ground, root, "--no-try", images[1])
            assert (state(root).once, rows_of(root)["os.1"]["state"]) == ((), "laid down")
            assert upgrade(ground, root, images[1])["tried"] == "os.1", "what is there is tried"
            assert state(root).choices == (StartChoice(kept="os", once="os.1"),) * 2
            started(esps[0], "os.1")
            told: list[str] = []
            now = settle(root, report=lambda event: told.append(event.text))
            assert now.choices == (StartChoice(kept="os"),) * 2, "the other disk does not try it again"
            assert [text for text in told if text.startswith("os.1 is given up: it was to be started on trial")]
            assert "did not come up" in rows_of(root)["os.1"]["given_up"]["reason"]
            plan = upgrade(ground, root, "--plan", images[1])
            assert (plan["tried"], plan["there"]) == ("", "os.1")
            assert plan["obstacle"].startswith("os.1 was given up before: ")
            assert "there is no version of that name" in run_of(root, "--to", "none")
            assert "no version was laid down before os" in run_of(root)
            with overwritten(esps[1]):
                now = try_once("os.1", root)
                assert [disk.choice is None for disk in sorted(now.disks, key=lambda disk: disk.disk)] == [False, True]
                assert f"{esps[1]}: the boot loader keeps nothing there" in now.problems[0]
                keep("os.1", root)
                assert [problem for problem in state(root).problems if str(esps[1]) in problem]
                assert "holds the boot menu" in state(root).needed["os"]
            assert state(root).kept in (("os.1", "os"), ("os", "os.1"))
        with mounted(parts[0], place, filesystem="btrfs", options=("subvol=/os.1",)) as root:
            assert settle(root).choices == (StartChoice(kept="os.1"),) * 2, "the disk that was missing says what runs"
            assert rows_of(root)["os.1"]["given_up"] is None
            with pytest.raises(ConflictError, match="is the version that is kept"):
                give_up("os.1", "no", root)
            plan = upgrade(ground, root, "--plan", images[0])
            assert (plan["there"], plan["removed"]) == ("os", [])
            run([TERRA, "rollback", "--plan", "--root", root])
            assert state(root).kept == ("os.1",)
            told_of = run([TERRA, "rollback", "--root", root]).stderr.decode()
            assert f"started from now on: os, of {images[0]}" in told_of
            assert state(root).choices == (StartChoice(kept="os"),) * 2
            run([TERRA, "rollback", "--to", "os.1", "--root", root])
            run([TERRA, "versions", "--remove", "os", "--root", root])
            assert list(rows_of(root)) == ["os.1"], "the menu is of each version"


def run_of(root: Path, *words: str) -> str:
    """Return what a rollback that fails says."""
    return run_with(root, "rollback", *words)


def run_with(root: Path, command: str, *words: str) -> str:
    """Return what a command that fails says."""
    return " ".join(run([TERRA, command, "--root", root, *words], accept=(1,)).stderr.decode().split())


def started(esp: Path, version: str) -> None:
    """Do what GRUB does with a try on the disk that it starts from."""
    grub = Plugins.discover().fill(Bootloader, {}, source="test")
    choice = grub.read_choice(esp, Session())
    assert choice.once == version
    grub.write_choice(esp, StartChoice(kept=choice.kept, tried=version), Session())


@contextmanager
def overwritten(esp: Path) -> Iterator[None]:
    """Let a partition be no file system for the time of a block."""
    with esp.open("r+b", buffering=0) as file:
        before = file.read(512)
        file.seek(0)
        file.write(bytes(512))
        yield
        file.seek(0)
        file.write(before)


def test_the_oldest_version_makes_room(
    ground: Ground, images: tuple[str, str], network: Network, registry: Registry, tmp_path: Path
) -> None:
    lower = [tar(*SYSTEM), tar(folder(b"usr"), folder(b"usr/share"), file(b"usr/share/doomed", b"gone"))]
    third = push(network, registry, tmp_path, "3", [*lower, programs(3)])
    with blank(tmp_path, [1200]) as (disk,):
        ground.install(ground.node(group("os", "single", [disk]), image=images[0]))
        part, place = part_device(disk.device, 3), tmp_path / "root"
        place.mkdir()
        with mounted(part, place, filesystem="btrfs", options=("subvol=/os",)) as root:
            upgrade(ground, root, images[1])
            keep("os.1", root)
        with mounted(part, place, filesystem="btrfs", options=("subvol=/os.1",)) as root:
            assert upgrade(ground, root, third)["removed"] == ["os"]
            assert list(rows_of(root)) == ["os.1", "os.2"]
            assert state(root).choices == (StartChoice(kept="os.1", once="os.2"),)
            give_up("os.2", "the check failed", root)
            assert upgrade(ground, root, "--plan", images[0])["removed"] == ["os.2"], "the one that runs stays"


def test_who_goes_back_while_an_upgrade_is_under_way_is_not_overruled_by_it(
    ground: Ground, images: tuple[str, str], network: Network, registry: Registry, tmp_path: Path
) -> None:
    third = parse_image_reference(push(network, registry, tmp_path, "4", [tar(*SYSTEM), programs(4)]))
    with blank(tmp_path, [1200]) as (disk,):
        ground.install(ground.node(group("os", "single", [disk]), image=images[0]))
        part, place = part_device(disk.device, 3), tmp_path / "root"
        place.mkdir()
        with mounted(part, place, filesystem="btrfs", options=("subvol=/os",)) as root:
            upgrade(ground, root, images[1])
            keep("os.1", root)
        with (
            mounted(part, place, filesystem="btrfs", options=("subvol=/os.1",)) as root,
            network.inside(),
            upgrading(third, root, plain_http=True) as planned,
        ):
            assert planned.plan.removed == ("os",)
            go_back(former(None, root), root)
            planned.carry_out()
            assert list(rows_of(root)) == ["os", "os.1", "os.2"], "what is kept by now is not removed"
            assert state(root).choices == (StartChoice(kept="os", once="os.2"),)
            assert state(root).failed["os.1"].reason == "somebody went back from it to os"


def test_a_disk_that_fills_up_takes_no_version_away(
    ground: Ground, images: tuple[str, str], network: Network, registry: Registry, tmp_path: Path
) -> None:
    lower = [tar(*SYSTEM), tar(folder(b"usr"), folder(b"usr/share"), file(b"usr/share/first", content(9, MB)))]
    layered = push(network, registry, tmp_path, "layered", [*lower, programs(4)])
    with blank(tmp_path, [1200]) as (disk,):
        ground.install(ground.node(group("os", "single", [disk]), image=images[0]))
        with looked_into(part_device(disk.device, 3), tmp_path) as (root, top):
            layers = sorted((top / ".terra/layers").iterdir())
            with filled(root / "var/fill", BIG // 2):
                for image in (images[1], layered):
                    told = upgrade(ground, root, image, accept=(1,))
                    assert "No space left on device" in " ".join(told.split())
                    assert list(rows_of(root)) == ["os"]
                    assert not (top / ".terra/new").exists()
                    assert sorted((top / ".terra/layers").iterdir()) == layers, "they would take the room that is left"
                    assert state(root).choices == (StartChoice(kept="os"),)
            upgrade(ground, root, images[1])
            started(part_device(disk.device, 2), "os.1")
            with filled(top / "os.1/var/fill", 0):
                give_up("os.1", "its disk is full", root)
                assert rows_of(root)["os.1"]["given_up"]["reason"] == "its disk is full"
                assert settle(root).choices == (StartChoice(kept="os"),)


@contextmanager
def filled(directory: Path, spared: int) -> Iterator[None]:
    """Fill the disk of a directory, but for some bytes, for the time of a block.

    :param directory: one that is made.
    """
    directory.mkdir(parents=True)
    number, size = 0, 256 * MB
    while size >= 4096:
        try:
            with (directory / str(number)).open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError:
            size //= 2
        number += 1
    freed = 0
    for path in sorted(directory.iterdir(), key=lambda path: path.stat().st_blocks):
        if freed < spared and path.stat().st_blocks:
            freed += path.stat().st_size
            path.unlink()
    run(["btrfs", "filesystem", "sync", directory])
    try:
        yield
    finally:
        shutil.rmtree(directory)
        run(["btrfs", "filesystem", "sync", directory.parent])


def forged(home: Path, record: Path) -> None:
    """Write what a user could, where a subvolume is theirs: a version of their own."""
    shutil.copytree(record, home / PLACE)
    for path in (home / PLACE).iterdir():
        os.chown(path, 1000, 1000)


def lived_in(root: Path) -> None:
    """Do what a machine and its user do."""
    (root / "etc/machine-id").chmod(0o644)
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/ssh").mkdir(exist_ok=True)
    (root / "etc/ssh/ssh_host_ed25519_key").write_text("a key")
    (root / "etc/ssh/ssh_host_ed25519_key").chmod(0o600)
    (root / "etc/app/keys").mkdir(parents=True)
    (root / "etc/app/keys/one").write_text("mine")
    (root / "etc/app/keys/link").symlink_to("/nowhere")
    os.chown(root / "etc/app/keys/one", 7, 8)
    (root / "etc/app/other").write_text("not named")
    (root / "etc/release").write_text("changed by hand")
    (root / "usr/share/mine").write_bytes(b"local")


def killed_on_its_way(ground: Ground, root: Path, top: Path, image: str, *, tidied: bool = True) -> None:
    """Kill an upgrade that has begun to write: the machine has what it had.

    :param tidied: whether what it has left is removed by hand.
    """
    command = ground.network.command([TERRA, "upgrade", "--http", "--root", root, image])
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until((top / ".terra/new").exists, seconds=120, what="the upgrade to begin")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert list(rows_of(root)) == ["os"]
    assert (top / ".terra/new").exists(), "it was killed before it had come to its end"
    if not tidied:
        return
    left = "a half of a version, of an upgrade that did not come to its end, takes room"
    assert left in run([TERRA, "versions", "--root", root]).stderr.decode()
    with locked(Paths().run / "upgrade.lock", seconds=60):
        tidy(root)
        assert (top / ".terra/new").exists(), "it may be of an upgrade that goes on"
        assert not state(root).left
    assert "there is no version of that name" in run_with(root, "versions", "--remove", "os.1")
    assert not (top / ".terra/new").exists(), "who makes room has that first"


def as_the_image_and_the_machine_say(root: Path, new: Path) -> None:
    assert (new / "usr/share/same").read_bytes() == content(1, BIG)
    assert (new / "usr/share/program").read_bytes() == content(102, CHANGED)
    assert stat.S_IMODE((new / "usr/share/program").stat().st_mode) == 0o4755
    assert (new / "etc/release").read_text() == "version 2\n"
    assert not (new / "usr/share/doomed").exists()
    assert not (new / "usr/share/mine").exists()
    assert not (new / "etc/app/other").exists()
    for path in ("etc/machine-id", "etc/ssh/ssh_host_ed25519_key", "etc/hostname", "etc/hosts", "etc/app/keys/one"):
        former, now = (root / path).stat(), (new / path).stat()
        assert (new / path).read_bytes() == (root / path).read_bytes(), path
        assert (now.st_mode, now.st_uid, now.st_gid) == (former.st_mode, former.st_uid, former.st_gid), path
    assert (new / "etc/app/keys/link").readlink() == Path("/nowhere")
    assert (new / "etc/fstab").read_text() == (root / "etc/fstab").read_text().replace("subvol=/os ", "subvol=/os.1 ")
    assert "subvol=/os.1 " in (new / "etc/fstab").read_text()
    assert (new / "boot/terra-steps.img").read_bytes() == (root / "boot/terra-steps.img").read_bytes()
    assert (new / "home").is_dir()


@contextmanager
def started_from(part: Path, place: Path, kind: str, version: str) -> Iterator[Path]:
    """Mount the root of a version as a machine on ext4 or xfs has it: alone."""
    with directory_mounted(part, version, place, filesystem=kind) as root:
        yield root


def taken(place: Path) -> int:
    run(["sync", "--file-system", place], timeout=120)
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_next_version_is_a_directory_where_there_are_no_subvolumes(
    ground: Ground, images: tuple[str, str], kind: str, tmp_path: Path
) -> None:
    with blank(tmp_path, [900]) as (disk,):
        keep_keys = '[upgrade]\nkeep = ["/etc/app/keys"]\n'
        node = ground.node(group("os", "single", [disk], f'filesystem = "{kind}"', home="/home"), keep_keys, image=images[0])
        ground.install(node)
        part, place, top = part_device(disk.device, 3), tmp_path / "root", tmp_path / "top"
        place.mkdir()
        top.mkdir()
        with started_from(part, place, kind, "os") as root, mounted(part, top, filesystem=kind):
            lived_in(root)
            (top / "home/note").write_text("mine")
            before, was = taken(top), make_manifest(root, left_out=PLACE)
            plan = upgrade(ground, root, "--plan", images[1])
            assert (plan["layers_present"], plan["tried"], plan["needed"] > 0) == (2 * (kind == "xfs"), "os.1", kind == "ext4")
            assert "/etc/app/keys" in plan["kept"]
            assert {one["path"] for one in plan["lost"]} == {"/etc/app/other", "/etc/release", "/usr/share/mine"}
            upgrade(ground, root, images[1])
            assert [disk.choice for disk in state(root).disks] == [StartChoice(kept="os", once="os.1")]
            used_by_it = taken(top) - before
            assert used_by_it < 1.2 * CHANGED + 16 * MB if kind == "xfs" else BIG + CHANGED <= used_by_it < 2 * BIG
            assert make_manifest(root, left_out=PLACE) == was, "the version that runs stays as it is"
            new = top / "os.1"
            assert (new / "usr/share/program").read_bytes() == content(102, CHANGED)
            assert (new / "usr/share/same").read_bytes() == content(1, BIG)
            assert not (new / "usr/share/doomed").exists()
            for path in ("etc/machine-id", "etc/hostname", "etc/app/keys/one", "etc/fstab", "boot/terra-steps.img"):
                assert (new / path).read_bytes() == (root / path).read_bytes(), path
            menu = (new / "boot/grub/grub.cfg").read_text()
            assert menu == (root / "boot/grub/grub.cfg").read_text().replace('"os"', '"os.1"').replace('"/os"', '"/os.1"')
            assert ((new / "home").is_dir(), (top / "home/note").read_text()) == (True, "mine")
            assert not (new / "home/note").exists()
            assert list(rows_of(root)) == ["os", "os.1"]
            keep("os.1", root)
        read = run(["grub-fstest", disk.file, "cat", "(loop0,gpt3)/os.1/boot/grub/grub.cfg"]).text
        assert read == menu, "by a boot loader that reads no journal"
        with started_from(part, place, kind, "os.1") as root:
            assert settle(root).choices == (StartChoice(kept="os.1"),)
            assert json.loads(run([TERRA, "diff", "-o", "json", "--root", root]).stdout)["changes"] == []
            assert upgrade(ground, root, "--plan", images[0])["there"] == "os"
            run([TERRA, "rollback", "--root", root])
            assert state(root).choices == (StartChoice(kept="os"),)
            run([TERRA, "rollback", "--to", "os.1", "--root", root])
            run([TERRA, "versions", "--remove", "os", "--root", root])
            assert list(rows_of(root)) == ["os.1"], "the first one goes like any other"
        with mounted(part, top, filesystem=kind):
            assert sorted(path.name for path in top.iterdir() if path.name != "lost+found") == [".terra", "home", "os.1"]
            assert len([*(top / ".terra").glob("layers/*")]) == 3 * (kind == "xfs"), "only where they share their blocks"


def test_what_a_version_needs_on_ext4_is_said_before_anything_is_fetched(
    ground: Ground, images: tuple[str, str], tmp_path: Path
) -> None:
    with blank(tmp_path, [400]) as (disk,):
        ground.install(ground.node(group("os", "single", [disk], 'filesystem = "ext4"', 'boot = "bios"'), image=images[0]))
        part, place, top = part_device(disk.device, 3), tmp_path / "root", tmp_path / "top"
        place.mkdir()
        top.mkdir()
        with started_from(part, place, "ext4", "os") as root, mounted(part, top, filesystem="ext4"):
            found = os.statvfs(root)
            os.posix_fallocate(file := os.open(root / "large", os.O_CREAT | os.O_WRONLY), 0, found.f_bavail * 4096 - 24 * MB)
            os.close(file)
            for words in ([], ["--plan"]):
                told = " ".join(upgrade(ground, root, *words, images[1], accept=(1,)).split())
                assert re.search(r"os\.1 needs about \d+ MB, as versions share nothing on ext4, and 2[234] MB are free", told)
                assert "terra versions --remove NAME" in told
            assert sorted(path.name for path in top.iterdir() if path.name != "lost+found") == [".terra", "os"]
            (root / "large").unlink()
            half = top / ".terra/new/usr"
            half.mkdir(parents=True)
            (half / "half").write_bytes(bytes(60 * MB))
            taken(top)
            found = os.statvfs(root)
            os.posix_fallocate(file := os.open(root / "large", os.O_CREAT | os.O_WRONLY), 0, found.f_bavail * 4096 - 24 * MB)
            os.close(file)
            assert upgrade(ground, root, images[1])["tried"] == "os.1", "what a killed upgrade has left makes room first"
            assert not (top / ".terra/new").exists()


def test_where_nothing_can_lie_beside_it_that_is_said(ground: Ground, images: tuple[str, str], tmp_path: Path) -> None:
    """An earlier Terra made the root all of the file system."""
    with blank(tmp_path, [700]) as (disk,):
        ground.install(ground.node(group("os", "single", [disk], 'filesystem = "ext4"'), image=images[0]))
        place = tmp_path / "root"
        place.mkdir()
        part = part_device(disk.device, 3)
        with mounted(part, place, filesystem="ext4") as top:
            for path in [*(top / "os").iterdir()]:
                path.rename(top / path.name)
            shutil.rmtree(top / ".terra")
            (top / "os").rmdir()
            top.chmod(0o755)
        with mounted(part, place, filesystem="ext4") as root:
            told = upgrade(ground, root, accept=(1,))
            assert "is all of its file system, so no other version can lie beside it" in " ".join(told.split())
            assert list(rows_of(root)) == ["os"]
            told = json.loads(run([TERRA, "diff", "-o", "json", "--root", root]).stdout)["changes"]
            assert [one["path"] for one in told] == ["/lost+found"]
