"""From ``terra plugin new`` to a machine whose disk the new plugin keeps: docs/writing-a-plugin.md, as it stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.site import START, Site
from terra_core.hookspecs import ROLES
from terra_core.system.process import run
from tests.integration.controller.sites import SYSTEM, Ground
from tests.plugin_page import commands, controller_toml, install, make_plugin, node_toml, terra

QUICK = ("filesystem", "storage", "store")
"""The roles that a machine's disks need; the promises of the others are as long, and are kept by the same program."""


@pytest.mark.parametrize("role", [one if one in QUICK else pytest.param(one, marks=pytest.mark.long) for one in ROLES])
def test_a_new_plugin_installs_is_listed_and_keeps_its_promises(
    role: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine = request.getfixturevalue("podman_storage").environment if role == "builder" else {}
    site = tmp_path / "site"
    name = f"own-{role}"
    terra("plugin", "new", name, "--role", role, site=site, cwd=tmp_path)
    package = tmp_path / f"terra-{name}"
    install(package, site)
    rows = json.loads(terra("plugins", "--json", site=site, cwd=tmp_path).text)
    (row,) = [row for row in rows if row["name"] == name]
    assert row == {"role": role, "name": name, "distribution": f"terra-{name}", "version": "0.1.0", "selected": False}
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--override-ini=addopts=", str(package)]
    done = run([sys.executable, *words], env={**engine, "PYTHONPATH": str(site)}, cwd=package, accept=(0, 1), timeout=600)
    assert done.code == 0, done.text
    assert "skipped" not in done.text


@pytest.mark.parametrize("role", ROLES)
def test_a_new_plugin_is_typed(role: str, tmp_path: Path) -> None:
    terra("plugin", "new", "own", "--role", role, site=tmp_path, cwd=tmp_path)
    done = run([sys.executable, "-m", "mypy", "--strict", "terra_own"], cwd=tmp_path / "terra-own", accept=(0, 1), timeout=300)
    assert done.code == 0, done.text


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory, state: str | None) -> Iterator[Ground]:
    """Make and install the page's plugin by its first commands, and start a site whose controller selects it."""
    work = tmp_path_factory.mktemp("page")
    plugins = make_plugin(work)
    with Site(work / "build", label="vault", config=controller_toml(), plugins=plugins, database=state) as running:
        yield Ground(running, work)


def test_the_page_leads_to_a_machine(vault: Ground, tmp_path: Path) -> None:
    assert "vault" in vault.terra("plugins").text
    node = tmp_path / "node.toml"
    node.write_text(node_toml().replace("10.0.10.3:5000/stellarproject/example:1", vault.push("small", SYSTEM)))
    shown = json.loads(vault.terra("provision", node).text)
    (disk,) = shown["disk_groups"][0]["disks"]
    assert disk["device"] == str(vault.site.root / "srv/vault/cm-01/0.img")
    assert vault.may_log_in(shown["initiator_iqn"], shown["disk_groups"][0]["target"]["iqn"])
    vault.terra("delete", "cm-01")
    assert not (vault.site.root / "srv/vault/cm-01").exists()
    assert vault.left() == []


def test_the_commands_of_the_page_are_those_that_are_tried() -> None:
    """Some are tried here, and all that a machine is needed for in tests/vm."""
    assert commands() == [
        "terra plugin new vault --role store",
        "pip install --no-deps --editable ./terra-vault",
        "terra plugins",
        "pip install 'terra-core[testing]'",
        "pytest ./terra-vault",
        " ".join(("terra", *START[1:])),
        "export TERRA_CONTROLLER=10.0.10.3",
        "terra pxe 10.0.10.3:5000/stellarproject/pxe:v11",
        "terra create --push server.toml",
        "terra provision node.toml",
        "ssh terra@10.0.10.50 findmnt /",
        "terra delete --force cm-01",
    ]
