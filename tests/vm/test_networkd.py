"""A machine whose network is described for systemd-networkd, booted from a disk that lies behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.machine import Machine
from lab.site import Site
from tests.vm.nodes import example

_BOOT_SECONDS = 600
_MAC = "52:54:00:00:0b:65"
_NETWORK = f"""
[plugins]
network = "networkd"
[networkd]
  [[networkd.links]]
    file = "10-lan"
    match.mac_address = ["{_MAC}"]
    link.alternative_name = ["lan"]
  [[networkd.netdevs]]
    file = "10-v20"
    netdev = {{ name = "v20", kind = "vlan" }}
    vlan.id = 20
  [[networkd.networks]]
    file = "20-lan"
    match.name = ["lan"]
    network = {{ dhcp = "ipv4", vlan = ["v20"] }}
  [[networkd.networks]]
    file = "20-v20"
    match.name = ["v20"]
    network = {{ address = ["10.0.20.5/24"] }}
    link.required_for_online = false
"""
_USERLAND = """\
RUN echo 'terra ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/terra
RUN echo 'network: {version: 2, ethernets: {eth0: {dhcp4: true}}}' > /etc/netplan/01-base.yaml && chmod 600 /etc/netplan/*
"""


@pytest.mark.long
def test_a_machine_with_networkd_boots_keeps_its_disk_and_answers(site: Site, lab_key: Path, tmp_path: Path) -> None:
    registry = site.registry.address
    public = lab_key.with_suffix(".pub").read_text().strip()
    server = tmp_path / "server.toml"
    server.write_text(
        f'hostname = "networked"\nversion = "6"\nos = "{registry}/stellarproject/terraos:v11"\n'
        f'repo = "{registry}/stellarproject"\n'
        f"userland = '''\n{_USERLAND}'''\n"
        f'ssh.keys = ["{public}"]\n{_NETWORK}'
    )
    site.command(["create", "--push", server])
    node_toml = tmp_path / "node.toml"
    node_toml.write_text(example("node.toml", hostname="networkd-01", mac=_MAC, image=f"{registry}/stellarproject/networked:6"))
    node = json.loads(site.command(["provision", node_toml]).stdout)
    with Machine(site.network, _MAC, site.directory / "serial" / "networkd.log", firmware="bios") as machine:
        address = machine.wait_for_address(site.leases, seconds=_BOOT_SECONDS)
        machine.wait_for_ssh(address, "terra", lab_key, seconds=_BOOT_SECONDS)
        state = machine.ssh("systemctl is-system-running --wait", accept=range(256), timeout=300).text.strip()
        faults = "systemctl --failed --no-legend; sudo journalctl -b -p warning --no-pager | tail -n 40"
        assert state == "running", machine.ssh(faults).text
        assert machine.ssh("sudo find /run/systemd -name '*netplan*'").text == "", "netplan's own file describes nothing"
        status = machine.ssh("networkctl --no-pager status eth0; ip link show eth0").text
        expected = ("/etc/systemd/network/20-lan.network", "/etc/systemd/network/10-lan.link", address, "altname lan")
        assert [words for words in expected if words not in status] == [], status
        assert "10.0.20.5" in machine.ssh("networkctl --no-pager status v20").text
        assert "id 20" in machine.ssh("ip -details link show v20").text
        machine.ssh("sudo systemctl restart systemd-networkd && echo written > ~/note && sync", timeout=120)
        assert machine.ssh("cat ~/note").text == "written\n"
        journal = "sudo journalctl --boot --unit systemd-networkd --unit systemd-udevd --no-pager"
        said = machine.ssh(f"{journal} | grep /etc/systemd/network/").text
        assert "ignoring" not in said, "systemd takes every line of what was rendered"
        machine.reboot(seconds=_BOOT_SECONDS)
        assert address in machine.ssh("networkctl --no-pager status eth0").text
    site.command(["delete", "--force", node["hostname"]])
