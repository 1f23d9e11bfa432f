"""netplan itself takes what is rendered."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.config.session import Session
from terra_core.system.process import run
from terra_netplan import plugin

TABLES: dict[str, dict[str, object]] = {
    "nothing said": {},
    "dhcp": {"interfaces": [{"name": "eth0"}]},
    "both families": {"interfaces": [{"name": "eth0", "dhcp6": True}, {"name": "on", "optional": True}]},
    "static": {
        "interfaces": [
            {
                "name": "eth1",
                "addresses": ["10.0.20.5/24", "fd00:20::5/64"],
                "gateway": "10.0.20.1",
                "nameservers": ["10.0.20.1", "fd00:20::1"],
                "mtu": 9000,
            },
            {"name": "eth2", "addresses": ["fd00:30::5/64"], "gateway": "fd00:30::1"},
        ]
    },
}


def generated(tmp_path: Path, table: dict[str, object]) -> dict[str, str]:
    """What netplan makes of a table, by file name."""
    for file in plugin.render_network(Session(tables={"netplan": table})):
        path = tmp_path / file.path
        path.parent.mkdir(parents=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    done = run(["netplan", "generate", "--root-dir", tmp_path])
    assert done.stderr == b"", "netplan has something to say of the file"
    return {path.name: path.read_text() for path in (tmp_path / "run/systemd/network").iterdir()}


@pytest.mark.parametrize("name", TABLES)
def test_netplan_takes_it(tmp_path: Path, name: str) -> None:
    networks = [text for name, text in generated(tmp_path, TABLES[name]).items() if name.endswith(".network")]
    assert networks
    assert all("CriticalConnection=true" in text or "KeepConfiguration=true" in text for text in networks)


def test_what_networkd_is_told(tmp_path: Path) -> None:
    files = generated(tmp_path, TABLES["static"])
    lines = set(files["10-netplan-eth1.network"].splitlines())
    assert {"Address=10.0.20.5/24", "Address=fd00:20::5/64", "Gateway=10.0.20.1", "DNS=10.0.20.1"} <= lines
    assert "MTUBytes=9000" in "".join(files.values())


def test_dhcp_by_hardware_address(tmp_path: Path) -> None:
    lines = generated(tmp_path, TABLES["dhcp"])["10-netplan-eth0.network"].splitlines()
    assert {"Name=eth0", "DHCP=ipv4", "ClientIdentifier=mac"} <= set(lines)
