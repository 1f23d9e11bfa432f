"""What the contract promises of a transport, in a network of its own."""

from __future__ import annotations

from lab.network import ISCSI
from lab.surroundings import InNetwork
from terra_core.testing import StorageConformance
from terra_iscsi import plugin as iscsi


class TestStorage(InNetwork, StorageConformance):
    """With a tgtd of its own."""

    plugin = iscsi
    name = "iscsi"
    portal = ISCSI
