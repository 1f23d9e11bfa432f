"""What an installed machine knows of what was laid down on it: terra diff, against a walk of both trees, and terra versions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lab.disks import blank
from terra_core.config.controller import Paths
from terra_core.errors import TerraError
from terra_core.install.disks import part_device
from terra_core.system.mounts import directory_mounted, mounted
from terra_core.system.process import run
from terra_core.versions.look import difference, versions
from terra_core.versions.record import PLACE
from tests.integration.install.grounds import Ground, group

TERRA = Path(sys.executable).parent / "terra"


def seen(root: Path) -> dict[str, tuple[object, ...]]:
    """Walk a tree in the plainest way, and read every file of it."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (root, *root.rglob("*")):
        place = path.relative_to(root)
        if place.is_relative_to(PLACE) and str(place) != PLACE:
            continue
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            sparse = status.st_size > 1 << 30
            content = hashlib.sha256(b"" if sparse else path.read_bytes()).digest()
        elif stat.S_ISLNK(status.st_mode):
            content = path.readlink()
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            content = status.st_rdev
        names = os.listxattr(path, follow_symlinks=False)
        attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        name = f"/{place}" if path != root else "/"
        found[name] = (status.st_mode, status.st_uid, status.st_gid, content, tuple(sorted(attributes.items())))
    return found


def differing(before: Mapping[str, object], now: Mapping[str, object]) -> dict[str, str]:
    changed = {path: "changed" for path in before.keys() & now.keys() if before[path] != now[path]}
    gone = dict.fromkeys(before.keys() - now.keys(), "removed")
    return {**changed, **gone, **dict.fromkeys(now.keys() - before.keys(), "added")}


def same_size_and_times(path: Path) -> None:
    status = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced_by(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def changed_by_hand(root: Path) -> None:
    """Change what a machine, its user and somebody who hides it would."""
    same_size_and_times(root / "etc/hosts")
    (root / "etc/hostname").chmod(0o600)
    (root / "etc/hostname").chmod(0o644)  # and back: no change
    os.utime(root / "etc/fstab")  # no change either
    (root / "etc/fstab").write_bytes((root / "etc/fstab").read_bytes())  # nor this, of another mark
    replaced_by(root / "etc/machine-id", lambda path: path.symlink_to("/proc/self/environ"))
    (root / "boot/grub/grub.cfg").write_text("menuentry")  # and moved away, at last
    (root / "home/terra/note").unlink()
    (root / "home").chmod(0o711)
    os.chown(root / "home/terra", 1000, 0)
    os.setxattr(root / "boot", "user.note", b"mine")
    (root / "srv/deep/er").mkdir(parents=True)
    os.mkfifo(root / "srv/deep/pipe")
    os.mknod(root / "srv/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (root / "srv/link").symlink_to("nowhere")
    Path(os.fsdecode(os.fsencode(root / "srv") + b"/\xff\n\x1b[2J")).write_text("odd")
    odder(root)


def odder(root: Path) -> None:
    """Make what few machines have."""
    os.mknod(root / "srv/socket", 0o600 | stat.S_IFSOCK)
    os.mknod(root / "srv/disk", 0o600 | stat.S_IFBLK, os.makedev(7, 0))
    (root / "srv" / ("x" * 255)).write_text("long")
    (root / "srv/far").write_text("of the last user that there may be")
    os.chown(root / "srv/far", 2**32 - 2, 2**32 - 2)
    (root / "etc/hosts").chmod(0o6755)
    os.setxattr(root / "etc/hosts", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.setxattr(root / "etc/hosts", "trusted.empty", b"")
    (root / "srv/twin").hardlink_to(root / "etc/fstab")  # fstab itself is no other one by that
    sparse = root / "home/terra/sparse"
    sparse.touch()
    os.truncate(sparse, 1 << 40)
    (root / "boot/grub").rename(root / "boot/moved")
    (root / "boot/grub").symlink_to("moved")


def mounted_root(part: Path, place: Path, kind: str) -> AbstractContextManager[Path]:
    """Mount the root of a machine alone, as the machine does."""
    if kind == "btrfs":
        return mounted(part, place, filesystem=kind, options=("subvol=/os",))
    return directory_mounted(part, "os", place, filesystem=kind)


def test_what_was_changed_is_listed_exactly_and_versions_are_known(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [700, 700]) as disks:
        for kind, disk in (("btrfs", disks[0]), ("ext4", disks[1])):
            node = ground.node(group("os", "single", [disk], f'filesystem = "{kind}"', data="/data"), hostname=f"on-{kind}")
            ground.install(node)
            part, place = part_device(disk.device, 3), tmp_path / kind
            place.mkdir()
            with mounted_root(part, place, kind) as root:
                paths = Paths(root=tmp_path / f"own-{kind}")
                assert difference(root, paths=paths).changes == (), "as it was laid down"
                before = seen(root)
                changed_by_hand(root)
                (root / "data").mkdir(exist_ok=True)
                with mounted(part, root / "data", filesystem=kind):
                    told = difference(root, paths=paths)
                expected = differing(before, seen(root))
                assert {one.path: one.what.value for one in told.changes} == expected
                assert len(expected) >= 14
                details = {one.path: one.details for one in told.changes}
                assert details["/etc/hosts"] == ("content", "mode", "attributes")
                assert details["/etc/machine-id"][:1] == ("kind",)
                assert (details["/home"], details["/home/terra"], details["/boot"]) == (("mode",), ("owner",), ("attributes",))
                (version,) = versions(root, paths=paths)
                assert (version.name, version.running, version.problem) == ("os", True, "")
                assert version.record is not None
                assert (version.record.image, version.record.filesystem) == (ground.image, kind)
                assert version.record.node["hostname"] == f"on-{kind}"
                if kind == "btrfs":
                    shown_by_the_commands(root, ground, expected)
                    beside_each_other(root, part, tmp_path, paths)
            assert not list((paths.run).iterdir()), "nothing is left of it"


def shown_by_the_commands(root: Path, ground: Ground, expected: Mapping[str, str]) -> None:
    answer = json.loads(run([TERRA, "diff", "-o", "json", "--root", root]).stdout)
    assert {one["path"]: one["change"] for one in answer["changes"]} == expected
    assert answer["image"] == ground.image
    told = run([TERRA, "diff", "--root", root])
    assert b"changed /etc/hosts  (content, mode, attributes)\n" in told.stdout
    assert b"added   /srv/deep/\n" in told.stdout
    assert b"\x1b" not in told.stdout
    assert "removed since" in told.stderr.decode()
    rows = json.loads(run([TERRA, "versions", "-o", "json", "--root", root]).stdout)
    assert [(row["version"], row["state"], row["digest"]) for row in rows] == [("os", "running", answer["digest"])]


def beside_each_other(root: Path, part: Path, tmp_path: Path, paths: Paths) -> None:
    """Look at snapshots beside it, of which one is whole, one has a record that is broken, and one is none of Terra's."""
    place = tmp_path / "top"
    place.mkdir()
    with mounted(part, place, filesystem="btrfs", options=("subvolid=5",)) as top:
        for name in ("before", "broken", "other"):
            run(["btrfs", "subvolume", "snapshot", top / "os", top / name])
        (top / "broken" / PLACE / "record.json").write_text("{")
        (top / "other" / PLACE / "record.json").unlink()
        (top / "link").symlink_to("os")
    found = {version.name: version for version in versions(root, paths=paths)}
    assert {name: version.running for name, version in found.items()} == {"before": False, "broken": False, "os": True}
    assert found["broken"].record is None
    assert "record.json: cannot be read" in found["broken"].problem


def test_where_nothing_was_written_down_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    for words in (["diff"], ["versions"]):
        told = run([TERRA, *words, "--root", tmp_path / "root"], accept=(1,)).stderr.decode()
        assert "nobody has written down what was laid down here" in " ".join(told.split())
        assert "Traceback" not in told
    with pytest.raises(TerraError, match="is no directory"):
        difference(tmp_path / "none", paths=Paths(root=tmp_path / "own"))


@pytest.mark.parametrize("kind", ["btrfs", "ext4"])
def test_what_is_lost_of_a_machine_that_is_there_is_said_before_it_is(kind: str, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [700]) as (disk,):
        first = ground.node(group("os", "single", [disk], f'filesystem = "{kind}"', home="/home"), hostname="old-01")
        first.write_text(f'{first.read_text()}[upgrade]\nkeep = ["/etc/app"]\n')
        ground.install(first)
        before = disk.content()
        other = ground.node(group("os", "single", [disk]), '[upgrade]\nkeep = ["/usr", "/etc/app", "/run/app"]\n')
        for told in (ground.install("--wipe", other, accept=[2]), run([TERRA, "validate", other], accept=[2])):
            said = " ".join((told.stdout + told.stderr).decode().split())
            assert "upgrade.keep[0]: /usr is what an image is made of" in said
            assert "upgrade.keep[2]: /run/app is made anew at each start" in said
        assert disk.content() == before
        other = ground.node(group("os", "single", [disk]))
        said = " ".join(ground.install(other, accept=[1]).stderr.decode().split())
        assert f"{disk.device}: is of the machine old-01: {ground.image} (sha256:" in said
        kept = "its machine-id and host keys, /etc/app, subvolume home"
        offer = f"terra upgrade on that machine brings it the next version, and keeps {kept}"
        assert offer in said
        assert disk.content() == before
        plan = json.loads(ground.install("--plan", "-o", "json", "--wipe", other).text)
        (former,) = plan["former"]
        assert (former["device"], former["hostname"], former["versions"]) == (str(disk.device), "old-01", 1)
        assert (former["upgrades"], former["keep"]) == (True, ["/etc/app"])
        assert disk.content() == before
        if kind == "ext4":
            undivided(part_device(disk.device, 3), tmp_path)
            said = " ".join(ground.install(other, accept=[1]).stderr.decode().split())
            assert f"{disk.device}: is of the machine old-01: " in said
            assert "terra upgrade" not in said, "what an earlier Terra made as all of its file system has one version"
        ground.install("--wipe", other)


@pytest.mark.parametrize("kind", ["raid1", "raid0"])
def test_a_machine_on_several_disks_is_known_by_each_of_them(kind: str, ground: Ground, tmp_path: Path) -> None:
    """Also where nobody has told the kernel which disks belong together, and where one of a mirror is away."""
    with blank(tmp_path, [700, 700]) as disks:
        ground.install(ground.node(group("os", kind, disks, home="/home"), hostname="old-01"))
        parts = [part_device(disk.device, 3) for disk in disks]
        before = [disk.content() for disk in disks]
        try:
            for at, disk in enumerate(disks):
                assert known(ground, parts, group("os", "single", [disk])) == [(str(disk.device), "old-01")], at
            assert known(ground, parts, group("os", "raid1", disks)) == [(str(disks[0].device), "old-01")]
            if kind == "raid1":
                run(["wipefs", "--quiet", "--all", parts[0]])
                assert known(ground, parts, group("os", "single", disks[1:])) == [(str(disks[1].device), "old-01")]
            assert disks[1].content() == before[1], "nothing is written"
        finally:
            run(["btrfs", "device", "scan", "--forget", *parts], accept=(0, 1))


def known(ground: Ground, parts: Sequence[Path], system: str) -> list[tuple[str, str]]:
    """Return the machines that a plan says would be lost, each with the disk that it is known by."""
    run(["btrfs", "device", "scan", "--forget", *parts], accept=(0, 1))
    plan = json.loads(ground.install("--plan", "-o", "json", "--wipe", ground.node(system)).text)
    assert all(one["upgrades"] for one in plan["former"])
    return [(one["device"], one["hostname"]) for one in plan["former"]]


def undivided(part: Path, tmp_path: Path) -> None:
    """Make a root all of its file system, as an earlier Terra did."""
    place = tmp_path / "whole"
    place.mkdir()
    with mounted(part, place, filesystem="ext4") as top:
        for path in [*(top / "os").iterdir()]:
            if path.name != "home":
                path.rename(top / path.name)
        shutil.rmtree(top / "os")
        shutil.rmtree(top / ".terra")


@pytest.mark.parametrize("record", [b"{}", b"[" * 100_000, b'{"node": {"hostname": "\\u001b[2J"}, "image": 7}', b"\xff"])
def test_a_record_that_somebody_made_up_is_no_machine(record: bytes, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [700]) as (disk,), tempfile.TemporaryDirectory(dir=tmp_path) as place:
        run(["mkfs.ext4", "-q", disk.device])
        with mounted(disk.device, Path(place), filesystem="ext4"):
            (Path(place) / PLACE).mkdir(parents=True)
            (Path(place) / PLACE / "record.json").write_bytes(record)
            (Path(place) / "usr.1").symlink_to("/")
        said = ground.install(ground.node(group("os", "single", [disk])), accept=[1]).stderr
        assert b"is not blank: it holds ext4" in said
        assert not [word for word in (b"Traceback", b"\x1b", b"is of the machine") if word in said]
