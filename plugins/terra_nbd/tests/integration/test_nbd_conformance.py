"""What the contract promises of a transport, in a network of its own."""

from __future__ import annotations

from lab.network import ISCSI
from lab.surroundings import InNetwork
from terra_core.testing import StorageConformance
from terra_nbd import plugin as nbd


class TestStorage(InNetwork, StorageConformance):
    """With an nbdkit for each target."""

    plugin = nbd
    name = "nbd"
    portal = ISCSI
