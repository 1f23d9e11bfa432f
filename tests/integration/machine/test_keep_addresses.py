"""What the initial RAM disk leaves for systemd-networkd: drop-ins for whichever file is the one of the root's interface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from terra_core.system.process import run

_SCRIPT = Path(__file__).parents[3] / "terra_core/machine/scripts/terra"
_MAC = "52:54:00:00:37:01"
_GENERATED = "[Match]\nKind=!*\nType=!loopback\n\n[Network]\nDHCP=ipv4\n"
"""What systemd-network-generator makes of ``ip=dhcp``."""


def kept(work: Path, written: Mapping[str, str], *, named: str = "eth0", now: str = "eth0") -> set[str]:
    """Return the names of the files that get the drop-in on a machine as the RAM disk left it, before networkd starts."""
    run_, etc, net = work / "run", work / "etc", work / "net"
    for name, address in ((now, _MAC), ("other0", "52:54:00:00:37:02"), ("lo", "00:00:00:00:00:00")):
        (net / name).mkdir(parents=True)
        (net / name / "address").write_text(f"{address}\n")
    early = work / "early"
    (early / named).mkdir(parents=True)
    (early / named / "address").write_text(f"{_MAC}\n")
    run_.mkdir()
    (run_ / f"net-{named}.conf").write_text(f"DEVICE='{named}'\nPROTO='dhcp'\n")
    etc.mkdir()
    for name, text in written.items():
        (etc / name).write_text(text)
    script = f"""set -e
mkdir -p /etc/systemd/network
mount --bind {etc} /etc/systemd/network
mount --bind {run_} /run
mount --bind {early} /sys/class/net
. {_SCRIPT}
terra_keep_addresses
umount /sys/class/net
mount --bind {net} /sys/class/net
grep -q '^ExecStartPre=+/bin/sh /run/terra/keep-addresses$' /run/systemd/system/systemd-networkd.service.d/terra-root.conf
sh /run/terra/keep-addresses
"""
    run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])
    found = sorted((run_ / "systemd/network").glob("*.network.d/terra.conf"))
    assert {path.read_text() for path in found} <= {"[Network]\nKeepConfiguration=yes\n[DHCPv4]\nClientIdentifier=mac\n"}
    return {path.parent.name.removesuffix(".d") for path in found} & set(written)


def test_a_machine_whose_network_nobody_described_keeps_its_address(tmp_path: Path) -> None:
    assert kept(tmp_path, {"91-default.network": _GENERATED}) == {"91-default.network"}


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("Name=eth0", True),
        ("Name=en* eth*", True),
        ("Name=other0", False),
        ("Name=!lo other0", True),
        ("Name=!eth*", False),
        (f"MACAddress={_MAC}", True),
        (f"PermanentMACAddress=aa:bb:cc:dd:ee:ff {_MAC.upper().replace(':', '-')}", True),
        ("MACAddress=52:54:00:00:37:02", False),
        ("MACAddress=52:54:00:00:37:02\nName=eth0", False),
        ("Driver=virtio_net", True),
    ],
)
def test_the_file_of_the_interface_is_found_by_what_it_matches(tmp_path: Path, match: str, fits: bool) -> None:
    text = f"[Match]\n{match}\n\n[Network]\nDHCP=yes\nName=nonsense\n"
    assert kept(tmp_path, {"10-netplan-lan.network": text}) == ({"10-netplan-lan.network"} if fits else set())


def test_an_interface_that_got_another_name_since_is_the_same(tmp_path: Path) -> None:
    assert kept(tmp_path, {"lan.network": "[Match]\nName=lan0\n"}, now="lan0") == {"lan.network"}
