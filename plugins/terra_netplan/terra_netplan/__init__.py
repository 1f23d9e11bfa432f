"""Terra's network role, for netplan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.hookspecs import CONTRACT, RenderedFile, hookimpl

if TYPE_CHECKING:
    from terra_netplan.settings import Netplan

NAME = "netplan"


class NetplanPlugin:
    """Renders the ``[netplan]`` table of server.toml."""

    contract = CONTRACT

    @property
    def settings(self) -> type[Netplan]:
        """Return the model of ``[netplan]``."""
        from terra_netplan.settings import Netplan

        return Netplan

    @hookimpl
    def render_network(self, server: Server, session: Session) -> Sequence[RenderedFile]:
        """Render ``/etc/netplan/50-terra.yaml``, and what has to be read after it."""
        from terra_netplan.render import render  # here, so that finding the plugin stays cheap
        from terra_netplan.settings import Netplan

        return render(session.settings(NAME, Netplan))

    @hookimpl
    def check_network(self, files: Sequence[RenderedFile], session: Session) -> bool:
        """Run ``netplan generate`` on the files, where netplan is installed."""
        from terra_netplan.check import check
        from terra_netplan.settings import Netplan

        return check(files, session.settings(NAME, Netplan), source=session.source, report=session.report)


plugin = NetplanPlugin()
"""What the entry point loads."""
