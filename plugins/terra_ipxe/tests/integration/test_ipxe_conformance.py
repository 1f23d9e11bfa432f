"""What the contract promises of a network boot service, in a network of its own."""

from __future__ import annotations

from lab.network import CONTROLLER
from lab.surroundings import InNetwork
from terra_core.testing import BootConformance
from terra_ipxe import plugin as ipxe


class TestBoot(InNetwork, BootConformance):
    """With a dnsmasq and a lighttpd of its own."""

    plugin = ipxe
    name = "ipxe"
    address = CONTROLLER
