"""A controller that is backed up and restored, and archives that nobody should restore."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from attrs import evolve

from terra_core.cli import run, terra
from terra_core.config.controller import Controller, Paths, Tls
from terra_core.controller import backup as backing
from terra_core.controller.archive import Manifest, read_archive
from terra_core.controller.backup import files_named, write_backup
from terra_core.controller.database import default_url, open_database
from terra_core.controller.happening import Kind
from terra_core.controller.restoring import restore_backup, restore_state
from terra_core.controller.store import Store
from terra_core.errors import TerraError, UnavailableError
from terra_core.service.running import only_one
from terra_core.system import reading
from terra_core.system.progress import silent
from tests.unit.controller.fakes import Site

KERNEL = bytes(range(256)) * 8192
CONFIG = Controller()


def put(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def filled(site: Site) -> Site:
    """Write the files that a controller has besides its database."""
    paths = site.paths
    site.provision()
    put(paths.etc / "controller.toml", b'gateway = "10.0.10.1"\n')
    put(paths.token, b"a-token-of-this-controller\n", 0o600)
    put(paths.etc / "tls/key.pem", b"a key\n", 0o400)
    (paths.etc / "tls").chmod(0o700)
    put(paths.state / "dnsmasq.leases", b"")
    put(paths.state / "work/left", b"half a tree")
    put(paths.state / "images/left", b"half an image")
    put(paths.tftp / "nodes/cm-01/vmlinuz", KERNEL)
    (paths.tftp / "nodes/cm-02").mkdir()
    (paths.tftp / "nodes/cm-02/vmlinuz").hardlink_to(paths.tftp / "nodes/cm-01/vmlinuz")
    return site


def backup(site: Site, config: Controller = CONFIG, **more: Any) -> tuple[bytes, Manifest]:
    output = io.BytesIO()
    manifest = write_backup(config, site.paths, output, silent, **more)
    return output.getvalue(), manifest


def restore(archive: bytes, root: Path) -> Paths:
    root.mkdir(exist_ok=True)
    paths = Paths(root)
    restore_backup(io.BytesIO(archive), paths, silent)
    return paths


def tree(root: Path) -> dict[str, tuple[int, bytes | None]]:
    """Mode and content of all that is below a root."""
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes() if path.is_file() else None)
        for path in root.rglob("*")
    }


def nothing_in(root: Path) -> bool:
    return not [path for path in root.rglob("*") if path.is_file() and path.name != "controller.lock"]


def test_what_was_there_is_there_again(site: Site, tmp_path: Path) -> None:
    archive, manifest = backup(filled(site))
    paths = restore(archive, tmp_path / "other")
    before, after = tree(site.paths.root), tree(paths.root)
    wanted = {name: value for name, value in before.items() if name.startswith(("etc/", "tftp/")) or name.endswith("leases")}
    assert {name: after.get(name) for name in wanted} == wanted
    assert after["etc/terra/token"] == (0o600, b"a-token-of-this-controller\n")
    assert after["var/lib/terra/terra.db"][0] == 0o600
    assert not [name for name in after if "left" in name or "iscsi" in name or "ballast" in name]
    assert manifest.left_out == ()
    first, second = (paths.tftp / f"nodes/{name}/vmlinuz" for name in ("cm-01", "cm-02"))
    assert first.samefile(second), "one kernel of many machines is one file"
    assert len(archive) < 2 * len(KERNEL) + 1024 * 1024, "and is in the archive once"


def test_the_machines_are_known_again_and_no_name_is_given_twice(site: Site, tmp_path: Path) -> None:
    archive, _ = backup(filled(site))
    lost = site.begin(hostname="cm-02", mac="02:00:00:00:00:02")  # after the backup: nobody will know of it
    paths = restore(archive, tmp_path / "other")
    store = Store(open_database(default_url(paths.state)))
    try:
        assert list(store.every()) == [site.store.get("cm-01")]
        again = store.reserve(lost.node, lost.document, lost.tables)
        assert again.generation > lost.generation + 50
        store.forget(store.begin_delete("cm-02") if again.problem else again)
        assert store.reserve(lost.node, lost.document, lost.tables).generation == again.generation + 1
    finally:
        store.close()


def test_what_happens_after_that_has_greater_numbers_than_what_was_lost(site: Site, tmp_path: Path) -> None:
    """Who follows a machine asks for what comes after the last number that they know."""
    archive, _ = backup(filled(site))
    for at in range(30):
        site.store.happenings.record("cm-01", 1, Kind.DHCP, f"asks {at}")
    site.store.happenings.flush()
    known = site.store.happenings.read("cm-01", 1)[-1].number
    store = Store(open_database(default_url(restore(archive, tmp_path / "other").state)))
    store.happenings.record("cm-01", 1, Kind.DHCP, "asks")
    store.happenings.flush()
    assert [one.text for one in store.happenings.read("cm-01", 1, after=known)] == ["asks"]
    store.close()


def test_machines_that_were_half_there_are_forgotten_with_their_disks_as_they_are(site: Site, tmp_path: Path) -> None:
    filled(site)
    for name, mac, state in (("cm-02", "02:00:00:00:00:02", "provisioning"), ("cm-03", "02:00:00:00:00:03", "deleting")):
        site.provision(hostname=name, mac=mac)  # whole by now, as a copy that was taken meanwhile does not know
        with sqlite3.connect(site.paths.state / "terra.db") as database:
            database.execute("update nodes set state = ? where hostname = ?", (state, name))
        database.close()
    archive, _ = backup(site)
    (tmp_path / "other").mkdir()
    manifest = restore_backup(io.BytesIO(archive), Paths(tmp_path / "other"), silent)
    store = Store(open_database(default_url(Paths(tmp_path / "other").state)))
    try:
        assert [record.hostname for record in store.every()] == ["cm-01"], "recovering them would remove their disks"
    finally:
        store.close()
    assert [line.split(":")[0] for line in manifest.left_out] == ["the machine cm-02", "the machine cm-03"]


def test_files_of_one_content_keep_modes_of_their_own(site: Site, tmp_path: Path) -> None:
    put(filled(site).paths.state / "secret", KERNEL, 0o600)
    paths = restore(backup(site)[0], tmp_path / "other")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (paths.state / "secret", paths.tftp / "nodes/cm-01/vmlinuz")]
    assert modes == [0o600, 0o644]


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "nobody-of-this-name"])
def test_an_owner_that_this_machine_does_not_know_is_root(site: Site, tmp_path: Path, name: str) -> None:
    archive, _ = backup(filled(site))
    changed = rewritten(archive, lambda manifest: manifest["entries"][-1].update(owner=name, group=name))
    entry = json.loads(members(archive)[-1][1])["entries"][-1]
    assert (restore(changed, tmp_path / "other").root / entry["path"]).stat().st_uid == 0


def test_what_stands_in_the_way_of_a_file_is_left_alone(site: Site, tmp_path: Path) -> None:
    archive, _ = backup(filled(site))
    changed = rewritten(archive, lambda manifest: manifest["entries"][-1].update(path="var/lib/terra/work"))
    with pytest.raises(TerraError, match="File exists") as caught:
        restore(changed, tmp_path / "other")
    assert caught.value.hint == "nothing was restored"
    assert caught.value.notes == [], "all of it was undone"
    assert (tmp_path / "other/var/lib/terra/work").is_dir()


@pytest.mark.parametrize(
    "damage", ["update hosts set generation = 'x'", "insert into about values ('generation_floor', 'x')", "drop table nodes"]
)
def test_a_database_that_says_no_generations_is_damaged(site: Site, tmp_path: Path, damage: str) -> None:
    filled(site)
    with sqlite3.connect(site.paths.state / "terra.db") as database:
        database.execute(damage)
    database.close()
    with pytest.raises(TerraError, match="the database in the backup is damaged"):
        restore(backup(site)[0], tmp_path / "other")
    assert nothing_in(tmp_path / "other")


@pytest.mark.parametrize("place", ["etc/terra", "var/lib/terra/kept", "tftp"])
def test_a_backup_is_not_written_where_the_next_one_would_hold_it(
    site: Site, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = filled(site).paths.root / place / "terra.tar"
    file.parent.mkdir(exist_ok=True)
    assert run(terra, ["backup", "--root", str(site.paths.root), str(file)]) == 1
    assert "every further backup would hold this one" in capsys.readouterr().err
    assert not file.exists()


def test_a_backup_is_taken_while_the_database_is_written_to(site: Site) -> None:
    filled(site)
    with sqlite3.connect(site.paths.state / "terra.db", isolation_level=None) as other:
        other.execute("begin immediate")
        other.execute("update nodes set problem = 'half'")
        archive, _ = backup(site)
        other.execute("rollback")
    other.close()
    assert b"SQLite format 3" in archive


def test_a_root_that_has_something_is_refused(site: Site, tmp_path: Path) -> None:
    archive, _ = backup(filled(site))
    put(tmp_path / "other/etc/terra/token", b"another's\n")
    with pytest.raises(TerraError, match=r"etc/terra/token: is there already, and nothing is replaced"):
        restore(archive, tmp_path / "other")
    assert (tmp_path / "other/etc/terra/token").read_bytes() == b"another's\n"
    assert not (tmp_path / "other/var/lib/terra/terra.db").exists()


def test_a_root_on_which_a_controller_runs_is_refused(site: Site, tmp_path: Path) -> None:
    archive, _ = backup(filled(site))
    with only_one(Paths(tmp_path / "other"), "controller"), pytest.raises(TerraError, match="a controller runs here already"):
        restore(archive, tmp_path / "other")


def test_a_later_schema_is_refused_with_both_named(site: Site, tmp_path: Path) -> None:
    archive, _ = backup(filled(site))
    changed = rewritten(archive, lambda manifest: manifest.update(schema="999", terra="9.9"))
    with pytest.raises(TerraError, match=r"is of Terra 9\.9, whose database has schema 999; this version knows schemas up to"):
        restore(changed, tmp_path / "other")
    assert nothing_in(tmp_path / "other")


def test_what_fails_half_way_leaves_nothing(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, _ = backup(filled(site))
    original, done = os.chown, 0

    def chown(*words: Any, **more: Any) -> None:
        nonlocal done
        done += 1
        if done == 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(*words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "chown", chown)
        with pytest.raises(TerraError, match="No space left on device"):
            restore(archive, tmp_path / "other")
    assert nothing_in(tmp_path / "other")
    restore(archive, tmp_path / "other")


def test_a_place_that_is_a_link_is_refused(site: Site, tmp_path: Path) -> None:
    archive, _ = backup(filled(site))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/tftp").symlink_to(tmp_path)
    with pytest.raises(TerraError, match="other/tftp: is there already"):
        restore(archive, tmp_path / "other")


def members(archive: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [(member, (tar.extractfile(member) or io.BytesIO()).read()) for member in tar]


def packed(found: list[tuple[tarfile.TarInfo, bytes]], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=kind) as tar:
        for member, content in found:
            tar.addfile(member, io.BytesIO(content))
    return output.getvalue()


def rewritten(archive: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    *blobs, (member, text) = members(archive)
    manifest = json.loads(text)
    change(manifest)
    text = json.dumps(manifest).encode()
    member.size = len(text)
    return packed([*blobs, (member, text)])


def first_file(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in manifest["entries"] if entry["digest"])
    return found


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "goes up": lambda manifest: first_file(manifest).update(path="etc/terra/../../evil"),
    "absolute": lambda manifest: first_file(manifest).update(path="/etc/cron.d/evil"),
    "elsewhere": lambda manifest: first_file(manifest).update(path="etc/cron.d/evil"),
    "beside": lambda manifest: first_file(manifest).update(path="etc/terrace"),
    "no byte of a name": lambda manifest: manifest["entries"][-1].update(path="etc/terra/\ud800"),
    "NUL": lambda manifest: first_file(manifest).update(path="etc/terra/a\0b"),
    "doubled slash": lambda manifest: first_file(manifest).update(path="etc/terra//token"),
    "setuid": lambda manifest: first_file(manifest).update(mode=0o4755),
    "negative": lambda manifest: first_file(manifest).update(mode=-1),
    "a digest that is a path": lambda manifest: first_file(manifest).update(digest="../../etc/shadow"),
    "a digest that is not there": lambda manifest: first_file(manifest).update(digest="0" * 64),
    "another size": lambda manifest: first_file(manifest).update(size=1),
    "text for a number": lambda manifest: first_file(manifest).update(mode="0644"),
    "an unknown key": lambda manifest: first_file(manifest).update(link="/etc/shadow"),
    "a path twice": lambda manifest: manifest["entries"].append(first_file(manifest)),
    "no entries": lambda manifest: manifest.pop("entries"),
    "an entry that is a list": lambda manifest: manifest["entries"].append([]),
    "another format": lambda manifest: manifest.update(format=2),
    "a database that is none": lambda manifest: manifest.update(database="etc/terra/token"),
    "a database that is not there": lambda manifest: manifest.update(database="var/lib/terra/other.db"),
}


@pytest.mark.parametrize("change", HOSTILE)
def test_a_manifest_that_is_not_right_is_refused_before_anything_is_put_there(site: Site, tmp_path: Path, change: str) -> None:
    archive, _ = backup(filled(site))
    with pytest.raises(TerraError):
        restore(rewritten(archive, HOSTILE[change]), tmp_path / "other")
    assert nothing_in(tmp_path / "other")
    assert not (tmp_path / "evil").exists()


def of_kind(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


BLOB = f"blobs/{hashlib.sha256(b'').hexdigest()}"


@pytest.mark.parametrize(
    "member",
    [
        of_kind("blobs", tarfile.DIRTYPE),
        of_kind(BLOB, tarfile.SYMTYPE, "/etc/shadow"),
        of_kind(BLOB, tarfile.LNKTYPE, "/etc/shadow"),
        of_kind(BLOB, tarfile.CHRTYPE),
        of_kind(BLOB, tarfile.FIFOTYPE),
        of_kind("../evil", tarfile.REGTYPE),
        of_kind("blobs/../../evil", tarfile.REGTYPE),
        of_kind("blobs/abc", tarfile.REGTYPE),
        of_kind(f"blobs/{'0' * 64}", tarfile.REGTYPE),
        of_kind("x" * 300, tarfile.REGTYPE),
    ],
    ids=lambda member: f"{member.type.decode()} {member.name[:20]}",
)
def test_a_member_that_terra_does_not_write_is_refused(site: Site, tmp_path: Path, member: tarfile.TarInfo) -> None:
    archive, _ = backup(filled(site))
    with pytest.raises(TerraError, match=r"^the backup "):
        restore(packed([(member, b""), *members(archive)], tarfile.GNU_FORMAT), tmp_path / "other")
    assert nothing_in(tmp_path / "other")


def test_an_archive_that_was_cut_short_or_changed_is_refused(site: Site, tmp_path: Path) -> None:
    archive, _ = backup(filled(site))
    size = len(archive)
    for cut in (0, 1, 511, 512, 700, size // 2, archive.index(b'"entries"'), archive.index(b"manifest.json")):
        with pytest.raises(TerraError):
            restore(archive[:cut], tmp_path / "other")
    at = archive.index(KERNEL[:1000])
    with pytest.raises(TerraError, match="damaged"):
        restore(archive[:at] + b"?" + archive[at + 1 :], tmp_path / "other")
    for nonsense in (b"hello\n", os.urandom(5000), b"\x1f\x8b" + bytes(2000), bytes(20000)):
        with pytest.raises(TerraError):
            restore(nonsense, tmp_path / "other")
    assert nothing_in(tmp_path / "other")


def test_a_place_that_takes_no_backup_is_named(site: Site, tmp_path: Path) -> None:
    archive, _ = backup(site)
    with pytest.raises(TerraError, match=r"/none: the backup cannot be unpacked there: No such file or directory"):
        read_archive(io.BytesIO(archive), tmp_path / "none")


def test_state_in_a_server_that_is_away_is_not_left_out_in_silence(site: Site, tmp_path: Path) -> None:
    filled(site)
    away = evolve(CONFIG, database="postgresql+psycopg://terra:secret@127.0.0.1:1/terra")
    with pytest.raises(UnavailableError, match="the database does not answer now") as refused:
        backup(site, away)
    assert "secret" not in str(refused.value)
    config = evolve(CONFIG, database="postgresql+psycopg://terra:secret@db.example/terra")
    archive, manifest = backup(site, config, database=False)
    assert manifest.left_out == ("postgresql+psycopg://***@db.example/terra: the database, as you asked",)
    assert b"SQLite format" not in archive
    paths = restore(archive, tmp_path / "other")
    assert paths.token.exists()


def test_the_state_alone_goes_to_a_server_only(site: Site, tmp_path: Path) -> None:
    archive, _ = backup(filled(site))
    with pytest.raises(TerraError, match="is no database in a server") as refused:
        restore_state(io.BytesIO(archive), Paths(tmp_path), default_url(Paths(tmp_path).state), silent)
    assert 'database = "postgresql+psycopg://' in refused.value.hint
    without, _ = backup(site, database=False)
    with pytest.raises(TerraError, match="was made without the database"):
        restore_state(io.BytesIO(without), Paths(tmp_path), "postgresql+psycopg://terra@127.0.0.1:1/terra", silent)


def test_nothing_is_restored_where_the_server_of_the_backup_is_away(site: Site, tmp_path: Path) -> None:
    put(filled(site).paths.etc / "controller.toml", b'database = "postgresql+psycopg://terra:secret@127.0.0.1:1/terra"\n')
    archive, _ = backup(site)
    with pytest.raises(UnavailableError, match="the database does not answer now") as refused:
        restore(archive, tmp_path / "other")
    assert "secret" not in str(refused.value)
    assert nothing_in(tmp_path / "other")


def test_a_controller_that_never_ran_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(TerraError, match=r"terra\.db: there is no database, so no controller has run here"):
        write_backup(CONFIG, Paths(tmp_path), io.BytesIO(), silent)


def test_files_outside_of_terras_places_are_named(site: Site) -> None:
    filled(site)
    (site.paths.etc / "feed").mkdir()
    os.mkfifo(site.paths.etc / "feed/fifo")
    (site.paths.etc / "gone").symlink_to("nowhere")
    put(site.paths.root / "elsewhere", b"linked")
    (site.paths.etc / "linked").symlink_to("../../elsewhere")
    own = site.paths.etc / "tls/key.pem"
    _, manifest = backup(site, evolve(CONFIG, tls=Tls(certificate="/srv/certificate.pem", key=str(own))))
    assert sorted(manifest.left_out) == [
        f"/srv/certificate.pem: belongs to the configuration, and is outside of {site.paths.etc}",
        f"{site.paths.etc}/feed/fifo: [Errno 22] it is a FIFO, and no file: '{site.paths.etc}/feed/fifo'",
        f"{site.paths.etc}/gone: is a link, and there is nothing at its end",
    ]
    assert {entry.path: entry.size for entry in manifest.entries}["etc/terra/linked"] == 6


def test_the_configuration_itself_and_every_file_that_it_names_is_told_of_where_it_is_not_kept(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(site)
    for name in ("controller.toml", "password", "key.pub", "authority"):
        put(tmp_path / name, b"")
    own = site.paths.etc / "tls/key.pem"
    raw = {
        "database": f"postgresql+psycopg://terra@db/terra?sslmode=verify-full&passfile={tmp_path}/password",
        "plugins": {"store": "vault"},
        "vault": {"keys": [f"{tmp_path}/key.pub", str(own)], "place": str(tmp_path), "more": {"ca": f"{tmp_path}/authority"}},
        "gateway": "10.0.10.1",
        "long": "/" * 9999,
        "nul": "/\0",
    }
    named = files_named(tmp_path / "controller.toml", raw)
    wanted = [f"{tmp_path}/{name}" for name in ("controller.toml", "password", "key.pub", "authority")]
    assert sorted(named) == sorted([*wanted, str(own)])
    _, manifest = backup(site, named=named)
    assert sorted(line.partition(": ")[0] for line in manifest.left_out) == sorted(wanted)
    config = tmp_path / "controller.toml"
    config.write_text(f'database = "sqlite:///{site.paths.state}/terra.db"\n')
    words = ["backup", "--root", str(site.paths.root), "--config", str(config), str(tmp_path / "backup.tar")]
    assert run(terra, words) == 0
    assert f"not in the backup: {config}: belongs to the configuration" in capsys.readouterr().err


def test_a_file_that_changes_while_it_is_read_is_not_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(site)
    original = reading.open_regular

    class Changing(io.BytesIO):
        """A file that is another one when it is read again."""

        def seek(self, place: int, whence: int = 0) -> int:
            self.getbuffer()[:1] = bytes([self.getvalue()[0] ^ 1])
            return super().seek(place, whence)

    def opened(path: Path) -> BinaryIO:
        return Changing(b"a key") if path.name == "key.pem" else original(path)

    monkeypatch.setattr(backing, "open_regular", opened)
    with pytest.raises(TerraError, match="changed while it was read"):
        backup(site)
