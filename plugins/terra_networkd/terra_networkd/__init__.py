"""Terra's network role, for systemd-networkd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.hookspecs import RenderedFile, RenderedLink, hookimpl

if TYPE_CHECKING:
    from terra_networkd.settings import Networkd

NAME = "networkd"


class NetworkdPlugin:
    """Renders the ``[networkd]`` table of server.toml."""

    contract = 2

    @property
    def settings(self) -> type[Networkd]:
        """Return the model of ``[networkd]``."""
        from terra_networkd.settings import Networkd

        return Networkd

    @hookimpl
    def render_network(self, server: Server, session: Session) -> Sequence[RenderedFile | RenderedLink]:
        """Render the files below ``/etc/systemd/network``, and the links that enable the units."""
        from terra_networkd.render import render  # here, so that finding the plugin stays cheap
        from terra_networkd.settings import Networkd

        return render(session.settings(NAME, Networkd), server, source=session.source)

    @hookimpl
    def check_network(self, files: Sequence[RenderedFile], session: Session) -> bool:
        """Let systemd-networkd read the files, where it is installed and this process may isolate it."""
        from terra_networkd.check import check
        from terra_networkd.settings import Networkd

        return check(files, session.settings(NAME, Networkd), source=session.source, report=session.report)


plugin = NetworkdPlugin()
"""What the entry point loads."""
