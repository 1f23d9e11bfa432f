"""What the agent is, for whoever speaks to it."""

from __future__ import annotations

from terra_core.client.connection import Service

AGENT = Service("agent", "orbit-server", "ob list")
