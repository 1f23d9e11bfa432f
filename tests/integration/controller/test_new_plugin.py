"""From ``terra plugin new`` to a machine whose disk the new plugin keeps: docs/writing-a-plugin.md, as it stands."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.network import CONTROLLER
from lab.site import Site, terra_command
from terra_core.scaffold import SCAFFOLDS
from terra_core.system.process import Completed, run
from tests.integration.controller.sites import SYSTEM, Ground

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/writing-a-plugin.md"
UV = Path(sys.executable).with_name("uv")
INDEX = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_"))}


def blocks(kind: str) -> list[str]:
    """Return the page's blocks of a kind, such as sh."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def install(package: Path, site: Path) -> None:
    """Install a package where only who has the directory on PYTHONPATH sees it."""
    words = ["pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(site), str(package)]
    run([UV, *words], timeout=300, env=INDEX)


def terra(*words: str | Path, site: Path, cwd: Path) -> Completed:
    return run([terra_command(), *words], env={"PYTHONPATH": str(site)}, cwd=cwd)


@pytest.mark.parametrize("role", SCAFFOLDS)
def test_a_new_plugin_installs_is_listed_and_keeps_its_promises(role: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    name = f"own-{role}"
    terra("plugin", "new", name, "--role", role, site=site, cwd=tmp_path)
    package = tmp_path / f"terra-{name}"
    install(package, site)
    rows = json.loads(terra("plugins", "--json", site=site, cwd=tmp_path).text)
    (row,) = [row for row in rows if row["name"] == name]
    assert row == {"role": role, "name": name, "distribution": f"terra-{name}", "version": "0.1.0", "selected": False}
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--override-ini=addopts=", str(package)]
    done = run([sys.executable, *words], env={"PYTHONPATH": str(site)}, cwd=package, accept=(0, 1), timeout=300)
    assert done.code == 0, done.text
    assert "skipped" not in done.text


@pytest.mark.parametrize("role", SCAFFOLDS)
def test_a_new_plugin_is_typed(role: str, tmp_path: Path) -> None:
    terra("plugin", "new", "own", "--role", role, site=tmp_path, cwd=tmp_path)
    done = run([sys.executable, "-m", "mypy", "--strict", "terra_own"], cwd=tmp_path / "terra-own", accept=(0, 1), timeout=300)
    assert done.code == 0, done.text


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Make and install the page's plugin by its first commands, and start a site whose controller selects it."""
    work = tmp_path_factory.mktemp("page")
    site = work / "site"
    made, installed, *_ = blocks("sh")
    terra(*made.split()[1:], site=site, cwd=work)
    assert installed.splitlines()[0] == "pip install --no-deps --editable ./terra-vault"
    install(work / "terra-vault", site)
    (table,) = blocks("toml")
    own = f'[docker]\ninsecure = ["{CONTROLLER}:5000"]\n[tftp]\ndhcp = "server"\nrange = ["10.0.10.50", "10.0.10.99"]\n'
    with Site(work / "build", label="vault", config=own + table, plugins=site) as running:
        yield Ground(running, work)


def test_the_page_leads_to_a_machine(vault: Ground) -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert commands[-2:] == ["terra provision node.toml", "terra delete cm-01"]
    assert "vault" in vault.terra("plugins").text
    image = vault.push("small", SYSTEM)
    shown = json.loads(vault.terra("provision", vault.node(image)).text)
    (disk,) = shown["disk_groups"][0]["disks"]
    assert disk["device"] == str(vault.site.root / "srv/vault/cm-01/0.img")
    assert vault.may_log_in(shown["initiator_iqn"], shown["disk_groups"][0]["target"]["iqn"])
    vault.terra("delete", "cm-01")
    assert not list((vault.site.root / "srv/vault").iterdir())
    assert vault.left() == []


def test_the_commands_of_the_page_are_those_that_are_tried() -> None:
    assert [line for block in blocks("sh") for line in block.splitlines()] == [
        "terra plugin new vault --role store",
        "pip install --no-deps --editable ./terra-vault",
        "terra plugins",
        "pip install 'terra-core[testing]'",
        "pytest ./terra-vault",
        "terra provision node.toml",
        "terra delete cm-01",
    ]
