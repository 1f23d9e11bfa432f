"""The registry of :mod:`terra_core.testing.faulty_registry`, by the name that tests had for it."""

from terra_core.testing.faulty_registry import Asked, FaultyRegistry, digest, faulty_registry, layer

__all__ = ["Asked", "FaultyRegistry", "digest", "faulty_registry", "layer"]
