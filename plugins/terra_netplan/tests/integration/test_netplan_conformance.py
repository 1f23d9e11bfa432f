"""What the contract promises of a network plugin."""

from terra_core.testing import NetworkConformance
from terra_netplan import plugin as netplan


class TestNetwork(NetworkConformance):
    """With one interface."""

    plugin = netplan
    name = "netplan"
    tables = {"netplan": {"interfaces": [{"name": "eth0", "addresses": ["10.0.10.5/24"]}]}}  # noqa: RUF012
