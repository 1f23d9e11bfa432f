"""What the contract promises of a store."""

from terra_core.testing import StoreConformance
from terra_file import plugin as file


class TestStore(StoreConformance):
    """On the file system of the tests."""

    plugin = file
    name = "file"
