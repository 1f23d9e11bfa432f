"""dnsmasq's configuration file."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from terra_core.config.controller import Paths
from terra_core.config.values import Address
from terra_core.errors import TerraError
from terra_tftp.configuration import ServicePaths, configuration
from terra_tftp.layout import loaders_of
from terra_tftp.listening import Listening
from terra_tftp.settings import Dhcp, Settings

LISTENING = Listening(Address("10.0.10.3"), "eth0", IPv4Network("10.0.10.0/24"))
PATHS = ServicePaths(Paths(), Paths().tftp)
RANGE = (Address("10.0.10.50"), Address("10.0.10.99"))


def lines(settings: Settings, gateway: Address | None = None) -> list[str]:
    return configuration(settings, LISTENING, gateway, PATHS, "nogroup", loaders_of(Path("/tftp"))).splitlines()


def test_off_is_tftp_alone() -> None:
    made = lines(Settings())
    assert {"port=0", "enable-tftp", "tftp-root=/tftp", "listen-address=10.0.10.3"} <= set(made)
    assert {"user=dnsmasq", "group=nogroup"} <= set(made)
    assert not [line for line in made if line.startswith(("dhcp", "pxe"))]


def test_a_proxy_adds_boot_files_and_gives_out_no_address() -> None:
    made = lines(Settings(dhcp=Dhcp.PROXY))
    assert "dhcp-range=10.0.10.0,proxy,255.255.255.0" in made
    assert {line for line in made if line.startswith("pxe-service")} == {
        'pxe-service=x86PC,"Terra",pxelinux.0',
        'pxe-service=BC_EFI,"Terra",shimx64.efi',
        'pxe-service=x86-64_EFI,"Terra",shimx64.efi',
    }


def test_a_server_gives_out_addresses_and_boot_files() -> None:
    made = lines(Settings(dhcp=Dhcp.SERVER, range=RANGE, dns=(Address("9.9.9.9"), Address("8.8.8.8"))), Address("10.0.10.1"))
    assert "dhcp-range=10.0.10.75,10.0.10.99,255.255.255.0,12h" in made, "the lower half is for machines that are provisioned"
    assert "dhcp-lease-max=50" in made, "every address of the range can be leased"
    assert "dhcp-option=option:router,10.0.10.1" in made
    assert "dhcp-option=option:dns-server,9.9.9.9,8.8.8.8" in made
    assert "dhcp-boot=tag:bios,pxelinux.0,,10.0.10.3" in made
    assert "dhcp-boot=tag:uefi,shimx64.efi,,10.0.10.3" in made


@pytest.mark.parametrize("gateway", ["0.0.0.0", "fd00::1"])
def test_a_gateway_that_dhcp_cannot_name_is_not_named(gateway: str) -> None:
    """dnsmasq takes the first for its own address, and does not start with the second."""
    assert "dhcp-option=option:router" in lines(Settings(dhcp=Dhcp.SERVER, range=RANGE), Address(gateway))


def test_a_server_names_neither_itself_as_gateway_nor_as_name_server() -> None:
    made = lines(Settings(dhcp=Dhcp.SERVER, range=RANGE))
    assert "dhcp-option=option:router" in made
    assert "dhcp-option=option:dns-server" in made


@pytest.mark.parametrize("root", ["/srv/a b", "/srv/a,lo", "/srv/a\nuser=root", '/srv/"a"', "/srv/#a"])
def test_a_root_that_the_file_cannot_hold_is_refused(root: str) -> None:
    with pytest.raises(TerraError, match="dnsmasq cannot be given a path"):
        configuration(Settings(), LISTENING, None, ServicePaths(Paths(Path(root)), Path(root)), None, loaders_of(Path(root)))
