"""What the contract promises of the role ``network``."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import ClassVar

from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.config.values import Hostname, Repository, Tag, parse_image_reference
from terra_core.hookspecs import Network, RenderedFile
from terra_core.testing.conformance import Conformance, everything


class NetworkConformance(Conformance[Network]):
    """The promises of a network plugin; ``tables`` should have a network that is worth rendering.

    :cvar server: the server.toml that it is for.
    """

    _role = Network
    server: ClassVar[Server] = Server(
        hostname=Hostname("conformance-01"),
        version=Tag("1"),
        os=parse_image_reference("example.com/os:1"),
        repo=Repository("example.com"),
    )

    def use(self, role: Network, session: Session) -> None:
        """Render."""
        role.render_network(self.server, session)

    def test_the_same_file_gives_the_same_network(self, role: Network, session: Session) -> None:
        assert role.render_network(self.server, session) == role.render_network(self.server, session)

    def test_rendering_writes_nothing(self, role: Network, session: Session) -> None:
        role.render_network(self.server, session)
        assert everything(session.paths.root) == {}

    def test_every_file_has_a_place_of_its_own_in_the_machine(self, role: Network, session: Session) -> None:
        rendered = role.render_network(self.server, session)
        paths = [one.path for one in rendered]
        assert len(set(paths)) == len(paths)
        for path in paths:
            pure = PurePosixPath(path)
            assert str(pure) == path, "without a leading slash, without . and .."
            assert not pure.is_absolute()
            assert ".." not in pure.parts

    def test_what_was_rendered_is_taken_by_what_reads_it(self, role: Network, session: Session) -> None:
        files = [one for one in role.render_network(self.server, session) if isinstance(one, RenderedFile)]
        role.check_network(files, session)
