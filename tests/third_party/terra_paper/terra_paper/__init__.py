"""Role ``network``, filled with a note on paper."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.hookspecs import RenderedFile, hookimpl


@frozen(kw_only=True)
class Paper:
    """``[paper]``.

    :param lines: what else the note says.
    """

    lines: tuple[str, ...] = ()


class PaperPlugin:
    """Writes the note."""

    contract = 2
    settings = Paper

    @hookimpl
    def render_network(self, server: Server, session: Session) -> Sequence[RenderedFile]:
        """Render ``/etc/paper.note``: the host's name, and the lines of the table ``[paper]``."""
        lines = [server.hostname, *session.settings("paper", Paper).lines]
        return [RenderedFile(path="etc/paper.note", content="\n".join([*lines, ""]).encode(), mode=0o640)]


plugin = PaperPlugin()
