"""A machine that boots from a disk of a plugin that ``terra plugin new`` has written: docs/writing-a-plugin.md to its end."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lab.machine import Machine
from lab.site import Site
from terra_core.system.process import run
from tests.plugin_page import commands, controller_toml, make_plugin, node_toml, server_toml
from tests.vm.nodes import expect_running

_BOOT_SECONDS = 600
_MARK = "written by the machine of the page"


@pytest.fixture(scope="module")
def site_config() -> str:
    return controller_toml()


@pytest.fixture(scope="module")
def site_plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_plugin(tmp_path_factory.mktemp("page"))


@pytest.mark.long
def test_the_page_leads_to_a_machine_that_boots_from_the_plugins_disk(site: Site, lab_key: Path, tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text(server_toml(lab_key.with_suffix(".pub").read_text().strip()))
    (tmp_path / "node.toml").write_text(node_toml())
    on_the_way = commands()[commands().index("export TERRA_CONTROLLER=10.0.10.3") + 1 :]
    *before, log_in, delete = on_the_way
    for command in before:
        follow(site, command, tmp_path)
    mac = tomllib.loads(node_toml())["mac"]
    with Machine(site.network, mac, site.directory / "serial" / "page.log") as machine:
        address = machine.wait_for_address(site.leases, seconds=_BOOT_SECONDS)
        machine.wait_for_ssh(address, "terra", lab_key, seconds=_BOOT_SECONDS)
        expect_running(machine, "cm-01")
        start = f"ssh terra@{address} "
        assert log_in.startswith(start)
        assert "btrfs" in machine.ssh(log_in.removeprefix(start)).text
        machine.ssh(f"echo {_MARK} > ~/note && sync")
        run(["grep", "--quiet", "--text", _MARK, site.root / "srv/vault/cm-01/0.img"], timeout=120)
    follow(site, delete, tmp_path)
    assert not (site.root / "srv/vault/cm-01").exists()


def follow(site: Site, command: str, directory: Path) -> None:
    """Run a command of the page.

    :param directory: where its files are.
    """
    program, *words = command.split()
    assert program == "terra"
    site.command([directory / word if word.endswith(".toml") else word for word in words])
