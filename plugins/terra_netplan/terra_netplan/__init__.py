"""Terra's network role, for netplan."""

from __future__ import annotations

from collections.abc import Sequence

from terra_core.config.session import Session
from terra_core.hookspecs import RenderedFile, hookimpl

NAME = "netplan"


class NetplanPlugin:
    """Renders the ``[netplan]`` table of server.toml."""

    @hookimpl
    def render_network(self, session: Session) -> Sequence[RenderedFile]:
        """Render ``/etc/netplan/50-terra.yaml``."""
        from terra_netplan.render import render  # here, so that finding the plugin stays cheap
        from terra_netplan.settings import Netplan

        return [render(session.settings(NAME, Netplan))]


plugin = NetplanPlugin()
"""What the entry point loads."""
