"""The small root file system of :mod:`terra_core.testing.tiny`, by the name that tests had for it."""

from terra_core.testing.tiny import write_tiny_root

__all__ = ["write_tiny_root"]
