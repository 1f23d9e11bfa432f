"""The role ``network``."""

from __future__ import annotations

from collections.abc import Sequence

from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.hookspecs.machine import RenderedFile, RenderedLink
from terra_core.hookspecs.markers import Role, hook, optional


class Network(Role, role="network", default="netplan"):
    """The network configuration of an image."""

    @hook
    def render_network(self, server: Server, session: Session) -> Sequence[RenderedFile | RenderedLink]:
        """Return the files that configure the machine's network, and the links that enable its units.

        Called once for each build. Write nothing. The plugin's own table is ``session.settings(NAME, Model)``.

        :param server: the whole server.toml.
        """

    @optional
    def check_network(self, files: Sequence[RenderedFile], session: Session) -> bool:
        """Check the files with the program that will read them, where this machine has it.

        Called once for each build, after :meth:`render_network` and before anything is built. Change nothing outside a
        temporary directory, and end within a minute.

        :param files: every file that the image gets, also those of the build's context that replace rendered ones.
        :returns: whether they were read.
        :raises TerraError: with the program's message, and the key of server.toml that caused it.
        """
        return False
