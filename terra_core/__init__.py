"""Terra: one TOML file, one running machine.

The public parts are :mod:`terra_core.config` (what the files say), :mod:`terra_core.hookspecs` (what a plugin may do),
:mod:`terra_core.create` and :mod:`terra_core.deploy` (the use cases).
"""
