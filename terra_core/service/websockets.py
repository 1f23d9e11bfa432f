"""WebSockets in their places; a module of its own, because not every daemon has the library."""

from __future__ import annotations

from typing import Any

from uvicorn import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from terra_core.service.connections import Place, Placed


class SocketPeer(Placed, WebSocketsSansIOProtocol):
    """A WebSocket with a peer, in the place of its connection.

    :param config: as uvicorn has it.
    :param server_state: likewise.
    :param app_state: likewise.
    :param place: the connection's.
    """

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], place: Place) -> None:
        super().__init__(config, server_state, app_state)
        self._place = place
