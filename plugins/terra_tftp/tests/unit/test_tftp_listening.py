"""Where the service listens."""

from __future__ import annotations

import json

import pytest

from terra_core.config.values import Address
from terra_core.errors import TerraError
from terra_tftp.listening import addresses, check_dhcp, choose
from terra_tftp.settings import Dhcp, Settings

OWN = addresses(
    json.dumps([
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}, {"local": "::1", "prefixlen": 128}]},
        {"ifname": "eth0", "addr_info": [{"local": "10.0.10.1", "prefixlen": 24}, {"local": "10.0.10.3", "prefixlen": 24}]},
        {"ifname": "eth1", "addr_info": [{"local": "fe80::1", "prefixlen": 64}, {"local": "10.9.0.1", "prefixlen": 16}]},
        {"ifname": "eth2"},
    ]).encode()
)  # fmt: skip
SERVER = Settings(dhcp=Dhcp.SERVER, range=(Address("10.0.10.50"), Address("10.0.10.99")))


def test_it_is_the_controllers_address() -> None:
    found = choose(OWN, Address("10.0.10.3"), None)
    assert (found.address, found.interface, str(found.network)) == ("10.0.10.3", "eth0", "10.0.10.0/24")


def test_an_interface_gives_its_first_address_or_the_controllers_if_it_has_that() -> None:
    assert choose(OWN, Address("127.0.0.1"), "eth1").address == "10.9.0.1"
    assert choose(OWN, Address("10.0.10.3"), "eth0").address == "10.0.10.3"


@pytest.mark.parametrize("wanted", ["10.0.10.4", "0.0.0.0"])
def test_an_address_of_another_machine_is_refused(wanted: str) -> None:
    with pytest.raises(TerraError, match=f"cannot answer on {wanted}: it is not an address of this machine"):
        choose(OWN, Address(wanted), None)


@pytest.mark.parametrize("interface", ["eth2", "eth9"])
def test_an_interface_without_an_address_is_refused(interface: str) -> None:
    with pytest.raises(TerraError, match=f"{interface} has no address, or is no interface"):
        choose(OWN, Address("10.0.10.3"), interface)


def test_a_range_has_to_be_in_the_network_of_the_address() -> None:
    check_dhcp(choose(OWN, Address("10.0.10.3"), None), SERVER)
    with pytest.raises(TerraError, match=r"10\.0\.10\.50, 10\.0\.10\.99 is outside of 10\.9\.0\.0/16"):
        check_dhcp(choose(OWN, Address("10.9.0.1"), None), SERVER)


def test_dhcp_on_loopback_is_refused_and_tftp_is_not() -> None:
    found = choose(OWN, Address("127.0.0.1"), None)
    check_dhcp(found, Settings())
    with pytest.raises(TerraError, match="an address that machines reach"):
        check_dhcp(found, Settings(dhcp=Dhcp.PROXY))


@pytest.mark.parametrize("dhcp", list(Dhcp))
def test_no_machine_boots_by_ipv6(dhcp: Dhcp) -> None:
    with pytest.raises(TerraError, match=r"boot over the network by IPv4, and the service would answer on fe80::1 \(eth1\)"):
        check_dhcp(choose(OWN, Address("fe80::1"), None), Settings(dhcp=dhcp))
