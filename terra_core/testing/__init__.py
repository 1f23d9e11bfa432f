"""The conformance kit: what the contract promises, as tests that a plugin's author runs.

A line for each role that a plugin fills, in a module of its tests::

    from terra_core.testing import StoreConformance
    from terra_example import plugin

    class TestStore(StoreConformance):
        plugin = plugin
        name = "example"

Each class runs the plugin's hooks as core does, through the role's own class, with every answer checked. What needs something
around it, such as a network of its own, overrides the fixture ``surroundings``; what has to be told of it in a table overrides
``session``. Needs the extra ``terra-core[testing]``; most roles need root.
"""

from terra_core.testing.boot import BootConformance
from terra_core.testing.bootloader import BootloaderConformance
from terra_core.testing.builder import BuilderConformance
from terra_core.testing.conformance import Conformance
from terra_core.testing.filesystem import FilesystemConformance
from terra_core.testing.network import NetworkConformance
from terra_core.testing.registry import RegistryConformance
from terra_core.testing.storage import StorageConformance
from terra_core.testing.store import StoreConformance

__all__ = [
    "BootConformance",
    "BootloaderConformance",
    "BuilderConformance",
    "Conformance",
    "FilesystemConformance",
    "NetworkConformance",
    "RegistryConformance",
    "StorageConformance",
    "StoreConformance",
]
