"""A client of registries: the OCI distribution specification, version 1.1, spoken by Terra itself.

A plugin of the role ``registry`` says by a :class:`RegistryAccess` how its registries are reached, and
calls :mod:`terra_core.registry.pull` and :mod:`terra_core.registry.upload`. Nothing here reads a configuration file or asks an
engine.
"""

from terra_core.registry.access import Credentials, Mirror, RegistryAccess

__all__ = ["Credentials", "Mirror", "RegistryAccess"]
