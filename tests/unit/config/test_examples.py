"""The examples that Terra ships, and those that its commands print, load."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.cli import run, terra
from terra_core.config.loader import load
from terra_core.config.node import Node, provision_problems
from terra_core.config.server import Server

EXAMPLES = Path(__file__).parents[3] / "examples"
OWNERS = {"netplan", "docker"}


def dumped(command: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(terra, [command, "--dump"]) == 0
    path = directory / "dumped.toml"
    path.write_text(capsys.readouterr().out)
    return path


def test_the_demos_machine_boots_the_demos_image() -> None:
    server = load(EXAMPLES / "server.toml", Server, owners=OWNERS).value
    node = load(EXAMPLES / "node.toml", Node).value
    assert node.image == server.image
    assert not list(provision_problems(node))
    assert {(sub.name, sub.path) for sub in node.os_group.subvolumes} == {
        ("home", "/home"),
        ("log", "/var/log"),
        ("containerd", "/var/lib/containerd"),
    }


def test_the_seeds_nodes_to_install_are_examples_too() -> None:
    simple, complex_ = (load(EXAMPLES / f"{name}-node.toml", Node).value for name in ("simple", "complex"))
    seed = Path(__file__).parent / "seed"
    assert simple == load(seed / "simple-node.toml", Node).value
    assert complex_ == load(seed / "complex-node.toml", Node).value


def test_what_create_dumps_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dumped("create", tmp_path, capsys)
    server = load(path, Server, owners=OWNERS).value
    assert (server.hostname, server.version) == ("example", "6")
    for key in ("init", "components", "github", "keys", "nameservers", "search", "plugins"):
        assert key in path.read_text()


def test_what_provision_dumps_loads_and_is_ready_to_provision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = load(dumped("provision", tmp_path, capsys), Node).value
    assert not list(provision_problems(node))
