"""The examples that Terra ships, and those that its commands print, load."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
import tomli
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from terra_core.cli import run, terra
from terra_core.config.loader import load
from terra_core.config.node import NetworkNode, Node
from terra_core.config.server import Server
from terra_core.config.values import ImageReference

EXAMPLES = Path(__file__).parents[3] / "examples"
OWNERS = {"btrfs", "docker", "grub", "netplan"}


def dumped(command: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(terra, [command, "--dump"]) == 0
    path = directory / "dumped.toml"
    path.write_text(capsys.readouterr().out)
    return path


def test_the_demos_machine_boots_the_demos_image() -> None:
    server = load(EXAMPLES / "server.toml", Server, owners=OWNERS).value
    node = load(EXAMPLES / "node.toml", NetworkNode).value
    assert node.image == server.image
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


@pytest.mark.parametrize(("command", "model"), [("create", Server), ("provision", Node)])
def test_a_dump_has_every_key_of_its_file(
    command: str, model: type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = dumped(command, tmp_path, capsys).read_text()
    opened = [re.sub(r"^( *)# ( *(?:# )?(?:\[|[a-z0-9_]+ = ))", r"\1\2", line) for line in text.split("\n")]
    found = tomli.loads("\n".join(opened))
    assert set(keys_of(model)) - set(keys_in(found)) == set()
    path, key = tmp_path / "opened.toml", tmp_path / "cosign.pub"
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    path.write_text("\n".join(opened).replace("/etc/terra/cosign.pub", str(key)))
    load(path, model, owners=OWNERS)


def keys_of(model: type, path: str = "") -> Iterator[str]:
    """Yield the path of every key of a model."""
    for field in attrs.fields(attrs.resolve_types(model)):
        yield f"{path}{field.name}"
        for part in (field.type, *get_args(field.type), *(one for inner in get_args(field.type) for one in get_args(inner))):
            if attrs.has(part) and part is not ImageReference:
                yield from keys_of(part, f"{path}{field.name}.")


def keys_in(document: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the path of every key in a document."""
    for name, value in document.items():
        yield f"{path}{name}"
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield from keys_in(part, f"{path}{name}.")


def test_what_provision_dumps_loads_and_is_ready_to_provision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = load(dumped("provision", tmp_path, capsys), NetworkNode).value
    assert node.mac
