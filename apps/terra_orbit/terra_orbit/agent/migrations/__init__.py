"""The schemas of the agent's database; :mod:`terra_core.service.migration` says how to add one.

1. The tables of the first agents.
2. A container that moves to another agent has its move in ``containers.move``.
"""
