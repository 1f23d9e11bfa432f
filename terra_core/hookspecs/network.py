"""The role ``network``."""

from __future__ import annotations

from collections.abc import Sequence

from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.hookspecs.files import RenderedFile
from terra_core.hookspecs.markers import hookspec


class Network:
    """Role ``network``: the network configuration of an image."""

    @hookspec(firstresult=True)
    def render_network(self, server: Server, session: Session) -> Sequence[RenderedFile] | None:
        """Render the files that configure the machine's network.

        Called once a build. Write nothing; the plugin's own table is ``session.settings(NAME, Model)``.

        :param server: the whole server.toml.
        """
