"""The agent's name and commands, for messages of its clients."""

from __future__ import annotations

from terra_core.client.connection import Service

AGENT = Service("agent", "orbit-server", "ob list")
