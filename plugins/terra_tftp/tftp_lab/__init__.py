"""What the integration tests of the plugin stand on; not part of its wheel."""

from __future__ import annotations

from collections.abc import Callable

from lab.network import CONTROLLER, GATEWAY
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.hookspecs import BootNetwork

CLIENT = "machine"
"""The interface of a machine on the network's bridge."""
BOOT_NETWORK = BootNetwork(address=Address(CONTROLLER), gateway=Address(GATEWAY))

MakeSession = Callable[..., Session]
"""Makes a session with the table ``[tftp]`` that it is given."""
