"""Checking any file of Terra's: all of its problems as objects, those of the plugins' tables included."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
import tomli
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from terra_core.cli import run, terra
from terra_core.config.controller import Controller
from terra_core.config.node import Node
from terra_core.config.server import Server
from terra_core.config.structure import key_of
from terra_core.documents import load
from terra_core.errors import ConfigError
from terra_core.hookspecs import ROLES
from terra_core.plugins import Plugins
from terra_core.selection import CONTROLLER as CONTROLLER_USE
from terra_core.selection import INSTALLED
from terra_core.selection import SERVER as SERVER_USE
from terra_core.validation import FileKind, json_schema, validate

SERVER = 'hostname = "a"\nversion = "1"\nos = "x/y:1"\nrepo = "x"\n'
NODE = 'hostname = "a"\nimage = "x/y:1"\n[[groups]]\nlabel = "os"\n[[groups.disk]]\ndevice = "/dev/sda"\n'
CONTROLLER = 'address = "10.0.10.2"\n'
RAID = """
[[groups]]
label = "more"
type = "raid1"
disk = [{ device = "/dev/sdb" }, { device = "/dev/sdc" }]
"""
FILES = {FileKind.SERVER: SERVER, FileKind.NODE: NODE, FileKind.CONTROLLER: CONTROLLER}


def written(tmp_path: Path, text: str, name: str = "some.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def paths(tmp_path: Path, text: str) -> list[str]:
    return [problem.path for problem in validate(written(tmp_path, text)).problems]


@pytest.mark.parametrize("kind", list(FileKind))
def test_a_file_is_told_by_its_keys(tmp_path: Path, kind: FileKind) -> None:
    found = validate(written(tmp_path, FILES[kind], "another.toml"))
    assert (found.kind, found.problems, found.source) == (kind, (), str(tmp_path / "another.toml"))


def test_a_file_that_could_be_any_is_told_by_its_name(tmp_path: Path) -> None:
    assert validate(written(tmp_path, "", "controller.toml")).kind is FileKind.CONTROLLER
    found = validate(written(tmp_path, 'hostname = "a"\n', "node-1.toml"))
    assert (found.kind, [problem.path for problem in found.problems]) == (FileKind.NODE, ["image", "groups"])
    with pytest.raises(ConfigError, match="neither a key nor its name tells what it is"):
        validate(written(tmp_path, 'hostname = "a"\n', "a.toml"))
    assert validate(tmp_path / "a.toml", FileKind.SERVER).kind is FileKind.SERVER


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SERVER.replace('"1"', "1") + "more = 1\n", ["version", "more"]),
        (SERVER + "[plugins]\nstorage = 'iscsi'\nnetwork = 'not-there'\n", ["plugins.storage", "plugins.network"]),
        (SERVER + "[[netplan.interfaces]]\nname = 3\n[tftp]\n", ["netplan.interfaces[0].name", "tftp"]),
        (NODE + "[plugins]\n", []),
        (NODE + "[btrfs]\ncompression = 7\n", ["btrfs.compression"]),
        (NODE + "[plugins]\nfilesystem = 'stone'\n[btrfs]\n", ["btrfs", "plugins.filesystem"]),
        (CONTROLLER + "port = 0\njobs = 0\n", ["port", "jobs"]),
        (CONTROLLER + "[file]\ndirectory = 1\n[netplan]\n", ["file.directory", "netplan"]),
        (CONTROLLER + "[iscsi]\nyear = 1\n[tftp]\ndhcp = 'server'\n", ["iscsi.year", "tftp.range"]),
        (CONTROLLER + "[plugins]\nboot = 'ipxe'\n[ipxe]\nport = 80\n[tftp]\n", ["ipxe.port", "tftp"]),
        (SERVER.replace('"1"', "1") + "[docker]\nengine = 'x'\n[tftp]\n", ["version", "docker.engine", "tftp"]),
        (NODE + "[grub]\ntimeout = -1\n[btrfs]\ncompress = 'zstd'\n", ["grub.timeout", "btrfs.compress"]),
        (NODE.replace('"os"', "7") + "[xfs]\na = 1\n[iscsi]\n", ["groups[0].label", "xfs.a", "iscsi"]),
        (NODE + "[plugins]\nfilesystem = 'ext4'\nbootloader = 'docker'\n[ext4]\n", ["plugins.bootloader"]),
        (NODE + "[plugins]\nfilesystem = 'ext4'\n" + RAID, ['group "more": type']),
    ],
)
def test_every_problem_has_its_place(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert paths(tmp_path, text) == expected


@pytest.mark.parametrize("text", ["a = ", "\0"])
def test_what_is_no_toml_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="is not TOML"):
        validate(written(tmp_path, text))


def test_files_are_checked_in_many_threads_at_once(tmp_path: Path) -> None:
    wrong = {FileKind.SERVER: "more = 1\n", FileKind.NODE: "more = 1\n", FileKind.CONTROLLER: "more = 1\n"}
    texts = [text + (wrong[kind] if number % 2 else "") for number in range(10) for kind, text in FILES.items()]
    files = [written(tmp_path, text, f"{number}.toml") for number, text in enumerate(texts)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(validate, files))
    assert [len(one.problems) for one in found] == [number % 2 for number in range(10) for _ in FILES]
    assert [one.source for one in found] == [str(path) for path in files]


@pytest.mark.parametrize("kind", list(FileKind))
def test_the_schema_takes_what_the_loader_takes(tmp_path: Path, kind: FileKind) -> None:
    schema = json_schema(kind)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    raw = tomli.loads(FILES[kind])
    assert list(validator.iter_errors(raw)) == []
    table = {FileKind.SERVER: "netplan", FileKind.NODE: "btrfs", FileKind.CONTROLLER: "iscsi"}
    assert list(validator.iter_errors({**raw, table[kind]: {}})) == []
    (error,) = validator.iter_errors({**raw, table[kind]: {"no-such-key": 1}})
    assert (error.validator, list(error.path)) == ("additionalProperties", [table[kind]])
    unread: dict[str, dict[str, object]] = {other: {} for other in ("netplan", "btrfs", "iscsi") if other != table[kind]}
    assert [error.validator for error in validator.iter_errors({**raw, **unread})] == ["additionalProperties"]
    assert [error.validator for error in validator.iter_errors({**raw, "more": 1})] == ["additionalProperties"]
    models: dict[FileKind, type] = {FileKind.SERVER: Server, FileKind.NODE: Node, FileKind.CONTROLLER: Controller}
    assert load(written(tmp_path, FILES[kind]), models[kind]).raw == raw


def test_the_command_checks_every_file_whatever_the_first_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, right = written(tmp_path, "a = ", "a.toml"), written(tmp_path, NODE, "b.toml")
    wrong = written(tmp_path, SERVER + "more = 1\n", "c.toml")
    assert run(terra, ["validate", str(right)]) == 0
    assert capsys.readouterr().out == f"{right}: is a valid node.toml\n"
    assert run(terra, ["validate", str(broken), str(wrong), str(right)]) == 2
    out, err = capsys.readouterr()
    assert out == f"{right}: is a valid node.toml\n"
    first, second = err.splitlines()
    assert first.startswith(f"{broken}: is not TOML")
    assert second.startswith(f"{wrong}: more: ")
    assert run(terra, ["validate", "--json", str(broken), str(wrong), str(right)]) == 2
    rows = json.loads(capsys.readouterr().out)
    assert [(row["source"], row["kind"], len(row["problems"])) for row in rows] == [
        (str(broken), None, 1), (str(wrong), "server", 1), (str(right), "node", 0),
    ]  # fmt: skip


def test_the_command_prints_schemas_and_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(terra, ["validate", "--schema", "node"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "node.toml"
    assert run(terra, ["validate"]) == 2


@pytest.mark.parametrize("kind", list(FileKind))
def test_the_schema_describes_every_key_of_every_table(kind: FileKind) -> None:
    schema = json_schema(kind)
    plugins = Plugins.discover()
    roles = {FileKind.SERVER: SERVER_USE, FileKind.NODE: INSTALLED, FileKind.CONTROLLER: CONTROLLER_USE}[kind].tables
    expected = {name for name in plugins.names if any(ROLES[role].needed() <= plugins.hooks_of(name) for role in roles)}
    models: dict[FileKind, type] = {FileKind.SERVER: Server, FileKind.NODE: Node, FileKind.CONTROLLER: Controller}
    top = schema["components"]["schemas"][models[kind].__name__]
    assert set(top["properties"]) - {field.name for field in attrs.fields(models[kind])} == expected
    for name in expected:
        model = plugins.settings(name)
        assert model is not None
        described = schema["components"]["schemas"][top["properties"][name]["$ref"].rpartition("/")[2]]
        assert set(described["properties"]) == {key_of(field.name) for field in attrs.fields(model) if field.init}


def test_what_cannot_be_fetched_keeps_no_other_file_from_being_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong = written(tmp_path, NODE, "b.toml"), written(tmp_path, SERVER + "more = 1\n", "c.toml")
    assert run(terra, ["validate", "http://127.0.0.1:1/a.toml", str(right)]) == 1
    out, err = capsys.readouterr()
    assert out == f"{right}: is a valid node.toml\n"
    assert err.startswith("http://127.0.0.1:1/a.toml: cannot be fetched")
    assert run(terra, ["validate", "--json", "http://127.0.0.1:1/a.toml", str(wrong), str(right)]) == 2
    rows = json.loads(capsys.readouterr().out)
    assert [(row["kind"], len(row["problems"])) for row in rows] == [(None, 1), ("server", 1), ("node", 0)]


def test_a_plugin_that_cannot_be_used_is_one_problem_among_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site/terra_rag-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: terra-rag\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[terra.plugins]\nrag = fake_rag:plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    text = SERVER + "[plugins]\nnetwork = 'rag'\nbuilder = 'tftp'\n[docker]\nengine = 'x'\n[iscsi]\n"
    found = {problem.path: problem.text for problem in validate(written(tmp_path, text)).problems}
    assert list(found) == ["docker.engine", "iscsi", "plugins.network", "plugins.builder"]
    assert found["plugins.network"].startswith("plugin 'rag' of terra-rag 1 cannot be loaded: ModuleNotFoundError")
    assert found["plugins.builder"].startswith("plugin 'tftp' does not fill the role builder: it has no build_image")
    assert json_schema(FileKind.SERVER)["components"]["schemas"]["Server"]["properties"]["rag"]["type"] == "object"
