"""The parts of ``terra doctor`` that read: the database, the machine, and what plugins find."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.controller.authority import certify
from terra_core.doctor.finding import Off
from terra_core.doctor.hosts import examine_hosts, of_attempts
from terra_core.doctor.looking import look
from terra_core.doctor.places import examine_mark, examine_places
from terra_core.doctor.programs import examine_programs
from terra_core.doctor.records import Attempt, Host, Known, Laid, Machine, has_password, read
from terra_core.errors import TerraError
from terra_core.hookspecs import Volume
from terra_core.plugins import Plugins
from terra_core.system.evidence import mounts_below, processes, unfinished_files
from terra_file.examining import examine
from tests.unit.controller.fakes import Site, World, fake_plugins, make_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path / "root", World())


def url(site: Site) -> str:
    return f"sqlite:///{site.paths.state / 'terra.db'}"


def change(site: Site, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(site.paths.state / "terra.db")) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("postgresql+pg8000://terra:a-secret@db.example/terra", "No module named 'pg8000'"),
        ("postgresql+psycopg://terra:a-secret@127.0.0.1:1/terra", "127.0.0.1"),
        ("postgresql+psycopg://terra@host:a-secret/terra", "its URL has no valid port"),
        ("nosuch://terra:a-secret@db.example/terra", "NoSuchModuleError"),
        ("no url, a-secret", "ArgumentError"),
    ],
)
def test_a_database_that_cannot_be_reached_is_said_without_its_secrets(tmp_path: Path, where: str, said: str) -> None:
    with pytest.raises(TerraError, match=r"the database of controller\.toml: cannot be read: ") as caught:
        read(where)
    assert said in caught.value.message
    assert caught.value.hint
    (tmp_path / "etc/terra").mkdir(parents=True)
    (tmp_path / "etc/terra/controller.toml").write_text(f'database = "{where}"\n')
    (off,) = [one for one in look(None, Paths(tmp_path), Plugins.discover()).off if one.part == "database"]
    assert "a-secret" not in f"{caught.value}{off}"


def test_the_database_is_read_as_the_controller_wrote_it(site: Site) -> None:
    site.provision(storage=True)
    site.begin(hostname="cm-02", mac="02:00:00:00:00:02")
    record, known = site.store.get("cm-01"), read(url(site))
    machine = known.machines["cm-01"]
    assert [kept.target for kept in machine.targets] == [kept.target for kept in record.targets]
    assert machine.boot == record.boot
    assert machine.filesystems == {"fake"}
    assert (machine.settled, known.machines["cm-02"].settled) == (True, False)
    site.store.close()
    assert read(url(site)) == known, "also when nobody else has it open"


def test_a_machine_whose_file_says_more_than_is_there_is_being_changed(site: Site) -> None:
    site.provision()
    change(site, "update nodes set targets = replace(targets, '128000', '64000')")
    machine = read(url(site)).machines["cm-01"]
    assert (machine.unreadable, machine.unmade, machine.settled) == ("", True, False)
    change(site, "update nodes set targets = replace(targets, '64000', '128000')")
    change(site, """update nodes set targets = replace(targets, '"contract"', '"later": 1, "contract"')""")
    assert read(url(site)).machines["cm-01"].settled, "what a later Terra keeps beside is no fault"


@pytest.mark.parametrize("value", ["no json", "[1]", '[{"storage": "fake"}]'])
def test_a_row_that_cannot_be_read_is_said_and_hides_no_other(site: Site, value: str) -> None:
    site.provision()
    site.provision(hostname="cm-02", mac="02:00:00:00:00:02")
    change(site, "update nodes set targets = ? where hostname = 'cm-01'", value)
    known = read(url(site))
    assert known.machines["cm-01"].unreadable
    assert known.machines["cm-02"].settled


def test_a_database_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "terra.db").write_bytes(b"no database " * 1000)
    with pytest.raises(TerraError, match=r"terra\.db: cannot be read: file is not a database"):
        read(f"sqlite:///{tmp_path / 'terra.db'}")
    assert (tmp_path / "terra.db").read_bytes() == b"no database " * 1000


def test_volumes_that_are_not_what_was_made(tmp_path: Path) -> None:
    session = Session(paths=Paths(tmp_path))
    directory = tmp_path / "iscsi"
    volumes = {f"cm-{at}": [Volume(name=str(directory / f"cm-{at}/0.lun"), size=1)] for at in range(6)}
    for owner in volumes:
        (directory / owner).mkdir(parents=True)
        path = directory / owner / "0.lun"
        path.touch(0o600)
        os.truncate(path, 1 << 20)
    assert examine(volumes, session) == [] or os.geteuid() != 0
    (directory / "cm-0/0.lun").unlink()
    os.truncate(directory / "cm-1/0.lun", 4096)
    (directory / "cm-2/0.lun").rename(directory / "cm-2/away")
    (directory / "cm-2/0.lun").symlink_to(directory / "cm-2/away")
    (directory / "cm-3/0.lun").chmod(0o644)
    (directory / "cm-4/0.lun").unlink()
    (directory / "cm-4/0.lun").hardlink_to(directory / "cm-5/0.lun")
    (directory / "cm-9").mkdir()
    (directory / "cm-9/1.lun").touch()
    (directory / "cm-8").mkdir()
    found = {one.hostname: one.problem for one in examine(volumes, session)}
    for owner, said in {
        "cm-0": "is missing", "cm-1": "has 4096 bytes", "cm-2": "a symbolic link stands in place", "cm-3": "mode 644",
        "cm-5": "is the same file", "cm-8": "is empty", "cm-9": "no machine of the database has this volume",
    }.items():  # fmt: skip
        assert said in found[owner], (owner, found)
    assert not (directory / "cm-0/0.lun").exists()


def test_what_a_strange_directory_is_called_is_no_word_of_a_command(tmp_path: Path) -> None:
    place = tmp_path / "iscsi/cm-1; touch gone\nvolumes: fine"
    place.mkdir(parents=True)
    (found,) = examine({}, Session(paths=Paths(tmp_path)))
    assert shlex.split(found.hint) == ["rmdir", str(place)]


def test_a_machine_that_is_deleted_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cm-1", "cm-2"):
        (tmp_path / "iscsi" / name).mkdir(parents=True)
    listed = Path.iterdir

    def gone(path: Path) -> Iterator[Path]:
        if path.name == "cm-1":
            path.rmdir()
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", gone)
    assert [one.hostname for one in examine({}, Session(paths=Paths(tmp_path)))] == ["cm-2"]


def test_packages_are_named_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terra_core.doctor.programs.clean_environment", lambda: {"PATH": "/nowhere"})
    found = list(examine_programs(Plugins.discover(), {"iscsi", "tftp", "btrfs", "file", "vault"}))
    assert [one.part for one in found] == ["plugins", "packages"]
    assert "'vault' is not installed" in found[0].problem
    assert found[1].hint == "install all of it with: apt-get install btrfs-progs dnsmasq-base mount tgt"


def test_the_mark_of_another_database(tmp_path: Path) -> None:
    assert list(examine_mark(tmp_path / "none", "a")) == []
    os.mkfifo(tmp_path / ".terra-database")
    assert ["no mark" in one.problem for one in examine_mark(tmp_path, "a")] == [True], "and nobody waits for its writer"
    (tmp_path / ".terra-database").unlink()
    (tmp_path / ".terra-database").write_text("a\n")
    assert list(examine_mark(tmp_path, "a")) == []
    (other,) = examine_mark(tmp_path, "b")
    assert "another database" in other.problem
    (gone,) = examine_mark(tmp_path, "")
    assert "is not here" in gone.problem


def test_what_work_left_in_the_controllers_directories(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    for path in (paths.work / "cm-01-abc", paths.state / "images/0123", paths.state / "golden/4567"):
        path.mkdir(parents=True)
    paths.state.chmod(0o700)
    paths.etc.mkdir(parents=True)
    paths.token.write_text("secret")
    paths.token.chmod(0o644)
    (paths.etc / ".token.new").write_text("")
    found = sorted(one.problem for one in examine_places(paths, Known(), None, None))
    assert len(found) == 5
    for said in ("work/cm-01-abc", "images/0123", "golden/4567", "mode 644", ".token.new"):
        assert any(said in problem for problem in found), said


def test_a_secret_that_others_may_read_is_named_wherever_it_is(site: Site, tmp_path: Path) -> None:
    certify(site.paths, [])
    site.paths.state.chmod(0o700)
    key = tmp_path / "own.key"
    key.write_text("")
    (site.paths.etc / "controller.toml").write_text(f'[tls]\ncertificate = "{key}"\nkey = "{key}"\n')
    (site.paths.tls / "fullchain.pem").write_text("")
    pair, authority = site.paths.tls / "server.pem", site.paths.tls / "ca.key"

    def remedies(mode: int) -> set[str]:
        for path in (pair, authority, key):
            path.chmod(mode)
        found = look(None, site.paths, fake_plugins(World())).off
        return {one.hint for one in found if "may use it" in one.problem}

    assert remedies(0o600) == set(), "certificates are for everybody"
    assert remedies(0o640) == {f"chmod go= {pair}", f"chmod go= {authority}"}, "a group may have the key of several programs"
    assert remedies(0o604) == {f"chmod go= {pair}", f"chmod go= {authority}", f"chmod o= {key}"}


@pytest.mark.parametrize(
    ("where", "secret"),
    [
        ("postgresql+psycopg://terra:a-secret@db/terra", True),
        ("postgresql+psycopg://terra@db/terra?password=a-secret", True),
        ("postgresql+psycopg://terra@db/terra?passfile=/etc/terra/pgpass", False),
        ("sqlite:////srv/terra.db", False),
        ("no url", False),
    ],
)
def test_a_configuration_with_a_password_is_not_for_everybody(tmp_path: Path, where: str, secret: bool) -> None:
    assert has_password(where) is secret
    config = tmp_path / "controller.toml"
    config.write_text(f'database = "{where}"\n')
    found = examine_places(Paths(tmp_path), Known(), None, None, [config])
    assert [one.problem for one in found] == [f"{config}: everybody may use it (mode 644)"]


def test_a_host_without_a_controller_has_nothing_that_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program, path="": f"/usr/bin/{program}")
    found = look(None, Paths(tmp_path), Plugins.discover())
    assert found.off == ()
    assert (found.controller, found.machines) == (None, 0)
    assert "no database yet" in " ".join(found.notes)


def test_the_machine_is_read_without_a_program(tmp_path: Path) -> None:
    own = next(one for one in processes(Path("/proc/self/comm").read_text().strip()) if one.pid == os.getpid())
    with (tmp_path / "file").open("w") as file:
        status = os.fstat(file.fileno())
        assert (status.st_dev, status.st_ino) in own.open_files()
    assert Path("/proc") in mounts_below(Path("/"))
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.menu.new").touch()
    (tmp_path / "a/menu.new").touch()
    assert list(unfinished_files(tmp_path)) == [tmp_path / "a/.menu.new"]


def test_a_host_that_says_nothing_any_more_is_off_and_one_that_is_stopped_is_not() -> None:
    hosts = [("san-01", "working", 4), ("san-02", "stopped", 3600), ("san-03", "waiting", 21), ("san-04", "fenced", 3600)]
    known = Known(hosts=tuple(Host(name=name, state=state, seen=1.8e9, silence=silence) for name, state, silence in hosts))
    off, fenced = examine_hosts(known)
    assert fenced.problem.startswith("the host san-04 is fenced")
    assert "terra hosts --unfence san-04" in fenced.hint
    assert off.problem == "the host san-03 is silent: nothing was heard of its controller since 2027-01-15 08:00:00 (UTC)"
    assert "terra hosts --forget san-03" in off.hint


def test_that_nobody_may_lead_is_off_and_that_one_host_is_drained_is_not() -> None:
    one = Host(name="san-01", state="waiting", seen=1.8e9, silence=1, drained=True)
    other = evolve(one, name="san-02", drained=False)
    assert list(examine_hosts(Known(hosts=(one, other)))) == []
    (off,) = examine_hosts(Known(hosts=(one, evolve(other, drained=True), evolve(other, name="san-03", state="stopped"))))
    assert off.problem.endswith("all that are there are drained (san-01, san-02)")
    assert off.hint == "let one lead again: terra host resume san-01"


def test_work_that_a_host_has_lost_and_not_undone_is_named_after_a_while() -> None:
    one = Attempt(host="san-02", owner="cm-01", volumes=("terra/cm-01.17100",), lost=True, silence=100.0)
    (off,) = examine_hosts(Known(attempts=(one,)))
    assert off.problem == "san-02 has lost work that it had begun, and has not said that it is undone: terra/cm-01.17100"
    assert off.hint == "it is removed once san-02 has started again; terra hosts --forget san-02 where it is gone for good"
    for other in (evolve(one, silence=30.0), evolve(one, lost=False), evolve(one, volumes=())):
        assert list(examine_hosts(Known(attempts=(other,)))) == []


def test_what_a_host_makes_for_the_leader_is_no_strange_volume() -> None:
    machine = Attempt(host="san-02", owner="cm-01", volumes=("terra/cm-01.17100",), lost=False, silence=-19.0)
    laid = evolve(machine, owner="golden_0123456789abcdef", volumes=("terra/golden_0123456789abcdef.0",))
    known, other = Known(attempts=(machine, laid)), "terra/cm-01.0: no machine of the database has this volume"
    for hostname, problem, of_them in (
        ("cm-01", other.replace(".0:", ".17100:"), True),
        ("cm-01", other, False),
        ("golden_0123456789abcdef", "strange", True),
        ("", "/var/lib/terra/golden/0123456789abcdef: is of no image that is laid down", True),
        ("golden_fedcba9876543210", "strange", False),
    ):
        assert of_attempts(known, Off(part="volumes", hostname=hostname, problem=problem, hint="")) is of_them
    assert not of_attempts(Known(), Off(part="volumes", problem=other, hint=""))


def test_a_host_with_a_store_of_its_own_has_its_machines_alone_to_look_at() -> None:
    def of(name: str, host: str) -> Machine:
        return Machine(hostname=name, mac="", state="ready", host=host)

    laid = {host: Laid(token=host, image="", state="ready", store="file", host=host) for host in ("a", "b")}
    machines = {name: of(name, host) for name, host in (("cm-01", "a"), ("cm-02", "b"), ("cm-03", "b"))}
    silent = Host(name="b", state="working", seen=1.8e9, silence=60.0)
    known = Known(machines=machines, laid={one.owner: one for one in laid.values()}, hosts=(silent,), leader="a")
    assert (set(known.of("b").machines), set(known.of("b").laid)) == ({"cm-02", "cm-03"}, {"golden_b"})
    (off,) = examine_hosts(known)
    assert off.problem.endswith("and it alone has the disks of 2 machines")
