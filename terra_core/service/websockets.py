"""WebSockets in their places; apart, because not every daemon has the library."""

from __future__ import annotations

from typing import Any

from uvicorn import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from terra_core.service.connections import Place


class SocketPeer(WebSocketsSansIOProtocol):
    """A WebSocket with a peer, in the place of its connection.

    :param config: as uvicorn has it.
    :param server_state: likewise.
    :param app_state: likewise.
    :param place: the connection's.
    """

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], place: Place) -> None:
        super().__init__(config, server_state, app_state)
        self._place = place

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place up."""
        super().connection_lost(exc)
        self._place.leave()

    def pause_writing(self) -> None:
        """Wait for the peer to read."""
        super().pause_writing()
        self._place.await_reading()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._place.let_read()
